//! Completion records: what the engine answers.

use super::WireError;
use super::error_code::ErrorCode;
use super::header::{HEADER, Header, pad};

pub(super) mod kind {
    pub(in crate::wire) const ROWS: u8 = 1;
    pub(in crate::wire) const CHANGES: u8 = 2;
    pub(in crate::wire) const DONE: u8 = 3;
    pub(in crate::wire) const GRANT: u8 = 4;
    pub(in crate::wire) const ERROR: u8 = 5;
    pub(in crate::wire) const OPENED: u8 = 6;
    pub(in crate::wire) const COMMITTED: u8 = 7;
    pub(in crate::wire) const GRANT_GROUP: u8 = 8;
    pub(in crate::wire) const ENDED: u8 = 9;
    pub(in crate::wire) const CHECKPOINTED: u8 = 10;
    pub(in crate::wire) const MIGRATED: u8 = 11;
    pub(in crate::wire) const HISTORY: u8 = 12;
    pub(in crate::wire) const PROGRESS: u8 = 13;
    pub(in crate::wire) const VERIFIED: u8 = 14;
    pub(in crate::wire) const LET_GO: u8 = 15;
}

pub(super) mod flag {
    pub(in crate::wire) const LAST: u8 = 1;
    pub(in crate::wire) const UTF8: u8 = 2;
    pub(in crate::wire) const CHANGES: u8 = 4;
    pub(in crate::wire) const OPEN: u8 = 8;
}

/// Bytes of an error message beyond which it is cut.
pub const MAX_MESSAGE: usize = 64 << 10;

/// The content of an ERROR record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRecord<'a> {
    /// The class of the error.
    pub code: ErrorCode,
    /// SQLite's extended result code, 0: none.
    pub sqlite: i32,
    /// Offset into the SQL in UTF-8 bytes, -1: none.
    pub offset: i32,
    /// Which statement of a batch it was, counted from 1; 0: none of a batch.
    pub statement: u32,
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

/// Appends a DONE record, the final one of `op`, for a COMMIT: the log has `frames` frames after it.
pub fn done_commit(out: &mut Vec<u8>, op: u32, frames: u32) {
    header(HEADER_ONLY, op, kind::DONE, 0, [frames, 0, 0, 0, 0]).append(out);
}

/// What an environment is told of a transaction that was begun for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Index of the transaction.
    pub transaction: u32,
    /// Generation of the index.
    pub generation: u32,
    /// Milliseconds that it waited for the lock of another process.
    pub lock_wait_ms: u32,
    /// Entries that wait behind it.
    pub behind: u32,
}

impl Granted {
    fn words(self, last: u32) -> [u32; 5] {
        [self.transaction, self.generation, self.lock_wait_ms, self.behind, last]
    }
}

/// Appends a GRANT record, the final one of `op`: the transaction that was begun.
pub fn grant(out: &mut Vec<u8>, op: u32, granted: Granted) {
    header(HEADER_ONLY, op, kind::GRANT, 0, granted.words(0)).append(out);
}

/// Appends a `GRANT_GROUP` record: the transaction that was begun for the closures of `ops`, of which there is at least one.
pub fn grant_group(out: &mut Vec<u8>, ops: &[u32], granted: Granted) {
    let start = out.len();
    let count = u32::try_from(ops.len()).unwrap_or(u32::MAX);
    let size = HEADER_ONLY.saturating_add(count.saturating_mul(4).next_multiple_of(8));
    let first = ops.first().copied().unwrap_or_default();
    header(size, first, kind::GRANT_GROUP, 0, granted.words(count)).append(out);
    for op in ops {
        out.extend_from_slice(&op.to_le_bytes());
    }
    pad(out, start);
}

