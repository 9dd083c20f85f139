//! Owns the keys of encrypted files: what a caller gives, what SQLCipher is handed, and the proof that two callers have the same.
//!
//! A raw key is used as it is. From a passphrase SQLCipher derives one, once per open file; the other connections get the
//! result, the key, the HMAC key and the salt in SQLCipher's own notation (`x'..'`, 160 hexadecimal digits).

use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use rusqlite::ffi;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};

/// Bytes of a raw key.
pub(crate) const RAW_KEY: usize = 32;
/// The settings that files of SQLCipher 4 have.
const CURRENT: u8 = 4;

/// Rounds of the derivation of SQLCipher 4.
const DERIVATION_ROUNDS: u32 = 256_000;

/// Bytes in one place of the memory: what moves is where they are, and nothing is left behind.
pub(crate) type RawKey = Arc<Zeroizing<[u8; RAW_KEY]>>;

/// A key as a caller gives it. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub enum Key {
    /// The key itself.
    Raw(RawKey),
    /// A text to derive it from (PBKDF2 with the salt of the file, as SQLCipher does).
    Passphrase(Zeroizing<String>),
}

/// What an encrypted file is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cipher {
    key: Key,
    /// The major version of SQLCipher whose default settings the file has.
    compatibility: u8,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw(_) => "Raw(..)",
            Self::Passphrase(_) => "Passphrase(..)",
        })
    }
}

/// In a time that tells nothing of either.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Proof::of(self).is_of(other)
    }
}

impl Eq for Key {}

impl Key {
    /// A raw key of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Option`] if there are more or fewer.
    pub fn raw(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != RAW_KEY {
            return Err(Error::new(ErrorCode::Option, format!("a key has {RAW_KEY} bytes, not {}", bytes.len())));
        }
        let mut key = RawKey::default();
        Arc::make_mut(&mut key).copy_from_slice(bytes);
        Ok(Self::Raw(key))
    }

    /// A passphrase.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Option`] if it is empty, holds NUL, or SQLCipher would take it for a raw key.
    pub fn passphrase(text: Zeroizing<String>) -> Result<Self> {
        let refused = |why: &str| Err(Error::new(ErrorCode::Option, format!("the passphrase {why}")));
        if text.is_empty() {
            return refused("is empty");
        }
        if text.contains('\0') {
            return refused("holds a NUL character");
        }
        if looks_like_keyspec(text.as_bytes()) {
            return refused("has the form x'..' of a raw key; give its bytes as key");
        }
        Ok(Self::Passphrase(text))
    }

    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Raw(key) => (0, key.as_slice()),
            Self::Passphrase(text) => (1, text.as_bytes()),
        }
    }
}

/// SQLCipher takes `x'` and 64, 96 or 160 hexadecimal digits for key material.
fn looks_like_keyspec(text: &[u8]) -> bool {
    let opened = text.strip_prefix(b"x'").or_else(|| text.strip_prefix(b"X'"));
    let digits = opened.and_then(|rest| rest.strip_suffix(b"'"));
    digits.is_some_and(|digits| matches!(digits.len(), 64 | 96 | 160) && digits.iter().all(u8::is_ascii_hexdigit))
}

impl Cipher {
    /// `compatibility`: the major version of SQLCipher that made the file, from 1 to 4; new files get the settings of it.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Option`] for another version.
    pub fn new(key: Key, compatibility: u8) -> Result<Self> {
        if !(1..=CURRENT).contains(&compatibility) {
            let why = format!("cipherCompatibility must be from 1 to {CURRENT}, got {compatibility}");
            return Err(Error::new(ErrorCode::Option, why));
        }
        Ok(Self { key, compatibility })
    }

    /// A key with the settings of today's files.
    #[must_use]
    pub fn current(key: Key) -> Self {
        Self { key, compatibility: CURRENT }
    }

