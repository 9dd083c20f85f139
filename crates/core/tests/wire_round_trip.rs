//! What one side writes the other side reads: parameters, rows and the marks of a chunk.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::struct_excessive_bools,
    clippy::cast_possible_truncation,
    reason = "a test that meets the unexpected fails by a panic"
)]

use proptest::prelude::*;
use sqlflow_core::wire::{
    Body, Cell, Chunk, Completion, Flags, Kind, MAX_SAFE_INTEGER, NO_REPLY, OwnedParams, Param, Params, Request,
    RequestHead, Requests, RowsHead, RowsWriter, Shape, Value, encode_request, intern, is_last,
};

/// A value of either direction; text is whatever bytes a file may hold.
#[derive(Debug, Clone)]
enum Stored {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

fn integers() -> impl Strategy<Value = i64> {
    let edges = [0, -1, i64::MIN, i64::MAX, 1 << 31, -(1 << 31), (1 << 31) - 1, 1 << 53, -(1 << 53), (1 << 53) - 1];
    prop_oneof![proptest::sample::select(edges.to_vec()), any::<i64>(), any::<i32>().prop_map(i64::from)]
}

fn reals() -> impl Strategy<Value = f64> {
    let edges = [0.0, -0.0, 0.5, f64::MIN, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, 1e300];
    prop_oneof![
        proptest::sample::select(edges.to_vec()),
        any::<f64>().prop_filter("SQLite gives NULL for NaN", |real| !real.is_nan()),
    ]
}

fn ascii() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("a\0b".into()), "[ -~]{0,24}", "[ -~]{60,200}"]
}

fn unicode() -> impl Strategy<Value = String> {
    let edges = ["\u{FEFF}bom", "é", "\u{7FF}\u{800}", "\u{FFFF}\u{10000}", "😀\0😀", "\u{10FFFF}"];
    prop_oneof![proptest::sample::select(edges.map(String::from).to_vec()), any::<String>()]
}

fn blobs() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![]), Just(vec![0]), proptest::collection::vec(any::<u8>(), 0..80)]
}

fn stored(text: impl Strategy<Value = Vec<u8>> + 'static) -> impl Strategy<Value = Stored> {
    prop_oneof![
        Just(Stored::Null),
        integers().prop_map(Stored::Int),
        reals().prop_map(Stored::Real),
        text.prop_map(Stored::Text),
        blobs().prop_map(Stored::Blob),
    ]
}

fn valid_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![ascii(), unicode()].prop_map(String::into_bytes)
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![valid_text(), proptest::collection::vec(any::<u8>(), 0..40)]
}

fn value(stored: &Stored) -> Value<'_> {
    match stored {
        Stored::Null => Value::Null,
        Stored::Int(integer) => Value::Int(*integer),
        Stored::Real(real) => Value::Real(*real),
        Stored::Text(text) => Value::Text(text),
        Stored::Blob(blob) => Value::Blob(blob),
    }
}

