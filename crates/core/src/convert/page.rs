//! Owns single pages: their authentication, which both programs do alike, and the two forms of page 1.
//!
//! A page of 4,096 bytes is ciphertext (AES-256-CBC), 16 bytes of IV, and 64 of HMAC-SHA512 over both and the number of the page
//! (<https://www.zetetic.net/sqlcipher/design/>). Of page 1 SQLCipher leaves the 16 bytes of the salt in clear, `SQLite3` Multiple
//! Ciphers 24; its ciphertext of 3,992 bytes ends in half a block, for which CBC with ciphertext stealing in the order CS3 is used
//! (NIST SP 800-38A, addendum). Found by comparing files of both.

#![expect(clippy::indexing_slicing, reason = "ranges between constants, in arrays whose size is a constant")]

use aes::Aes256;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::key::{Cipher, RAW_KEY, RawKey};

/// Bytes of a page.
pub(super) const PAGE: usize = 4_096;
/// Bytes that page 1 of the other program has in clear.
pub(super) const HEADER: usize = 24;
/// Bytes of the salt, which SQLCipher has in clear.
const SALT: usize = 16;
const BLOCK: usize = 16;
const MAC: usize = 64;
/// Where the ciphertext ends and the IV begins.
const IV_AT: usize = PAGE - MAC - BLOCK;
const MAC_AT: usize = PAGE - MAC;
const MAGIC: &[u8; SALT] = b"SQLite format 3\0";
/// What the salt is masked with for the HMAC key, and the rounds of its derivation.
const SALT_MASK: u8 = 0x3a;
const MAC_ROUNDS: u32 = 2;

type Block = [u8; BLOCK];

/// One page.
pub(super) struct Page(Box<[u8; PAGE]>);

