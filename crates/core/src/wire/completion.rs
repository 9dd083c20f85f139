//! Completion records: what the engine answers, written by it and read by clients in Rust.

use super::WireError;
use super::chunk::Chunk;
use super::header::{HEADER, Header, Reader, pad};

pub(super) mod kind {
    pub(in crate::wire) const ROWS: u8 = 1;
    pub(in crate::wire) const CHANGES: u8 = 2;
    pub(in crate::wire) const DONE: u8 = 3;
    pub(in crate::wire) const GRANT: u8 = 4;
    pub(in crate::wire) const ERROR: u8 = 5;
    pub(in crate::wire) const OPENED: u8 = 6;
}

pub(super) mod flag {
    pub(in crate::wire) const LAST: u8 = 1;
    pub(in crate::wire) const UTF8: u8 = 2;
    pub(in crate::wire) const CHANGES: u8 = 4;
    pub(in crate::wire) const OPEN: u8 = 8;
}

/// Bytes of an error message beyond which it is cut.
pub const MAX_MESSAGE: usize = 64 << 10;

/// The class of an error; the comment gives the JavaScript class and its `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `SqlError`, `SQL_ERROR`: SQLite refused the statement.
    Sql = 1,
    /// `ConstraintError`, `CONSTRAINT`.
    Constraint = 2,
    /// `BusyError`, `BUSY`: another connection held its lock for too long.
    Busy = 3,
    /// `ReadOnlyTransactionError`, `READ_ONLY_TRANSACTION`: a write in a read transaction.
    ReadOnlyTransaction = 4,
    /// `TransactionClosedError`, `TRANSACTION_CLOSED`: the transaction is over.
    TransactionClosed = 5,
    /// `TransactionAbortedError`, `TRANSACTION_ABORTED`: SQLite rolled the transaction back by itself.
    TransactionAborted = 6,
    /// `UnfinishedQueryError`, `UNFINISHED_QUERY`: the transaction ended before the statement did.
    UnfinishedQuery = 7,
    /// `QueueFullError`, `QUEUE_FULL`.
    QueueFull = 8,
    /// `QueueTimeoutError`, `QUEUE_TIMEOUT`.
    QueueTimeout = 9,
    /// `CommitOutcomeUnknownError`, `COMMIT_OUTCOME_UNKNOWN`.
    CommitOutcomeUnknown = 10,
    /// `DatabaseClosedError`, `DATABASE_CLOSED`.
    DatabaseClosed = 11,
    /// `OptionsConflictError`, `OPTIONS_CONFLICT`: the file is open with other options.
    OptionsConflict = 12,
    /// `EnginePanicError`, `ENGINE_PANIC`: a defect of the engine.
    EnginePanic = 13,
    /// `CorruptDatabaseError`, `CORRUPT_DATABASE`.
    CorruptDatabase = 14,
    /// `NotADatabaseError`, `NOT_A_DATABASE`.
    NotADatabase = 15,
    /// `ParameterError`, `PARAMETER`: wrong count or unknown name.
    Parameter = 16,
    /// `StatementError`, `STATEMENT`: two statements, or none.
    Statement = 17,
    /// `StatementNotAllowedError`, `STATEMENT_NOT_ALLOWED`: BEGIN, ATTACH and others that the engine does itself.
    StatementNotAllowed = 18,
    /// `CannotOpenError`, `CANNOT_OPEN`.
    CannotOpen = 19,
    /// `IoError`, `IO`.
    Io = 20,
    /// `TransactionTimeoutError`, `TRANSACTION_TIMEOUT`.
    TransactionTimeout = 21,
    /// `AbortError`, `ABORT_ERR`.
    Abort = 22,
    /// `StatementInFlightError`, `STATEMENT_IN_FLIGHT`: `tx.sync` beside an asynchronous statement.
    StatementInFlight = 23,
    /// `ProtocolError`, `PROTOCOL`: a malformed record, a defect of either side.
    Protocol = 24,
    /// `ReadOnlyDatabaseError`, `READ_ONLY_DATABASE`.
    ReadOnlyDatabase = 25,
    /// `TooLargeError`, `TOO_LARGE`.
    TooLarge = 26,
    /// `ProcessExitingError`, `PROCESS_EXITING`.
    ProcessExiting = 27,
    /// `OptionError`, `INVALID_OPTION`.
    Option = 28,
    /// `InterruptedError`, `INTERRUPTED`: teardown interrupted the statement.
    Interrupted = 29,
}

