//! Owns one user's hold on an open database: the options that are the user's own, and the count of what is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::database::Database;
use crate::registry;
use crate::reply::Reply;

/// Set in the count once `close` was called.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// What `Database.open` gave to one caller.
pub(crate) struct Handle {
    pub(crate) database: Arc<Database>,
    pub(crate) busy_timeout: Duration,
    pub(crate) transaction_timeout: Duration,
    active: AtomicUsize,
    released: AtomicBool,
    closing: Mutex<Option<Reply>>,
}

/// Something accepted through a handle that is not over yet. The handle closes after the last one.
pub(crate) struct Lease {
    handle: Arc<Handle>,
}

impl Lease {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.handle.leave();
    }
}

impl Handle {
    pub(crate) fn new(database: Arc<Database>, busy_timeout: Duration, transaction_timeout: Duration) -> Self {
        Self {
            database,
            busy_timeout,
            transaction_timeout,
            active: AtomicUsize::new(0),
            released: AtomicBool::new(false),
            closing: Mutex::new(None),
        }
    }

    /// Accepts one more operation; `None` once the handle is closing.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Lease> {
        let lease = Lease { handle: Arc::clone(self) };
        // A refused lease leaves again when it is dropped, which is harmless: `release` happens once.
        (self.active.fetch_add(1, Ordering::AcqRel) & CLOSING == 0).then_some(lease)
    }

    fn leave(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) == CLOSING + 1 {
            self.release();
        }
    }

    /// Refuses new operations; after the last accepted one the engine is given back, and `reply` answered when that is done.
    pub(crate) fn close(&self, reply: Option<Reply>) {
        *self.closing.lock() = reply;
        if self.active.fetch_or(CLOSING, Ordering::AcqRel) == 0 {
            self.release();
        }
    }

    fn release(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            registry::release(&self.database, self.closing.lock().take());
        }
    }
}
