//! The 32 bytes that begin every record, and a bounds-checked reader of what follows them.

use super::WireError;

/// Size of the header of every record.
pub(super) const HEADER: usize = 32;

/// The fields that all records have in common, by position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) size: u32,
    pub(super) op: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// The u16 at 10.
    pub(super) half: u16,
    /// The u32 at 12, 16, 20, 24 and 28.
    pub(super) words: [u32; 5],
}

impl Header {
    /// Appends the header to `out`.
    #[inline]
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let [half_low, half_high] = self.half.to_le_bytes();
        let [at_12, at_16, at_20, at_24, at_28] = self.words.map(u32::to_le_bytes);
        let bytes = [
            self.size.to_le_bytes(),
            self.op.to_le_bytes(),
            [self.kind, self.flags, half_low, half_high],
            at_12,
            at_16,
            at_20,
            at_24,
            at_28,
        ];
        out.extend_from_slice(bytes.as_flattened());
    }

    /// Reads the header at the start of `bytes` and splits the record off: header, content, rest.
    ///
    /// Fails if the size is impossible or `bytes` ends before the record does.
    #[inline]
    pub(super) fn split(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), WireError> {
        let mut reader = Reader::new(bytes);
        let size = reader.u32()?;
        let op = reader.u32()?;
        let [kind, flags] = reader.array()?;
        let half = u16::from_le_bytes(reader.array()?);
        let words = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let length = usize::try_from(size).map_err(|_| WireError::Size(size))?;
        if !length.is_multiple_of(8) {
            return Err(WireError::Size(size));
        }
        let (content, rest) = length
            .checked_sub(HEADER)
            .and_then(|content| reader.rest().split_at_checked(content))
            .ok_or(WireError::Size(size))?;
        Ok((Self { size, op, kind, flags, half, words }, content, rest))
    }

    /// The operation of a record whose header may be incomplete or wrong.
    pub(super) fn peek_op(bytes: &[u8]) -> Option<u32> {
        let mut reader = Reader::new(bytes);
        reader.u32().and_then(|_| reader.u32()).ok()
    }
}

/// Appends zeros until the record that began at `start` has a size that is a multiple of 8.
#[inline]
pub(super) fn pad(out: &mut Vec<u8>, start: usize) {
    let end = out.len().saturating_add(padding(out.len().wrapping_sub(start)));
    // One store of eight bytes instead of a copy of variable length.
    out.extend_from_slice(&[0; 8]);
    out.truncate(end);
}

/// How many bytes are missing from `length` to the next multiple of 8.
#[inline]
pub(super) const fn padding(length: usize) -> usize {
    length.wrapping_neg() & 7
}

/// The bytes that are left of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read.
    #[inline]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_le_bytes)
    }

    /// A length as the records hold it.
    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, WireError> {
        usize::try_from(self.u32()?).map_err(|_| WireError::TooLarge)
    }

    /// `length` bytes and the padding behind them, which must be zero.
    pub(super) fn block(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let block = self.bytes(length)?;
        if self.bytes(padding(length))?.iter().any(|byte| *byte != 0) {
            return Err(WireError::Trailing);
        }
        Ok(block)
    }

    /// Succeeds if everything has been read.
    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}
