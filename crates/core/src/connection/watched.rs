//! Owns long statements of the engine itself: how far they are, and how they are ended when nobody wants them any more.

use std::ffi::c_int;

use rusqlite::ffi;

use super::checkpoint::counter;
use super::{Connection, from_rusqlite};
use crate::beside::Watcher;
use crate::error::Result;

/// Virtual machine steps between two looks.
const STEPS: c_int = 5_000;

/// The handle, for the progress handler, which runs inside its own statement.
struct Handle(*mut ffi::sqlite3);

// SAFETY: the handler is called by the thread that steps the statement, which alone uses the handle then.
unsafe impl Send for Handle {}

impl Handle {
    fn pages_read(&self) -> c_int {
        // SAFETY: the handle is open while one of its statements runs, by this thread.
        unsafe { counter(self.0, ffi::SQLITE_DBSTATUS_CACHE_MISS) }
    }
}

impl Connection {
    /// Runs `work`, of which `watcher` tells by the pages that it reads, of so many, and which it ends early.
    pub(crate) fn run_watched<T>(
        &mut self,
        watcher: &Watcher,
        phase: u32,
        pages: u64,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let failed = |error: rusqlite::Error| from_rusqlite(&error, "the statement cannot be watched");
        let (handle, told) = (Handle(self.raw()), watcher.clone());
        let before = handle.pages_read();
        let look = move || {
            let read = u64::try_from(handle.pages_read().wrapping_sub(before)).unwrap_or_default();
            told.report(phase, read, pages);
            told.check().is_err()
        };
        self.db.progress_handler(STEPS, Some(look)).map_err(failed)?;
        let worked = work(self);
        self.db.progress_handler(0, None::<fn() -> bool>).map_err(failed)?;
        // Ended because nobody wants it, it says that and not how.
        watcher.check().and(worked)
    }
}