/// Appends an ENDED record: the transaction was ended from outside and is rolled back.
pub fn ended(out: &mut Vec<u8>, transaction: u32, generation: u32, code: ErrorCode, message: &str) {
    let words = |length| [transaction, generation, length, 0, 0];
    // The cut message always fits.
    let _ = with_text(out, cut(message), |size, length| Header {
        flags: 0,
        ..header(size, super::NO_REPLY, kind::ENDED, u16::from(code), words(length))
    });
}

/// Appends a CHECKPOINTED record, the final one of `op`.
pub fn checkpointed(out: &mut Vec<u8>, op: u32, checkpoint: Checkpointed) {
    let Checkpointed { busy, log_frames, checkpointed_frames } = checkpoint;
    header(HEADER_ONLY, op, kind::CHECKPOINTED, 0, [u32::from(busy), log_frames, checkpointed_frames, 0, 0])
        .append(out);
}

/// What a checkpoint did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpointed {
    /// A reader or another process was in the way of a part of it.
    pub busy: bool,
    /// Frames in the log.
    pub log_frames: u32,
    /// Of these, frames that are in the file as well.
    pub checkpointed_frames: u32,
}

/// A row that a transaction changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowChange {
    /// Which of the record's tables.
    pub table: u32,
    /// 1 insert, 2 update, 3 delete.
    pub kind: u32,
    /// Its row id after the change; before it if the row was deleted.
    pub rowid: i64,
}

/// What a transaction changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Tables, each once.
    pub tables: Vec<std::sync::Arc<str>>,
    /// Rows, if somebody asked for them.
    pub rows: Vec<RowChange>,
    /// There were more rows than are listed.
    pub truncated: bool,
}

impl Changed {
    /// The same for those who asked for the tables only.
    #[must_use]
    pub fn without_rows(&self) -> Self {
        Self { tables: self.tables.clone(), ..Self::default() }
    }
}

/// Appends a COMMITTED record: the answer of `op`, or to nobody (`NO_REPLY`) in particular, about `target`: a transaction or a handle.
pub fn committed(out: &mut Vec<u8>, op: u32, target: (u32, u32), changed: &Changed) {
    let start = out.len();
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let words =
        [target.0, target.1, count(changed.tables.len()), count(changed.rows.len()), u32::from(changed.truncated)];
    let mut head = header(0, op, kind::COMMITTED, 0, words);
    if op == super::NO_REPLY {
        head.flags = 0;
    }
    head.append(out);
    for table in &changed.tables {
        out.extend_from_slice(&count(table.len()).to_le_bytes());
        out.extend_from_slice(table.as_bytes());
    }
    pad(out, start);
    for row in &changed.rows {
        out.extend_from_slice(&row.table.to_le_bytes());
        out.extend_from_slice(&row.kind.to_le_bytes());
        out.extend_from_slice(&row.rowid.to_le_bytes());
    }
    let size = count(out.len().saturating_sub(start));
    if let Some(field) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *field = size.to_le_bytes();
    }
}

/// Appends an ERROR record, the final one of `op`.
pub fn error(out: &mut Vec<u8>, op: u32, error: &ErrorRecord<'_>) {
    let message = cut(error.message);
    let half = u16::from(error.code);
    let words = |length| [error.sqlite.cast_unsigned(), error.offset.cast_unsigned(), length, error.statement, 0];
    // The cut message always fits.
    let _ = with_text(out, message, |size, length| header(size, op, kind::ERROR, half, words(length)));
}

/// Appends an OPENED record, the final one of `op`: the database handle, the engine behind it, and its canonical path.
///
/// In place of a path that no record can hold it appends an ERROR of [`ErrorCode::TooLarge`].
pub fn opened(out: &mut Vec<u8>, op: u32, handle: u32, generation: u32, engine: u32, path: &str) {
    let words = |length| [handle, generation, length, engine, 0];
    let written = with_text(out, path, |size, length| header(size, op, kind::OPENED, 0, words(length)));
    if written.is_err() {
        let message = "the canonical path of the database is too long";
        error(out, op, &ErrorRecord { code: ErrorCode::TooLarge, sqlite: 0, offset: -1, statement: 0, message });
    }
}

