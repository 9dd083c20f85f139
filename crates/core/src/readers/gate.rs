//! Owns the gate that holds reads back while somebody needs the file without readers: for a truncation of the log, or
//! exclusive work.

use super::{Arc, Duration, MutexGuard, Pool, Readers, runtime};

/// Told when no reader is checked out, with the gate that holds new ones back; or, after the patience has run out, which of those
/// that were in the way is the oldest.
type Held = Box<dyn FnOnce(Result<Gate, u64>) + Send>;

/// Whether reads may start.
pub(super) enum State {
    Open,
    /// New reads wait until those that are on have ended.
    Closing {
        number: u64,
        held: Held,
    },
    /// None is on.
    Closed,
}

impl State {
    pub(super) fn is_closed(&self) -> bool {
        !matches!(self, Self::Open)
    }
}

/// Holds all reads back; they go on when it is dropped.
pub(crate) struct Gate {
    readers: Arc<Readers>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.readers.open_gate();
    }
}

impl Readers {
    /// Holds new reads back until those that are on have ended, at most for `patience`; gives the number of the gate. One at a
    /// time: a second one is told at once.
    pub(crate) fn hold_back(self: &Arc<Self>, patience: Duration, held: Held) -> u64 {
        let mut pool = self.pool.lock();
        if pool.gate.is_closed() || pool.closing {
            drop(pool);
            held(Err(0));
            return 0;
        }
        pool.last_gate += 1;
        let number = pool.last_gate;
        pool.gate = State::Closing { number, held };
        self.gate_may_hold(pool);
        // Nothing of a database, its key least of all, is kept for the sake of a timer.
        let readers = Arc::downgrade(self);
        runtime::after(patience, move || {
            if let Some(readers) = readers.upgrade() {
                readers.gate_runs_out(number);
            }
        });
        number
    }

    /// Lets reads go on that wait for the gate `number`, which nobody wants any more. One that holds is its owner's to drop.
    pub(crate) fn let_go(self: &Arc<Self>, number: u64) {
        let mut pool = self.pool.lock();
        if matches!(&pool.gate, State::Closing { number: closing, .. } if *closing == number) {
            let unwanted = std::mem::replace(&mut pool.gate, State::Open);
            self.start(pool);
            drop(unwanted);
        }
    }

    /// Whether the reader of that checkout is on.
    pub(crate) fn is_checked_out(&self, checkout: u64) -> bool {
        self.pool.lock().checkouts.contains(&checkout)
    }

    /// Passes the gate on if the last reader has ended.
    pub(super) fn gate_may_hold(self: &Arc<Self>, mut pool: MutexGuard<'_, Pool>) {
        if pool.open > pool.idle.len() {
            return;
        }
        match std::mem::replace(&mut pool.gate, State::Closed) {
            State::Closing { held, .. } => {
                drop(pool);
                held(Ok(Gate { readers: Arc::clone(self) }));
            }
            other => pool.gate = other,
        }
    }

    fn gate_runs_out(self: &Arc<Self>, number: u64) {
        let mut pool = self.pool.lock();
        let oldest = pool.checkouts.iter().min().copied().unwrap_or_default();
        match std::mem::replace(&mut pool.gate, State::Open) {
            State::Closing { number: closing, held } if closing == number => {
                self.start(pool);
                held(Err(oldest));
            }
            other => pool.gate = other,
        }
    }

    fn open_gate(self: &Arc<Self>) {
        let mut pool = self.pool.lock();
        pool.gate = State::Open;
        self.start(pool);
    }
}
