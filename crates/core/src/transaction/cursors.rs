//! Owns what a transaction works with while it lasts: its connection and the cursors that stand open on it.

use std::collections::HashMap;

use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::execute::{Call, Chunk, Cursor, Filled, Place};

/// What only the one whose turn it is touches.
pub(super) struct Core {
    pub(super) connection: Box<Connection>,
    pub(super) cursors: HashMap<u32, Cursor>,
}

impl Core {
    pub(super) fn check_alive(&self) -> Result<()> {
        check_alive(&self.connection)
    }

    pub(super) fn close(&mut self, cursor: u32) {
        if let Some(cursor) = self.cursors.remove(&cursor) {
            cursor.close(&mut self.connection);
        }
    }

    pub(super) fn open_cursor(
        &mut self,
        call: &Call<'_>,
        place: Place,
        id: u32,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let cursor = Cursor::open(&mut self.connection, call, place)?;
        if cursor.writes() {
            cursor.close(&mut self.connection);
            return Err(Error::new(
                ErrorCode::Statement,
                "iterate and batches run statements that read; use all for one that writes and returns rows",
            ));
        }
        self.fill(cursor, call.op, id, limit, out)
    }

    pub(super) fn open_sync(
        &mut self,
        call: &Call<'_>,
        place: Place,
        id: u32,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let cursor = Cursor::open(&mut self.connection, call, place)?;
        self.fill(cursor, call.op, id, limit, out)
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
            let chunk = Chunk { op, last: true, open: filled == Filled::More };
            cursor.finish(&mut self.connection, chunk, out)?;
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
                Err(error)
            }
        }
    }
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
