//! Owns the way from a file of `SQLite3` Multiple Ciphers (scheme `sqlcipher`, `legacy` 0) to one of SQLCipher 4.
//!
//! Both encrypt alike but for page 1, of which the other program leaves 24 bytes in clear and not 16, and steals ciphertext for
//! the half block that this leaves over. So the log is applied to the file as it is, then a copy with another page 1 is made,
//! checked, and takes the file's name. Killed at any instant, there is either file under that name, whole.

use std::fs;
use std::path::Path;

use crate::backup::{self, COPYING};
use crate::beside::{Answer, Watcher};
use crate::config::OpenOptions;
use crate::connection::{Connection, File, Profile, Role, is_foreign};
use crate::error::{Error, ErrorCode, Result};
use crate::key::{self, Cipher, Keyspec};
use crate::location::{self, with_suffix};
use crate::place::{Place, is_in_use, sync_folder};
use crate::registry;

mod log;
mod page;

use page::{HEADER, PAGE, Page, PageCipher};

/// The byte range that SQLite locks begins here; its page holds nothing (<https://sqlite.org/fileformat2.html#the_lock_byte_page>).
const LOCK_BYTE: u64 = 0x4000_0000;

/// Converts the file at `path`. One that is of SQLCipher 4 already is left as it is.
pub(crate) fn convert(path: &str, cipher: &Cipher, watcher: &Watcher) -> Result<Answer> {
    let target = location::resolve(path, &OpenOptions { create: false, ..OpenOptions::default() })?;
    let hold = registry::hold(&target)?;
    let profile = Profile::new(target.clone(), &OpenOptions::default());
    let connection = Connection::open_with(&profile, Role::Copier, None)?;
    let file = connection.file()?;
    let mut header = [0; HEADER];
    file.read(&mut header, 0).map_err(|error| Error {
        code: ErrorCode::NotADatabase,
        message: short(&target),
        ..error
    })?;
    if !is_foreign(&header) {
        drop(connection);
        return is_current(&profile, cipher);
    }
    file.lock()?;
    check_page_size(&header, &target)?;
    check_journal(&target)?;
    let pages = PageCipher::new(cipher, &header);
    let mut first = read_page(&file, 1)?;
    if !pages.is_authentic(&first, 1) {
        return Err(key::wrong_key(&target.display().to_string()));
    }
    if log::apply(&target, &file, &pages)? {
        first = read_page(&file, 1)?;
    }
    remove_log(&target)?;
    let place = Place::claim_held(hold, &target, true)?;
    copy(&file, place.temporary(), &pages, &first, watcher)?;
    backup::check(place.temporary(), Some(&Keyspec::of(cipher)), watcher)?;
    keep_owner(&target, place.temporary());
    place.publish_over(Some(&file))?;
    Ok(Answer::Done)
}

/// Whoever could use the file still can: it keeps its mode, and its owner if the process may give it.
fn keep_owner(target: &Path, copy: &Path) {
    let Ok(metadata) = fs::metadata(target) else { return };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let _ = std::os::unix::fs::chown(copy, Some(metadata.uid()), Some(metadata.gid()));
    }
    let _ = fs::set_permissions(copy, metadata.permissions());
}

/// Succeeds if the file opens with the key.
fn is_current(profile: &Profile, cipher: &Cipher) -> Result<Answer> {
    let keyspec = Keyspec::of(cipher);
    let mut connection = Connection::open_with(profile, Role::Copier, Some(&keyspec))?;
    connection.set_up(profile).map(|()| Answer::Done)
}

fn short(path: &Path) -> String {
    format!("{} is too short to be an encrypted database", path.display())
}

fn check_page_size(header: &[u8; HEADER], path: &Path) -> Result<()> {
    let [high, low] = [header[16], header[17]].map(usize::from);
    let size = if (high, low) == (0, 1) { 65_536 } else { high << 8 | low };
    if size == PAGE {
        return Ok(());
    }
    let why = format!(
        "{} has pages of {size} bytes; only files with pages of {PAGE}, the default, can be converted: change it with PRAGMA page_size and VACUUM in the program that made it",
        path.display()
    );
    Err(Error::new(ErrorCode::ForeignCipherFormat, why))
}

/// A rollback journal that is in use holds what only its own program can undo.
fn check_journal(path: &Path) -> Result<()> {
    let journal = with_suffix(path, "-journal");
    if !is_in_use(&journal) {
        return Ok(());
    }
    let why = format!(
        "{} has a rollback journal, {}, of a transaction that was cut off; open and close it with the program that made it first",
        path.display(),
        journal.display()
    );
    Err(Error::new(ErrorCode::ForeignCipherFormat, why))
}

fn read_page(file: &File<'_>, number: u32) -> Result<Page> {
    let mut page = Page::new();
    file.read(page.bytes_mut(), offset(number))?;
    Ok(page)
}

fn offset(number: u32) -> u64 {
    u64::from(number.saturating_sub(1)) * PAGE as u64
}

/// The log is in the file; a new file beside it would take it for its own.
fn remove_log(path: &Path) -> Result<()> {
    for companion in ["-wal", "-shm"] {
        let beside = with_suffix(path, companion);
        match fs::remove_file(&beside) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let why = format!("{} cannot be removed: {error}", beside.display());
                return Err(Error::new(ErrorCode::Io, why));
            }
        }
    }
    sync_folder(path);
    Ok(())
}

fn copy(file: &File<'_>, target: &Path, pages: &PageCipher, first: &Page, watcher: &Watcher) -> Result<()> {
    use std::io::Write;
    let failed =
        |error: std::io::Error| Error::new(ErrorCode::Io, format!("{} cannot be written: {error}", target.display()));
    let size = file.size()?;
    let count = size / PAGE as u64;
    let last = u32::try_from(count).map_err(|_| Error::new(ErrorCode::TooLarge, "the file has too many pages"))?;
    let copy = fs::OpenOptions::new().write(true).open(target).map_err(failed)?;
    let mut copy = std::io::BufWriter::with_capacity(256 * 1024, copy);
    copy.write_all(pages.rewrite_first(first)?.bytes()).map_err(failed)?;
    for number in 2..=last {
        if number.is_multiple_of(256) {
            watcher.check()?;
            watcher.report(COPYING, u64::from(number), count);
        }
        let mut page = read_page(file, number)?;
        if offset(number) != LOCK_BYTE && !pages.is_authentic(&page, number) {
            if !page.is_empty() {
                let why = format!("the file is damaged: page {number} is not what was written with this key");
                return Err(Error::new(ErrorCode::CorruptDatabase, why));
            }
            // Allocated and never written: SQLCipher wants it encrypted as well.
            page = pages.encrypt_empty(number)?;
        }
        copy.write_all(page.bytes()).map_err(failed)?;
    }
    copy.flush().map_err(failed)
}
