//! Owns the interrupt handshake: a statement that is running can be asked to stop, its successor on the same connection
//! never is.
//!
//! `sqlite3_interrupt` alone does neither: it is forgotten when it comes before the first step, and it hits whoever steps
//! next when it comes late. So every run on a connection has a number and a [`Tag`] that says whose it is, an interrupt is
//! sent only to the runs it is meant for, the connection passes on only when nobody is about to send one, and the sender
//! repeats until its target has gone. Whoever begins a run looks *after* that whether it is wanted at all; whoever interrupts
//! sets its flag *before*: one of the two sees the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::InterruptHandle;

use crate::runtime;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The owner of what several environments share: nobody's end interrupts it.
pub(crate) const SHARED: u64 = 0;

/// The owner of the single statements of an environment, apart from transactions.
pub(crate) fn env_owner(env: u64) -> u64 {
    env | 1 << 63
}

/// Whose run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// A transaction, the single statements of an environment, or [`SHARED`].
    pub(crate) owner: u64,
    /// The operation, unique within its owner's environment.
    pub(crate) op: u32,
    /// The handle it came by; 0 for what is shared.
    pub(crate) handle: u64,
}

/// Whom an interrupt is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whatever a transaction, or an environment that is gone, runs: all of it is to end.
    Owner(u64),
    /// One operation of an owner; other statements of the same transaction go on.
    Operation { owner: u64, op: u32 },
    /// Whatever runs for a handle that is closed and has no more patience.
    Handle(u64),
    /// One run.
    Run(u64),
}

/// How a run can be stopped alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By SQLite's interrupt, which stops every statement under way on the connection.
    Interrupt,
    /// By the progress handler: cursors stand open beside it, and SQLite's interrupt would end them as well.
    Progress,
}

/// The interrupt side of one connection.
pub(crate) struct Interrupt {
    handle: InterruptHandle,
    /// The number of the run that is on; 0 when idle. Written by the connection's owner only, as are those up to `limit`.
    running: AtomicU64,
    /// The number of the last run.
    last: AtomicU64,
    owner: AtomicU64,
    op: AtomicU64,
    of_handle: AtomicU64,
    by_progress: AtomicBool,
    /// How long the run may take, in milliseconds; 0: for ever.
    limit: AtomicU64,
    /// The last run that was interrupted because it took too long.
    overdue: AtomicU64,
    /// The last run that the progress handler is to stop.
    stopped: AtomicU64,
    /// How many are between looking at `running` and having interrupted. `end` waits for them: they are a few instructions long.
    interrupting: AtomicUsize,
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
            op: AtomicU64::new(0),
            of_handle: AtomicU64::new(0),
            by_progress: AtomicBool::new(false),
            limit: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            interrupting: AtomicUsize::new(0),
        }
    }

    /// The connection begins a run that those whose tag it has may interrupt, and a watch after `limit` (zero: never).
    pub(crate) fn begin(&self, tag: Tag, manner: Manner, limit: Duration) -> Run<'_> {
        let run = self.last.load(Ordering::Relaxed) + 1;
        self.owner.store(tag.owner, Ordering::Relaxed);
        self.op.store(u64::from(tag.op), Ordering::Relaxed);
        self.of_handle.store(tag.handle, Ordering::Relaxed);
        self.by_progress.store(manner == Manner::Progress, Ordering::Relaxed);
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
            crate::sync::spin_loop();
        }
    }

    /// The run that is on, and how long it may take.
    fn current(&self) -> Option<(u64, Duration)> {
        let run = self.running.load(Ordering::SeqCst);
        (run != 0).then(|| (run, Duration::from_millis(self.limit.load(Ordering::Relaxed))))
    }

    /// Whether the last run was interrupted because it took too long.
    pub(crate) fn was_overdue(&self) -> bool {
        self.overdue.load(Ordering::SeqCst) == self.last.load(Ordering::Relaxed)
    }

    /// Whether the progress handler is to stop the run that is on.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) == self.running.load(Ordering::Relaxed)
    }

    /// Interrupts what is running if it is `wanted`; which run that was. `None`: it is not running, or no more.
    fn interrupt_if(&self, wanted: impl FnOnce(u64) -> bool) -> Option<u64> {
        self.interrupting.fetch_add(1, Ordering::SeqCst);
        let run = self.running.load(Ordering::SeqCst);
        let hit = run != 0 && wanted(run);
        if hit {
            crate::sync::point();
            self.handle.interrupt();
        }
        self.interrupting.fetch_sub(1, Ordering::SeqCst);
        hit.then_some(run)
    }

    /// Interrupts `target` if it is running. Whom to interrupt again, until it runs no more.
    fn interrupt(&self, target: Target) -> Option<Target> {
        match target {
            Target::Owner(owner) => self.interrupt_if(|_| self.is_owned_by(owner)).map(|_| target),
            Target::Handle(handle) => {
                self.interrupt_if(|_| self.of_handle.load(Ordering::Relaxed) == handle).map(|_| target)
            }
            // The number of an operation is used again once it was answered, so that its run is meant from now on.
            Target::Operation { owner, op } => {
                if self.stop(owner, op) {
                    return None;
                }
                // Begun between the two looks, it sees by itself that it is not wanted: it was marked before.
                let wanted = |_| self.is_owned_by(owner) && self.is_op(op) && !self.by_progress.load(Ordering::Relaxed);
                self.interrupt_if(wanted).map(Target::Run)
            }
            Target::Run(run) => self.interrupt_if(|running| running == run).map(Target::Run),
        }
    }

    /// Interrupts the run that several share, if one is on; which that was. For those who know that nobody wants it any more, and
    /// that no other begins meanwhile.
    pub(crate) fn interrupt_shared(&self) -> Option<Target> {
        self.interrupt_if(|_| self.is_owned_by(SHARED)).map(Target::Run)
    }

    /// Has the progress handler stop an operation that runs beside open cursors; `false`: it does not.
    fn stop(&self, owner: u64, op: u32) -> bool {
        self.interrupting.fetch_add(1, Ordering::SeqCst);
        let run = self.running.load(Ordering::SeqCst);
        let hit = run != 0 && self.by_progress.load(Ordering::Relaxed) && self.is_owned_by(owner) && self.is_op(op);
        if hit {
            self.stopped.store(run, Ordering::Relaxed);
        }
        self.interrupting.fetch_sub(1, Ordering::SeqCst);
        hit
    }

    fn is_owned_by(&self, owner: u64) -> bool {
        self.owner.load(Ordering::Relaxed) == owner
    }

    fn is_op(&self, op: u32) -> bool {
        self.op.load(Ordering::Relaxed) == u64::from(op)
    }

    /// Interrupts whatever is running: the process is ending.
    pub(crate) fn interrupt_any(&self) {
        self.interrupt_if(|_| true);
    }
}

