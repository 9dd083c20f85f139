//! The parameters of a request: checked once in one pass, then iterated without a check.

use super::header::{Reader, padding};
use super::{MAX_SAFE_INTEGER, WireError};

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const INT32: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const INT64: u8 = 3;
    pub(super) const REAL: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BLOB: u8 = 6;
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param<'a> {
    /// Name without its prefix, `None` for a positional parameter. Either all parameters of a request
    /// have a name or none has.
    pub name: Option<&'a str>,
    /// What to bind.
    pub value: Value<'a>,
}

/// A value to bind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// An INTEGER.
    Int(i64),
    /// A REAL, never NaN when it comes out of [`Params`].
    Real(f64),
    /// A TEXT: valid UTF-8 when it comes out of [`Params`], as bytes so that nobody checks it again.
    Text(&'a [u8]),
    /// A BLOB.
    Blob(&'a [u8]),
}

/// The parameters of one request, known to be well-formed.
#[derive(Debug, Clone, Default)]
pub struct Params<'a> {
    count: u16,
    named: bool,
    /// Exactly the parameters, without padding.
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// Checks `count` parameters and the padding behind them in one pass over `bytes`.
    pub(super) fn parse(bytes: &'a [u8], count: u16, named: bool) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        for _ in 0..count {
            if named {
                str::from_utf8(split_name(&mut reader)?).map_err(|_| WireError::Text)?;
            }
            if let Value::Text(text) = split_value(&mut reader)? {
                str::from_utf8(text).map_err(|_| WireError::Text)?;
            }
        }
        let rest = reader.rest();
        let used = bytes.len().saturating_sub(rest.len());
        if rest.len() != padding(used) || rest.iter().any(|byte| *byte != 0) {
            return Err(WireError::Trailing);
        }
        let bytes = bytes.get(..used).ok_or(WireError::Truncated)?;
        Ok(Self { count, named, bytes })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// How many bytes they take as they are encoded.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether they carry names.
    #[must_use]
    pub const fn named(&self) -> bool {
        self.named
    }

    /// The parameters in the order in which they were sent.
    #[must_use]
    pub fn iter(&self) -> Iter<'a> {
        Iter { left: self.count, named: self.named, reader: Reader::new(self.bytes) }
    }

    /// A copy that outlives the request buffer; up to 64 bytes of parameters need no heap.
    #[must_use]
    pub fn to_owned(&self) -> OwnedParams {
        OwnedParams { count: self.count, named: self.named, bytes: Storage::new(self.bytes) }
    }
}

impl<'a> IntoIterator for &Params<'a> {
    type Item = Param<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over [`Params`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    left: u16,
    named: bool,
    reader: Reader<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Param<'a>;

    #[inline]
    fn next(&mut self) -> Option<Param<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Params::parse went the same way over the same bytes, so nothing below comes out as None.
        let name = if self.named { Some(str::from_utf8(split_name(&mut self.reader).ok()?).ok()?) } else { None };
        let value = split_value(&mut self.reader).ok()?;
        Some(Param { name, value })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.left);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl std::iter::FusedIterator for Iter<'_> {}

/// Parameters that own their bytes.
#[derive(Debug, Clone)]
pub struct OwnedParams {
    count: u16,
    named: bool,
    bytes: Storage,
}

impl OwnedParams {
    /// No parameters.
    #[must_use]
    pub fn empty() -> Self {
        Params::default().to_owned()
    }

    /// The same parameters for iteration; nothing is checked again.
    #[must_use]
    pub fn borrow(&self) -> Params<'_> {
        Params { count: self.count, named: self.named, bytes: self.bytes.as_slice() }
    }
}

impl Default for OwnedParams {
    fn default() -> Self {
        Self::empty()
    }
}

const INLINE: usize = 64;

#[derive(Debug, Clone)]
enum Storage {
    Inline([u8; INLINE], u8),
    Heap(Box<[u8]>),
}

impl Storage {
    fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match (u8::try_from(bytes.len()), inline.get_mut(..bytes.len())) {
            (Ok(length), Some(target)) => {
                target.copy_from_slice(bytes);
                Self::Inline(inline, length)
            }
            _ => Self::Heap(bytes.into()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(bytes, length) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Heap(bytes) => bytes,
        }
    }
}

#[inline]
fn split_name<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = u16::from_le_bytes(reader.array()?);
    reader.bytes(usize::from(length))
}

/// Takes the next value off `reader`, checking all but the encoding of text.
#[inline]
fn split_value<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, WireError> {
    let [tag] = reader.array()?;
    Ok(match tag {
        tag::NULL => Value::Null,
        tag::INT32 => Value::Int(i64::from(i32::from_le_bytes(reader.array()?))),
        tag::INT => Value::Int(integer(f64::from_le_bytes(reader.array()?))?),
        tag::INT64 => Value::Int(reader.i64()?),
        tag::REAL => {
            let real = f64::from_le_bytes(reader.array()?);
            if real.is_nan() {
                return Err(WireError::Number);
            }
            Value::Real(real)
        }
        tag::TEXT => {
            let length = reader.length()?;
            Value::Text(reader.bytes(length)?)
        }
        tag::BLOB => {
            let length = reader.length()?;
            Value::Blob(reader.bytes(length)?)
        }
        unknown => return Err(WireError::Tag(unknown)),
    })
}

