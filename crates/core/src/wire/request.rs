//! Request records: what JavaScript asks the engine to do.

use super::WireError;
use super::header::{Header, pad};
use super::params::{self, Param, Params};

/// The `op` of a request that wants no reply.
pub const NO_REPLY: u32 = u32::MAX;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// At most one row.
    Get = 1,
    /// All rows.
    All = 2,
    /// Changes and last insert rowid.
    Run = 3,
    /// A script without parameters.
    Exec = 4,
    /// All rows, changes and last insert rowid.
    Query = 5,
    /// A read transaction.
    BeginRead = 6,
    /// A write transaction.
    BeginWrite = 7,
    /// Commit the target.
    Commit = 8,
    /// Roll the target back.
    Rollback = 9,
    /// Open a cursor and answer its first chunk.
    Cursor = 10,
    /// The next chunk of a cursor.
    Pull = 11,
    /// Close a cursor; needs no reply.
    CloseCursor = 12,
    /// Open a savepoint.
    Savepoint = 13,
    /// Release the innermost savepoint.
    Release = 14,
    /// Roll back to the innermost savepoint and release it.
    RollbackTo = 15,
    /// One statement of a batch.
    Batch = 16,
    /// Cancel an operation; needs no reply.
    Cancel = 17,
    /// A transaction for synchronous closures, shared with neighbours.
    BeginBatch = 18,
    /// End a transaction from outside; needs no reply.
    Expire = 19,
}

impl TryFrom<u8> for Kind {
    type Error = WireError;

    fn try_from(kind: u8) -> Result<Self, WireError> {
        Ok(match kind {
            1 => Self::Get,
            2 => Self::All,
            3 => Self::Run,
            4 => Self::Exec,
            5 => Self::Query,
            6 => Self::BeginRead,
            7 => Self::BeginWrite,
            8 => Self::Commit,
            9 => Self::Rollback,
            10 => Self::Cursor,
            11 => Self::Pull,
            12 => Self::CloseCursor,
            13 => Self::Savepoint,
            14 => Self::Release,
            15 => Self::RollbackTo,
            16 => Self::Batch,
            17 => Self::Cancel,
            18 => Self::BeginBatch,
            19 => Self::Expire,
            unknown => return Err(WireError::Kind(unknown)),
        })
    }
}

/// Flags of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// All integers of the answer come as int64.
    pub const BIGINT: Self = Self(1);
    /// Parameters carry names.
    pub const NAMED: Self = Self(2);
    /// BATCH: the first statement.
    pub const FIRST: Self = Self(4);
    /// COMMIT: to be answered by what was changed.
    pub const TABLES: Self = Self(4);
    /// BATCH: the last statement.
    pub const FINAL: Self = Self(8);
    /// BATCH: the sum of the changes is wanted, not the rows.
    pub const TOTALS: Self = Self(16);
    /// The target is a transaction, else a database handle.
    pub const TX: Self = Self(128);

    const KNOWN: u8 = Self::BIGINT.0 | Self::NAMED.0 | Self::FIRST.0 | Self::FINAL.0 | Self::TOTALS.0 | Self::TX.0;

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether [`Flags::BIGINT`] is set.
    #[must_use]
    pub const fn bigint(self) -> bool {
        self.contains(Self::BIGINT)
    }

    /// Whether [`Flags::NAMED`] is set.
    #[must_use]
    pub const fn named(self) -> bool {
        self.contains(Self::NAMED)
    }

    /// Whether [`Flags::TX`] is set.
    #[must_use]
    pub const fn transaction(self) -> bool {
        self.contains(Self::TX)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl TryFrom<u8> for Flags {
    type Error = WireError;

    fn try_from(flags: u8) -> Result<Self, WireError> {
        if flags & !Self::KNOWN == 0 { Ok(Self(flags)) } else { Err(WireError::Flags(flags)) }
    }
}

/// One request.
///
/// Well-formed, which says nothing about its meaning: the target may not exist, the statement may be
/// unknown, and the kind may not suit either.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Slot of the operation in the caller's table; [`NO_REPLY`]: none.
    pub op: u32,
    /// What is asked for.
    pub kind: Kind,
    /// How.
    pub flags: Flags,
    /// Parameters of the statement.
    pub params: Params<'a>,
    /// Index of a transaction ([`Flags::TX`]), else of a database handle.
    pub target: u32,
    /// Generation of the target.
    pub generation: u32,
    /// Id of the statement's text; 0: none.
    pub statement: u32,
    /// Id of the cursor, unique within its transaction.
    pub cursor: u32,
    /// Rows per chunk; 0: the default, see [`super::RowsWriter::begin`].
    pub limit: u32,
}

