//! Owns one SQLite handle: how it is opened and set up, its statements, and the transaction words of the engine.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rusqlite::ffi;
use rusqlite::limits::Limit;

use crate::authorizer::Authorizer;
use crate::error::{Error, ErrorCode, Result};
use crate::execute::Script;
use crate::exit;
use crate::interrupt::Interrupt;
use crate::sql::Sql;
use crate::statement::{Encoding, Statement, Step, Traits, error_code, prepare};
use crate::statement_cache::StatementCache;
use crate::text::{first_word, skip_blank};
use crate::wire::RowsWriter;

mod changes;
mod checkpoint;
mod cipher;
mod file;
mod open;
mod watched;
mod words;

pub(crate) use changes::{Changes, Mark, Tables};
pub(crate) use checkpoint::CacheFigures;
pub use checkpoint::CheckpointMode;
use cipher::Protection;
pub(crate) use cipher::is_foreign;
pub(crate) use file::File;
pub(crate) use open::{Profile, initialize};
use words::EngineStatements;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one connection of a database that writes.
    Writer,
    /// A connection opened READONLY.
    Reader,
    /// One beside them that copies or checks the file, and changes nothing in it. Opened READWRITE, for those that it
    /// attaches are opened as it is; where the process may not write, SQLite opens it READONLY.
    Copier,
}

/// Virtual machine steps between two looks of the progress handler.
const PROGRESS_STEPS: c_int = 500;

/// One SQLite handle, used by one thread at a time: its owner's.
pub(crate) struct Connection {
    cache: StatementCache,
    engine: EngineStatements,
    pub(crate) rows: RowsWriter,
    authorizer: Authorizer,
    pub(crate) interrupt: Arc<Interrupt>,
    pub(crate) role: Role,
    pub(crate) encoding: Encoding,
    /// TEMP objects were made in this transaction and go before its end.
    pub(crate) temp_objects: bool,
    /// A pragma was set in this transaction; see [`Connection::forget_statements`].
    pub(crate) pragma_set: bool,
    /// What the open transaction has changed.
    pub(crate) changes: Changes,
    /// Which use of a reader this is; given by its pool.
    pub(crate) checkout: u64,
    /// What is known of the encryption of the file.
    protection: Protection,
    page_size: u32,
    /// Frames in the log after the last COMMIT of this connection.
    log_frames: Arc<AtomicU32>,
    /// Frames in the log after the last checkpoint.
    checkpointed_at: u32,
    db: ManuallyDrop<rusqlite::Connection>,
}

/// What a run of a cached statement needs of its connection.
pub(crate) struct Parts<'c> {
    pub(crate) statement: &'c mut Statement,
    pub(crate) rows: &'c mut RowsWriter,
    pub(crate) changes: &'c mut Changes,
    pub(crate) encoding: Encoding,
}

impl Drop for Connection {
    /// Wherever its last owner goes, on whatever thread: a stop of the process waits for the close, and once it has begun
    /// nothing is closed any more, for SQLCipher's exit handler frees what the close would use.
    fn drop(&mut self) {
        let Some(_inside) = exit::enter() else { return };
        self.drop_row_log();
        self.forget_all_statements();
        // SAFETY: dropped once, here, and not used afterwards; its statements are finalized.
        unsafe { ManuallyDrop::drop(&mut self.db) };
    }
}

pub(crate) fn from_rusqlite(error: &rusqlite::Error, what: &str) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            let reason = message.clone().unwrap_or_else(|| code.to_string());
            Error::sqlite(error_code(code.extended_code), format!("{what}: {reason}"), code.extended_code)
        }
        other => Error::new(ErrorCode::Sql, format!("{what}: {other}")),
    }
}

impl Connection {
    /// The handle, for what is not on the hot path.
    pub(crate) fn db(&self) -> &rusqlite::Connection {
        &self.db
    }

    /// The same to write to, as a copy is.
    pub(crate) fn db_mut(&mut self) -> &mut rusqlite::Connection {
        &mut self.db
    }

