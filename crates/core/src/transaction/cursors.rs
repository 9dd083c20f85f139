//! Owns what a transaction works with while it lasts: its connection and the cursors that stand open on it.

use std::collections::HashMap;

use rusqlite::ffi;

use super::SavepointStep;
use crate::connection::{Connection, Mark};
use crate::error::{Error, ErrorCode, Result};
use crate::execute::{Call, Chunk, Cursor, Filled, Place};
use crate::group::deferred_violation;

/// What only the one whose turn it is touches.
pub(super) struct Core {
    pub(super) connection: Box<Connection>,
    pub(super) cursors: HashMap<u32, Cursor>,
    /// What had been changed when each open savepoint began.
    marks: Vec<Mark>,
}

fn no_savepoint() -> Error {
    Error::new(ErrorCode::Protocol, "no savepoint is open")
}

/// Which cursor is opened, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) cursor: u32,
    pub(crate) limit: usize,
    pub(crate) reads: Reads,
}

/// What a cursor accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Statements that read.
    Only,
    /// Any statement; one that writes gives all its rows before anything else runs.
    OrWrites,
}

impl Core {
    pub(super) fn new(connection: Box<Connection>) -> Self {
        Self { connection, cursors: HashMap::new(), marks: Vec::new() }
    }

    pub(super) fn check_alive(&self) -> Result<()> {
        check_alive(&self.connection)
    }

    pub(super) fn close(&mut self, cursor: u32) {
        if let Some(cursor) = self.cursors.remove(&cursor) {
            cursor.close(&mut self.connection);
        }
    }

    /// Opens a cursor and gives its first chunk. `reads`: refuse a statement that writes.
    pub(super) fn open(&mut self, call: &Call<'_>, place: Place, opening: Opening, out: &mut Vec<u8>) -> Result<()> {
        let Opening { cursor: id, limit, reads } = opening;
        let cursor = Cursor::open(&mut self.connection, call, place)?;
        if reads == Reads::Only && cursor.writes() {
            cursor.close(&mut self.connection);
            return Err(Error::new(
                ErrorCode::Statement,
                "iterate and batches run statements that read; use all for one that writes and returns rows",
            ));
        }
        self.fill(cursor, call.op, id, limit, out)
    }

    /// Takes a step of a savepoint.
    pub(super) fn savepoint(&mut self, step: SavepointStep, place: Place) -> Result<()> {
        match step {
            SavepointStep::Open => {
                let mark = self.connection.changes.mark();
                self.connection.savepoint()?;
                self.marks.push(mark);
                Ok(())
            }
            SavepointStep::Release { above } => {
                self.close_above(above);
                let Some(mark) = self.marks.pop() else { return Err(no_savepoint()) };
                // A closure that shares its transaction answers for its own deferred constraints, as it would alone.
                let is_closure = place == Place::Closure && self.marks.is_empty();
                if is_closure && self.connection.has_deferred_violations() {
                    self.connection.changes.back_to(mark);
                    return self.connection.rollback_to_savepoint().and(Err(deferred_violation()));
                }
                self.connection.release()
            }
            SavepointStep::RollBack { above } => {
                self.close_above(above);
                let Some(mark) = self.marks.pop() else { return Err(no_savepoint()) };
                self.connection.changes.back_to(mark);
                self.connection.rollback_to_savepoint()
            }
        }
    }

    /// Closes the cursors that were opened after the one with the number `above`.
    pub(super) fn close_above(&mut self, above: u32) {
        let late: Vec<u32> = self.cursors.keys().copied().filter(|id| *id > above).collect();
        for id in late {
            self.close(id);
        }
    }

    pub(super) fn pull(&mut self, op: u32, id: u32, limit: usize, out: &mut Vec<u8>) -> Result<()> {
        let Some(cursor) = self.cursors.remove(&id) else {
            return Err(Error::new(ErrorCode::TransactionClosed, "the iterator is closed"));
        };
        self.fill(cursor, op, id, limit, out)
    }

    /// The next chunk of `cursor`, which stays open under `id` while there may be more.
    pub(super) fn fill(&mut self, mut cursor: Cursor, op: u32, id: u32, limit: usize, out: &mut Vec<u8>) -> Result<()> {
        let filled = cursor.fill(&mut self.connection, limit).and_then(|filled| {
            cursor.finish(&mut self.connection, Chunk::pulled(op, filled), out)?;
            Ok(filled)
        });
        match filled {
            Ok(Filled::More) => {
                self.cursors.insert(id, cursor);
                Ok(())
            }
            Ok(Filled::Exhausted) => {
                cursor.close(&mut self.connection);
                Ok(())
            }
            Err(error) => {
                cursor.close(&mut self.connection);
                Err(ended_by_schema(error))
            }
        }
    }
}

/// SQLite ends the cursors that stand open when a change of the schema is rolled back to a savepoint.
fn ended_by_schema(error: Error) -> Error {
    if error.sqlite != ffi::SQLITE_ABORT_ROLLBACK {
        return error;
    }
    let message = "the iterator was ended: a savepoint in which the schema was changed was taken back; start it again";
    Error { message: message.to_owned(), ..error }
}

pub(super) fn check_alive(connection: &Connection) -> Result<()> {
    if connection.is_autocommit() {
        return Err(Error::new(
            ErrorCode::TransactionAborted,
            "SQLite has rolled the transaction back (OR ROLLBACK, RAISE(ROLLBACK), a full disk or an interrupt); nothing of it is left, start it again",
        ));
    }
    Ok(())
}
