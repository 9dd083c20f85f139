//! Owns the interrupt handshake: a statement that is running can be asked to stop, its successor on the same connection
//! never is.
//!
//! `sqlite3_interrupt` alone does neither: it is forgotten when it comes before the first step, and it hits whoever steps
//! next when it comes late. So every run on a connection has a number of its own and an owner, an interrupt is sent only to
//! the run or the owner it is meant for, the connection passes on only when nobody is about to send one, and the sender repeats
//! until its target has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::InterruptHandle;

use crate::runtime;

/// The interrupt side of one connection.
pub(crate) struct Interrupt {
    handle: InterruptHandle,
    /// The number of the run that is on; 0 when idle. Written by the connection's owner only, as are the next three.
    running: AtomicU64,
    /// The number of the last run.
    last: AtomicU64,
    owner: AtomicU64,
    /// How long the run may take, in milliseconds; 0: for ever.
    limit: AtomicU64,
    /// The last run that was interrupted because it took too long.
    overdue: AtomicU64,
    /// How many are between looking at `running` and having interrupted. `end` waits for them: they are a few instructions long.
    interrupting: AtomicUsize,
}

/// The owner of what several environments share: nobody's end interrupts it.
pub(crate) const SHARED: u64 = 0;

/// The owner of the single statements of an environment, apart from transactions.
pub(crate) fn env_owner(env: u64) -> u64 {
    env | 1 << 63
}

/// Whom an interrupt is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whatever a transaction, or an environment that is gone, runs: all of it is to end.
    Owner(u64),
    /// One run.
    Run(u64),
}

const REPEAT: Duration = Duration::from_millis(2);

/// A run that is on; it ends when this is dropped.
pub(crate) struct Run<'a> {
    interrupt: &'a Interrupt,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.interrupt.end();
    }
}

impl Interrupt {
    pub(crate) fn new(handle: InterruptHandle) -> Self {
        Self {
            handle,
            running: AtomicU64::new(0),
            last: AtomicU64::new(0),
            owner: AtomicU64::new(SHARED),
            limit: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
            interrupting: AtomicUsize::new(0),
        }
    }

    /// The connection begins a run that `owner` may interrupt, and a watch after `limit` (zero: never).
    pub(crate) fn begin(&self, owner: u64, limit: Duration) -> Run<'_> {
        let run = self.last.load(Ordering::Relaxed) + 1;
        self.owner.store(owner, Ordering::Relaxed);
        self.limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.last.store(run, Ordering::Relaxed);
        self.running.store(run, Ordering::SeqCst);
        Run { interrupt: self }
    }

    /// The run is over; no interrupt for it arrives from now on.
    fn end(&self) {
        // Sequentially consistent on both sides: either the interrupter sees the 0, or we see the interrupter.
        self.running.store(0, Ordering::SeqCst);
        while self.interrupting.load(Ordering::SeqCst) != 0 {
            std::hint::spin_loop();
        }
    }

    /// The run that is on, and how long it may take.
    pub(crate) fn current(&self) -> Option<(u64, Duration)> {
        let run = self.running.load(Ordering::SeqCst);
        (run != 0).then(|| (run, Duration::from_millis(self.limit.load(Ordering::Relaxed))))
    }

    /// Notes that `run` has taken too long, and is to be interrupted for that.
    pub(crate) fn set_overdue(&self, run: u64) {
        self.overdue.store(run, Ordering::SeqCst);
    }

    /// Whether the last run was interrupted because it took too long.
    pub(crate) fn was_overdue(&self) -> bool {
        self.overdue.load(Ordering::SeqCst) == self.last.load(Ordering::Relaxed)
    }

    /// Interrupts what is running if it is `wanted`. `false`: it is not running, or no more.
    fn interrupt_if(&self, wanted: impl FnOnce(u64) -> bool) -> bool {
        self.interrupting.fetch_add(1, Ordering::SeqCst);
        let run = self.running.load(Ordering::SeqCst);
        let hit = run != 0 && wanted(run);
        if hit {
            self.handle.interrupt();
        }
        self.interrupting.fetch_sub(1, Ordering::SeqCst);
        hit
    }

    fn interrupt(&self, target: Target) -> bool {
        self.interrupt_if(|run| match target {
            Target::Owner(owner) => self.owner.load(Ordering::Relaxed) == owner,
            Target::Run(wanted) => run == wanted,
        })
    }

    /// Interrupts whatever is running: the process is ending.
    pub(crate) fn interrupt_any(&self) {
        self.interrupt_if(|_| true);
    }
}

/// Interrupts `target`, again and again until it runs no more.
pub(crate) fn interrupt_until_ended(interrupt: Arc<Interrupt>, target: Target) {
    if interrupt.interrupt(target) {
        runtime::after(REPEAT, move || interrupt_until_ended(interrupt, target));
    }
}
