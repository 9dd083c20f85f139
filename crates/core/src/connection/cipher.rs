//! Owns what an encrypted file asks of its connection: the key, the words for one that does not open, and the watch that
//! damage never becomes data.
//!
//! SQLCipher answers the first read of a page that it cannot authenticate with zeros and success, and fails only from then
//! on. So whenever pages were read from the file, its status is asked for before anything leaves the engine or is committed.

use std::ffi::{CStr, c_int};

use rusqlite::ffi;

use super::Connection;
use super::checkpoint::counter;
use crate::error::{Error, ErrorCode, Result};
use crate::key::{self, Keyspec};
use crate::statement::{Step, prepare};

/// What a plain file begins with (<https://sqlite.org/fileformat2.html#the_database_header>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes at the end of each page of SQLCipher 3 and newer: an IV of 16 and a MAC of at most 64.
const RESERVED: u8 = 80;
/// Fixed bytes of the header at 21: payload fractions.
const FRACTIONS: [u8; 3] = [64, 32, 32];

/// What a connection knows of the encryption of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// There is none.
    Plain,
    /// Pages read from the file, as of the last look at SQLCipher's status.
    Encrypted { looked_at: c_int },
    /// A page could not be authenticated; the connection is not used again.
    Damaged,
}

impl Connection {
    /// Gives the handle its key, before the first read.
    pub(super) fn unlock(&mut self, keyspec: &Keyspec) -> Result<()> {
        // SAFETY: the handle is open and used by this thread alone.
        let code = unsafe { keyspec.apply(self.raw(), c"main") };
        if code != ffi::SQLITE_OK {
            return Err(Error::sqlite(ErrorCode::CannotOpen, "SQLCipher does not take the key", code));
        }
        self.protection = Protection::Encrypted { looked_at: 0 };
        if let Some(version) = keyspec.compatibility() {
            let pragma = format!("PRAGMA cipher_compatibility = {version}");
            self.db.execute_batch(&pragma).map_err(|error| super::from_rusqlite(&error, "the cipher settings"))?;
        }
        Ok(())
    }

    /// Gives an attached database, of which nothing was read yet, a key.
    pub(crate) fn unlock_attached(&self, name: &CStr, keyspec: &Keyspec) -> Result<()> {
        // SAFETY: the handle is open and used by this thread alone.
        let code = unsafe { keyspec.apply(self.raw(), name) };
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        Err(Error::sqlite(ErrorCode::CannotOpen, "SQLCipher does not take the key of the copy", code))
    }

    /// What the handle has derived of the key that it was given.
    pub(crate) fn derived(&self, given: &Keyspec) -> Option<Keyspec> {
        // SAFETY: the handle is open and used by this thread alone.
        unsafe { given.derived(self.raw()) }
    }

