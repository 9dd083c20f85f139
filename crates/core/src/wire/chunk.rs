//! The rows of a ROWS record as a client in Rust reads them.

use super::WireError;
use super::completion::flag;
use super::header::{Header, Reader};
use super::rows::tag;

/// A value of a result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// A REAL, or a safe integer of a request without BIGINT.
    Number(f64),
    /// Any other integer.
    Int(i64),
    /// A TEXT.
    Text(&'a str),
    /// A BLOB.
    Blob(&'a [u8]),
}

/// A chunk of rows, known to be well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    columns: usize,
    shape: u32,
    flags: u8,
    tags: &'a [u8],
    slots: &'a [[u8; 8]],
    text: &'a str,
    blob: &'a [u8],
    changes: Option<(i64, i64)>,
    names: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes the chunk that `header` announces off `content` and checks it completely.
    pub(super) fn parse(header: &Header, content: &mut Reader<'a>) -> Result<Self, WireError> {
        let [rows, shape, text, blob, names] = header.words;
        let columns = usize::from(header.half);
        let cells = length(rows)?.checked_mul(columns).ok_or(WireError::Truncated)?;
        if (columns == 0 && rows > 0) || (shape != 0 && names > 0) {
            return Err(WireError::Count);
        }
        let tags = content.block(cells)?;
        let (slots, _) = content.bytes(cells.checked_mul(8).ok_or(WireError::Truncated)?)?.as_chunks();
        let text = str::from_utf8(content.block(length(text)?)?).map_err(|_| WireError::Text)?;
        if text.is_ascii() == (header.flags & flag::UTF8 != 0) {
            return Err(WireError::Text);
        }
        let blob = content.block(length(blob)?)?;
        let changes = match header.flags & flag::CHANGES {
            0 => None,
            _ => Some((content.i64()?, content.i64()?)),
        };
        let names = content.block(length(names)?)?;
        let chunk = Self { columns, shape, flags: header.flags, tags, slots, text, blob, changes, names };
        chunk.check()?;
        Ok(chunk)
    }

    /// Checks all that iteration relies on: every cell and every name is there, and nothing is left.
    fn check(&self) -> Result<(), WireError> {
        let mut cells = self.cells();
        while cells.next_cell()?.is_some() {}
        if !cells.text.is_empty() || !cells.blob.is_empty() {
            return Err(WireError::Count);
        }
        if self.shape == 0 {
            let mut names = Reader::new(self.names);
            for _ in 0..self.columns {
                next_name(&mut names)?;
            }
            names.end()?;
        }
        Ok(())
    }

    /// How many cells a row has.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Id of the list of column names; 0: the names are inline.
    #[must_use]
    pub const fn shape(&self) -> u32 {
        self.shape
    }

    /// The inline names; `None` if [`Chunk::shape`] names them.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&'a str>> {
        let mut names = Reader::new(self.names);
        (self.shape == 0).then(|| (0..self.columns).filter_map(|_| next_name(&mut names).ok()).collect())
    }

    /// Whether the statement may have more rows and its cursor stays open.
    #[must_use]
    pub const fn open(&self) -> bool {
        self.flags & flag::OPEN != 0
    }

    /// Changes and last insert rowid, if the record has them.
    #[must_use]
    pub const fn changes(&self) -> Option<(i64, i64)> {
        self.changes
    }

    /// The rows, in order.
    #[must_use]
    pub fn iter(&self) -> Rows<'a> {
        Rows { columns: self.columns, cells: self.cells() }
    }

    fn cells(&self) -> Cells<'a> {
        let utf8 = self.flags & flag::UTF8 != 0;
        Cells { tags: self.tags, slots: self.slots, text: self.text, utf8, blob: self.blob }
    }
}

impl<'a> IntoIterator for &Chunk<'a> {
    type Item = Vec<Cell<'a>>;
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.iter()
    }
}

/// Iterator over the rows of a [`Chunk`].
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    columns: usize,
    cells: Cells<'a>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = Vec<Cell<'a>>;

    fn next(&mut self) -> Option<Vec<Cell<'a>>> {
        if self.cells.tags.is_empty() {
            return None;
        }
        // Chunk::parse has been over the same cells, so that none comes out as an error.
        (0..self.columns).map(|_| self.cells.next_cell().ok().flatten()).collect()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rows = self.cells.tags.len().checked_div(self.columns).unwrap_or(0);
        (rows, Some(rows))
    }
}

impl ExactSizeIterator for Rows<'_> {}
impl std::iter::FusedIterator for Rows<'_> {}

/// What is left of the cells and of the blocks that they cut up.
#[derive(Debug, Clone)]
struct Cells<'a> {
    tags: &'a [u8],
    slots: &'a [[u8; 8]],
    text: &'a str,
    utf8: bool,
    blob: &'a [u8],
}

