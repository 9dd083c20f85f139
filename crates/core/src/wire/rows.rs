//! One chunk of a result while it is being filled: cells go in one by one, a ROWS record comes out.

use super::completion::{flag, kind};
use super::header::{HEADER, Header, pad, padding};
use super::{MAX_SAFE_INTEGER, Shape, WireError};

/// Rows per chunk of a request that names no limit.
pub const DEFAULT_LIMIT: usize = 1_000;

/// Bytes of text and blobs from which on a chunk is full.
pub const FULL_BYTES: usize = 64 << 10;

/// Capacity that each buffer keeps between chunks; a single large value may have grown it beyond.
const KEPT_BYTES: usize = 1 << 20;

/// Tags of cells.
pub(super) mod tag {
    pub(in crate::wire) const NULL: u8 = 0;
    pub(in crate::wire) const NUMBER: u8 = 1;
    pub(in crate::wire) const INT64: u8 = 2;
    pub(in crate::wire) const TEXT: u8 = 3;
    pub(in crate::wire) const BLOB: u8 = 4;
}

/// What a ROWS record says beside its cells.
#[derive(Debug, Clone, Copy)]
pub struct RowsHead<'a> {
    /// The operation that is answered.
    pub op: u32,
    /// Names of the columns, as many as `begin` was told.
    pub shape: &'a Shape,
    /// Whether this is the final record of the operation.
    pub last: bool,
    /// Whether the statement may have more rows and its cursor stays open.
    pub open: bool,
    /// Changes and last insert rowid, for the trailer.
    pub changes: Option<(i64, i64)>,
}

/// A chunk being filled, reused for the next one without allocating.
///
/// The order of calls is [`begin`](Self::begin), then per row one call per column and
/// [`end_row`](Self::end_row), then [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct RowsWriter {
    columns: usize,
    bigint: bool,
    limit: usize,
    rows: usize,
    tags: Vec<u8>,
    slots: Vec<[u8; 8]>,
    text: Vec<u8>,
    /// Whether `text` holds anything but ASCII.
    utf8: bool,
    blob: Vec<u8>,
}

impl RowsWriter {
    /// An empty chunk of no columns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a chunk of rows of `columns` cells and drops what an unfinished chunk held.
    ///
    /// With `bigint` every integer becomes an INT64. `limit` is the number of rows at which the chunk
    /// is full, [`DEFAULT_LIMIT`] for 0.
    pub fn begin(&mut self, columns: usize, bigint: bool, limit: usize) {
        self.clear();
        self.columns = columns;
        self.bigint = bigint;
        self.limit = if limit == 0 { DEFAULT_LIMIT } else { limit };
    }

    /// Adds a NULL.
    #[inline]
    pub fn null(&mut self) {
        self.push(tag::NULL, [0; 8]);
    }

    /// Adds an INTEGER.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "only safe integers are cast")]
    pub fn int(&mut self, value: i64) {
        if self.bigint || value.unsigned_abs() > MAX_SAFE_INTEGER {
            self.push(tag::INT64, value.to_le_bytes());
        } else {
            self.push(tag::NUMBER, (value as f64).to_le_bytes());
        }
    }

    /// Adds a REAL; SQLite never gives NaN.
    #[inline]
    pub fn real(&mut self, value: f64) {
        self.push(tag::NUMBER, value.to_le_bytes());
    }

    /// Adds a TEXT; what is not valid UTF-8 is replaced as the WHATWG Encoding Standard decodes it.
    #[inline]
    pub fn text(&mut self, value: &[u8]) {
        if value.is_ascii() {
            self.text.extend_from_slice(value);
            self.push(tag::TEXT, slot(value.len()));
        } else {
            self.text_beyond_ascii(value);
        }
    }

    #[inline(never)]
    fn text_beyond_ascii(&mut self, value: &[u8]) {
        match str::from_utf8(value) {
            Ok(text) => self.unicode(text),
            Err(_) => self.unicode(&String::from_utf8_lossy(value)),
        }
    }

    /// Adds a text that is not all ASCII, with its UTF-16 length at once: the texts of ASCII before it
    /// need no second look, because theirs is the length that their slots already hold.
    fn unicode(&mut self, text: &str) {
        self.utf8 = true;
        self.text.extend_from_slice(text.as_bytes());
        self.push(tag::TEXT, slot(utf16_length(text.as_bytes())));
    }

    /// Adds a BLOB.
    #[inline]
    pub fn blob(&mut self, value: &[u8]) {
        self.blob.extend_from_slice(value);
        self.push(tag::BLOB, slot(value.len()));
    }