    /// Whether its file is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.protection != Protection::Plain
    }

    /// Whether a page of the file could not be authenticated.
    pub(crate) fn is_damaged(&self) -> bool {
        self.protection == Protection::Damaged
    }

    /// Fails if a page that was read since the last look could not be authenticated: what was read then may be zeros.
    pub(crate) fn check_pages(&mut self) -> Result<()> {
        match self.protection {
            Protection::Plain => Ok(()),
            Protection::Damaged => Err(damaged(ffi::SQLITE_CORRUPT)),
            Protection::Encrypted { looked_at } => {
                let misses = self.pages_read();
                if misses == looked_at { Ok(()) } else { self.look_at_pages(misses) }
            }
        }
    }

    fn look_at_pages(&mut self, misses: c_int) -> Result<()> {
        if self.status()? {
            self.protection = Protection::Encrypted { looked_at: misses };
            return Ok(());
        }
        self.protection = Protection::Damaged;
        Err(damaged(ffi::SQLITE_CORRUPT))
    }

    /// The error of a statement, in the words of the damage if that is behind it: SQLCipher's later failures have many codes.
    pub(crate) fn explained(&mut self, error: Error) -> Error {
        if self.protection == Protection::Plain || error.sqlite == 0 || error.is_busy() {
            return error;
        }
        match self.look_at_pages(self.pages_read()) {
            Err(_) if self.is_damaged() => damaged(error.sqlite),
            _ => error,
        }
    }

    /// Authenticates every page of the file itself, free ones too, without a lock: what is wrong with it, in SQLCipher's words.
    /// Not the log, and not files of SQLCipher 1, which cannot be authenticated.
    pub(crate) fn cipher_problems(&self) -> Result<Vec<String>> {
        let failed = |error: rusqlite::Error| super::from_rusqlite(&error, "the pages cannot be authenticated");
        let mut statement = self.db.prepare("PRAGMA cipher_integrity_check").map_err(failed)?;
        let problems = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        let problems: Vec<String> = problems.collect::<rusqlite::Result<_>>().map_err(failed)?;
        Ok(problems.into_iter().filter(|problem| !problem.starts_with("HMAC is not enabled")).collect())
    }

    /// Fails if a page of the file is not authentic.
    pub(crate) fn cipher_check(&self) -> Result<()> {
        match self.cipher_problems()?.first() {
            None => Ok(()),
            Some(problem) => {
                let why = format!("the file is damaged: {problem}");
                Err(Error::sqlite(ErrorCode::CorruptDatabase, why, ffi::SQLITE_CORRUPT))
            }
        }
    }

    /// Pages read from the file since the handle was opened.
    fn pages_read(&self) -> c_int {
        // SAFETY: the handle is open and used by this thread alone.
        unsafe { counter(self.raw(), ffi::SQLITE_DBSTATUS_CACHE_MISS) }
    }

    /// SQLCipher's own word, from a statement that is new each time: a prepared one repeats what it said first.
    fn status(&self) -> Result<bool> {
        let prepared = prepare(self.raw(), "PRAGMA cipher_status", false)?;
        let Some(mut statement) = prepared.statement else { return Ok(false) };
        Ok(statement.step()? == Step::Row && statement.text_is("1"))
    }

    /// Why the first read of the file found no database, from the bytes it begins with.
    pub(super) fn why_no_database(&self, path: &str) -> Error {
        let mut header = [0; 24];
        let complete = self.file().and_then(|file| file.read(&mut header, 0)).is_ok();
        let is_plain = header.first_chunk() == Some(MAGIC);
        match (self.is_encrypted(), is_plain) {
            (true, true) => key::not_encrypted(path),
            _ if complete && is_foreign(&header) => key::foreign_format(path),
            (true, false) => key::wrong_key(path),
            (false, false) => key::key_wanted(path),
            (false, true) => Error::sqlite(
                ErrorCode::NotADatabase,
                format!("{path} begins as a SQLite file, and is none that can be read: its header is damaged"),
                ffi::SQLITE_NOTADB,
            ),
        }
    }
}

/// Whether a file begins as those of `SQLite3` Multiple Ciphers' scheme `sqlcipher` with `legacy` 0: the bytes 16 to 23 of the
/// header are in clear, where SQLCipher encrypts from 16 on.
pub(crate) fn is_foreign(header: &[u8; 24]) -> bool {
    let [.., high, low, write, read, reserved, a, b, c] = *header;
    let page_size = u32::from(high) << 8 | u32::from(low);
    let is_size = page_size == 1 || (page_size.is_power_of_two() && page_size >= 1_024);
    header.first_chunk() != Some(MAGIC)
        && is_size
        && write == read
        && matches!(write, 1 | 2)
        && reserved == RESERVED
        && [a, b, c] == FRACTIONS
}

/// A page could not be authenticated.
pub(super) fn damaged(sqlite: c_int) -> Error {
    Error::sqlite(
        ErrorCode::CorruptDatabase,
        "the file is damaged: a page of it is not what was written with this key; nothing that was read from it is given",
        sqlite,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_foreign_format_is_known_by_its_clear_bytes() {
        let mut header = [0xa5; 24];
        header[16..].copy_from_slice(&[0x10, 0, 2, 2, 0x50, 0x40, 0x20, 0x20]);
        assert!(is_foreign(&header));
        for at in [16, 17, 18, 19, 20, 21, 22, 23] {
            let mut other = header;
            other[at] ^= 0x1f;
            assert!(!is_foreign(&other), "byte {at}");
        }
        header[..16].copy_from_slice(MAGIC);
        assert!(!is_foreign(&header));
    }
}
