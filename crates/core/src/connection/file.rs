//! Owns the file under a handle, read and written without SQLite's pager: through the descriptor that the handle has, for to
//! close another one would drop the locks of this process.

use std::ffi::{c_int, c_void};

use rusqlite::config::DbConfig;
use rusqlite::ffi;

use super::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::statement::error_code;

/// The open file of a connection, which lives as long as that.
pub(crate) struct File<'c> {
    raw: *mut ffi::sqlite3_file,
    _connection: &'c Connection,
}

impl Connection {
    /// The file of the connection.
    pub(crate) fn file(&self) -> Result<File<'_>> {
        let mut raw: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the handle is open; the control stores a pointer to its file, which lives as long as the handle.
        let open = unsafe {
            let code = ffi::sqlite3_file_control(
                self.raw(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut raw).cast(),
            );
            code == ffi::SQLITE_OK && !raw.is_null() && !(*raw).pMethods.is_null()
        };
        if open {
            Ok(File { raw, _connection: self })
        } else {
            Err(Error::new(ErrorCode::CannotOpen, "the file of the connection is not open"))
        }
    }
}

impl Connection {
    /// Keeps another process from deleting the file while it is read for the first time.
    pub(crate) fn take_place(&mut self) -> Result<()> {
        self.file()?.lock_shared()?;
        self.check_place()
    }

    /// Fails, as busy, if another process has deleted or replaced the file since the handle was opened: what is beside its name
    /// is another file's, which the close of this handle leaves alone.
    pub(crate) fn check_place(&mut self) -> Result<()> {
        if !self.file()?.has_moved() {
            return Ok(());
        }
        self.file()?.leave_log();
        let closes_quietly = self.db().set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        closes_quietly.map_err(|error| super::from_rusqlite(&error, "the close of a file that was deleted"))?;
        let why = "the file was deleted or replaced by another process while it was opened";
        Err(Error::sqlite(ErrorCode::Busy, why, ffi::SQLITE_BUSY))
    }
}

fn checked(code: c_int, what: &str) -> Result<()> {
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(Error::sqlite(error_code(code), format!("the file cannot be {what}"), code))
}

impl File<'_> {
    fn methods(&self) -> &ffi::sqlite3_io_methods {
        // SAFETY: `file` found it not null; the table is static.
        unsafe { &*(*self.raw).pMethods }
    }

    /// Reads at `offset`; what is beyond the end is zeros, and an error.
    pub(crate) fn read(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let length = c_int::try_from(into.len()).unwrap_or_default();
        let read = self.methods().xRead.map_or(ffi::SQLITE_IOERR, |read| {
            // SAFETY: the file is open and used by this thread alone; `into` is writable for `length` bytes.
            unsafe { read(self.raw, into.as_mut_ptr().cast::<c_void>(), length, offset.cast_signed()) }
        });
        checked(read, "read")
    }

    /// Writes at `offset`.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let length = c_int::try_from(bytes.len()).unwrap_or_default();
        let written = self.methods().xWrite.map_or(ffi::SQLITE_IOERR, |write| {
            // SAFETY: as of `read`; `bytes` is readable for `length` bytes.
            unsafe { write(self.raw, bytes.as_ptr().cast::<c_void>(), length, offset.cast_signed()) }
        });
        checked(written, "written")
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> Result<u64> {
        let mut size = 0;
        let told = self.methods().xFileSize.map_or(ffi::SQLITE_IOERR, |told| {
            // SAFETY: as of `read`; the out pointer is valid.
            unsafe { told(self.raw, &raw mut size) }
        });
        checked(told, "read").map(|()| size.cast_unsigned())
    }

    /// Cuts the file to `size` bytes.
    pub(crate) fn truncate(&self, size: u64) -> Result<()> {
        let cut = self.methods().xTruncate.map_or(ffi::SQLITE_IOERR, |truncate| {
            // SAFETY: as of `read`.
            unsafe { truncate(self.raw, size.cast_signed()) }
        });
        checked(cut, "cut")
    }

    /// Has the disk have what was written.
    pub(crate) fn sync(&self) -> Result<()> {
        let synced = self.methods().xSync.map_or(ffi::SQLITE_IOERR, |sync| {
            // SAFETY: as of `read`.
            unsafe { sync(self.raw, ffi::SQLITE_SYNC_FULL) }
        });
        checked(synced, "synced")
    }

    /// Takes the lock that nobody else can have the file open beside, until the handle is closed. Busy if somebody has.
    pub(crate) fn lock(&self) -> Result<()> {
        self.lock_at(ffi::SQLITE_LOCK_SHARED)?;
        self.lock_at(ffi::SQLITE_LOCK_EXCLUSIVE)
    }

    /// Takes the lock of a reader, which keeps the file from being replaced or deleted until SQLite gives it back: at the end of
    /// its first read, or in WAL mode when the handle is closed. Busy while somebody has the file alone.
    pub(crate) fn lock_shared(&self) -> Result<()> {
        self.lock_at(ffi::SQLITE_LOCK_SHARED)
    }

    fn lock_at(&self, level: c_int) -> Result<()> {
        let locked = self.methods().xLock.map_or(ffi::SQLITE_IOERR, |lock| {
            // SAFETY: as of `read`.
            unsafe { lock(self.raw, level) }
        });
        checked(locked, "had: another connection is in the way")
    }

    /// Whether its name is another file's by now, or nobody's.
    pub(crate) fn has_moved(&self) -> bool {
        self.methods().xFileControl.is_some_and(|control| {
            let mut moved: c_int = 0;
            // SAFETY: as of `read`; the control writes an int.
            let code = unsafe { control(self.raw, ffi::SQLITE_FCNTL_HAS_MOVED, (&raw mut moved).cast()) };
            code == ffi::SQLITE_OK && moved != 0
        })
    }

    /// Has the close of the handle leave the log where it is: it belongs to another file.
    fn leave_log(&self) {
        if let Some(control) = self.methods().xFileControl {
            let mut persists: c_int = 1;
            // SAFETY: as of `has_moved`.
            unsafe { control(self.raw, ffi::SQLITE_FCNTL_PERSIST_WAL, (&raw mut persists).cast()) };
        }
    }
}
