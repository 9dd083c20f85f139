//! Owns the engine's one error type: what happened, to which file or statement, and what the caller can do.

use std::fmt;

pub use crate::wire::ErrorCode;
use crate::wire::{self, ErrorRecord, WireError};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Never holds a bound value or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Error {
    /// The class of the error; the JavaScript side makes one error class of each.
    pub code: ErrorCode,
    /// A sentence for the person who reads the log.
    pub message: String,
    /// SQLite's extended result code, 0 when SQLite was not the one that refused.
    pub sqlite: i32,
    /// Byte offset into the SQL text of the token SQLite complained about, -1 when it named none.
    pub offset: i32,
    /// Which statement of a batch it was, counted from 1; 0: none of a batch.
    pub statement: u32,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error {
    /// An error of the engine itself, with no SQLite code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), sqlite: 0, offset: -1, statement: 0 }
    }

    /// Whether SQLite refused because another connection holds a lock: worth another try later.
    /// Compared by the low byte, so that `SQLITE_BUSY_RECOVERY` and `SQLITE_BUSY_SNAPSHOT` count.
    pub fn is_busy(&self) -> bool {
        self.sqlite & 0xff == rusqlite::ffi::SQLITE_BUSY
    }
}

impl Error {
    /// Its record, as the answer of no operation.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        let mut record = Vec::new();
        wire::error(&mut record, wire::NO_REPLY, &self.record());
        record
    }

    /// The content of its record.
    pub(crate) fn record(&self) -> ErrorRecord<'_> {
        let Self { code, sqlite, offset, statement, ref message } = *self;
        ErrorRecord { code, sqlite, offset, statement, message }
    }

    /// An error that SQLite reported.
    pub(crate) fn sqlite(code: ErrorCode, message: impl Into<String>, sqlite: i32) -> Self {
        Self { sqlite, ..Self::new(code, message) }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        let code = if error == WireError::TooLarge { ErrorCode::TooLarge } else { ErrorCode::Protocol };
        Self::new(code, error.to_string())
    }
}

/// A transaction that is over, in the words of the one who uses it late.
pub(crate) fn transaction_closed() -> Error {
    Error::new(
        ErrorCode::TransactionClosed,
        "the transaction is closed: its db.read or db.write closure has settled; start a new one, or await every statement inside the closure",
    )
}

/// An operation on a database whose `close()` was called.
pub(crate) fn database_closed() -> Error {
    Error::new(ErrorCode::DatabaseClosed, "the database is closed; open it again with Database.open")
}

/// An operation that comes after the process began to exit.
pub(crate) fn process_exiting() -> Error {
    Error::new(ErrorCode::ProcessExiting, "the process is exiting; no further statement is run")
}

/// An operation whose signal was aborted.
pub(crate) fn aborted() -> Error {
    Error::new(ErrorCode::Abort, "the operation was aborted by its signal")
}

/// What waited when a `close` had no more patience.
pub(crate) fn closed_while_queued() -> Error {
    Error::new(
        ErrorCode::DatabaseClosed,
        "the database was closed, and this had not begun within the timeoutMs of close; it was not started",
    )
}

/// What was still under way when a `close` had no more patience.
pub(crate) fn closed_by_timeout() -> Error {
    Error::new(
        ErrorCode::DatabaseClosed,
        "the database was closed, and this was not over within the timeoutMs of close; it was rolled back",
    )
}
