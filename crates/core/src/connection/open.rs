//! Owns how a connection is opened and set up: its flags, its first read, its pragmas, in an order that matters.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{OpenFlags, ffi};

use super::cipher::{Protection, damaged};
use super::{Changes, Connection, EngineStatements, Role, from_rusqlite};
use crate::authorizer::Authorizer;
use crate::config::{AutoVacuum, OpenOptions, Synchronous};
use crate::error::{Error, ErrorCode, Result};
use crate::exit;
use crate::interrupt::Interrupt;
use crate::key::{self, KeyRing, Keyspec};
use crate::location::{explain_descriptors, with_suffix};
use crate::statement::Encoding;
use crate::statement_cache::{POOLED_STATEMENTS, STATEMENTS, StatementCache};
use crate::wire::RowsWriter;

/// Page cache of a connection, in KiB.
const CACHE_KIB: i64 = 8_192;
/// The same where there are thousands.
const POOLED_CACHE_KIB: i64 = 256;
/// The log is cut to this size when a checkpoint has emptied it.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;
/// What SQL may ask for (<https://sqlite.org/c3ref/c_limit_attached.html>): hostile text is refused before it costs much.
const LIMITS: [(Limit, i32); 7] = [
    // Bytes of a statement, and of what is left of a script.
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 * 1024 * 1024),
    (Limit::SQLITE_LIMIT_COLUMN, 2_000),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1_000),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 500),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// What every connection of a database is opened with.
pub(crate) struct Profile {
    /// Canonical path of the file.
    pub(crate) path: PathBuf,
    pub(crate) keys: KeyRing,
    /// Opened `readOnly`: nobody changes anything in the file.
    pub(crate) read_only: bool,
    synchronous: Synchronous,
    secure_delete: bool,
    auto_vacuum: AutoVacuum,
    /// One of many: its caches are small.
    pub(crate) pooled: bool,
}

impl Profile {
    pub(crate) fn new(path: PathBuf, options: &OpenOptions) -> Self {
        let keys = KeyRing::default();
        if let Some(cipher) = &options.cipher {
            keys.set(cipher.key(), Keyspec::of(cipher));
        }
        let OpenOptions { read_only, synchronous, secure_delete, auto_vacuum, .. } = *options;
        let pooled = options.is_pooled();
        Self { path, keys, read_only, synchronous, secure_delete, auto_vacuum, pooled }
    }

    /// Opens a connection and sets it up. Can be busy.
    pub(crate) fn connect(&self, role: Role) -> Result<Connection> {
        loop {
            let keyspec = self.keys.keyspec();
            let connected = Connection::open_with(self, role, keyspec.as_deref()).and_then(|mut connection| {
                connection.set_up(self)?;
                Ok(connection)
            });
            let is_of_the_key = connected
                .as_ref()
                .is_err_and(|error| matches!(error.code, ErrorCode::WrongKey | ErrorCode::CorruptDatabase));
            // A rekey has come in between.
            if is_of_the_key && !self.keys.is_current(keyspec.as_ref()) {
                continue;
            }
            return connected.map_err(explain_descriptors);
        }
    }
}

/// Has SQLite, and SQLCipher with it, ready before any thread opens a file. SQLite counts as initialized before it has called
/// SQLCipher's own initialization, so that of two first opens at the same time one would find a SQLCipher that takes no key.
pub(crate) fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: it may be called by any thread at any time; what it fails with, every open after it fails with again.
        let _ = unsafe { ffi::sqlite3_initialize() };
    });
}

impl Connection {
    /// Opens the file, which must exist. Reads nothing, and changes nothing in it; [`Connection::set_up`] does.
    pub(crate) fn open(profile: &Profile, role: Role) -> Result<Self> {
        Self::open_with(profile, role, profile.keys.keyspec().as_deref())
    }

    /// The same with another key than the database has, or none.
    pub(crate) fn open_with(profile: &Profile, role: Role, keyspec: Option<&Keyspec>) -> Result<Self> {
        initialize();
        let path = &profile.path;
        let access = match role {
            Role::Writer | Role::Copier => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let flags = access
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let what = || format!("{} cannot be opened", path.display());
        let mut db =
            rusqlite::Connection::open_with_flags(path, flags).map_err(|error| from_rusqlite(&error, &what()))?;
        let failed = |error: rusqlite::Error| from_rusqlite(&error, &what());
        // rusqlite waits 5 s by default; this engine waits by timer, on no thread.
        db.busy_timeout(std::time::Duration::ZERO).map_err(failed)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(failed)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(failed)?;
        // Until the first read has shown that the key fits, its close leaves the file and its log as they are.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        for (limit, most) in LIMITS {
            db.set_limit(limit, most).map_err(failed)?;
        }
        if role == Role::Writer && db.is_readonly("main").map_err(failed)? {
            let why = format!(
                "{} cannot be opened: this process may not write it; use readOnly: true to read it",
                path.display()
            );
            return Err(Error::sqlite(ErrorCode::ReadOnlyDatabase, why, ffi::SQLITE_READONLY));
        }
        #[cfg(feature = "model")]
        db.progress_handler(super::PROGRESS_STEPS, Some(crate::sync::interleaved(None::<fn() -> bool>)))
            .map_err(failed)?;
        let interrupt = Arc::new(Interrupt::new(db.get_interrupt_handle()));
        exit::register(&interrupt);
        let authorizer = Authorizer::register(&mut db)?;
        let mut connection = Self {
            cache: StatementCache::new(if profile.pooled { POOLED_STATEMENTS } else { STATEMENTS }),
            engine: EngineStatements::default(),
            rows: RowsWriter::new(),
            authorizer,
            interrupt,
            role,
            encoding: Encoding::Utf8,
            temp_objects: false,
            pragma_set: false,
            changes: Changes::default(),
            checkout: 0,
            protection: Protection::Plain,
            page_size: 4_096,
            log_frames: Arc::new(AtomicU32::new(0)),
            checkpointed_at: 0,
            db: ManuallyDrop::new(db),
        };
        if let Some(keyspec) = keyspec {
            connection.unlock(keyspec)?;
        }
        Ok(connection)
    }