/// Appends a `LET_GO` record: a handle that a pool has closed by itself, and why.
pub fn let_go(out: &mut Vec<u8>, handle: u32, generation: u32, reason: u32) {
    let mut head = header(HEADER_ONLY, super::NO_REPLY, kind::LET_GO, 0, [handle, generation, reason, 0, 0]);
    head.flags = 0;
    head.append(out);
}

/// Whether `record` is the final one of its operation; `false` if it has no complete header.
#[must_use]
pub fn is_last(record: &[u8]) -> bool {
    Header::split(record).is_ok_and(|(header, ..)| header.flags & flag::LAST != 0)
}

/// Separates the fields of the messages of migration errors: what happened, the file, the line, the version; empty for none.
pub const FIELD: char = '\u{1f}';

/// A migration that has been run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Its version.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Which one it was of those that were run, from 1.
    pub index: u32,
    /// How many are run.
    pub total: u32,
    /// Milliseconds that it took.
    pub ms: u32,
}

/// Appends a MIGRATED record, which is not the final one of `op`.
pub fn migrated(out: &mut Vec<u8>, op: u32, migrated: &Migrated) {
    let Migrated { version, name, index, total, ms } = migrated;
    let start = out.len();
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let size = length.saturating_add(HEADER_ONLY + 8).next_multiple_of(8);
    let mut head = header(size, op, kind::MIGRATED, 0, [*index, *total, *ms, length, 0]);
    head.flags = 0;
    head.append(out);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    pad(out, start);
}

/// Whether a migration was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Applied {
    /// Not yet.
    Pending = 0,
    /// It was.
    Yes = 1,
    /// It was, and the code does not know it.
    Unknown = 2,
}

/// One migration in the history of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its version.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether it was applied.
    pub applied: Applied,
    /// When, in milliseconds since 1970; 0: not known.
    pub applied_at: i64,
}

/// Appends a HISTORY record, the final one of `op`.
pub fn history(out: &mut Vec<u8>, op: u32, entries: &[Entry]) {
    let start = out.len();
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    header(0, op, kind::HISTORY, 0, [count(entries.len()), 0, 0, 0, 0]).append(out);
    for Entry { version, name, applied, applied_at } in entries {
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&(*applied as u32).to_le_bytes());
        out.extend_from_slice(&count(name.len()).to_le_bytes());
        out.extend_from_slice(&applied_at.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    pad(out, start);
    let size = count(out.len().saturating_sub(start));
    if let Some(field) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *field = size.to_le_bytes();
    }
}

/// The operation that a complete small record ends; `None` if it ends none.
#[must_use]
pub fn finished_op(record: &[u8]) -> Option<u32> {
    let op = record.get(4..8).and_then(<[u8]>::first_chunk)?;
    (record.get(9)? & flag::LAST != 0).then(|| u32::from_le_bytes(*op))
}

const HEADER_ONLY: u32 = 32;
pub(super) const HEADER_AND_CHANGES: u32 = 48;

