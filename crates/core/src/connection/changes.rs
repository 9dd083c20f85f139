//! Owns what the transaction that is open on a connection has changed: tables, as the authorizer saw them when its statements
//! were prepared, and row ids if somebody asked for them, by SQLite's preupdate hook.
//!
//! The tables are a superset: triggers and cascades are there (the authorizer is asked for them too), and so is a table of which
//! a statement could have changed rows and did not. The preupdate hook has not the blind spots of the update hook: it
//! reports rows that REPLACE deletes, and while it is set a DELETE without WHERE deletes row by row
//! (<https://sqlite.org/c3ref/preupdate_blobwrite.html>). Tables WITHOUT ROWID have no row ids to report.

use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hash::BuildHasherDefault;
use std::ptr::NonNull;
use std::sync::Arc;

use rusqlite::ffi;

use super::Connection;
use crate::statement_cache::KeyHasher;
use crate::wire::{Changed, RowChange};

/// Rows that are remembered of one transaction.
const MOST_ROWS: usize = 10_000;

fn address(tables: &Tables) -> u64 {
    u64::try_from(Arc::as_ptr(tables).cast::<u8>().addr()).unwrap_or_default()
}

/// The tables that one statement can change.
pub(crate) type Tables = Arc<[Arc<str>]>;

/// What was changed up to a moment, to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    statements: usize,
    rows: usize,
}

/// Rows that the hook has reported.
#[derive(Default)]
struct RowLog {
    tables: Vec<Arc<str>>,
    rows: Vec<RowChange>,
    truncated: bool,
}

/// What the open transaction has changed.
#[derive(Default)]
pub(crate) struct Changes {
    /// Of the statements that ran, each list of tables once.
    statements: Vec<Tables>,
    /// The addresses of those, which live as long as they are there.
    noted: HashSet<u64, BuildHasherDefault<KeyHasher>>,
    /// Set while the hook is; written by the hook, on the thread that uses the connection.
    log: Option<NonNull<RowLog>>,
}

// SAFETY: the log belongs to the connection, is freed by it after the hook was taken away, and is used by the thread that has the
// connection only.
unsafe impl Send for Changes {}

unsafe extern "C" {
    // rusqlite's feature for this hook needs libclang; the prototype is that of sqlite3.h.
    fn sqlite3_preupdate_hook(
        db: *mut ffi::sqlite3,
        hook: Option<
            unsafe extern "C" fn(*mut c_void, *mut ffi::sqlite3, c_int, *const c_char, *const c_char, i64, i64),
        >,
        context: *mut c_void,
    ) -> *mut c_void;
}

impl Changes {
    /// Notes the tables of a statement that runs.
    pub(crate) fn note(&mut self, tables: Option<&Tables>) {
        let Some(tables) = tables else { return };
        if self.statements.last().is_some_and(|last| Arc::ptr_eq(last, tables)) {
            return;
        }
        if self.noted.insert(address(tables)) {
            self.statements.push(Arc::clone(tables));
        }
    }

    fn log(&mut self) -> Option<&mut RowLog> {
        // SAFETY: the log lives as long as the pointer is here; the hook, the other user, runs inside a step only.
        self.log.map(|mut log| unsafe { log.as_mut() })
    }

    pub(crate) fn mark(&mut self) -> Mark {
        Mark { statements: self.statements.len(), rows: self.log().map_or(0, |log| log.rows.len()) }
    }