    /// The first read and the settings, in an order that matters: nothing is set before the file has proved to be a database.
    /// Can be busy; may then be called again.
    pub(crate) fn set_up(&mut self, profile: &Profile) -> Result<()> {
        let path = profile.path.display().to_string();
        self.first_read(&path).map_err(|error| match error.code {
            ErrorCode::WrongKey if profile.keys.is_proved() => damaged(ffi::SQLITE_NOTADB),
            _ => error,
        })?;
        let failed = |error: rusqlite::Error| from_rusqlite(&error, &format!("{path} cannot be opened"));
        let encoding: String = self.db.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(failed)?;
        self.encoding = if encoding == "UTF-8" { Encoding::Utf8 } else { Encoding::Utf16 };
        // SQLCipher answers for its files, and by a text.
        let page_size: String = self
            .db
            .query_row("SELECT CAST(page_size AS TEXT) FROM pragma_page_size", [], |row| row.get(0))
            .map_err(failed)?;
        self.page_size = page_size.parse().unwrap_or(self.page_size);
        let synchronous = profile.synchronous;
        self.db.pragma_update(None, "synchronous", synchronous.as_str()).map_err(failed)?;
        if self.role == Role::Writer {
            let pages: i64 = self.db.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(failed)?;
            // Only a file without a page can still choose; SQLCipher has set its own default with the key.
            if pages == 0 {
                self.db.pragma_update(None, "auto_vacuum", profile.auto_vacuum.as_str()).map_err(failed)?;
            }
            self.take_place()?;
            let mode: String = self.db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
            if !mode.eq_ignore_ascii_case("wal") {
                return Err(Error::new(
                    ErrorCode::CannotOpen,
                    format!(
                        "{path} cannot be switched to write-ahead logging: its journal mode stays '{mode}'; the file system must support shared memory"
                    ),
                ));
            }
            let frames = Arc::clone(&self.log_frames);
            // Registering a hook also switches SQLite's own checkpoints off: ours run after the completions are published.
            let hook = move |_: &mut rusqlite::hooks::Wal, pages: c_int| {
                frames.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
                Ok(())
            };
            self.set_wal_hook(hook).map_err(failed)?;
            // In WAL mode nobody uses a journal: one that is there was left by a rekey that was cut off before it began, and
            // would be in the way of a copy. Nearly always there is none.
            let _ = std::fs::remove_file(with_suffix(&profile.path, "-journal"));
        }
        let cache = if profile.pooled { POOLED_CACHE_KIB } else { CACHE_KIB };
        let pragmas = format!(
            "PRAGMA foreign_keys = ON; PRAGMA cache_size = -{cache}; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT};"
        );
        self.db.execute_batch(&pragmas).map_err(failed)?;
        // SQLCipher has it on for every encrypted file.
        if profile.secure_delete {
            self.db.execute_batch("PRAGMA secure_delete = ON").map_err(failed)?;
        }
        if cfg!(target_vendor = "apple") && synchronous == Synchronous::Full {
            self.db.execute_batch("PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;").map_err(failed)?;
        }
        self.check_pages()
    }

    /// The first read, which shows whether the file is a database and the key fits.
    fn first_read(&mut self, path: &str) -> Result<()> {
        let read: rusqlite::Result<i64> = self.db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
        let failed = |error: rusqlite::Error| from_rusqlite(&error, &format!("{path} cannot be opened"));
        let outcome = match read {
            Ok(_) => self.check_pages().and_then(|()| self.check_size(path)),
            // With another key no page is authentic, and the first of zeros is no database.
            Err(error) => Err(match failed(error) {
                error if error.code == ErrorCode::NotADatabase => self.why_no_database(path),
                error => self.explained(error),
            }),
        };
        let is_of_the_caller = outcome.as_ref().is_err_and(|error| error.code.is_of_the_caller());
        if !is_of_the_caller {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
        }
        outcome
    }

    /// SQLCipher takes what is shorter than a page for an empty file, and would write over it.
    fn check_size(&self, path: &str) -> Result<()> {
        if self.is_encrypted() && self.page_count()? == 0 && self.file()?.size()? > 0 {
            return Err(key::wrong_key(path));
        }
        Ok(())
    }

    fn set_wal_hook(
        &mut self,
        hook: impl FnMut(&mut rusqlite::hooks::Wal, c_int) -> rusqlite::Result<()> + Send + 'static,
    ) -> rusqlite::Result<()> {
        self.db.wal_hook(Some(hook))
    }
}
