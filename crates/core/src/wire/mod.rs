//! The byte format in which requests cross from JavaScript to the engine and completions cross back.
//!
//! Everything is little-endian. A buffer holds records one after the other; each starts at a multiple
//! of 8, says its own size, a multiple of 8 as well, and begins with the same 32 bytes:
//!
//! ```text
//!  0 u32 size         of the whole record, these 32 bytes included
//!  4 u32 op           slot of the operation in the caller's table
//!  8 u8  kind
//!  9 u8  flags
//! 10 u16 half         meaning depends on the kind, as that of the five words
//! 12 u32, 16 u32, 20 u32, 24 u32, 28 u32
//! ```
//!
//! Unused fields are written as 0 and ignored when read. Padding is written as 0 and must be 0.
//!
//! # Requests (JavaScript to engine)
//!
//! ```text
//!  4 u32 op           0xFFFFFFFF: no reply wanted
//!  8 u8  kind         1 GET  2 ALL  3 RUN  4 EXEC  5 QUERY  6 BEGIN_READ  7 BEGIN_WRITE  8 COMMIT  9 ROLLBACK
//!                     10 CURSOR  11 PULL  12 CLOSE_CURSOR  13 SAVEPOINT  14 RELEASE  15 ROLLBACK_TO  16 BATCH
//!                     17 CANCEL  18 BEGIN_BATCH  19 EXPIRE
//!  9 u8  flags        1 BIGINT  2 NAMED  4 FIRST (BATCH), TABLES (COMMIT)  8 FINAL  16 TOTALS (BATCH)  128 TX
//! 10 u16 params       number of parameters
//! 12 u32 target       index of a transaction (flag TX), else of a database handle
//! 16 u32 generation   of the target
//! 20 u32 statement    id of the statement's text; 0: none
//! 24 u32 cursor       id chosen by the caller, unique within its transaction
//!                     RELEASE, ROLLBACK_TO: cursors with a larger id are closed
//!                     CANCEL: the operation to be cancelled
//!                     on a database: queueTimeoutMs + 1; 0: the handle's
//! 28 u32 limit        rows per chunk; 0: 1,000
//!                     BEGIN_*: timeoutMs + 1; 0: the handle's
//!                     COMMIT, ROLLBACK of a group: how many of its closures were started
//! 32 parameters, not aligned, one after the other, then padding to 8:
//!    flag NAMED: u16 length, name in UTF-8 without its prefix
//!    u8 tag, payload:
//!      0 NULL
//!      1 INT32   i32
//!      2 INT     f64, integral and within +-(2^53 - 1)
//!      3 INT64   i64
//!      4 REAL    f64, not NaN (SQLite would store NULL)
//!      5 TEXT    u32 length, UTF-8
//!      6 BLOB    u32 length, bytes
//! ```
//!
//! BATCH is one statement of several that are accepted together: the first has FIRST, the last FINAL, all of them the same op,
//! which the last one answers: with the rows of each statement in order, the last chunk of each marked CHANGES, or with
//! TOTALS by one CHANGES record. BEGIN_* may have one TEXT parameter: where the transaction was taken.
//!
//! # Completions (engine to JavaScript)
//!
//! ```text
//!  9 u8  flags        1 LAST     final record of its operation; every operation gets exactly one
//!                     2 UTF8     ROWS: the text block is not all ASCII
//!                     4 CHANGES  ROWS: the trailer is present
//!                     8 OPEN     ROWS: the statement may have more rows, its cursor stays open
//!
//! kind 1 ROWS, one chunk of a result
//! 10 u16 columns      at least 1 if there are rows
//! 12 u32 rows
//! 16 u32 shape        id of the list of column names; 0: the names are inline
//! 20 u32 text bytes   of the text block, without padding
//! 24 u32 blob bytes   of the blob block, without padding
//! 28 u32 names bytes  of the inline names, without padding; 0 unless shape is 0
//! 32 tags: one byte per cell, row by row, padded to 8
//!    slots: 8 bytes per cell
//!    text block, always valid UTF-8, padded to 8
//!    blob block, padded to 8
//!    flag CHANGES: i64 changes, i64 last insert rowid
//!    shape 0: per column u32 length and UTF-8, padded to 8 at the end of all
//!
//! tag 0 NULL    slot written as 0 and ignored
//!     1 NUMBER  slot is f64: a REAL, or an integer within +-(2^53 - 1)
//!     2 INT64   slot is i64: any other integer; every integer if the request has BIGINT
//!     3 TEXT    slot is u64: length in UTF-16 units, which is the length in bytes unless UTF8 is set
//!     4 BLOB    slot is u64: length in bytes
//! Texts and blobs follow each other in their block in the order of their cells.
//! Text that is not valid UTF-8 in the file is replaced as the WHATWG Encoding Standard decodes it.
//!
//! kind 2 CHANGES   32 i64 changes, 40 i64 last insert rowid
//! kind 3 DONE      nothing more
//! kind 4 GRANT     12 u32 transaction index, 16 u32 generation
//! kind 3 DONE      12 u32 of a COMMIT: frames in the log after it
//! kind 4 GRANT     12 u32 transaction index, 16 u32 generation, 20 u32 ms waited for another process's lock,
//!                  24 u32 entries that wait behind it
//! kind 5 ERROR     10 u16 code, 12 i32 SQLite extended code (0: none), 16 i32 offset in the SQL in
//!                  UTF-8 bytes (-1: none), 20 u32 message bytes, 24 u32 statement of a batch, counted from 1
//!                  (0: none); 32 message in UTF-8, padded to 8
//! kind 6 OPENED    12 u32 handle index, 16 u32 generation, 20 u32 path bytes, 24 u32 engine: equal for all handles
//!                  of one engine; 32 canonical path in UTF-8, padded to 8
//! kind 7 COMMITTED answers a COMMIT with TABLES; without LAST and an op it tells a handle that listens
//!                  12 u32 index, 16 u32 generation of either, 20 u32 tables, 24 u32 rows, 28 u32 1: more rows
//!                  than listed; 32 per table u32 length and UTF-8, padded to 8 after the last; per row
//!                  u32 table, u32 1 insert 2 update 3 delete, i64 row id
//! kind 8 GRANT_GROUP  as GRANT, 28 u32 count; 32 u32 per operation, padded to 8
//! kind 9 ENDED     no op, no LAST: a transaction was ended from outside. 10 u16 code, 12 u32 transaction index,
//!                  16 u32 generation, 20 u32 message bytes; 32 message in UTF-8, padded to 8
//! kind 11 MIGRATED no LAST: a migration was run. 12 u32 which one, from 1, 16 u32 of how many, 20 u32 ms, 24 u32 name
//!                  bytes; 32 i64 version, name in UTF-8, padded to 8
//! kind 12 HISTORY  12 u32 count; 32 per migration i64 version, u32 0 pending 1 applied 2 applied and unknown to the
//!                  code, u32 name bytes, i64 ms since 1970 (0: not known), name in UTF-8; padded to 8 at the end
//! kind 13 PROGRESS no LAST: how far it is. 12 u32 phase; 32 u64 pages done, 40 u64 pages in all
//! kind 14 VERIFIED 12 u32 count; 32 per problem u32 0 cipher 1 integrity 2 foreign keys, u32 message bytes, message in
//!                  UTF-8; padded to 8 at the end
//! kind 15 LET_GO   no op, no LAST: a pool has closed a handle by itself. 12 u32 index, 16 u32 generation, 20 u32 why:
//!                  0 no room, 1 idle, 2 asked for, 3 deleted
//! kind 10 CHECKPOINTED  12 u32 busy, 16 u32 frames in the log, 20 u32 of these in the file
//! ```

