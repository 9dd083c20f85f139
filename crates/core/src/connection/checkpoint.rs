//! Owns the log of a connection: how long it is, and what copies it into the file.

use std::ffi::c_int;
use std::sync::atomic::Ordering;

use rusqlite::ffi;

use super::Connection;
use crate::error::Result;
use crate::statement::sqlite_error;
use crate::wire::{Checkpointed, RowsWriter};

/// A COMMIT that leaves at least this many frames in the log is followed by a checkpoint.
const CHECKPOINT_FRAMES: u32 = 1_000;
/// Bytes of a frame beside its page (<https://sqlite.org/fileformat2.html#walformat>).
const FRAME_HEADER: u64 = 24;

/// How far a checkpoint goes (<https://sqlite.org/c3ref/wal_checkpoint_v2.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// Copies what no reader needs any more, and waits for nobody.
    Passive,
    /// Copies everything.
    Full,
    /// Copies everything, and the next writer begins the log anew.
    Restart,
    /// Copies everything, and cuts the log to nothing.
    Truncate,
}

impl CheckpointMode {
    fn as_sqlite(self) -> c_int {
        match self {
            Self::Passive => ffi::SQLITE_CHECKPOINT_PASSIVE,
            Self::Full => ffi::SQLITE_CHECKPOINT_FULL,
            Self::Restart => ffi::SQLITE_CHECKPOINT_RESTART,
            Self::Truncate => ffi::SQLITE_CHECKPOINT_TRUNCATE,
        }
    }
}

impl Connection {
    /// Frames in the log after the last COMMIT or checkpoint of this connection.
    pub(crate) fn log_frames(&self) -> u32 {
        self.log_frames.load(Ordering::Relaxed)
    }

    /// Bytes of so many frames.
    pub(crate) fn log_bytes(&self, frames: u32) -> u64 {
        u64::from(frames) * (u64::from(self.page_size) + FRAME_HEADER)
    }

    /// Whether the log has grown enough since the last checkpoint for another, given its limit in bytes.
    pub(crate) fn wants_checkpoint(&self, limit: u64) -> bool {
        let of_limit = u32::try_from(limit / self.log_bytes(2).max(1)).unwrap_or(u32::MAX);
        let frames = self.log_frames();
        // A log that was reset starts again at its first frame.
        let grown = if frames < self.checkpointed_at { frames } else { frames - self.checkpointed_at };
        grown >= CHECKPOINT_FRAMES.min(of_limit.max(1))
    }

    /// Copies from the log into the file, waiting for nobody: what is in the way is told, not waited for. In no transaction.
    pub(crate) fn checkpoint(&mut self, mode: CheckpointMode) -> Result<Checkpointed> {
        let (mut log, mut copied) = (0, 0);
        // SAFETY: the handle is open, in no transaction, and used by this thread alone; a null schema name means all.
        let code = unsafe {
            ffi::sqlite3_wal_checkpoint_v2(
                self.raw(),
                std::ptr::null(),
                mode.as_sqlite(),
                &raw mut log,
                &raw mut copied,
            )
        };
        let frames = |count: c_int| u32::try_from(count).unwrap_or_default();
        // Busy or failed: the log stays as it is and the next COMMIT asks again after as many frames.
        self.checkpointed_at = self.log_frames();
        match code & 0xff {
            ffi::SQLITE_OK if mode == CheckpointMode::Truncate => {
                self.log_frames.store(0, Ordering::Relaxed);
                self.checkpointed_at = 0;
                Ok(Checkpointed { busy: false, log_frames: frames(log), checkpointed_frames: frames(copied) })
            }
            ffi::SQLITE_OK => {
                self.log_frames.store(frames(log), Ordering::Relaxed);
                self.checkpointed_at = frames(log);
                // A passive one leaves what a reader is in the way of, and calls that success.
                Ok(Checkpointed { busy: copied < log, log_frames: frames(log), checkpointed_frames: frames(copied) })
            }
            ffi::SQLITE_BUSY => {
                Ok(Checkpointed { busy: true, log_frames: frames(log), checkpointed_frames: frames(copied) })
            }
            _ => Err(sqlite_error(self.raw(), code)),
        }
    }
}

/// A counter of `sqlite3_db_status`.
///
/// # Safety
///
/// `db` is an open handle used by this thread alone.
pub(super) unsafe fn counter(db: *mut ffi::sqlite3, which: c_int) -> c_int {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the caller's promise; both out pointers are valid, and reading changes nothing in the handle.
    unsafe { ffi::sqlite3_db_status(db, which, &raw mut current, &raw mut highest, 0) };
    current
}

/// What the page cache of a connection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheFigures {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) bytes: u64,
}

impl std::ops::AddAssign for CacheFigures {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.bytes += other.bytes;
    }
}

impl Connection {
    /// Gives back what memory it can do without while nobody uses it: statements, buffers and cached pages.
    pub(crate) fn give_back_memory(&mut self) {
        self.forget_all_statements();
        self.rows = RowsWriter::new();
        // SAFETY: the handle is open, in no transaction, and used by this thread alone.
        unsafe { ffi::sqlite3_db_release_memory(self.raw()) };
    }

    /// What the page cache has done since the connection was opened, and what it holds.
    pub(crate) fn cache_figures(&self) -> CacheFigures {
        // SAFETY: the handle is open and used by this thread alone.
        let figure = |which| u64::try_from(unsafe { counter(self.raw(), which) }).unwrap_or_default();
        CacheFigures {
            hits: figure(ffi::SQLITE_DBSTATUS_CACHE_HIT),
            misses: figure(ffi::SQLITE_DBSTATUS_CACHE_MISS),
            bytes: figure(ffi::SQLITE_DBSTATUS_CACHE_USED),
        }
    }
}
