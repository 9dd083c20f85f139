//! Owns who holds the writer: the grant of an interactive transaction, its return, and what happens to one that lies.

use super::{
    Arc, Connection, Duration, Entry, Instant, Publish, Queue, Reply, Seen, State, Transaction, Waiting, Work, Writer,
    runtime,
};
use crate::interrupt::{Target, interrupt_until_ended};

/// An environment that has not taken a grant for this long loses it and stands aside.
pub(crate) const ACCEPT_WITHIN: Duration = Duration::from_millis(50);
/// How often a holder is looked at.
pub(crate) const WATCH_EVERY: Duration = Duration::from_millis(25);

impl Writer {
    /// Hands the begun transaction to the environment that asked.
    pub(super) fn grant(self: &Arc<Self>, connection: Box<Connection>, reply: Reply, seq: u64, revocations: u32) {
        let writer = Arc::clone(self);
        let release = Box::new(move |connection, publish| writer.released(connection, publish));
        let mailbox = Arc::clone(reply.mailbox());
        let transaction = Arc::new(Transaction::new(connection, reply, release));
        let watch = {
            let mut queue = self.queue.lock();
            queue.state = State::Held { transaction: Arc::clone(&transaction), seq, revocations };
            !std::mem::replace(&mut queue.watching, true)
        };
        mailbox.grant(transaction);
        if watch {
            self.watch();
        }
    }

    /// A transaction is over and gives its connection back; none if it could not be brought to a clean state.
    fn released(self: &Arc<Self>, connection: Option<Box<Connection>>, publish: Publish) {
        self.queue.lock().state = State::Draining;
        if let Some(connection) = connection {
            self.drain(connection, Some(publish));
        } else {
            publish();
            self.reopen();
        }
    }

    pub(super) fn watch(self: &Arc<Self>) {
        let writer = Arc::clone(self);
        runtime::after(WATCH_EVERY, move || writer.look());
    }

    /// Looks at who has the connection. Rests when nobody has it.
    fn look(self: &Arc<Self>) {
        let held = {
            let mut queue = self.queue.lock();
            match &queue.state {
                State::Held { transaction, seq, revocations } => Some((Arc::clone(transaction), *seq, *revocations)),
                State::Draining => {
                    queue.end_late_run();
                    None
                }
                State::Idle | State::Waiting | State::Gone => {
                    queue.watching = false;
                    return;
                }
            }
        };
        if let Some((transaction, seq, revocations)) = held {
            if transaction.unaccepted_for().is_some_and(|lies| lies >= patience(revocations)) {
                self.revoke(&transaction, seq, revocations);
            } else {
                transaction.expire_if_late();
            }
        }
        self.watch();
    }

    /// Takes a grant back; its environment's entries stand aside, in order, until it calls in.
    fn revoke(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        transaction.revoke(|reply| {
            let mailbox = Arc::clone(reply.mailbox());
            let work = Waiting::new(Work::Begin { reply });
            self.queue.lock().line.stand_aside(Entry { seq, revocations: revocations + 1, work });
            let writer = Arc::clone(self);
            let env = mailbox.env;
            mailbox.stand_aside(Box::new(move || writer.readmit(env)));
        });
    }

    fn readmit(self: &Arc<Self>, env: u64) {
        let mut queue = self.queue.lock();
        queue.line.readmit(env);
        self.start(queue);
    }
}

impl Queue {
    /// Interrupts a statement of the engine's own transactions that runs for longer than `transactionTimeoutMs`. Runs are told apart
    /// by their number, so that each is timed by itself without reading the clock at its start.
    fn end_late_run(&mut self) {
        let Some((run, limit)) = self.interrupt.current() else { return };
        let seen = self.seen.filter(|seen| seen.run == run).unwrap_or_else(|| Seen { run, since: Instant::now() });
        self.seen = Some(seen);
        if !limit.is_zero() && seen.since.elapsed() >= limit {
            self.interrupt.set_overdue(run);
            interrupt_until_ended(Arc::clone(&self.interrupt), Target::Run(run));
        }
    }
}

/// How long a grant may lie that was revoked so many times: a slow loop gets its turn.
pub(crate) fn patience(revocations: u32) -> Duration {
    ACCEPT_WITHIN.saturating_mul(1 << revocations.min(16))
}