/// The integer that a safe integral float stands for; -0 is 0.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "the cast saturates, and comparing back finds every value that it changed"
)]
fn integer(float: f64) -> Result<i64, WireError> {
    let integer = float as i64;
    if integer as f64 == float && integer.unsigned_abs() <= MAX_SAFE_INTEGER {
        Ok(integer)
    } else {
        Err(WireError::Number)
    }
}

/// Appends one parameter, with its name if `named`; an integer takes the tag that JavaScript would use.
pub(super) fn append(out: &mut Vec<u8>, param: &Param<'_>, named: bool) -> Result<(), WireError> {
    if named {
        let name = param.name.unwrap_or_default();
        let length = u16::try_from(name.len()).map_err(|_| WireError::TooLarge)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    match param.value {
        Value::Null => out.push(tag::NULL),
        Value::Int(integer) => append_integer(out, integer),
        Value::Real(real) => {
            out.push(tag::REAL);
            out.extend_from_slice(&real.to_le_bytes());
        }
        Value::Text(bytes) => append_bytes(out, tag::TEXT, bytes)?,
        Value::Blob(bytes) => append_bytes(out, tag::BLOB, bytes)?,
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "only safe integers are cast")]
fn append_integer(out: &mut Vec<u8>, integer: i64) {
    if let Ok(small) = i32::try_from(integer) {
        out.push(tag::INT32);
        out.extend_from_slice(&small.to_le_bytes());
    } else if integer.unsigned_abs() <= MAX_SAFE_INTEGER {
        out.push(tag::INT);
        out.extend_from_slice(&(integer as f64).to_le_bytes());
    } else {
        out.push(tag::INT64);
        out.extend_from_slice(&integer.to_le_bytes());
    }
}

fn append_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Result<(), WireError> {
    let length = u32::try_from(bytes.len()).map_err(|_| WireError::TooLarge)?;
    out.push(tag);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], count: u16) -> Result<Vec<Value<'_>>, WireError> {
        Params::parse(bytes, count, false).map(|params| params.iter().map(|param| param.value).collect())
    }

    fn float(tag: u8, value: f64) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&value.to_le_bytes());
        bytes.extend_from_slice(&[0; 7]);
        bytes
    }

    #[test]
    fn an_integral_safe_float_is_an_integer() {
        for value in [0.0, -1.0, 9_007_199_254_740_991.0, -9_007_199_254_740_991.0] {
            assert!(matches!(parse(&float(tag::INT, value), 1).unwrap()[..], [Value::Int(_)]));
        }
        assert_eq!(parse(&float(tag::INT, -0.0), 1), Ok(vec![Value::Int(0)]));
    }

    #[test]
    fn an_integer_that_is_fractional_unsafe_or_not_finite_is_refused() {
        for value in [0.5, 9_007_199_254_740_992.0, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(parse(&float(tag::INT, value), 1), Err(WireError::Number), "{value}");
        }
    }

    #[test]
    fn a_real_may_be_infinite_but_not_nan() {
        assert_eq!(parse(&float(tag::REAL, f64::INFINITY), 1), Ok(vec![Value::Real(f64::INFINITY)]));
        assert_eq!(parse(&float(tag::REAL, f64::NAN), 1), Err(WireError::Number));
    }

    #[test]
    fn what_follows_the_last_parameter_is_padding() {
        assert_eq!(parse(&[0; 8], 1), Ok(vec![Value::Null]));
        assert_eq!(parse(&[0; 8], 0), Err(WireError::Trailing));
        assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 0, 1], 1), Err(WireError::Trailing));
        assert_eq!(parse(&[0; 16], 1), Err(WireError::Trailing));
        assert_eq!(parse(&[0; 8], 9), Err(WireError::Truncated));
    }

    #[test]
    fn text_and_names_must_be_utf8() {
        let text = [tag::TEXT, 1, 0, 0, 0, 0xFF, 0, 0];
        assert_eq!(parse(&text, 1), Err(WireError::Text));
        let name = [1, 0, 0xFF, tag::NULL, 0, 0, 0, 0];
        assert_eq!(Params::parse(&name, 1, true).unwrap_err(), WireError::Text);
    }

    #[test]
    fn a_length_beyond_the_record_is_refused() {
        for tag in [tag::TEXT, tag::BLOB] {
            assert_eq!(parse(&[tag, 4, 0, 0, 0, 0, 0, 0], 1), Err(WireError::Truncated));
            assert_eq!(parse(&[tag, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0], 1), Err(WireError::Truncated));
        }
        assert_eq!(parse(&[7, 0, 0, 0, 0, 0, 0, 0], 1), Err(WireError::Tag(7)));
    }

    #[test]
    fn a_copy_of_64_bytes_stays_off_the_heap_and_one_of_65_does_not() {
        for (length, inline) in [(0, true), (59, true), (60, false), (1000, false)] {
            let mut bytes = Vec::new();
            append(&mut bytes, &Param { name: None, value: Value::Blob(&vec![7; length]) }, false).unwrap();
            super::super::header::pad(&mut bytes, 0);
            let params = Params::parse(&bytes, 1, false).unwrap();
            let owned = params.to_owned();
            assert_eq!(matches!(owned.bytes, Storage::Inline(..)), inline, "{length}");
            assert!(owned.borrow().iter().eq(params.iter()));
        }
    }
}