#[inline]
pub(super) const fn header(size: u32, op: u32, kind: u8, half: u16, words: [u32; 5]) -> Header {
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
pub(super) fn cut(message: &str) -> &str {
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    (0..=MAX_MESSAGE).rev().find_map(|end| message.get(..end)).unwrap_or_default()
}

const _: () = assert!(HEADER == 32, "HEADER_ONLY and HEADER_AND_CHANGES say it again as u32");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::whole::{Check, Problem, progress, verified};
    use crate::wire::{Body, Completion};
    use std::sync::Arc;

    const ERROR: ErrorRecord<'_> =
        ErrorRecord { code: ErrorCode::Constraint, sqlite: 2067, offset: -1, statement: 3, message: "é: not unique" };

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
        for number in [0, 40, u16::MAX] {
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
            255, 255, 255, 255, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
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
        assert_eq!(read(&out), Body::Done { frames: 0 });
        out.clear();
        done_commit(&mut out, 9, 7);
        assert_eq!(read(&out), Body::Done { frames: 7 });
        out.clear();
        let granted = Granted { transaction: 1, generation: u32::MAX, lock_wait_ms: 3, behind: 4 };
        grant(&mut out, 9, granted);
        assert_eq!(read(&out), Body::Grant(granted));
        out.clear();
        grant_group(&mut out, &[9, 8, 7], granted);
        assert_eq!(read(&out), Body::GrantGroup { granted, ops: vec![9, 8, 7] });
        out.clear();
        let changed = Changed {
            tables: vec![Arc::from("t"), Arc::from("ü")],
            rows: vec![RowChange { table: 1, kind: 2, rowid: -3 }],
            truncated: true,
        };
        committed(&mut out, 9, (5, 6), &changed);
        assert_eq!(read(&out), Body::Committed { target: (5, 6), changed });
        out.clear();
        let entries = vec![
            Entry { version: 1, name: "ä".to_owned(), applied: Applied::Yes, applied_at: 5 },
            Entry { version: i64::MAX, name: String::new(), applied: Applied::Unknown, applied_at: 0 },
        ];
        history(&mut out, 9, &entries);
        assert_eq!(read(&out), Body::History(entries));
        out.clear();
        let checkpoint = Checkpointed { busy: true, log_frames: 2, checkpointed_frames: 1 };
        checkpointed(&mut out, 9, checkpoint);
        assert_eq!(read(&out), Body::Checkpointed(checkpoint));
        out.clear();
        error(&mut out, 9, &ERROR);
        assert_eq!(read(&out), Body::Error(ERROR));
        out.clear();
        let problems = vec![
            Problem { check: Check::Cipher, message: "page 3".to_owned() },
            Problem { check: Check::ForeignKeys, message: String::new() },
        ];
        verified(&mut out, 9, &problems);
        assert_eq!(read(&out), Body::Verified(problems));
        out.clear();
        opened(&mut out, 9, 1, 2, 3, "/tmp/ü.db");
        assert_eq!(read(&out), Body::Opened { handle: 1, generation: 2, engine: 3, path: "/tmp/ü.db" });
    }

    #[test]
    fn what_nobody_has_asked_for_ends_no_operation() {
        let mut out = Vec::new();
        ended(&mut out, 1, 2, ErrorCode::Abort, "aborted");
        committed(&mut out, crate::wire::NO_REPLY, (1, 2), &Changed::default());
        let one = Migrated { version: -1, name: "é".to_owned(), index: 1, total: 2, ms: 3 };
        migrated(&mut out, 9, &one);
        progress(&mut out, 9, 1, 2, u64::MAX);
        let (first, rest) = Completion::parse(&out).unwrap();
        let (second, rest) = Completion::parse(rest).unwrap();
        let (third, rest) = Completion::parse(rest).unwrap();
        let (fourth, _) = Completion::parse(rest).unwrap();
        assert_eq!((third.op, third.last, third.body), (9, false, Body::Migrated(one)));
        let step = Body::Progress { phase: 1, done: 2, total: u64::MAX };
        assert_eq!((fourth.op, fourth.last, fourth.body), (9, false, step));
        assert_eq!((first.op, first.last, second.last), (crate::wire::NO_REPLY, false, false));
        assert_eq!(first.body, Body::Ended { target: (1, 2), code: ErrorCode::Abort, message: "aborted" });
        let mut out = Vec::new();
        let_go(&mut out, 1, 2, 3);
        let (fifth, _) = Completion::parse(&out).unwrap();
        assert_eq!((fifth.op, fifth.last), (crate::wire::NO_REPLY, false));
        assert_eq!(fifth.body, Body::LetGo { handle: 1, generation: 2, reason: 3 });
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
            (8, 16, WireError::Kind(16)),
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