    /// The raw handle, for the C interface.
    pub(crate) fn raw(&self) -> *mut ffi::sqlite3 {
        // SAFETY: the handle stays open as long as `self`, and is used by the thread that has `self` only.
        unsafe { self.db.handle() }
    }

    /// The statement of `sql`, prepared if it was not, left in the cache.
    pub(crate) fn statement(&mut self, sql: &Sql) -> Result<&mut Statement> {
        self.ensure_cached(sql)?;
        self.cache.get(sql.key).ok_or_else(left_cache)
    }

    fn ensure_cached(&mut self, sql: &Sql) -> Result<()> {
        if !self.cache.contains(sql.key) {
            let statement = self.prepare(&sql.text).map_err(|error| self.explained(error))?;
            self.cache.insert(sql.key, statement);
        }
        Ok(())
    }

    /// The statement of `sql` in the cache together with what a run of it needs of this connection.
    pub(crate) fn parts(&mut self, sql: &Sql) -> Result<Parts<'_>> {
        self.ensure_cached(sql)?;
        let statement = self.cache.get(sql.key).ok_or_else(left_cache)?;
        Ok(Parts { statement, rows: &mut self.rows, changes: &mut self.changes, encoding: self.encoding })
    }

    /// Takes the statement of `sql` out of the cache, for a run that outlasts this call.
    pub(crate) fn take_statement(&mut self, sql: &Sql) -> Result<Statement> {
        match self.cache.take(sql.key) {
            Some(statement) => Ok(statement),
            None => self.prepare(&sql.text).map_err(|error| self.explained(error)),
        }
    }

    /// Puts a statement back that was taken.
    pub(crate) fn give_back(&mut self, sql: &Sql, mut statement: Statement) {
        statement.reset();
        if statement.is_out_of_date() {
            self.changes.note(self.authorizer.take_tables().as_ref());
        } else {
            self.cache.insert(sql.key, statement);
        }
    }

    /// After a run of a cached statement that SQLite has prepared anew by itself, which may have given it other triggers: notes
    /// their tables, and has it prepared by the engine the next time.
    pub(crate) fn forget_out_of_date(&mut self, sql: &Sql) {
        self.changes.note(self.authorizer.take_tables().as_ref());
        self.cache.take(sql.key);
    }

    /// Prepares the one statement of `text`.
    fn prepare(&self, text: &str) -> Result<Statement> {
        let db = self.raw();
        check_text(text, Script::User)?;
        let (prepared, seen) = self.authorizer.police(Script::User, || prepare(db, text, true))?;
        let Some(mut statement) = prepared.statement else {
            return Err(Error::new(ErrorCode::Statement, "the SQL text holds no statement"));
        };
        if !skip_blank(prepared.tail).is_empty() {
            return Err(Error::new(
                ErrorCode::Statement,
                "the SQL text holds more than one statement; run one at a time, or use exec for a script",
            ));
        }
        statement.traits = seen.traits;
        statement.tables = seen.tables;
        Ok(statement)
    }

    /// Prepares the next statement of a script. `None` at its end.
    pub(crate) fn prepare_next<'s>(&self, script: &'s str, of: Script) -> Result<Option<(Statement, &'s str)>> {
        let db = self.raw();
        let mut rest = script;
        while !rest.is_empty() {
            check_text(rest, of)?;
            let (prepared, seen) = self.authorizer.police(of, || prepare(db, rest, false))?;
            if let Some(mut statement) = prepared.statement {
                statement.traits = seen.traits;
                statement.tables = seen.tables;
                return Ok(Some((statement, prepared.tail)));
            }
            if prepared.tail.len() == rest.len() {
                break;
            }
            rest = prepared.tail;
        }
        Ok(None)
    }

    /// Has the progress handler look whether the run is to be stopped alone; while cursors stand open beside it.
    pub(crate) fn set_stoppable(&mut self, stoppable: bool) -> Result<()> {
        let interrupt = stoppable.then(|| Arc::clone(&self.interrupt));
        let handler = interrupt.map(|interrupt| move || interrupt.is_stopped());
        #[cfg(feature = "model")]
        let handler = Some(crate::sync::interleaved(handler));
        self.db
            .progress_handler(PROGRESS_STEPS, handler)
            .map_err(|error| from_rusqlite(&error, "the statement cannot be watched"))
    }

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        self.db.is_autocommit()
    }

    /// Whether the connection holds no snapshot and no lock, and its file is sound: what its next owner may expect.
    pub(crate) fn is_clean(&self) -> bool {
        // SAFETY: the handle is open and used by this thread alone; a null schema name asks for all of them.
        let state = unsafe { ffi::sqlite3_txn_state(self.raw(), std::ptr::null()) };
        state == ffi::SQLITE_TXN_NONE && self.is_autocommit() && !self.is_damaged()
    }

    /// Resets every statement of the connection that stands on a row, whoever holds it.
    pub(crate) fn reset_all(&mut self) {
        let db = self.raw();
        let mut statement = std::ptr::null_mut();
        loop {
            // SAFETY: `db` is open and used by this thread alone; `statement` is null or a live statement of it, and resetting
            // does not change the list.
            unsafe {
                statement = ffi::sqlite3_next_stmt(db, statement);
                if statement.is_null() {
                    return;
                }
                if ffi::sqlite3_stmt_busy(statement) != 0 {
                    ffi::sqlite3_reset(statement);
                }
            }
        }
    }

    /// Drops the TEMP objects made in this transaction, so that the connection's next owner does not meet them.
    pub(crate) fn drop_temp_objects(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.temp_objects) {
            return Ok(());
        }
        let failed =
            |error: rusqlite::Error| from_rusqlite(&error, "the TEMP objects of the transaction cannot be dropped");
        loop {
            let next = self.db.query_row(
                "SELECT type, name FROM temp.sqlite_schema WHERE type IN ('trigger', 'view', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type = 'table' LIMIT 1",
                [],
                |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
            );
            match next {
                Ok((kind, name)) => {
                    let name = name.replace('"', "\"\"");
                    self.db.execute_batch(&format!("DROP {kind} temp.\"{name}\"")).map_err(failed)?;
                }
                Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Drops the cached statements if a pragma was set in the transaction that has ended: a statement prepared under
    /// `defer_foreign_keys` would go on deferring in later transactions (its program was made so, and is not made anew).
    pub(crate) fn forget_statements(&mut self) {
        if std::mem::take(&mut self.pragma_set) {
            self.cache.clear();
        }
    }

    /// Drops all prepared statements.
    pub(crate) fn forget_all_statements(&mut self) {
        self.cache.clear();
        self.engine = EngineStatements::default();
    }

    /// Runs `work` while one database may be attached, as VACUUM and copies do.
    pub(crate) fn with_attached<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        // Sorters of an encrypted file stay in memory, where they spill nothing in clear.
        let store = if self.is_encrypted() { "MEMORY" } else { "FILE" };
        let set = |connection: &Self, attached, store| {
            connection
                .db
                .set_limit(Limit::SQLITE_LIMIT_ATTACHED, attached)
                .and_then(|_| connection.db.pragma_update(None, "temp_store", store))
                .map_err(|error| from_rusqlite(&error, "the limits of the connection"))
        };
        set(self, 1, store)?;
        let worked = work(self);
        set(self, 0, "MEMORY")?;
        worked
    }

    /// Pages of the database, as of the snapshot that is open.
    pub(crate) fn page_count(&self) -> Result<u64> {
        let pages = self.db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0));
        pages.map(|pages| u64::try_from(pages).unwrap_or_default()).map_err(|error| from_rusqlite(&error, "the pages"))
    }

    /// Whether the file is in WAL mode, as far as this connection knows.
    pub(crate) fn is_wal(&self) -> bool {
        let mode: rusqlite::Result<String> = self.db.query_row("PRAGMA journal_mode", [], |row| row.get(0));
        mode.is_ok_and(|mode| mode.eq_ignore_ascii_case("wal"))
    }

    /// Notes what a statement does to the connection beyond the file.
    pub(crate) fn note(&mut self, traits: Traits) {
        self.temp_objects |= traits.temp;
        self.pragma_set |= traits.sets_pragma;
    }

    /// Rows changed by the last statement, and the row id of its last insert; 0 if it inserted nothing.
    pub(crate) fn counts(&self, total_before: i64, traits: Traits) -> (i64, i64) {
        // SAFETY: the handle is open and used by this thread alone.
        let (changes, rowid) =
            unsafe { (ffi::sqlite3_changes64(self.raw()), ffi::sqlite3_last_insert_rowid(self.raw())) };
        // A statement that changes no row (DDL, SELECT) leaves the count of the one before it, and one that inserts none its id.
        let changes = if self.total_changes() == total_before { 0 } else { changes };
        (changes, if traits.inserts && changes > 0 { rowid } else { 0 })
    }

    /// Whether SQLite has undone what a statement had changed when it failed with `error`. Only a constraint leaves it, by OR FAIL,
    /// ON CONFLICT FAIL and RAISE(FAIL); the count of changes is 0 when the statement was rolled back, whatever its triggers did.
    pub(crate) fn was_undone(&self, error: &Error) -> bool {
        if error.sqlite & 0xff != ffi::SQLITE_CONSTRAINT {
            return true;
        }
        // SAFETY: the handle is open and used by this thread alone.
        let changes = unsafe { ffi::sqlite3_changes64(self.raw()) };
        changes == 0 && error.sqlite != ffi::SQLITE_CONSTRAINT_TRIGGER
    }

    /// Rows changed since the connection was opened, by triggers and cascades too.
    pub(crate) fn total_changes(&self) -> i64 {
        // SAFETY: the handle is open and used by this thread alone.
        unsafe { ffi::sqlite3_total_changes64(self.raw()) }
    }

    /// Forgets the last row id, so that an ignored insert does not report its neighbour's.
    pub(crate) fn clear_last_insert_rowid(&self) {
        // SAFETY: the handle is open and used by this thread alone.
        unsafe { ffi::sqlite3_set_last_insert_rowid(self.raw(), 0) };
    }

    /// Whether deferred foreign-key violations are open in this transaction.
    pub(crate) fn has_deferred_violations(&self) -> bool {
        let (mut current, mut highest) = (0, 0);
        // SAFETY: the handle is open and used by this thread alone; both out pointers are valid.
        let code = unsafe {
            ffi::sqlite3_db_status(self.raw(), ffi::SQLITE_DBSTATUS_DEFERRED_FKS, &raw mut current, &raw mut highest, 0)
        };
        code == ffi::SQLITE_OK && current != 0
    }
}

/// Refuses what SQLite would take without asking the authorizer, or would take half of.
fn check_text(text: &str, of: Script) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::new(
            ErrorCode::Statement,
            "the SQL text holds a NUL character, behind which SQLite would not read",
        ));
    }
    if of == Script::Migration && first_word(text).eq_ignore_ascii_case("vacuum") {
        return Err(Error::new(
            ErrorCode::StatementNotAllowed,
            "VACUUM is not allowed in a migration, which is one transaction; put `-- +goose NO TRANSACTION` at the head of the file",
        ));
    }
    if of == Script::User && first_word(text).eq_ignore_ascii_case("vacuum") {
        return Err(Error::new(
            ErrorCode::StatementNotAllowed,
            "VACUUM is not allowed in SQL: it cannot run inside a transaction, and every statement runs in one",
        ));
    }
    Ok(())
}

/// Steps a statement to its end.
pub(crate) fn step_to_end(statement: &mut Statement) -> Result<()> {
    while statement.step()? == Step::Row {}
    Ok(())
}

fn left_cache() -> Error {
    Error::new(ErrorCode::Sql, "the statement left the cache while it was looked up")
}