impl<'a> Request<'a> {
    fn new(header: &Header, content: &'a [u8]) -> Result<Self, WireError> {
        let kind = Kind::try_from(header.kind)?;
        let flags = Flags::try_from(header.flags)?;
        let params = Params::parse(content, header.half, flags.named())?;
        let [target, generation, statement, cursor, limit] = header.words;
        Ok(Self { op: header.op, kind, flags, params, target, generation, statement, cursor, limit })
    }
}

/// Iterator over the request records of one buffer.
///
/// A malformed record comes out as its error, with its `op` if that can be read. After one whose
/// size is wrong the iteration ends, since nobody knows where the next record starts; after any other
/// it goes on.
#[derive(Debug, Clone)]
pub struct Requests<'a> {
    rest: &'a [u8],
}

impl<'a> Requests<'a> {
    /// The records of `records`.
    #[must_use]
    pub const fn new(records: &'a [u8]) -> Self {
        Self { rest: records }
    }
}

impl<'a> Iterator for Requests<'a> {
    type Item = Result<Request<'a>, (Option<u32>, WireError)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = std::mem::take(&mut self.rest);
        Some(match Header::split(record) {
            Ok((header, content, rest)) => {
                self.rest = rest;
                Request::new(&header, content).map_err(|error| (Some(header.op), error))
            }
            Err(error) => Err((Header::peek_op(record), error)),
        })
    }
}

impl std::iter::FusedIterator for Requests<'_> {}

/// A request without its parameters, for [`encode_request`]; the fields are those of [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Slot of the operation in the caller's table; [`NO_REPLY`]: none.
    pub op: u32,
    /// What is asked for.
    pub kind: Kind,
    /// How; [`Flags::NAMED`] is added if a parameter has a name.
    pub flags: Flags,
    /// Index of a transaction ([`Flags::TX`]), else of a database handle.
    pub target: u32,
    /// Generation of the target.
    pub generation: u32,
    /// Id of the statement's text; 0: none.
    pub statement: u32,
    /// Id of the cursor.
    pub cursor: u32,
    /// Rows per chunk; 0: the default.
    pub limit: u32,
}

