//! Owns the place of a file that is written beside its name and gets it when it is complete: nobody ever sees half of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::OpenOptions;
use crate::connection::{Connection, File, Profile, Role};
use crate::error::{Error, ErrorCode, Result};
use crate::location::with_suffix;
use crate::registry::{self, Hold};

/// What SQLite has beside a database while it is open, or after a crash.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A name that is taken, and the file that will get it. Without [`Place::publish`] nothing is left of the file.
pub(crate) struct Place {
    target: PathBuf,
    temporary: PathBuf,
    overwrite: bool,
    /// Nobody of this process opens the target meanwhile.
    _hold: Hold,
}

impl Place {
    /// Makes an empty file for the process's owner alone, beside `target`.
    pub(crate) fn claim(target: &Path, overwrite: bool) -> Result<Self> {
        Self::claim_held(registry::hold(target)?, target, overwrite)
    }

    /// The same of a target that is held.
    pub(crate) fn claim_held(hold: Hold, target: &Path, overwrite: bool) -> Result<Self> {
        check_free(target, overwrite)?;
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|error| cannot(target, &io::Error::other(error.to_string())))?;
        // Short, whatever the name of the target: what has room for that has room for it.
        let temporary = target.with_file_name(format!("sqlflow-{:016x}.tmp", u64::from_le_bytes(random)));
        create_new(&temporary).map_err(|error| cannot(target, &error))?;
        Ok(Self { target: target.to_path_buf(), temporary, overwrite, _hold: hold })
    }

    /// The file while it is written.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the file, which nobody has open any more, and gives it its name.
    pub(crate) fn publish(self) -> Result<()> {
        let is_replaced = self.overwrite && fs::symlink_metadata(&self.target).is_ok();
        if !is_replaced {
            return self.publish_over(None);
        }
        let profile = Profile::new(self.target.clone(), &OpenOptions::default());
        let replaced = Connection::open_with(&profile, Role::Copier, None)?;
        let file = replaced.file()?;
        // Another process that has it open would go on in a file without a name, and its log would become part of ours.
        let in_the_way = format!("{} cannot be replaced: another process has it open", self.target.display());
        file.lock().map_err(|error| Error { message: in_the_way.clone(), ..error })?;
        if file.has_moved() {
            return Err(Error::sqlite(ErrorCode::Busy, in_the_way, rusqlite::ffi::SQLITE_BUSY));
        }
        self.publish_over(Some(&file))
    }

    /// The same over a file that is locked, and stays so until this is over; `None`: over nothing.
    pub(crate) fn publish_over(self, locked: Option<&File<'_>>) -> Result<()> {
        let failed = |error: io::Error| cannot(&self.target, &error);
        fs::OpenOptions::new().write(true).open(&self.temporary).and_then(|file| file.sync_all()).map_err(failed)?;
        check_free(&self.target, self.overwrite)?;
        if locked.is_some() {
            // Empty, and nobody's.
            for companion in COMPANIONS {
                let _ = fs::remove_file(with_suffix(&self.target, companion));
            }
            fs::rename(&self.temporary, &self.target).map_err(failed)?;
        } else {
            // Unlike a rename it never replaces what somebody else has put there.
            match fs::hard_link(&self.temporary, &self.target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&self.target)),
                // Not every file system has links.
                Err(_) => fs::rename(&self.temporary, &self.target).map_err(failed)?,
            }
        }
        sync_folder(&self.target);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Renamed, it is not there any more; linked, it has its other name.
        let _ = fs::remove_file(&self.temporary);
        for companion in COMPANIONS {
            let _ = fs::remove_file(with_suffix(&self.temporary, companion));
        }
    }
}

/// Makes an empty file for the process's owner alone; fails if there is one.
pub(crate) fn create_new(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Removes a database that nobody of this process has open, nor opens meanwhile; whether there was one. Busy while another process
/// has it open, whose commits would go into a file without a name.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(cannot_remove(path, &error)),
    };
    if found {
        let profile = Profile::new(path.to_path_buf(), &OpenOptions::default());
        let removed = Connection::open_with(&profile, Role::Copier, None)?;
        let file = removed.file()?;
        let in_the_way = format!("{} cannot be deleted: another process has it open", path.display());
        file.lock().map_err(|error| Error { message: in_the_way.clone(), ..error })?;
        if file.has_moved() {
            return Err(Error::sqlite(ErrorCode::Busy, in_the_way, rusqlite::ffi::SQLITE_BUSY));
        }
        // First: beside an empty file a log or a journal is nothing to SQLite, whenever this process ends.
        file.truncate(0)?;
        remove_companions(path)?;
        // Last: from then on the name, and what is beside it, can be another file's.
        fs::remove_file(path).map_err(|error| cannot_remove(path, &error))?;
        sync_folder(path);
    }
    Ok(found)
}

fn remove_companions(path: &Path) -> Result<()> {
    for companion in COMPANIONS {
        match fs::remove_file(with_suffix(path, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot_remove(path, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// Has the names in the folder of `path` survive a power cut. Not every system can.
pub(crate) fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().and_then(|folder| fs::File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
}

/// Whether a log or a journal holds what would be taken for a part of the file beside it: its first byte says so, as to SQLite
/// (`hasHotJournal` in its `pager.c`). That of a log is never zero.
pub(crate) fn is_in_use(companion: &Path) -> bool {
    let mut first = [0];
    let read = fs::File::open(companion).and_then(|mut file| io::Read::read(&mut file, &mut first));
    read.is_ok_and(|count| count > 0) && first != [0]
}

/// Fails if a database is there that must not be replaced, or what another one has left would become part of ours.
fn check_free(target: &Path, overwrite: bool) -> Result<()> {
    if !overwrite && fs::symlink_metadata(target).is_ok() {
        return Err(exists(target));
    }
    for companion in ["-wal", "-journal"] {
        let beside = with_suffix(target, companion);
        if is_in_use(&beside) {
            let why = format!(
                "{} cannot be replaced: {} is beside it, so another process has it open or has left it in the middle of its work; open and close it first",
                target.display(),
                beside.display()
            );
            return Err(Error::new(ErrorCode::CannotOpen, why));
        }
    }
    Ok(())
}

fn exists(target: &Path) -> Error {
    let why = format!("{} exists; overwrite: true replaces it", target.display());
    Error::new(ErrorCode::FileExists, why)
}

fn cannot_remove(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("{} cannot be deleted: {error}", path.display()))
}

fn cannot(target: &Path, error: &io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("{} cannot be written: {error}", target.display()))
}