/// Interrupts `target`, again and again until it runs no more.
pub(crate) fn interrupt_until_ended(interrupt: Arc<Interrupt>, target: Target) {
    if let Some(again) = interrupt.interrupt(target) {
        runtime::after(REPEAT, move || interrupt_until_ended(interrupt, again));
    }
}

/// The run on a connection that the last look saw, and when it was seen first.
#[derive(Clone, Copy)]
struct Seen {
    run: u64,
    since: Instant,
}

/// Times the runs of one connection by looking at it now and then. Runs are told apart by their number, so that each is timed
/// by itself without reading the clock at its start.
pub(crate) struct Watch {
    pub(crate) interrupt: Arc<Interrupt>,
    seen: Option<Seen>,
}

impl Watch {
    pub(crate) fn new(interrupt: Arc<Interrupt>) -> Self {
        Self { interrupt, seen: None }
    }

    /// Looks at the connection, and interrupts a run that is over its limit. For how long the run on it was seen; `None`: nothing
    /// runs.
    pub(crate) fn look(&mut self) -> Option<Duration> {
        let Some((run, limit)) = self.interrupt.current() else {
            self.seen = None;
            return None;
        };
        let seen = self.seen.filter(|seen| seen.run == run).unwrap_or_else(|| Seen { run, since: Instant::now() });
        self.seen = Some(seen);
        let runs_for = seen.since.elapsed();
        if !limit.is_zero() && runs_for >= limit {
            self.interrupt.overdue.store(run, Ordering::SeqCst);
            interrupt_until_ended(Arc::clone(&self.interrupt), Target::Run(run));
        }
        Some(runs_for)
    }

    /// For how long what runs now has been seen to run.
    pub(crate) fn runs_for(&self) -> Duration {
        let running = self.interrupt.current().map(|(run, _)| run);
        self.seen.filter(|seen| Some(seen.run) == running).map_or(Duration::ZERO, |seen| seen.since.elapsed())
    }

    /// For how long the run of the last look has been seen.
    pub(crate) fn seen_for(&self) -> Duration {
        self.seen.map_or(Duration::ZERO, |seen| seen.since.elapsed())
    }
}