    /// The key of 32 bytes, derived with `salt` from a passphrase as SQLCipher 4 does: PBKDF2-HMAC-SHA512, 256,000 rounds.
    pub(crate) fn derive(&self, salt: &[u8; 16]) -> RawKey {
        match &self.key {
            Key::Raw(key) => Arc::clone(key),
            Key::Passphrase(text) => {
                let mut key = RawKey::default();
                pbkdf2::pbkdf2_hmac::<Sha512>(text.as_bytes(), salt, DERIVATION_ROUNDS, &mut **Arc::make_mut(&mut key));
                key
            }
        }
    }

    /// The key alone.
    #[must_use]
    pub fn into_key(self) -> Key {
        self.key
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

/// What SQLCipher is handed: a raw key in its notation, or a passphrase. Wiped when it is dropped.
pub(crate) struct Keyspec {
    bytes: Zeroizing<Vec<u8>>,
    compatibility: u8,
    /// A passphrase, or derived from one.
    of_passphrase: bool,
}

impl Keyspec {
    /// Before anything is derived.
    pub(crate) fn of(cipher: &Cipher) -> Self {
        let bytes = match &cipher.key {
            Key::Raw(key) => raw_notation(key.as_slice()),
            Key::Passphrase(text) => Zeroizing::new(text.as_bytes().to_vec()),
        };
        let of_passphrase = matches!(cipher.key, Key::Passphrase(_));
        Self { bytes, compatibility: cipher.compatibility, of_passphrase }
    }

    /// What the handle `db` has derived of it.
    ///
    /// # Safety
    ///
    /// `db` is an open handle used by this thread alone.
    pub(crate) unsafe fn derived(&self, db: *mut ffi::sqlite3) -> Option<Self> {
        let (mut key, mut length) = (std::ptr::null_mut(), 0);
        // SAFETY: `db` is open; both out pointers are written before it returns. What it gives is ours until `sqlcipher_free`,
        // which wipes it.
        let bytes = unsafe {
            sqlcipherCodecGetKey(db, 0, &raw mut key, &raw mut length);
            if key.is_null() {
                return None;
            }
            let size = usize::try_from(length).unwrap_or_default();
            let bytes = Zeroizing::new(std::slice::from_raw_parts(key.cast::<u8>(), size).to_vec());
            sqlcipher_free(key, length.unsigned_abs().into());
            bytes
        };
        Some(Self { bytes, compatibility: self.compatibility, of_passphrase: self.of_passphrase })
    }

    /// Gives a database of the handle its key; nothing of it was read yet.
    ///
    /// # Safety
    ///
    /// `db` is an open handle used by this thread alone.
    pub(crate) unsafe fn apply(&self, db: *mut ffi::sqlite3, name: &CStr) -> c_int {
        let length = c_int::try_from(self.bytes.len()).unwrap_or_default();
        // SAFETY: the caller's promise; SQLCipher copies the bytes before it returns.
        unsafe { ffi::sqlite3_key_v2(db, name.as_ptr(), self.bytes.as_ptr().cast(), length) }
    }

    /// Encrypts the file of the handle with this key instead of the one it has.
    ///
    /// # Safety
    ///
    /// As of `apply`; the handle is in no transaction.
    pub(crate) unsafe fn rekey(&self, db: *mut ffi::sqlite3) -> c_int {
        let length = c_int::try_from(self.bytes.len()).unwrap_or_default();
        // SAFETY: as of `apply`.
        unsafe { ffi::sqlite3_rekey_v2(db, c"main".as_ptr(), self.bytes.as_ptr().cast(), length) }
    }

    /// The same key with the settings of today's files.
    pub(crate) fn current(&self) -> Result<Self> {
        let (compatibility, of_passphrase) = (CURRENT, self.of_passphrase);
        if self.compatibility == CURRENT {
            return Ok(Self { bytes: self.bytes.clone(), compatibility, of_passphrase });
        }
        // Of `x'..'` the digits of the key alone: the HMAC key is derived otherwise today.
        match self.bytes.get(..2 + 2 * RAW_KEY) {
            Some(start) if !self.of_passphrase => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(start.len() + 1));
                bytes.extend_from_slice(start);
                bytes.push(b'\'');
                Ok(Self { bytes, compatibility, of_passphrase })
            }
            _ => Err(Error::new(
                ErrorCode::Option,
                "the file is of an older SQLCipher, which derives another key from its passphrase; give the key or passphrase of the copy",
            )),
        }
    }