impl ErrorCode {
    /// Every code, in the order of the numbers, which begin at 1.
    pub const ALL: [Self; 29] = [
        Self::Sql,
        Self::Constraint,
        Self::Busy,
        Self::ReadOnlyTransaction,
        Self::TransactionClosed,
        Self::TransactionAborted,
        Self::UnfinishedQuery,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::CommitOutcomeUnknown,
        Self::DatabaseClosed,
        Self::OptionsConflict,
        Self::EnginePanic,
        Self::CorruptDatabase,
        Self::NotADatabase,
        Self::Parameter,
        Self::Statement,
        Self::StatementNotAllowed,
        Self::CannotOpen,
        Self::Io,
        Self::TransactionTimeout,
        Self::Abort,
        Self::StatementInFlight,
        Self::Protocol,
        Self::ReadOnlyDatabase,
        Self::TooLarge,
        Self::ProcessExiting,
        Self::Option,
        Self::Interrupted,
    ];
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        code as Self
    }
}

impl TryFrom<u16> for ErrorCode {
    type Error = WireError;

    fn try_from(code: u16) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|known| *known as u16 == code).ok_or(WireError::Code(code))
    }
}

/// The content of an ERROR record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRecord<'a> {
    /// The class of the error.
    pub code: ErrorCode,
    /// SQLite's extended result code, 0: none.
    pub sqlite: i32,
    /// Offset into the SQL in UTF-8 bytes, -1: none.
    pub offset: i32,
    /// What happened; beyond [`MAX_MESSAGE`] bytes it is cut when written.
    pub message: &'a str,
}

/// Appends a CHANGES record, the final one of `op`.
pub fn changes(out: &mut Vec<u8>, op: u32, changes: i64, last_insert_rowid: i64) {
    header(HEADER_AND_CHANGES, op, kind::CHANGES, 0, [0; 5]).append(out);
    out.extend_from_slice(&changes.to_le_bytes());
    out.extend_from_slice(&last_insert_rowid.to_le_bytes());
}

/// Appends a DONE record, the final one of `op`.
pub fn done(out: &mut Vec<u8>, op: u32) {
    header(HEADER_ONLY, op, kind::DONE, 0, [0; 5]).append(out);
}

/// Appends a GRANT record, the final one of `op`: the transaction that was begun.
pub fn grant(out: &mut Vec<u8>, op: u32, transaction: u32, generation: u32) {
    header(HEADER_ONLY, op, kind::GRANT, 0, [transaction, generation, 0, 0, 0]).append(out);
}

/// Appends an ERROR record, the final one of `op`.
pub fn error(out: &mut Vec<u8>, op: u32, error: &ErrorRecord<'_>) {
    let message = cut(error.message);
    let half = u16::from(error.code);
    let words = |length| [error.sqlite.cast_unsigned(), error.offset.cast_unsigned(), length, 0, 0];
    // The cut message always fits.
    let _ = with_text(out, message, |size, length| header(size, op, kind::ERROR, half, words(length)));
}

/// Appends an OPENED record, the final one of `op`: the database handle and its canonical path.
///
/// In place of a path that no record can hold it appends an ERROR of [`ErrorCode::TooLarge`].
pub fn opened(out: &mut Vec<u8>, op: u32, handle: u32, generation: u32, path: &str) {
    let written =
        with_text(out, path, |size, length| header(size, op, kind::OPENED, 0, [handle, generation, length, 0, 0]));
    if written.is_err() {
        let message = "the canonical path of the database is too long";
        error(out, op, &ErrorRecord { code: ErrorCode::TooLarge, sqlite: 0, offset: -1, message });
    }
}