pub mod answer;
pub mod chunk;
pub mod completion;
pub mod error_code;
mod header;
pub mod params;
pub mod request;
pub mod rows;
pub mod shape;
pub mod whole;

pub use answer::{Body, Completion};
pub use chunk::{Cell, Chunk};
pub use completion::{
    Applied, Changed, Checkpointed, Entry, ErrorRecord, FIELD, Granted, Migrated, RowChange, changes, checkpointed,
    committed, done, done_commit, ended, error, finished_op, grant, grant_group, history, is_last, let_go, migrated,
    opened,
};
pub use error_code::ErrorCode;
pub use params::{OwnedParams, Param, Params, Value};
pub use request::{Flags, Kind, NO_REPLY, Request, RequestHead, Requests, encode_request};
pub use rows::{RowsHead, RowsWriter};
pub use shape::{Shape, intern};
pub use whole::{Check, Problem, progress, verified};

/// Largest magnitude of an integer that a JavaScript number holds exactly, 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Bytes that do not follow the format, or content that does not fit into it.
///
/// Met at run time only through a defect on one of the two sides, except [`WireError::TooLarge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The buffer or the record ends before its content does.
    #[error("the record ends before its content does")]
    Truncated,
    /// The size of a record is below 32, not a multiple of 8, or beyond the end of the buffer.
    #[error("{0} bytes is not a possible size of this record")]
    Size(u32),
    /// The kind of a record is unknown.
    #[error("unknown kind of record: {0}")]
    Kind(u8),
    /// The record has a flag that its kind does not know.
    #[error("unknown flags: {0:#04x}")]
    Flags(u8),
    /// The tag of a parameter or cell is unknown.
    #[error("unknown tag of a value: {0}")]
    Tag(u8),
    /// The code of an ERROR record is unknown.
    #[error("unknown error code: {0}")]
    Code(u16),
    /// Text or a name is not valid UTF-8, or the UTF8 flag says the opposite of the text block.
    #[error("text is not in the encoding that the record announces")]
    Text,
    /// A parameter sent as an integer is not integral or not safe, or a REAL is NaN.
    #[error("a number is outside the range of its tag")]
    Number,
    /// Bytes are left behind the content that are not padding: eight or more, or not zero.
    #[error("the record has bytes behind its content that are not padding")]
    Trailing,
    /// Two counts contradict each other: cells and columns, names and columns, lengths and a block.
    #[error("counts within the record contradict each other")]
    Count,
    /// The content does not fit into one record: 4 GiB, 65,535 parameters, columns or bytes of a name.
    #[error("the content is too large for one record")]
    TooLarge,
}