    /// The major version of SQLCipher whose settings the file has.
    pub(crate) fn version(&self) -> u8 {
        self.compatibility
    }

    /// The same if a pragma has to say it; `None` for today's.
    pub(crate) fn compatibility(&self) -> Option<u8> {
        (self.compatibility != CURRENT).then_some(self.compatibility)
    }
}

/// `x'..'` of key material.
fn raw_notation(key: &[u8]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or_default();
    // Of its final size from the start: a vector that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * key.len() + 3));
    text.extend_from_slice(b"x'");
    for byte in key {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text.push(b'\'');
    text
}

/// Tells whether a key is the one it was made of, and holds none: a keyed hash whose key is this process's own.
struct Proof([u8; 32]);

static PROOF_KEY: LazyLock<[u8; 64]> = LazyLock::new(|| {
    let mut key = [0; 64];
    // A system without randomness cannot encrypt either; a fixed key then only makes the hash an unkeyed one.
    let _ = getrandom::fill(&mut key);
    key
});

impl Proof {
    fn hash(key: &Key) -> Hmac<Sha256> {
        let mut hash = Hmac::<Sha256>::new((&*PROOF_KEY).into());
        let (kind, bytes) = key.parts();
        hash.update(&[kind]);
        hash.update(bytes);
        hash
    }

    fn of(key: &Key) -> Self {
        Self(Self::hash(key).finalize().into_bytes().into())
    }

    /// In constant time.
    fn is_of(&self, key: &Key) -> bool {
        Self::hash(key).verify_slice(&self.0).is_ok()
    }
}

/// The key of an open database, which all its connections take theirs from; a rekey changes it.
#[derive(Default)]
pub(crate) struct KeyRing {
    held: Mutex<Option<Held>>,
    /// The file was opened with it.
    proved: AtomicBool,
}

struct Held {
    keyspec: Arc<Keyspec>,
    proof: Proof,
}

impl KeyRing {
    /// What a new connection of the database opens the file with; `None`: it is not encrypted.
    pub(crate) fn keyspec(&self) -> Option<Arc<Keyspec>> {
        self.held.lock().as_ref().map(|held| Arc::clone(&held.keyspec))
    }

    /// Whether the file has had this key all the time.
    pub(crate) fn is_current(&self, keyspec: Option<&Arc<Keyspec>>) -> bool {
        match (keyspec, self.held.lock().as_ref()) {
            (Some(used), Some(held)) => Arc::ptr_eq(used, &held.keyspec),
            (used, held) => used.is_none() && held.is_none(),
        }
    }

    /// The file has this key from now on.
    pub(crate) fn set(&self, key: &Key, keyspec: Keyspec) {
        *self.held.lock() = Some(Held { keyspec: Arc::new(keyspec), proof: Proof::of(key) });
    }

    /// The file was opened with it: what cannot be decrypted from now on is damaged.
    pub(crate) fn proved(&self) {
        self.proved.store(true, Ordering::Release);
    }

    pub(crate) fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Acquire)
    }

    /// Whether one who joins the open database has proved to have its key.
    pub(crate) fn admits(&self, cipher: Option<&Cipher>, path: &str) -> Result<()> {
        match (self.held.lock().as_ref(), cipher) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(not_encrypted(path)),
            (Some(_), None) => Err(key_wanted(path)),
            (Some(held), Some(cipher)) if held.proof.is_of(&cipher.key) => {
                let (asked, has) = (cipher.compatibility, held.keyspec.compatibility);
                if asked == has {
                    return Ok(());
                }
                let why = format!(
                    "{path} is already open in this process with cipherCompatibility {has}, and is now opened with cipherCompatibility {asked}"
                );
                Err(Error::new(ErrorCode::OptionsConflict, why))
            }
            (Some(_), Some(_)) => Err(wrong_key(path)),
        }
    }
}