/// Whether `record` is the final one of its operation; `false` if it has no complete header.
#[must_use]
pub fn is_last(record: &[u8]) -> bool {
    Header::split(record).is_ok_and(|(header, ..)| header.flags & flag::LAST != 0)
}

const HEADER_ONLY: u32 = 32;
const HEADER_AND_CHANGES: u32 = 48;

#[inline]
const fn header(size: u32, op: u32, kind: u8, half: u16, words: [u32; 5]) -> Header {
    Header { size, op, kind, flags: flag::LAST, half, words }
}

/// Appends a record of a header, made from the size of the record and of the text, and that text.
fn with_text(out: &mut Vec<u8>, text: &str, header: impl FnOnce(u32, u32) -> Header) -> Result<(), WireError> {
    let length = u32::try_from(text.len()).map_err(|_| WireError::TooLarge)?;
    let size = length
        .checked_next_multiple_of(8)
        .and_then(|padded| padded.checked_add(HEADER_ONLY))
        .ok_or(WireError::TooLarge)?;
    let start = out.len();
    header(size, length).append(out);
    out.extend_from_slice(text.as_bytes());
    pad(out, start);
    Ok(())
}

/// The longest start of `message` of at most `MAX_MESSAGE` bytes.
fn cut(message: &str) -> &str {
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    (0..=MAX_MESSAGE).rev().find_map(|end| message.get(..end)).unwrap_or_default()
}

/// One completion as a client in Rust reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Completion<'a> {
    /// The operation that is answered.
    pub op: u32,
    /// Whether this is the final record of the operation.
    pub last: bool,
    /// What is answered.
    pub body: Body<'a>,
}

/// What a completion answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Body<'a> {
    /// A chunk of rows.
    Rows(Chunk<'a>),
    /// What a statement changed.
    Changes {
        /// Rows that the statement inserted, updated or deleted.
        changes: i64,
        /// Rowid of the connection's last insert.
        last_insert_rowid: i64,
    },
    /// It is done.
    Done,
    /// A transaction has begun.
    Grant {
        /// Its index.
        transaction: u32,
        /// Generation of the index.
        generation: u32,
    },
    /// It failed.
    Error(ErrorRecord<'a>),
    /// A database is open.
    Opened {
        /// Index of the handle.
        handle: u32,
        /// Generation of the index.
        generation: u32,
        /// The file's canonical path.
        path: &'a str,
    },
}

impl<'a> Completion<'a> {
    /// Reads the first record of `bytes`, checks it completely, and gives it with what follows it.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] if the record does not follow the format.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), WireError> {
        let (header, content, rest) = Header::split(bytes)?;
        let known = match header.kind {
            kind::ROWS => flag::LAST | flag::UTF8 | flag::CHANGES | flag::OPEN,
            _ => flag::LAST,
        };
        if header.flags & !known != 0 {
            return Err(WireError::Flags(header.flags));
        }
        let mut content = Reader::new(content);
        let body = Self::body(&header, &mut content)?;
        content.end()?;
        Ok((Self { op: header.op, last: header.flags & flag::LAST != 0, body }, rest))
    }

    fn body(header: &Header, content: &mut Reader<'a>) -> Result<Body<'a>, WireError> {
        let [first, second, third, ..] = header.words;
        Ok(match header.kind {
            kind::ROWS => Body::Rows(Chunk::parse(header, content)?),
            kind::CHANGES => Body::Changes { changes: content.i64()?, last_insert_rowid: content.i64()? },
            kind::DONE => Body::Done,
            kind::GRANT => Body::Grant { transaction: first, generation: second },
            kind::ERROR => Body::Error(ErrorRecord {
                code: ErrorCode::try_from(header.half)?,
                sqlite: first.cast_signed(),
                offset: second.cast_signed(),
                message: text(content, third)?,
            }),
            kind::OPENED => Body::Opened { handle: first, generation: second, path: text(content, third)? },
            unknown => return Err(WireError::Kind(unknown)),
        })
    }
}

fn text<'a>(content: &mut Reader<'a>, length: u32) -> Result<&'a str, WireError> {
    let length = usize::try_from(length).map_err(|_| WireError::TooLarge)?;
    str::from_utf8(content.block(length)?).map_err(|_| WireError::Text)
}

