//! Owns the place of a file that is written beside its name and gets it when it is complete: nobody ever sees half of it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorCode, Result};
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
        let temporary = with_suffix(target, &format!(".{:016x}.tmp", u64::from_le_bytes(random)));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&temporary).map_err(|error| cannot(target, &error))?;
        Ok(Self { target: target.to_path_buf(), temporary, overwrite, _hold: hold })
    }

    /// The file while it is written.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the file, which nobody has open any more, and gives it its name.
    pub(crate) fn publish(self) -> Result<()> {
        let failed = |error: io::Error| cannot(&self.target, &error);
        fs::OpenOptions::new().write(true).open(&self.temporary).and_then(|file| file.sync_all()).map_err(failed)?;
        check_free(&self.target, self.overwrite)?;
        if self.overwrite {
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

/// Has the names in the folder of `path` survive a power cut. Not every system can.
pub(crate) fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().and_then(|folder| fs::File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
}

/// `path` with something behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether a log or a journal holds what would be taken for a part of the file beside it: the end of a transaction zeroes the
/// header of a journal that is kept (<https://sqlite.org/pragma.html#pragma_journal_mode>).
pub(crate) fn is_in_use(companion: &Path) -> bool {
    let mut header = Vec::new();
    let read =
        fs::File::open(companion).and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, 28), &mut header));
    read.is_ok() && header.iter().any(|byte| *byte != 0)
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

fn cannot(target: &Path, error: &io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("{} cannot be written: {error}", target.display()))
}