/// A key was given for a file that has none.
pub(crate) fn not_encrypted(path: &str) -> Error {
    let why = format!(
        "{path} is not encrypted, and was opened with a key; open it without one, and encrypt it by db.backup(path, {{ key }}) if it shall be"
    );
    Error::sqlite(ErrorCode::NotEncrypted, why, ffi::SQLITE_NOTADB)
}

/// No key was given for a file that has one, or is none of SQLite's at all: nobody can tell.
pub(crate) fn key_wanted(path: &str) -> Error {
    let why = format!(
        "{path} is not a database: it is no SQLite file, or it is encrypted and is to be opened with its key or passphrase"
    );
    Error::sqlite(ErrorCode::NotADatabase, why, ffi::SQLITE_NOTADB)
}

/// The key does not fit, or the file is damaged: nobody can tell.
pub(crate) fn wrong_key(path: &str) -> Error {
    let why = format!(
        "{path} cannot be decrypted: the key or passphrase is wrong (or cipherCompatibility, if an older SQLCipher made it), or the file is damaged or no database"
    );
    Error::sqlite(ErrorCode::WrongKey, why, ffi::SQLITE_NOTADB)
}

/// A file of another program's format.
pub(crate) fn foreign_format(path: &str) -> Error {
    let why = format!(
        "{path} is in the format of SQLite3 Multiple Ciphers (scheme sqlcipher, legacy 0), whose first page SQLCipher cannot read; convert it once with Database.convert(path, {{ key }})"
    );
    Error::sqlite(ErrorCode::ForeignCipherFormat, why, ffi::SQLITE_NOTADB)
}

unsafe extern "C" {
    fn sqlcipherCodecGetKey(db: *mut ffi::sqlite3, index: c_int, key: *mut *mut c_void, length: *mut c_int);
    fn sqlcipher_free(memory: *mut c_void, size: u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Result<Key> {
        Key::passphrase(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn keys_are_equal_by_kind_and_content() {
        let raw = Key::raw(&[b'a'; 32]).unwrap();
        assert_eq!(raw, raw.clone());
        assert_ne!(raw, Key::raw(&[b'b'; 32]).unwrap());
        assert_ne!(raw, passphrase(&"a".repeat(32)).unwrap());
        assert_eq!(passphrase("pass").unwrap(), passphrase("pass").unwrap());
    }

    #[test]
    fn what_sqlcipher_would_take_for_a_raw_key_is_no_passphrase() {
        for digits in [64, 96, 160] {
            assert!(passphrase(&format!("x'{}'", "a".repeat(digits))).is_err());
            assert!(passphrase(&format!("X'{}'", "B".repeat(digits))).is_err());
        }
        for text in ["x'ab'", &format!("y'{}'", "a".repeat(64)), &format!("x'{}'", "g".repeat(64)), "x'"] {
            assert!(passphrase(text).is_ok(), "{text}");
        }
        assert!(passphrase("").is_err());
        assert!(passphrase("a\0b").is_err());
    }

    #[test]
    fn a_key_is_not_shown() {
        let cipher = Cipher::current(Key::raw(&[0xab; 32]).unwrap());
        assert_eq!(format!("{cipher:?}"), "Cipher { key: Raw(..), compatibility: 4 }");
        assert_eq!(format!("{:?}", passphrase("secret").unwrap()), "Passphrase(..)");
    }

    #[test]
    fn a_raw_key_is_written_in_hexadecimal_digits() {
        let keyspec = Keyspec::of(&Cipher::current(Key::raw(&[0x0f; 32]).unwrap()));
        assert_eq!(*keyspec.bytes, format!("x'{}'", "0f".repeat(32)).as_bytes());
    }
}