impl Page {
    pub(super) fn new() -> Self {
        Self(Box::new([0; PAGE]))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    /// Whether it is all zeros.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

/// The keys of one file.
pub(super) struct PageCipher {
    key: RawKey,
    /// Filled up with zeros to a block of the hash, as HMAC defines it.
    mac_key: Box<Zeroizing<[u8; 128]>>,
    salt: [u8; SALT],
}

impl PageCipher {
    /// The keys of a file that begins with `header`.
    pub(super) fn new(cipher: &Cipher, header: &[u8; HEADER]) -> Self {
        let mut salt = [0; SALT];
        salt.copy_from_slice(&header[..SALT]);
        let key = cipher.derive(&salt);
        let mut mac_key = Box::new(Zeroizing::new([0; 128]));
        let masked = salt.map(|byte| byte ^ SALT_MASK);
        pbkdf2::pbkdf2_hmac::<Sha512>(&**key, &masked, MAC_ROUNDS, &mut mac_key[..RAW_KEY]);
        Self { key, mac_key, salt }
    }

    /// Whether the other program has written the page with this key, as number `number`.
    pub(super) fn is_authentic(&self, page: &Page, number: u32) -> bool {
        let clear = if number == 1 { HEADER } else { 0 };
        self.mac(page, clear, number).verify_slice(&page.0[MAC_AT..]).is_ok()
    }

    fn mac(&self, page: &Page, clear: usize, number: u32) -> Hmac<Sha512> {
        let mut mac = <Hmac<Sha512> as KeyInit>::new((&**self.mac_key).into());
        mac.update(&page.0[clear..MAC_AT]);
        mac.update(&number.to_le_bytes());
        mac
    }

    /// Page 1 as SQLCipher has it.
    pub(super) fn rewrite_first(&self, page: &Page) -> Result<Page> {
        let mut plain = Zeroizing::new([0; IV_AT]);
        self.decrypt_first(page, &mut plain);
        check_header(&plain)?;
        let mut rewritten = Page::new();
        rewritten.0[..SALT].copy_from_slice(&self.salt);
        self.encrypt(&plain[SALT..], SALT, 1, rewritten)
    }

    /// A page of zeros.
    pub(super) fn encrypt_empty(&self, number: u32) -> Result<Page> {
        self.encrypt(&[0; IV_AT], 0, number, Page::new())
    }

    /// The header's clear bytes as they are, the magic in the place of the salt, the rest decrypted.
    fn decrypt_first(&self, page: &Page, plain: &mut [u8; IV_AT]) {
        let aes = Aes256::new((&**self.key).into());
        plain[..SALT].copy_from_slice(MAGIC);
        plain[SALT..HEADER].copy_from_slice(&page.0[SALT..HEADER]);
        let ciphertext = &page.0[HEADER..IV_AT];
        let mut before: Block = block(&page.0[IV_AT..]);
        // All whole blocks but the last one, which in the order CS3 stands before the stolen half.
        let half = ciphertext.len() % BLOCK;
        let whole = ciphertext.len() - half - BLOCK;
        let decrypt = |encrypted: &Block| {
            let mut out = (*encrypted).into();
            aes.decrypt_block(&mut out);
            Block::from(out)
        };
        let mut at = HEADER;
        for encrypted in ciphertext[..whole].as_chunks::<BLOCK>().0 {
            let decrypted = xor(decrypt(encrypted), before);
            plain[at..at + BLOCK].copy_from_slice(&decrypted);
            before = *encrypted;
            at += BLOCK;
        }
        let last = decrypt(&block(&ciphertext[whole..]));
        let mut stolen = last;
        stolen[..half].copy_from_slice(&ciphertext[whole + BLOCK..]);
        let next_to_last = xor(decrypt(&stolen), before);
        plain[at..at + BLOCK].copy_from_slice(&next_to_last);
        let tail = xor(last, stolen);
        plain[at + BLOCK..].copy_from_slice(&tail[..half]);
    }

    /// Encrypts `plain`, whole blocks, into `page` behind its `clear` bytes, with a new IV and the HMAC of SQLCipher.
    fn encrypt(&self, plain: &[u8], clear: usize, number: u32, mut page: Page) -> Result<Page> {
        let aes = Aes256::new((&**self.key).into());
        let mut iv: Block = [0; BLOCK];
        getrandom::fill(&mut iv).map_err(|error| Error::new(ErrorCode::Io, format!("no random bytes: {error}")))?;
        let mut before = iv;
        for (index, decrypted) in plain.as_chunks::<BLOCK>().0.iter().enumerate() {
            let mut out = xor(*decrypted, before).into();
            aes.encrypt_block(&mut out);
            before = out.into();
            let at = clear + index * BLOCK;
            page.0[at..at + BLOCK].copy_from_slice(&before);
        }
        page.0[IV_AT..MAC_AT].copy_from_slice(&iv);
        let mac = self.mac(&page, clear, number).finalize().into_bytes();
        page.0[MAC_AT..].copy_from_slice(&mac);
        Ok(page)
    }
}

/// The bytes of the header in clear are authenticated by nobody: what can be checked of it is.
fn check_header(plain: &[u8; IV_AT]) -> Result<()> {
    let is_schema_format = matches!(plain[44..48], [0, 0, 0, 0..=4]);
    let is_encoding = matches!(plain[56..60], [0, 0, 0, 0..=3]);
    let is_reserved_empty = plain[72..92].iter().all(|byte| *byte == 0);
    let is_table = matches!(plain[100], 5 | 13);
    if is_schema_format && is_encoding && is_reserved_empty && is_table {
        return Ok(());
    }
    Err(Error::new(ErrorCode::CorruptDatabase, "the file is damaged: page 1 is authentic, and holds no database"))
}

fn block(bytes: &[u8]) -> Block {
    bytes.first_chunk().copied().unwrap_or_default()
}

fn xor(a: Block, b: Block) -> Block {
    let mut out = a;
    for (out, other) in out.iter_mut().zip(b) {
        *out ^= other;
    }
    out
}
