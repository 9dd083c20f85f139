//! Owns the interrupt handshake: a statement that is running can be asked to stop, its successor on the same connection
//! never is.
//!
//! `sqlite3_interrupt` alone does neither: it is forgotten when it comes before the first step, and it hits whoever steps
//! next when it comes late. So the connection says under a lock which token it is running, an interrupt is sent under the
//! same lock and only to that token, and the sender repeats until the token has gone.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::InterruptHandle;

use crate::runtime;

/// The interrupt side of one connection.
pub(crate) struct Interrupt {
    handle: InterruptHandle,
    /// The token of the work that is running; 0 when idle.
    running: Mutex<u64>,
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
        Self { handle, running: Mutex::new(0) }
    }

    /// The connection begins work that may be interrupted under `token` (not 0).
    pub(crate) fn begin(&self, token: u64) {
        *self.running.lock() = token;
    }

    /// The work is over; no interrupt for it arrives from now on.
    pub(crate) fn end(&self) {
        *self.running.lock() = 0;
    }

    /// Interrupts the work `token` if it is running. `false`: it is not, or no more.
    fn interrupt(&self, token: u64) -> bool {
        let running = self.running.lock();
        if *running != token {
            return false;
        }
        self.handle.interrupt();
        true
    }

    /// Interrupts whatever is running: the process is ending.
    pub(crate) fn interrupt_any(&self) {
        if let Some(running) = self.running.try_lock()
            && *running != 0
        {
            self.handle.interrupt();
        }
    }
}

/// Interrupts the work `token`, again and again until it has ended.
pub(crate) fn interrupt_until_ended(interrupt: Arc<Interrupt>, token: u64) {
    if interrupt.interrupt(token) {
        runtime::after(REPEAT, move || interrupt_until_ended(interrupt, token));
    }
}