    /// Ends a row; as many cells as columns must have been added to it.
    #[inline]
    pub fn end_row(&mut self) {
        self.rows = self.rows.saturating_add(1);
    }

    /// Rows ended since `begin`.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of text so far, as UTF-8.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether the chunk should be finished: it has [`FULL_BYTES`] of text and blobs or its limit of rows.
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.rows >= self.limit || self.text.len().saturating_add(self.blob.len()) >= FULL_BYTES
    }

    /// Appends the chunk to `out` as one ROWS record. The next chunk is empty, with the columns, `bigint` and
    /// limit of this one unless [`begin`](Self::begin) says otherwise.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLarge`] if the chunk exceeds 4 GiB, which takes several values near SQLite's limit in
    /// one row, and [`WireError::Count`] if a row or the shape has another number of columns than
    /// `begin` was told. `out` is left as it was, the rows are dropped.
    pub fn finish(&mut self, head: &RowsHead<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        let written = self.append(head, out);
        self.clear();
        written
    }

    fn append(&self, head: &RowsHead<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        let names = head.shape.names();
        if self.rows.checked_mul(self.columns) != Some(self.tags.len())
            || (self.columns == 0 && self.rows > 0)
            || names.len() != self.columns
        {
            return Err(WireError::Count);
        }
        let inline_names = if head.shape.id() == 0 { names } else { &[] };
        let names_bytes =
            inline_names.iter().fold(0_usize, |sum, name| sum.saturating_add(name.len()).saturating_add(4));
        let trailer = if head.changes.is_some() { 16 } else { 0 };
        let slots = self.slots.as_flattened();
        let size = [self.tags.len(), slots.len(), self.text.len(), self.blob.len(), trailer, names_bytes]
            .iter()
            .fold(HEADER, |sum, block| sum.saturating_add(*block).saturating_add(padding(*block)));

        let header = Header {
            size: fit(size)?,
            op: head.op,
            kind: kind::ROWS,
            flags: (if head.last { flag::LAST } else { 0 })
                | (if self.utf8 { flag::UTF8 } else { 0 })
                | (if head.changes.is_some() { flag::CHANGES } else { 0 })
                | (if head.open { flag::OPEN } else { 0 }),
            half: u16::try_from(self.columns).map_err(|_| WireError::TooLarge)?,
            words: [fit(self.rows)?, head.shape.id(), fit(self.text.len())?, fit(self.blob.len())?, fit(names_bytes)?],
        };

        let start = out.len();
        // 8 more, because pad() writes eight bytes and takes back what is too much.
        out.reserve(size.saturating_add(8));
        header.append(out);
        out.extend_from_slice(&self.tags);
        pad(out, start);
        out.extend_from_slice(slots);
        out.extend_from_slice(&self.text);
        pad(out, start);
        out.extend_from_slice(&self.blob);
        pad(out, start);
        if let Some((changes, last_insert_rowid)) = head.changes {
            out.extend_from_slice(&changes.to_le_bytes());
            out.extend_from_slice(&last_insert_rowid.to_le_bytes());
        }
        for name in inline_names {
            out.extend_from_slice(&fit(name.len())?.to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        pad(out, start);
        Ok(())
    }

    #[inline]
    fn push(&mut self, tag: u8, slot: [u8; 8]) {
        self.tags.push(tag);
        self.slots.push(slot);
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.utf8 = false;
        self.slots.clear();
        self.slots.shrink_to(KEPT_BYTES / 8);
        for buffer in [&mut self.tags, &mut self.text, &mut self.blob] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
    }
}

#[inline]
fn fit(length: usize) -> Result<u32, WireError> {
    u32::try_from(length).map_err(|_| WireError::TooLarge)
}

#[inline]
const fn slot(length: usize) -> [u8; 8] {
    // Widening on every target.
    (length as u64).to_le_bytes()
}

/// Length in UTF-16 units of valid UTF-8: one per lead byte, two where it leads four bytes.
#[inline]
fn utf16_length(text: &[u8]) -> usize {
    // At most 2 per byte, so that the sum of a part fits into a byte and 16 bytes are added at once.
    text.chunks(127).fold(0, |sum, part| sum.saturating_add(usize::from(part.iter().copied().fold(0, add_units))))
}

#[inline]
fn add_units(units: u8, byte: u8) -> u8 {
    let lead = u8::from(!matches!(byte, 0x80..=0xBF));
    let pair = u8::from(byte >= 0xF0);
    units.wrapping_add(lead).wrapping_add(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(shape: &Shape) -> RowsHead<'_> {
        RowsHead { op: 7, shape, last: true, open: false, changes: None }
    }

    #[test]
    fn a_record_has_the_documented_bytes() {
        let shape = Shape::inline(&["a", "bc"]);
        let mut rows = RowsWriter::new();
        rows.begin(2, false, 0);
        rows.text("hé😀".as_bytes());
        rows.int(1);
        rows.end_row();
        rows.blob(&[9, 8]);
        rows.null();
        rows.end_row();
        let mut out = Vec::new();
        let changes = Some((3, -1));
        rows.finish(&RowsHead { last: true, open: true, changes, ..head(&shape) }, &mut out).unwrap();
        #[rustfmt::skip]
        let expected = [
            120, 0, 0, 0, 7, 0, 0, 0, 1, 15, 2, 0, 2, 0, 0, 0,
            0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 11, 0, 0, 0,
            3, 1, 4, 0, 0, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0xF0, 0x3F,
            2, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
            b'h', 0xC3, 0xA9, 0xF0, 0x9F, 0x98, 0x80, 0,
            9, 8, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            1, 0, 0, 0, b'a', 2, 0, 0, 0, b'b', b'c', 0, 0, 0, 0, 0,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn a_chunk_is_full_at_its_limit_of_rows() {
        for (limit, rows_until_full) in [(0, 1_000), (1, 1), (3, 3)] {
            let mut rows = RowsWriter::new();
            rows.begin(1, false, limit);
            while !rows.is_full() {
                rows.null();
                rows.end_row();
            }
            assert_eq!(rows.rows(), rows_until_full);
        }
    }

    #[test]
    fn a_chunk_is_full_at_64_kib_of_text_and_blobs_together() {
        let mut rows = RowsWriter::new();
        rows.begin(2, false, 0);
        rows.text(&vec![b'x'; FULL_BYTES / 2]);
        rows.blob(&vec![0; FULL_BYTES / 2 - 1]);
        rows.end_row();
        assert!(!rows.is_full());
        assert_eq!(rows.text_bytes(), FULL_BYTES / 2);
        rows.text(b"y");
        rows.null();
        rows.end_row();
        assert!(rows.is_full());
    }

    #[test]
    fn a_ragged_row_or_a_foreign_shape_is_refused_and_leaves_no_trace() {
        let two = Shape::inline(&["a", "b"]);
        let mut rows = RowsWriter::new();
        let mut out = vec![1];
        rows.begin(2, false, 0);
        rows.null();
        rows.end_row();
        assert_eq!(rows.finish(&head(&two), &mut out), Err(WireError::Count));
        rows.begin(1, false, 0);
        assert_eq!(rows.finish(&head(&two), &mut out), Err(WireError::Count));
        rows.begin(0, false, 0);
        rows.end_row();
        assert_eq!(rows.finish(&head(&Shape::inline::<&str>(&[])), &mut out), Err(WireError::Count));
        assert_eq!(out, [1]);
        rows.begin(2, false, 0);
        assert_eq!(rows.finish(&head(&two), &mut out), Ok(()));
    }

    #[test]
    fn a_chunk_begins_empty_after_one_that_was_abandoned() {
        let shape = Shape::inline(&["a"]);
        let mut rows = RowsWriter::new();
        let mut fresh = Vec::new();
        rows.begin(1, false, 0);
        rows.finish(&head(&shape), &mut fresh).unwrap();
        rows.begin(1, true, 0);
        rows.text("é".as_bytes());
        rows.blob(b"b");
        rows.begin(1, false, 0);
        let mut out = Vec::new();
        rows.finish(&head(&shape), &mut out).unwrap();
        assert_eq!(out, fresh);
    }

    #[test]
    fn a_large_value_does_not_keep_its_memory() {
        let shape = Shape::inline(&["a"]);
        let mut rows = RowsWriter::new();
        rows.begin(1, false, 0);
        rows.blob(&vec![0; 8 * KEPT_BYTES]);
        rows.end_row();
        rows.finish(&head(&shape), &mut Vec::new()).unwrap();
        assert!(rows.blob.capacity() < 2 * KEPT_BYTES);
    }

    #[test]
    fn utf16_length_is_that_of_the_standard_library() {
        let long = "😀é".repeat(100);
        for text in ["", "a", "é", "€", "😀", "a\0é€😀\u{FFFF}\u{10000}\u{10FFFF}\u{800}\u{7FF}", &long] {
            assert_eq!(utf16_length(text.as_bytes()), text.encode_utf16().count());
        }
    }
}