/// Equal, and -0.0 is not 0.0.
fn same(left: &Param<'_>, right: &Param<'_>) -> bool {
    match (left.value, right.value) {
        (Value::Real(left), Value::Real(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

fn same_params(read: &Params<'_>, sent: &[Param<'_>]) -> bool {
    read.len() == sent.len()
        && read.iter().len() == sent.len()
        && read.iter().zip(sent).all(|(read, sent)| same(&read, sent))
}

fn heads() -> impl Strategy<Value = RequestHead> {
    let op = prop_oneof![any::<u32>(), Just(NO_REPLY)];
    let kind = (1..=19_u8).prop_map(|kind| Kind::try_from(kind).unwrap());
    let flags = (any::<bool>(), any::<bool>()).prop_map(|(bigint, transaction)| {
        let bigint = if bigint { Flags::BIGINT } else { Flags::NONE };
        let transaction = if transaction { Flags::TX } else { Flags::NONE };
        bigint | transaction
    });
    (op, kind, flags, any::<[u32; 5]>()).prop_map(
        |(op, kind, flags, [target, generation, statement, cursor, limit])| RequestHead {
            op,
            kind,
            flags,
            target,
            generation,
            statement,
            cursor,
            limit,
        },
    )
}

type Sent = (RequestHead, Vec<(String, Stored)>, bool);

fn requests() -> impl Strategy<Value = Vec<Sent>> {
    let params = proptest::collection::vec((prop_oneof![ascii(), unicode()], stored(valid_text())), 0..8);
    proptest::collection::vec((heads(), params, any::<bool>()), 0..5)
}

fn params(sent: &Sent) -> Vec<Param<'_>> {
    let (_, params, named) = sent;
    params.iter().map(|(name, stored)| Param { name: named.then_some(name.as_str()), value: value(stored) }).collect()
}

fn head_of(request: &Request<'_>) -> RequestHead {
    RequestHead {
        op: request.op,
        kind: request.kind,
        flags: request.flags,
        target: request.target,
        generation: request.generation,
        statement: request.statement,
        cursor: request.cursor,
        limit: request.limit,
    }
}

proptest! {
    #[test]
    fn requests_of_one_buffer_are_read_as_they_were_written(sent in requests()) {
        let mut bytes = Vec::new();
        for request in &sent {
            encode_request(&mut bytes, &request.0, &params(request)).unwrap();
            prop_assert_eq!(bytes.len() % 8, 0);
        }
        let read: Vec<_> = Requests::new(&bytes).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), sent.len());
        for (read, sent) in read.iter().zip(&sent) {
            let params = params(sent);
            let named = sent.2 && !params.is_empty();
            let flags = if named { sent.0.flags | Flags::NAMED } else { sent.0.flags };
            prop_assert_eq!(head_of(read), RequestHead { flags, ..sent.0 });
            prop_assert_eq!(read.params.named(), named);
            prop_assert!(same_params(&read.params, &params));
            let owned: OwnedParams = read.params.to_owned();
            prop_assert!(same_params(&owned.borrow(), &params));
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written(chunks in proptest::collection::vec(chunks(), 1..4)) {
        let mut writer = RowsWriter::new();
        let mut bytes = Vec::new();
        for chunk in &chunks {
            chunk.write(&mut writer, &mut bytes);
        }
        let mut rest = &bytes[..];
        for chunk in &chunks {
            let record = rest;
            let (completion, after) = Completion::parse(rest).unwrap();
            rest = after;
            let record = &record[..record.len() - rest.len()];
            prop_assert_eq!((completion.op, completion.last), (chunk.op, chunk.last));
            prop_assert_eq!(is_last(record), chunk.last);
            let Body::Rows(read) = completion.body else { panic!("not rows") };
            chunk.compare(&read, record)?;
        }
        prop_assert!(rest.is_empty());
    }
}

#[derive(Debug, Clone)]
struct Written {
    op: u32,
    columns: usize,
    rows: Vec<Vec<Stored>>,
    names: Vec<String>,
    interned: bool,
    bigint: bool,
    last: bool,
    open: bool,
    changes: Option<(i64, i64)>,
}

fn chunks() -> impl Strategy<Value = Written> {
    let text = prop_oneof![Just(true), Just(false)];
    (1..5_usize, text).prop_flat_map(|(columns, only_ascii)| {
        let text = if only_ascii { ascii().prop_map(String::into_bytes).boxed() } else { any_text().boxed() };
        let rows = proptest::collection::vec(proptest::collection::vec(stored(text), columns), 0..12);
        let names = proptest::collection::vec(unicode(), columns);
        let marks = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        (any::<u32>(), rows, names, marks, proptest::option::of((integers(), integers()))).prop_map(
            move |(op, rows, names, (interned, bigint, last, open), changes)| Written {
                op,
                columns,
                rows,
                names,
                interned,
                bigint,
                last,
                open,
                changes,
            },
        )
    })
}

impl Written {
    fn write(&self, writer: &mut RowsWriter, out: &mut Vec<u8>) {
        writer.begin(self.columns, self.bigint, 0);
        for row in &self.rows {
            for cell in row {
                match cell {
                    Stored::Null => writer.null(),
                    Stored::Int(integer) => writer.int(*integer),
                    Stored::Real(real) => writer.real(*real),
                    Stored::Text(text) => writer.text(text),
                    Stored::Blob(blob) => writer.blob(blob),
                }
            }
            writer.end_row();
        }
        assert_eq!(writer.rows(), self.rows.len());
        let inline = Shape::inline(&self.names);
        let interned = intern(&self.names);
        let shape = if self.interned { &interned } else { &inline };
        let head = RowsHead { op: self.op, shape, last: self.last, open: self.open, changes: self.changes };
        writer.finish(&head, out).unwrap();
    }

    fn compare(&self, read: &Chunk<'_>, record: &[u8]) -> Result<(), TestCaseError> {
        prop_assert_eq!(read.open(), self.open);
        prop_assert_eq!(read.changes(), self.changes);
        prop_assert_eq!(read.columns(), self.columns);
        prop_assert_eq!(read.names().is_none(), self.interned && read.shape() != 0);
        match read.names() {
            Some(names) => prop_assert_eq!(names, self.names.iter().map(String::as_str).collect::<Vec<_>>()),
            None => prop_assert_eq!(read.shape(), intern(&self.names).id()),
        }
        let rows: Vec<Vec<Cell<'_>>> = read.iter().collect();
        prop_assert_eq!(rows.len(), self.rows.len());
        for (read, written) in rows.iter().zip(&self.rows) {
            prop_assert_eq!(read.len(), written.len());
            for (cell, stored) in read.iter().zip(written) {
                prop_assert!(self.arrives_as(stored, cell), "{:?} arrived as {:?}", stored, cell);
            }
        }
        prop_assert_eq!(self.texts(), texts_as_javascript_cuts_them(record));
        Ok(())
    }

    fn arrives_as(&self, stored: &Stored, cell: &Cell<'_>) -> bool {
        match (stored, cell) {
            (Stored::Null, Cell::Null) => true,
            (Stored::Int(integer), Cell::Int(read)) => {
                integer == read && (self.bigint || integer.unsigned_abs() > MAX_SAFE_INTEGER)
            }
            (Stored::Int(integer), Cell::Number(read)) => {
                !self.bigint && i128::from(*integer) == *read as i128 && integer.unsigned_abs() <= MAX_SAFE_INTEGER
            }
            (Stored::Real(real), Cell::Number(read)) => real.to_bits() == read.to_bits(),
            (Stored::Text(text), Cell::Text(read)) => String::from_utf8_lossy(text) == *read,
            (Stored::Blob(blob), Cell::Blob(read)) => blob == read,
            _ => false,
        }
    }

    fn texts(&self) -> Vec<String> {
        let cells = self.rows.iter().flatten();
        cells
            .filter_map(|cell| match cell {
                Stored::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                _ => None,
            })
            .collect()
    }
}

/// A second reading of the text block, from the offsets of the documented format alone: decode it as a whole,
/// then cut it by the slots as `substring` does.
fn texts_as_javascript_cuts_them(record: &[u8]) -> Vec<String> {
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap()) as usize;
    let cells = usize::from(record[10]) * u32_at(12);
    let slots = 32 + cells.next_multiple_of(8);
    let text = slots + 8 * cells;
    let text = std::str::from_utf8(&record[text..text + u32_at(20)]).unwrap();
    assert_eq!(text.is_ascii(), record[9] & 2 == 0);
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut start = 0;
    let texts = (0..cells)
        .filter(|cell| record[32 + cell] == 3)
        .map(|cell| {
            let end = start + u32_at(slots + 8 * cell);
            assert_eq!(u32_at(slots + 8 * cell + 4), 0);
            let text = String::from_utf16(&units[start..end]).unwrap();
            start = end;
            text
        })
        .collect();
    assert_eq!(start, units.len());
    texts
}

#[test]
fn a_get_of_no_row_is_a_chunk_of_no_rows_with_its_columns() {
    let shape = Shape::inline(&["a", "__proto__", "a"]);
    let mut writer = RowsWriter::new();
    writer.begin(3, false, 1);
    let mut out = Vec::new();
    let head = RowsHead { op: 1, shape: &shape, last: true, open: false, changes: None };
    writer.finish(&head, &mut out).unwrap();
    let Body::Rows(chunk) = Completion::parse(&out).unwrap().0.body else { panic!("not rows") };
    assert_eq!(chunk.iter().count(), 0);
    assert_eq!(chunk.names(), Some(vec!["a", "__proto__", "a"]));
}

#[test]
fn invalid_text_is_replaced_as_the_encoding_standard_decodes_it() {
    // Pairs from the WHATWG "utf-8 decode" behaviour: one U+FFFD per maximal part of a sequence.
    let cases: [(&[u8], &str); 6] = [
        (b"\xC0\xAF", "\u{FFFD}\u{FFFD}"),
        (b"\xED\xA0\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
        (b"a\xF0\x9F\x98b", "a\u{FFFD}b"),
        (b"\xE2\x82", "\u{FFFD}"),
        (b"\xF5\x80", "\u{FFFD}\u{FFFD}"),
        (b"\xEF\xBB\xBFx", "\u{FEFF}x"),
    ];
    for (stored, expected) in cases {
        let mut writer = RowsWriter::new();
        writer.begin(1, false, 0);
        writer.text(stored);
        writer.end_row();
        let mut out = Vec::new();
        let shape = Shape::inline(&["a"]);
        let head = RowsHead { op: 1, shape: &shape, last: true, open: false, changes: None };
        writer.finish(&head, &mut out).unwrap();
        let Body::Rows(chunk) = Completion::parse(&out).unwrap().0.body else { panic!("not rows") };
        assert_eq!(chunk.iter().collect::<Vec<_>>(), [[Cell::Text(expected)]]);
    }
}