impl<'a> Cells<'a> {
    fn next_cell(&mut self) -> Result<Option<Cell<'a>>, WireError> {
        let (Some((tag, tags)), Some((slot, slots))) = (self.tags.split_first(), self.slots.split_first()) else {
            return Ok(None);
        };
        let cell = match *tag {
            tag::NULL => Cell::Null,
            tag::NUMBER => Cell::Number(f64::from_le_bytes(*slot)),
            tag::INT64 => Cell::Int(i64::from_le_bytes(*slot)),
            tag::TEXT => {
                let length = usize::try_from(u64::from_le_bytes(*slot)).map_err(|_| WireError::Count)?;
                let bytes = if self.utf8 { utf8_length(self.text, length) } else { Some(length) };
                let (text, rest) = bytes.and_then(|end| self.text.split_at_checked(end)).ok_or(WireError::Count)?;
                self.text = rest;
                Cell::Text(text)
            }
            tag::BLOB => {
                let length = usize::try_from(u64::from_le_bytes(*slot)).map_err(|_| WireError::Count)?;
                let (blob, rest) = self.blob.split_at_checked(length).ok_or(WireError::Count)?;
                self.blob = rest;
                Cell::Blob(blob)
            }
            unknown => return Err(WireError::Tag(unknown)),
        };
        self.tags = tags;
        self.slots = slots;
        Ok(Some(cell))
    }
}

/// How many bytes of `text` make up its first `units` UTF-16 units, `None` if it has fewer or they end
/// within a character.
fn utf8_length(text: &str, mut units: usize) -> Option<usize> {
    let mut chars = text.chars();
    while units > 0 {
        units = units.checked_sub(chars.next()?.len_utf16())?;
    }
    text.len().checked_sub(chars.as_str().len())
}

fn next_name<'a>(names: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let length = names.length()?;
    str::from_utf8(names.bytes(length)?).map_err(|_| WireError::Text)
}

fn length(length: u32) -> Result<usize, WireError> {
    usize::try_from(length).map_err(|_| WireError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Body, Completion, RowsHead, RowsWriter, Shape};

    fn record(fill: impl FnOnce(&mut RowsWriter)) -> Vec<u8> {
        let mut rows = RowsWriter::new();
        rows.begin(1, false, 0);
        fill(&mut rows);
        let mut out = Vec::new();
        let shape = Shape::inline(&["a"]);
        rows.finish(&RowsHead { op: 0, shape: &shape, last: true, open: false, changes: None }, &mut out).unwrap();
        out
    }

    fn refused(record: &[u8], at: usize, value: u8) -> WireError {
        let mut record = record.to_vec();
        assert_ne!(record[at], value);
        record[at] = value;
        Completion::parse(&record).unwrap_err()
    }

    #[test]
    fn every_field_that_contradicts_another_is_refused() {
        let record = record(|rows| {
            rows.text("é😀".as_bytes());
            rows.end_row();
            rows.blob(b"b");
            rows.end_row();
        });
        // 32 tags, 40 and 48 slots, 56 text, 64 blob, 72 names.
        assert_eq!(record.len(), 80);
        assert_eq!(refused(&record, 9, 1), WireError::Text);
        assert_eq!(refused(&record, 10, 0), WireError::Count);
        assert_eq!(refused(&record, 16, 1), WireError::Count);
        assert_eq!(refused(&record, 24, 0), WireError::Count);
        assert_eq!(refused(&record, 28, 4), WireError::Trailing);
        assert_eq!(refused(&record, 32, 9), WireError::Tag(9));
        assert_eq!(refused(&record, 34, 1), WireError::Trailing);
        assert_eq!(refused(&record, 40, 2), WireError::Count);
        assert_eq!(refused(&record, 40, 1), WireError::Count);
        assert_eq!(refused(&record, 47, 255), WireError::Count);
        assert_eq!(refused(&record, 48, 0), WireError::Count);
        assert_eq!(refused(&record, 56, 0x80), WireError::Text);
        assert_eq!(refused(&record, 72, 0), WireError::Trailing);
        assert_eq!(refused(&record, 76, 0xFF), WireError::Text);
    }

    #[test]
    fn rows_without_columns_are_refused_instead_of_counted() {
        let mut record = record(|_| ());
        record[10] = 0;
        record[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Completion::parse(&record), Err(WireError::Count));
    }

    #[test]
    fn counts_beyond_the_record_are_refused_without_reserving_memory() {
        let mut record = record(|_| ());
        record[10..16].fill(0xFF);
        assert_eq!(Completion::parse(&record), Err(WireError::Truncated));
    }

    #[test]
    fn a_chunk_knows_how_many_rows_are_left() {
        let record = record(|rows| {
            for _ in 0..3 {
                rows.null();
                rows.end_row();
            }
        });
        let Body::Rows(chunk) = Completion::parse(&record).unwrap().0.body else { panic!("not rows") };
        let mut rows = chunk.iter();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.next(), Some(vec![Cell::Null]));
        assert_eq!(rows.len(), 2);
    }
}
