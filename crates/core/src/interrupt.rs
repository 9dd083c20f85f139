//! Owns the interrupt handshake: a statement that is running can be asked to stop, its successor on the same connection
//! never is.
//!
//! `sqlite3_interrupt` alone does neither: it is forgotten when it comes before the first step, and it hits whoever steps
//! next when it comes late. So the connection says which token it is running, an interrupt is sent only to that token
//! and is waited for before the connection passes on, and the sender repeats until the token has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::InterruptHandle;

use crate::runtime;

/// The interrupt side of one connection.
pub(crate) struct Interrupt {
    handle: InterruptHandle,
    /// The token of the work that is running; 0 when idle. Written by the connection's owner only.
    running: AtomicU64,
    /// How many are between looking at `running` and having interrupted. `end` waits for them: they are a few instructions long.
    interrupting: AtomicUsize,
    /// The work was interrupted because it ran too long.
    overdue: AtomicBool,
}

/// The token of a shared transaction: only the process stop interrupts it.
pub(crate) const SHARED: u64 = u64::MAX;

/// The token of a single statement of an environment, apart from those of transactions.
pub(crate) fn env_token(env: u64) -> u64 {
    env | 1 << 63
}

const REPEAT: Duration = Duration::from_millis(2);

impl Interrupt {
    pub(crate) fn new(handle: InterruptHandle) -> Self {
        Self { handle, running: AtomicU64::new(0), interrupting: AtomicUsize::new(0), overdue: AtomicBool::new(false) }
    }

    /// The connection begins work that may be interrupted under `token` (not 0).
    pub(crate) fn begin(&self, token: u64) {
        self.overdue.store(false, Ordering::Relaxed);
        self.running.store(token, Ordering::SeqCst);
    }

    /// The work is over; no interrupt for it arrives from now on.
    pub(crate) fn end(&self) {
        // Sequentially consistent on both sides: either the interrupter sees the 0, or we see the interrupter.
        self.running.store(0, Ordering::SeqCst);
        while self.interrupting.load(Ordering::SeqCst) != 0 {
            std::hint::spin_loop();
        }
    }

    /// Interrupts what is running if `wanted`. `false`: it is not running, or no more.
    fn interrupt_if(&self, wanted: impl FnOnce(u64) -> bool) -> bool {
        self.interrupting.fetch_add(1, Ordering::SeqCst);
        let hit = wanted(self.running.load(Ordering::SeqCst));
        if hit {
            self.handle.interrupt();
        }
        self.interrupting.fetch_sub(1, Ordering::SeqCst);
        hit
    }

    /// Notes that what is interrupted next has run too long.
    pub(crate) fn set_overdue(&self) {
        self.overdue.store(true, Ordering::SeqCst);
    }

    /// Whether the work was interrupted because it ran too long; forgets it.
    pub(crate) fn take_overdue(&self) -> bool {
        self.overdue.swap(false, Ordering::SeqCst)
    }

    /// Interrupts whatever is running: the process is ending.
    pub(crate) fn interrupt_any(&self) {
        self.interrupt_if(|running| running != 0);
    }
}

/// Interrupts the work `token`, again and again until it has ended.
pub(crate) fn interrupt_until_ended(interrupt: Arc<Interrupt>, token: u64) {
    if interrupt.interrupt_if(|running| running == token) {
        runtime::after(REPEAT, move || interrupt_until_ended(interrupt, token));
    }
}
