//! Owns copies of an open database: one snapshot of it, beside its writers, with the same key, another or none.
//!
//! The copy is made under a name of its own, checked, and synced before it gets the name that was asked for.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};

use crate::beside::{Answer, Watcher};
use crate::config::OpenOptions;
use crate::connection::{Connection, Profile, Role, from_rusqlite};
use crate::error::{Error, ErrorCode, Result};
use crate::key::{Cipher, Keyspec};
use crate::location;
use crate::place::Place;

/// Pages between two looks at who waits for it.
const PAGES_PER_STEP: i32 = 256;
/// Phases, as JavaScript knows them.
pub(crate) const COPYING: u32 = 0;
const CHECKING: u32 = 1;

/// What a copy is encrypted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyKey {
    /// With the key of the source, if that has one.
    Same,
    /// With nothing.
    None,
    /// With this key.
    Other(Cipher),
}

/// What is asked of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOptions {
    /// Where it goes.
    pub path: String,
    /// Its key.
    pub key: CopyKey,
    /// A file of that name is replaced. Otherwise it is [`ErrorCode::FileExists`].
    pub overwrite: bool,
}

/// Copies the database of `profile`.
pub(crate) fn backup(profile: &Profile, options: &BackupOptions, watcher: &Watcher) -> Result<Answer> {
    let target = location::resolve(&options.path, &OpenOptions::default())?;
    let place = Place::claim(&target, options.overwrite)?;
    let source_key = profile.keys.keyspec();
    let mut key = match &options.key {
        CopyKey::Same => source_key.as_deref().map(Keyspec::current).transpose()?,
        CopyKey::None => None,
        CopyKey::Other(cipher) => Some(Keyspec::of(cipher)),
    };
    // Pages are copied as they are unless one side is encrypted and the other is not, or otherwise.
    let alike = source_key.as_ref().map(|key| key.version()) == key.as_ref().map(Keyspec::version);
    let mut source = profile.connect(if alike { Role::Reader } else { Role::Copier })?;
    source.begin_pinned()?;
    if alike {
        let derived = copy_pages(&mut source, place.temporary(), key.as_ref(), watcher)?;
        key = derived.or(key);
    } else {
        export(&mut source, place.temporary(), key.as_ref(), watcher)?;
    }
    // What was copied is what was written, or there is no copy.
    source.check_pages()?;
    source.rollback()?;
    drop(source);
    check(place.temporary(), key.as_ref(), watcher)?;
    place.publish()?;
    Ok(Answer::Done)
}

/// Page by page. Pages of an encrypted file are encrypted anew, with the key of the copy; gives what was derived of it.
fn copy_pages(
    source: &mut Connection,
    target: &Path,
    key: Option<&Keyspec>,
    watcher: &Watcher,
) -> Result<Option<Keyspec>> {
    let failed = |error: rusqlite::Error| from_rusqlite(&error, "the copy cannot be written");
    let profile = Profile::new(target.to_path_buf(), &OpenOptions::default());
    let mut copy = Connection::open_with(&profile, Role::Copier, key)?;
    // It is given up as a whole if anything fails, and synced as a whole before it gets its name.
    copy.db().execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;").map_err(failed)?;
    {
        let backup = Backup::new(source.db(), copy.db_mut()).map_err(failed)?;
        loop {
            watcher.check()?;
            let step = backup.step(PAGES_PER_STEP).map_err(failed)?;
            let progress = backup.progress();
            let count = |pages: i32| u64::try_from(pages).unwrap_or_default();
            watcher.report(COPYING, count(progress.pagecount - progress.remaining), count(progress.pagecount));
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => return Err(Error::new(ErrorCode::Io, "the copy cannot be written: its file is locked")),
            }
        }
    }
    copy.check_pages()?;
    Ok(key.and_then(|key| copy.derived(key)))
}

