//! Completion records as a client in Rust reads them: checked completely, for tests and models of the border.

use std::sync::Arc;

use super::WireError;
use super::chunk::Chunk;
use super::completion::{Applied, Changed, Checkpointed, Entry, ErrorRecord, Granted, Migrated, RowChange, flag, kind};
use super::error_code::ErrorCode;
use super::header::{Header, Reader};
use super::whole::{Check, Problem};

/// One completion as a client in Rust reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion<'a> {
    /// The operation that is answered.
    pub op: u32,
    /// Whether this is the final record of the operation.
    pub last: bool,
    /// What is answered.
    pub body: Body<'a>,
}

/// What a completion answers.
#[derive(Debug, Clone, PartialEq)]
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
    Done {
        /// Frames in the log after a COMMIT.
        frames: u32,
    },
    /// A transaction has begun.
    Grant(Granted),
    /// A transaction has begun for the closures of several operations.
    GrantGroup {
        /// The transaction.
        granted: Granted,
        /// The operations, in order.
        ops: Vec<u32>,
    },
    /// A transaction was committed.
    Committed {
        /// Index and generation of the transaction, or of the handle that listens.
        target: (u32, u32),
        /// What it changed.
        changed: Changed,
    },
    /// A transaction was ended from outside.
    Ended {
        /// Its index and generation.
        target: (u32, u32),
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        message: &'a str,
    },
    /// A pool has closed a handle by itself.
    LetGo {
        /// Its index.
        handle: u32,
        /// Generation of the index.
        generation: u32,
        /// Why, by number.
        reason: u32,
    },
    /// A checkpoint is over.
    Checkpointed(Checkpointed),
    /// A migration has been run.
    Migrated(Migrated),
    /// The history of a database.
    History(Vec<Entry>),
    /// How far an operation is.
    Progress {
        /// Which part of it.
        phase: u32,
        /// Pages that are done.
        done: u64,
        /// Pages in all.
        total: u64,
    },
    /// What a check has found.
    Verified(Vec<Problem>),
    /// It failed.
    Error(ErrorRecord<'a>),
    /// A database is open.
    Opened {
        /// Index of the handle.
        handle: u32,
        /// Generation of the index.
        generation: u32,
        /// Equal for all handles of one engine.
        engine: u32,
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
        let [first, second, third, fourth, ..] = header.words;
        Ok(match header.kind {
            kind::ROWS => Body::Rows(Chunk::parse(header, content)?),
            kind::CHANGES => Body::Changes { changes: content.i64()?, last_insert_rowid: content.i64()? },
            kind::DONE => Body::Done { frames: first },
            kind::GRANT => Body::Grant(granted(header)),
            kind::GRANT_GROUP => {
                let [.., count] = header.words;
                let count = usize::try_from(count).map_err(|_| WireError::TooLarge)?;
                let bytes = content.block(count.saturating_mul(4))?;
                let ops = bytes.as_chunks().0.iter().map(|op| u32::from_le_bytes(*op)).collect();
                Body::GrantGroup { granted: granted(header), ops }
            }
            kind::COMMITTED => Body::Committed { target: (first, second), changed: changed(header, content)? },
            kind::ENDED => Body::Ended {
                target: (first, second),
                code: ErrorCode::try_from(header.half)?,
                message: text(content, third)?,
            },
            kind::LET_GO => Body::LetGo { handle: first, generation: second, reason: third },
            kind::CHECKPOINTED => {
                Body::Checkpointed(Checkpointed { busy: first != 0, log_frames: second, checkpointed_frames: third })
            }
            kind::ERROR => Body::Error(ErrorRecord {
                code: ErrorCode::try_from(header.half)?,
                sqlite: first.cast_signed(),
                offset: second.cast_signed(),
                statement: fourth,
                message: text(content, third)?,
            }),
            kind::OPENED => {
                Body::Opened { handle: first, generation: second, engine: fourth, path: text(content, third)? }
            }
            kind::MIGRATED => {
                let version = content.i64()?;
                let length = usize::try_from(fourth).map_err(|_| WireError::TooLarge)?;
                let name = str::from_utf8(content.block(length)?).map_err(|_| WireError::Text)?.to_owned();
                Body::Migrated(Migrated { version, name, index: first, total: second, ms: third })
            }
            kind::HISTORY => Body::History(entries(first, content)?),
            kind::PROGRESS => Body::Progress {
                phase: first,
                done: content.i64()?.cast_unsigned(),
                total: content.i64()?.cast_unsigned(),
            },
            kind::VERIFIED => Body::Verified(problems(first, content)?),
            unknown => return Err(WireError::Kind(unknown)),
        })
    }
}

fn text<'a>(content: &mut Reader<'a>, length: u32) -> Result<&'a str, WireError> {
    let length = usize::try_from(length).map_err(|_| WireError::TooLarge)?;
    str::from_utf8(content.block(length)?).map_err(|_| WireError::Text)
}

fn granted(header: &Header) -> Granted {
    let [transaction, generation, lock_wait_ms, behind, _] = header.words;
    Granted { transaction, generation, lock_wait_ms, behind }
}

fn changed(header: &Header, content: &mut Reader<'_>) -> Result<Changed, WireError> {
    let [_, _, tables, rows, truncated] = header.words;
    let mut changed = Changed { truncated: truncated != 0, ..Changed::default() };
    let mut length = 0;
    for _ in 0..tables {
        let name = content.length()?;
        let text = str::from_utf8(content.bytes(name)?).map_err(|_| WireError::Text)?;
        changed.tables.push(Arc::from(text));
        length += 4 + name;
    }
    content.bytes(super::header::padding(length))?;
    for _ in 0..rows {
        changed.rows.push(RowChange { table: content.u32()?, kind: content.u32()?, rowid: content.i64()? });
    }
    Ok(changed)
}

fn problems(count: u32, content: &mut Reader<'_>) -> Result<Vec<Problem>, WireError> {
    let mut problems = Vec::new();
    let mut length = 0;
    for _ in 0..count {
        let check = match content.u32()? {
            0 => Check::Cipher,
            1 => Check::Integrity,
            2 => Check::ForeignKeys,
            _ => return Err(WireError::Count),
        };
        let size = content.length()?;
        let text = str::from_utf8(content.bytes(size)?).map_err(|_| WireError::Text)?;
        problems.push(Problem { check, message: text.to_owned() });
        length += 8 + size;
    }
    content.bytes(super::header::padding(length))?;
    Ok(problems)
}

fn entries(count: u32, content: &mut Reader<'_>) -> Result<Vec<Entry>, WireError> {
    let mut entries = Vec::new();
    let mut length = 0;
    for _ in 0..count {
        let version = content.i64()?;
        let applied = match content.u32()? {
            0 => Applied::Pending,
            1 => Applied::Yes,
            2 => Applied::Unknown,
            _ => return Err(WireError::Count),
        };
        let name = content.length()?;
        let applied_at = content.i64()?;
        let text = str::from_utf8(content.bytes(name)?).map_err(|_| WireError::Text)?;
        entries.push(Entry { version, name: text.to_owned(), applied, applied_at });
        length += 24 + name;
    }
    content.bytes(super::header::padding(length))?;
    Ok(entries)
}