    /// What came after `mark` was rolled back.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        for tables in self.statements.drain(mark.statements.min(self.statements.len())..) {
            self.noted.remove(&address(&tables));
        }
        if let Some(log) = self.log() {
            log.rows.truncate(mark.rows);
            // What was not listed came after the mark, unless the list was full by then.
            log.truncated &= log.rows.len() >= MOST_ROWS;
        }
    }

    /// Forgets everything: the transaction is over.
    pub(crate) fn clear(&mut self) {
        self.back_to(Mark { statements: 0, rows: 0 });
        if let Some(log) = self.log() {
            log.tables.clear();
            log.truncated = false;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

impl Connection {
    /// Has row ids noted from now on, or not any more. Between two transactions.
    pub(crate) fn note_rows(&mut self, wanted: bool) {
        if wanted == self.changes.log.is_some() {
            return;
        }
        if wanted {
            let log = NonNull::from(Box::leak(Box::<RowLog>::default()));
            // SAFETY: the handle is open and used by this thread alone; the log outlives the hook.
            unsafe { sqlite3_preupdate_hook(self.raw(), Some(changed), log.as_ptr().cast()) };
            self.changes.log = Some(log);
            // A statement that was prepared before would delete all rows at once, unseen.
            self.cache.clear();
        } else {
            self.drop_row_log();
        }
    }

    /// Takes the hook away; before the handle is closed.
    pub(super) fn drop_row_log(&mut self) {
        if let Some(log) = self.changes.log.take() {
            // SAFETY: as above; without the hook nobody else has the log, which `note_rows` leaked from a box.
            unsafe {
                sqlite3_preupdate_hook(self.raw(), None, std::ptr::null_mut());
                drop(Box::from_raw(log.as_ptr()));
            }
        }
    }

    /// What the transaction that was just committed has changed.
    pub(crate) fn take_changed(&mut self) -> Changed {
        let mut changed = Changed::default();
        for table in self.changes.statements.iter().flat_map(|tables| tables.iter()) {
            if !changed.tables.contains(table) {
                changed.tables.push(Arc::clone(table));
            }
        }
        // Who began to listen after the transaction had begun knows of none of its rows.
        changed.truncated = true;
        if let Some(log) = self.changes.log() {
            changed.truncated = log.truncated;
            let rows = std::mem::take(&mut log.rows);
            let tables = std::mem::take(&mut log.tables);
            self.add_rows(&mut changed, &tables, &rows);
        }
        self.changes.clear();
        changed
    }

    fn add_rows(&self, changed: &mut Changed, tables: &[Arc<str>], rows: &[RowChange]) {
        // Where the record has each table of the log; nowhere if its rows have no row ids.
        let places: Vec<Option<u32>> = tables
            .iter()
            .zip(0_u32..)
            .map(|(table, at)| {
                // What was rolled back has left its table and no row.
                if !rows.iter().any(|row| row.table == at) || self.is_without_rowid(table) {
                    return None;
                }
                let at = changed.tables.iter().position(|known| known == table).unwrap_or_else(|| {
                    changed.tables.push(Arc::clone(table));
                    changed.tables.len() - 1
                });
                u32::try_from(at).ok()
            })
            .collect();
        let place = |row: &RowChange| places.get(usize::try_from(row.table).ok()?).copied().flatten();
        changed.rows = rows.iter().filter_map(|row| Some(RowChange { table: place(row)?, ..*row })).collect();
    }

    fn is_without_rowid(&self, table: &str) -> bool {
        let query = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?";
        self.db.prepare_cached(query).and_then(|mut query| query.query_row([table], |row| row.get(0))).unwrap_or(false)
    }
}

/// The preupdate hook.
unsafe extern "C" fn changed(
    context: *mut c_void,
    _: *mut ffi::sqlite3,
    operation: c_int,
    schema: *const c_char,
    table: *const c_char,
    before: i64,
    after: i64,
) {
    // SAFETY: `note_rows` gave the context, a live log that nobody else uses inside a step; both names are NUL-terminated texts
    // that live during the call.
    let (log, schema, table) =
        unsafe { (&mut *context.cast::<RowLog>(), CStr::from_ptr(schema), CStr::from_ptr(table)) };
    if schema.to_bytes() != b"main" {
        return;
    }
    if log.rows.len() >= MOST_ROWS {
        log.truncated = true;
        return;
    }
    let name = table.to_string_lossy();
    let at = log.tables.iter().position(|known| **known == *name).unwrap_or_else(|| {
        log.tables.push(Arc::from(&*name));
        log.tables.len() - 1
    });
    let (kind, rowid) = match operation {
        ffi::SQLITE_INSERT => (1, after),
        ffi::SQLITE_UPDATE => (2, after),
        _ => (3, before),
    };
    log.rows.push(RowChange { table: u32::try_from(at).unwrap_or(u32::MAX), kind, rowid });
}