/// Statement by statement, by SQLCipher's own function.
fn export(source: &mut Connection, target: &Path, key: Option<&Keyspec>, watcher: &Watcher) -> Result<()> {
    let failed = |error: rusqlite::Error| from_rusqlite(&error, "the copy cannot be written");
    let number = |source: &Connection, pragma: &str| -> Result<i64> {
        source.db().query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get(0)).map_err(failed)
    };
    // Of an encrypted file with auto_vacuum SQLCipher takes a page of zeros for one that was written.
    let auto_vacuum = if key.is_some() { 0 } else { number(source, "auto_vacuum")? };
    let user_version = number(source, "user_version")?;
    let application_id = number(source, "application_id")?;
    let pages = source.page_count()?;
    // The snapshot is pinned again once the other file is there: ATTACH is refused inside a transaction.
    source.rollback()?;
    source.with_attached(|source| {
        let path = target.to_string_lossy();
        source.db().execute("ATTACH ?1 AS copy KEY ''", [path]).map_err(failed)?;
        let exported = (|| {
            if let Some(key) = key {
                // Not by ATTACH: nobody would wipe the memory of its parameter.
                source.unlock_attached(c"copy", key)?;
            }
            let settings = format!(
                "PRAGMA copy.auto_vacuum = {auto_vacuum}; PRAGMA copy.journal_mode = MEMORY; PRAGMA copy.synchronous = OFF;"
            );
            source.db().execute_batch(&settings).map_err(failed)?;
            source.begin_pinned()?;
            source.run_watched(watcher, COPYING, pages, |source| {
                let exported = source.db().query_row("SELECT sqlcipher_export('copy')", [], |_| Ok(()));
                exported.map_err(|error| source.explained(failed(error)))?;
                source.check_pages()
            })?;
            let numbers = format!(
                "PRAGMA copy.user_version = {user_version}; PRAGMA copy.application_id = {application_id};"
            );
            source.db().execute_batch(&numbers).map_err(failed)?;
            source.commit()
        })();
        if exported.is_err() {
            source.rollback()?;
        }
        let detached = source.db().execute_batch("DETACH copy").map_err(failed);
        exported.and(detached)
    })
}

/// Looks at the copy with a connection of its own: every tree is sound, and the log is in place for those who open it.
pub(crate) fn check(copy: &Path, key: Option<&Keyspec>, watcher: &Watcher) -> Result<()> {
    let profile = Profile::new(copy.to_path_buf(), &OpenOptions::default());
    let mut connection = Connection::open_with(&profile, Role::Writer, key)?;
    connection.set_up(&profile)?;
    let pages = connection.page_count()?;
    let found = connection.run_watched(watcher, CHECKING, pages, |connection| {
        let listed: rusqlite::Result<Vec<String>> = connection
            .db()
            .prepare("PRAGMA integrity_check")
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect());
        listed.map_err(|error| connection.explained(from_rusqlite(&error, "the copy cannot be read")))
    });
    connection.check_pages()?;
    match found {
        Ok(found) => {
            if let Some(damage) = found.iter().find(|message| is_damage(message)) {
                let why = format!("the database is damaged, and was not copied: {damage}");
                return Err(Error::new(ErrorCode::CorruptDatabase, why));
            }
        }
        // It has a collation or a function of the program that made it, which its indexes can be checked with only there.
        Err(error) if error.code == ErrorCode::Sql => {}
        Err(error) => return Err(error),
    }
    watcher.report_now(CHECKING, pages, pages);
    Ok(())
}

/// Whether a message of `integrity_check` is about the file, and not about a row that breaks what its table demands: a copy of
/// that is a good copy.
fn is_damage(message: &str) -> bool {
    let is_of_a_row = message.starts_with("CHECK constraint failed")
        || message.starts_with("NULL value in ")
        || message.starts_with("non-unique entry in index ")
        || message.contains(" value in ");
    message != "ok" && !is_of_a_row
}