const _: () = assert!(HEADER == 32, "HEADER_ONLY and HEADER_AND_CHANGES say it again as u32");

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: ErrorRecord<'_> =
        ErrorRecord { code: ErrorCode::Constraint, sqlite: 2067, offset: -1, message: "é: not unique" };

    fn read(record: &[u8]) -> Body<'_> {
        let (completion, rest) = Completion::parse(record).unwrap();
        assert_eq!((completion.op, completion.last, rest), (9, true, &[][..]));
        completion.body
    }

    #[test]
    fn codes_are_numbered_from_1_without_a_gap() {
        for (number, code) in (1_u16..).zip(ErrorCode::ALL) {
            assert_eq!(u16::from(code), number);
            assert_eq!(ErrorCode::try_from(number), Ok(code));
        }
        for number in [0, 30, u16::MAX] {
            assert_eq!(ErrorCode::try_from(number), Err(WireError::Code(number)));
        }
    }

    #[test]
    fn an_error_has_the_documented_bytes() {
        let mut out = Vec::new();
        error(&mut out, 9, &ErrorRecord { message: "no", ..ERROR });
        #[rustfmt::skip]
        let expected = [
            40, 0, 0, 0, 9, 0, 0, 0, 5, 1, 2, 0, 0x13, 8, 0, 0,
            255, 255, 255, 255, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            b'n', b'o', 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let mut out = Vec::new();
        changes(&mut out, 9, i64::MIN, i64::MAX);
        assert_eq!(read(&out), Body::Changes { changes: i64::MIN, last_insert_rowid: i64::MAX });
        out.clear();
        done(&mut out, 9);
        assert_eq!(read(&out), Body::Done);
        out.clear();
        grant(&mut out, 9, 1, u32::MAX);
        assert_eq!(read(&out), Body::Grant { transaction: 1, generation: u32::MAX });
        out.clear();
        error(&mut out, 9, &ERROR);
        assert_eq!(read(&out), Body::Error(ERROR));
        out.clear();
        opened(&mut out, 9, 1, 2, "/tmp/ü.db");
        assert_eq!(read(&out), Body::Opened { handle: 1, generation: 2, path: "/tmp/ü.db" });
    }

    #[test]
    fn records_are_read_one_after_the_other() {
        let mut out = Vec::new();
        error(&mut out, 1, &ERROR);
        done(&mut out, 2);
        let (first, rest) = Completion::parse(&out).unwrap();
        let (second, rest) = Completion::parse(rest).unwrap();
        assert_eq!((first.op, second.op, rest.len()), (1, 2, 0));
    }

    #[test]
    fn a_message_is_cut_between_two_characters() {
        let message = "€".repeat(MAX_MESSAGE);
        let mut out = Vec::new();
        error(&mut out, 9, &ErrorRecord { message: &message, ..ERROR });
        let Body::Error(read) = read(&out) else { panic!("not an error") };
        assert_eq!(read.message.len(), MAX_MESSAGE / 3 * 3);
        assert!(message.starts_with(read.message));
    }

    #[test]
    fn a_record_that_says_too_much_or_too_little_is_refused() {
        let mut out = Vec::new();
        done(&mut out, 9);
        for (at, value, expected) in [
            (8, 0, WireError::Kind(0)),
            (8, 7, WireError::Kind(7)),
            (9, 2, WireError::Flags(2)),
            (8, 2, WireError::Truncated),
        ] {
            let mut record = out.clone();
            record[at] = value;
            assert_eq!(Completion::parse(&record), Err(expected));
        }
        out[0] = 40;
        assert_eq!(Completion::parse(&out), Err(WireError::Size(40)));
        out.extend_from_slice(&[0; 8]);
        assert_eq!(Completion::parse(&out), Err(WireError::Trailing));
    }
}
