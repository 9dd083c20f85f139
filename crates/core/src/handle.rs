//! Owns one user's hold on an open database: the options that are the user's own, and the count of what is under way.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::OpenOptions;
use crate::database::Database;
use crate::migrate::MigrationOptions;
use crate::pool::Tenant;
use crate::registry;
use crate::runtime;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Set in the count once `close` was called.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// How long a user waits for what; zero: for ever, except `busy`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a lock of another process.
    pub(crate) busy: Duration,
    /// For the end of a write transaction, from the acceptance of its grant.
    pub(crate) transaction: Duration,
    /// For the end of a read.
    pub(crate) read: Duration,
    /// For the writer or a reader.
    pub(crate) queue: Duration,
}

impl Timeouts {
    pub(crate) fn of(options: &OpenOptions) -> Self {
        Self {
            busy: options.busy_timeout,
            transaction: options.transaction_timeout,
            read: options.read_timeout,
            queue: options.queue_timeout,
        }
    }
}

/// What `Database.open` gave to one caller.
pub(crate) struct Handle {
    /// Unique in the process, from 1.
    pub(crate) id: u64,
    pub(crate) database: Arc<Database>,
    pub(crate) timeouts: Timeouts,
    pub(crate) migrations: Option<MigrationOptions>,
    /// One of a pool's.
    is_pooled: bool,
    /// Whose handle it is in the pool; none of one that a scope of `pool.use` has.
    tenant: OnceLock<Arc<Tenant>>,
    /// Where its environment has it.
    slot: OnceLock<(u32, u32)>,
    active: AtomicUsize,
    released: AtomicBool,
    /// The `timeoutMs` of `close` is over: nothing of this handle is begun or goes on.
    out_of_patience: AtomicBool,
    closing: Arc<Mutex<Closing>>,
}

/// Who waits for the close, until its outcome is known.
#[derive(Default)]
struct Closing {
    waiting: Vec<Closed>,
    outcome: Option<bool>,
}

/// Told when a handle's share of a close is done, and whether the file is closed.
pub(crate) type Closed = Box<dyn FnOnce(bool) + Send>;

static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

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
    pub(crate) fn new(
        database: Arc<Database>,
        timeouts: Timeouts,
        migrations: Option<MigrationOptions>,
        is_pooled: bool,
    ) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            database,
            timeouts,
            migrations,
            is_pooled,
            tenant: OnceLock::new(),
            slot: OnceLock::new(),
            active: AtomicUsize::new(0),
            released: AtomicBool::new(false),
            out_of_patience: AtomicBool::new(false),
            closing: Arc::new(Mutex::new(Closing::default())),
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

    /// Refuses new operations; after the last accepted one the engine is given back, and `closed` told when that is done. May be
    /// called again: a pool and its environment can close a handle at the same time.
    pub(crate) fn close(&self, closed: Closed) {
        let mut closing = self.closing.lock();
        if let Some(outcome) = closing.outcome {
            drop(closing);
            return closed(outcome);
        }
        closing.waiting.push(closed);
        drop(closing);
        if self.active.fetch_or(CLOSING, Ordering::AcqRel) == 0 {
            self.release();
        }
    }

    /// The same, and ends what is not over after `patience`.
    pub(crate) fn close_within(self: &Arc<Self>, patience: Duration, closed: Closed) {
        self.close(closed);
        let handle = Arc::clone(self);
        runtime::after(patience, move || handle.end_all());
    }

    fn end_all(&self) {
        if self.released.load(Ordering::Acquire) {
            return;
        }
        self.out_of_patience.store(true, Ordering::SeqCst);
        self.database.end_all(self.id);
    }

    /// Whether what came by this handle is to end; to be asked after a run was announced.
    pub(crate) fn is_out_of_patience(&self) -> bool {
        self.out_of_patience.load(Ordering::SeqCst)
    }

    /// Has it belong to a tenant of a pool.
    pub(crate) fn set_tenant(&self, tenant: Arc<Tenant>) {
        // Once, before anybody else has it.
        let _ = self.tenant.set(tenant);
    }

    pub(crate) fn tenant(&self) -> Option<&Arc<Tenant>> {
        self.tenant.get()
    }

    /// Its environment closes it, or ends: the pool loses it, and the uses that it had.
    pub(crate) fn leave_pool(&self) {
        if let Some(tenant) = self.tenant.get() {
            tenant.detach(self);
        }
    }

    pub(crate) fn set_slot(&self, slot: (u32, u32)) {
        let _ = self.slot.set(slot);
    }

    pub(crate) fn slot(&self) -> Option<(u32, u32)> {
        self.slot.get().copied()
    }

    /// Another handle of the same user on the same database, with a life of its own.
    pub(crate) fn share(&self) -> Self {
        registry::share(&self.database);
        Self::new(Arc::clone(&self.database), self.timeouts, self.migrations.clone(), self.is_pooled)
    }

    fn release(&self) {
        if !self.released.swap(true, Ordering::AcqRel) {
            // After the last commit that it had accepted.
            self.database.unlisten(self.id);
            let closing = Arc::clone(&self.closing);
            let done = move |closed| {
                let waiting = {
                    let mut closing = closing.lock();
                    closing.outcome = Some(closed);
                    std::mem::take(&mut closing.waiting)
                };
                for told in waiting {
                    told(closed);
                }
            };
            registry::release(&self.database, self.is_pooled, Box::new(done));
        }
    }
}
