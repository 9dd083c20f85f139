//! Owns the log of a file that is converted: its committed frames go into the file as they are.
//!
//! Read as SQLite recovers it (<https://sqlite.org/fileformat2.html#the_write_ahead_log>): frames count as long as their salts are
//! those of the header and the running checksum, which is over the encrypted bytes, holds, up to the last that ends a commit.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::offset;
use super::page::{PAGE, Page, PageCipher};
use crate::connection::File;
use crate::error::{Error, ErrorCode, Result};
use crate::location::with_suffix;

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The magic numbers of checksums over little-endian and over big-endian words.
const LITTLE: u32 = 0x377f_0682;
const BIG: u32 = 0x377f_0683;

/// What a log has to say.
#[derive(Default)]
struct Committed {
    /// Where the last image of each page is.
    pages: BTreeMap<u32, u64>,
    /// Pages of the database after the last commit.
    size: u32,
}

/// Applies the log beside `path` to `file`. `false`: there is nothing in it.
pub(super) fn apply(path: &Path, file: &File<'_>, cipher: &PageCipher) -> Result<bool> {
    let name = with_suffix(path, "-wal");
    let failed = |error: io::Error| Error::new(ErrorCode::Io, format!("{} cannot be read: {error}", name.display()));
    let log = match fs::File::open(&name) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut log = BufReader::with_capacity(256 * 1024, log);
    let committed = read(&mut log, cipher)?;
    if committed.size == 0 {
        return Ok(false);
    }
    let mut page = Page::new();
    let mut each = |number: u32, at: u64| {
        log.seek(SeekFrom::Start(at)).and_then(|_| log.read_exact(page.bytes_mut())).map_err(failed)?;
        if !cipher.is_authentic(&page, number) {
            let why = format!("the log is damaged: page {number} in it is not what was written with this key");
            return Err(Error::new(ErrorCode::CorruptDatabase, why));
        }
        Ok(page.bytes().to_vec())
    };
    // All of it is looked at before any of it is written.
    for (number, at) in &committed.pages {
        each(*number, *at)?;
    }
    for (number, at) in committed.pages {
        if number <= committed.size {
            file.write(&each(number, at)?, offset(number))?;
        }
    }
    file.truncate(u64::from(committed.size) * PAGE as u64)?;
    file.sync()?;
    Ok(true)
}

/// The committed frames of a log; none if it is empty or of another time.
fn read(log: &mut impl Read, cipher: &PageCipher) -> Result<Committed> {
    let mut header = [0; LOG_HEADER];
    if log.read_exact(&mut header).is_err() {
        return Ok(Committed::default());
    }
    let order = match word(&header, 0) {
        LITTLE => u32::from_le_bytes,
        BIG => u32::from_be_bytes,
        _ => return Ok(Committed::default()),
    };
    let mut sum = checksum(order, (0, 0), &header[..24]);
    let is_whole = sum == (word(&header, 24), word(&header, 28));
    if !is_whole || usize::try_from(word(&header, 8)).ok() != Some(PAGE) {
        return Ok(Committed::default());
    }
    let mut committed = Committed::default();
    let mut pages = BTreeMap::new();
    let mut frame = [0; FRAME_HEADER];
    let mut page = Page::new();
    let mut at = LOG_HEADER as u64;
    while log.read_exact(&mut frame).is_ok() && log.read_exact(page.bytes_mut()).is_ok() {
        let number = word(&frame, 0);
        if number == 0 || frame[8..16] != header[16..24] {
            break;
        }
        sum = checksum(order, checksum(order, sum, &frame[..8]), page.bytes());
        if sum != (word(&frame, 16), word(&frame, 20)) {
            if at == LOG_HEADER as u64 && cipher.is_authentic(&page, number) {
                return Err(legacy());
            }
            break;
        }
        pages.insert(number, at + FRAME_HEADER as u64);
        at += (FRAME_HEADER + PAGE) as u64;
        let size = word(&frame, 4);
        if size != 0 {
            committed.pages.append(&mut pages);
            committed.size = size;
        }
    }
    Ok(committed)
}

/// With `mc_legacy_wal` the checksums are over the plain pages, and part of page 1 is not in the log at all.
fn legacy() -> Error {
    Error::new(
        ErrorCode::ForeignCipherFormat,
        "the log was written with mc_legacy_wal = 1, and is understood by its own program only; have that checkpoint it first",
    )
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_be_bytes)
}

/// The running checksum of SQLite's log: Fibonacci-weighted sums of pairs of words.
fn checksum(order: fn([u8; 4]) -> u32, start: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (mut first, mut second) = start;
    for [a, b] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
        first = first.wrapping_add(order(*a)).wrapping_add(second);
        second = second.wrapping_add(order(*b)).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::super::page::HEADER;
    use super::*;
    use crate::key::{Cipher, Key};
    use proptest::prelude::*;

    fn cipher() -> PageCipher {
        PageCipher::new(&Cipher::current(Key::raw(&[7; 32]).unwrap()), &[1; HEADER])
    }

    /// A log of pages by number, each with the size of the database if it ends a commit.
    fn log(frames: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [LITTLE, 3_007_000, 4_096, 0, 5, 6].iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut sum = checksum(u32::from_le_bytes, (0, 0), &bytes);
        bytes.extend([sum.0.to_be_bytes(), sum.1.to_be_bytes()].concat());
        for (number, size) in frames {
            let head = [number.to_be_bytes(), size.to_be_bytes()].concat();
            let page = [u8::try_from(*number).unwrap(); PAGE];
            sum = checksum(u32::from_le_bytes, checksum(u32::from_le_bytes, sum, &head), &page);
            bytes.extend(head);
            bytes.extend([5_u32.to_be_bytes(), 6_u32.to_be_bytes(), sum.0.to_be_bytes(), sum.1.to_be_bytes()].concat());
            bytes.extend(page);
        }
        bytes
    }

    fn committed(bytes: &[u8]) -> (Vec<u32>, u32) {
        let Committed { pages, size } = read(&mut &*bytes, &cipher()).unwrap();
        (pages.into_keys().collect(), size)
    }

    #[test]
    fn what_was_committed_counts() {
        assert_eq!(committed(&log(&[(1, 0), (2, 2), (3, 3), (4, 0)])), (vec![1, 2, 3], 3));
        assert_eq!(committed(&log(&[(1, 0)])), (vec![], 0));
        assert_eq!(committed(&[]), (vec![], 0));
    }

    proptest! {
        #[test]
        fn a_log_that_was_cut_or_changed_gives_the_commits_before(at in any::<prop::sample::Index>(), with in 1_u8.., cut in any::<bool>()) {
            let mut bytes = log(&[(1, 1), (2, 2), (3, 3)]);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= with }
            let whole = at.saturating_sub(LOG_HEADER) / (FRAME_HEADER + PAGE);
            let (pages, size) = committed(&bytes);
            // Words of the header that nobody reads are in its checksum as well.
            prop_assert_eq!(pages.len(), if at < LOG_HEADER { 0 } else { whole });
            prop_assert_eq!(size as usize, pages.len());
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..6_000)) {
            prop_assert_eq!(committed(&bytes), (vec![], 0));
        }
    }
}