/// Appends one request record to `out`, for clients in Rust.
///
/// Values are written as they are: NaN and text that is not UTF-8 are refused by who reads the record.
/// In a request with names a parameter without one gets an empty name.
///
/// # Errors
///
/// [`WireError::TooLarge`] if something exceeds the format; `out` is left as it was.
pub fn encode_request(out: &mut Vec<u8>, head: &RequestHead, params: &[Param<'_>]) -> Result<(), WireError> {
    let start = out.len();
    let written = append(out, head, params, start);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn append(out: &mut Vec<u8>, head: &RequestHead, params: &[Param<'_>], start: usize) -> Result<(), WireError> {
    let named = params.iter().any(|param| param.name.is_some());
    let flags = if named { head.flags | Flags::NAMED } else { head.flags };
    let mut header = Header {
        size: 0,
        op: head.op,
        kind: head.kind as u8,
        flags: flags.0,
        half: u16::try_from(params.len()).map_err(|_| WireError::TooLarge)?,
        words: [head.target, head.generation, head.statement, head.cursor, head.limit],
    };
    header.append(out);
    for param in params {
        params::append(out, param, flags.named())?;
    }
    pad(out, start);
    header.size = u32::try_from(out.len().saturating_sub(start)).map_err(|_| WireError::TooLarge)?;
    if let Some(size) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *size = header.size.to_le_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Value;
    use crate::wire::header::HEADER;

    const HEAD: RequestHead = RequestHead {
        op: 0x0403_0201,
        kind: Kind::Cursor,
        flags: Flags::TX,
        target: 5,
        generation: 6,
        statement: 7,
        cursor: 8,
        limit: 9,
    };

    fn encoded(params: &[Param<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_request(&mut out, &HEAD, params).unwrap();
        out
    }

    #[test]
    fn a_record_has_the_documented_bytes() {
        let params =
            [Param { name: Some("a"), value: Value::Int(-2) }, Param { name: Some("é"), value: Value::Text(b"x") }];
        #[rustfmt::skip]
        let expected = [
            56, 0, 0, 0, 1, 2, 3, 4, 10, 130, 2, 0, 5, 0, 0, 0,
            6, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0,
            1, 0, b'a', 1, 0xFE, 0xFF, 0xFF, 0xFF,
            2, 0, 0xC3, 0xA9, 5, 1, 0, 0, 0, b'x', 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(encoded(&params), expected);
    }

    #[test]
    fn every_kind_survives_its_number() {
        for number in 0..=u8::MAX {
            match Kind::try_from(number) {
                Ok(kind) => assert_eq!(kind as u8, number),
                Err(error) => {
                    assert_eq!(error, WireError::Kind(number));
                    assert!(!(1..=19).contains(&number));
                }
            }
        }
    }

    #[test]
    fn unknown_flags_are_refused() {
        let mut record = encoded(&[]);
        record[9] |= 32;
        let error = Requests::new(&record).next().unwrap().unwrap_err();
        assert_eq!(error, (Some(HEAD.op), WireError::Flags(160)));
    }

    #[test]
    fn a_malformed_record_does_not_hide_the_next_one() {
        let mut records = encoded(&[]);
        records[8] = 99;
        records.extend_from_slice(&encoded(&[]));
        let answers: Vec<_> = Requests::new(&records).map(|answer| answer.map(|request| request.op)).collect();
        assert_eq!(answers, [Err((Some(HEAD.op), WireError::Kind(99))), Ok(HEAD.op)]);
    }

    #[test]
    fn a_wrong_size_ends_the_iteration() {
        for size in [0, 8, 24, 33, 36, 48, u32::MAX, u32::MAX - 7] {
            let mut record = encoded(&[]);
            record[..4].copy_from_slice(&size.to_le_bytes());
            let mut requests = Requests::new(&record);
            assert_eq!(requests.next().unwrap().unwrap_err(), (Some(HEAD.op), WireError::Size(size)));
            assert!(requests.next().is_none());
        }
    }

    #[test]
    fn a_header_cut_short_still_gives_its_op_if_it_is_there() {
        let record = encoded(&[]);
        for length in 1..HEADER {
            let op = (length >= 8).then_some(HEAD.op);
            let error = Requests::new(&record[..length]).next().unwrap().unwrap_err();
            assert_eq!(error, (op, WireError::Truncated));
        }
        assert!(Requests::new(&[]).next().is_none());
    }

    #[test]
    fn what_does_not_fit_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2, 3];
        let name = "n".repeat(65_536);
        let params = [Param { name: Some(&name), value: Value::Null }];
        assert_eq!(encode_request(&mut out, &HEAD, &params), Err(WireError::TooLarge));
        let params = vec![Param { name: None, value: Value::Null }; 65_536];
        assert_eq!(encode_request(&mut out, &HEAD, &params), Err(WireError::TooLarge));
        assert_eq!(out, [1, 2, 3]);
    }
}
