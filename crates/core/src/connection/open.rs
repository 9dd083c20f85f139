//! Owns how a connection is opened and set up: its flags, its first read, its pragmas, in an order that matters.

use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, ffi};

use super::{Changes, Connection, EngineStatements, Role, from_rusqlite};
use crate::authorizer::Authorizer;
use crate::config::Synchronous;
use crate::error::{Error, ErrorCode, Result};
use crate::exit;
use crate::interrupt::Interrupt;
use crate::statement::Encoding;
use crate::statement_cache::StatementCache;
use crate::wire::RowsWriter;

/// Page cache of a connection, in KiB.
const CACHE_KIB: i64 = 8_192;
/// The log is cut to this size when a checkpoint has emptied it.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;

impl Connection {
    /// Opens `path`, which must exist, and reads its first page. Changes nothing in the file; [`Connection::set_up`] does.
    pub(crate) fn open(path: &Path, role: Role) -> Result<Self> {
        let access = match role {
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE,
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
        Ok(Self {
            cache: StatementCache::default(),
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
            page_size: 4_096,
            log_frames: Arc::new(AtomicU32::new(0)),
            checkpointed_at: 0,
            db,
        })
    }

    /// The first read and the settings, in an order that matters: nothing is set before the file has proved to be a database.
    /// Can be busy; may then be called again.
    pub(crate) fn set_up(&mut self, synchronous: Synchronous, path: &Path) -> Result<()> {
        let failed = |error: rusqlite::Error| {
            let mut error = from_rusqlite(&error, &format!("{} cannot be opened", path.display()));
            if error.code == ErrorCode::NotADatabase {
                error.message =
                    format!("{} is not a database: it is no SQLite file, or it is encrypted", path.display());
            }
            error
        };
        let _: i64 = self.db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
        let encoding: String = self.db.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(failed)?;
        self.encoding = if encoding == "UTF-8" { Encoding::Utf8 } else { Encoding::Utf16 };
        self.page_size = self.db.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(failed)?;
        self.db.pragma_update(None, "synchronous", synchronous.as_str()).map_err(failed)?;
        if self.role == Role::Writer {
            let mode: String = self.db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
            if !mode.eq_ignore_ascii_case("wal") {
                return Err(Error::new(
                    ErrorCode::CannotOpen,
                    format!(
                        "{} cannot be switched to write-ahead logging: its journal mode stays '{mode}'; the file system must support shared memory",
                        path.display()
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
        }
        let pragmas = format!(
            "PRAGMA foreign_keys = ON; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT};"
        );
        self.db.execute_batch(&pragmas).map_err(failed)?;
        if cfg!(target_vendor = "apple") && synchronous == Synchronous::Full {
            self.db.execute_batch("PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;").map_err(failed)?;
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
