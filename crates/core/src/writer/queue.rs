//! Owns what waits for the writer, where the connection is, and the figures of both.

use super::{
    Arc, Aside, Asked, Backoff, CacheFigures, Connection, Duration, Error, Exclusive, Gate, Instant, Line, Member,
    Reply, Sql, Terms, Transaction, Truncation, Waits, Watch, Writer,
};
use crate::mailbox::Mailbox;

/// What waits for the writer.
pub(crate) enum Work {
    /// One statement or batch, to be committed by the engine, together with its neighbours.
    Run(Member),
    /// A script in a transaction of its own.
    Script { reply: Reply, sql: Arc<Sql> },
    /// An interactive transaction.
    Begin { reply: Reply, terms: Terms },
    /// A synchronous closure, which shares a transaction with its neighbours of the same environment.
    Closure { reply: Reply, terms: Terms },
    /// A checkpoint that was asked for.
    Checkpoint(Asked),
    /// The log is too long, and no reader is in the way.
    Truncate { gate: Gate },
    /// Work that wants no reader beside it.
    Exclusive(Box<Exclusive>),
    /// The end of the queue: closes the connection.
    Close { done: Box<dyn FnOnce() + Send> },
}

pub(super) struct Waiting {
    /// When it came, if the file was busy then; the time before does not count.
    pub(super) since: Option<Instant>,
    /// Shares no transaction: its group was rolled back.
    pub(super) alone: bool,
    pub(super) work: Work,
}

/// Where the connection is.
pub(super) enum State {
    /// In the queue; nothing waits.
    Idle,
    /// With the drain.
    Draining,
    /// In the queue, until a timer tries again: another process holds the lock.
    Waiting,
    /// With a transaction; what its entry must remember should the grant be revoked.
    Held { transaction: Arc<Transaction>, seq: u64, revocations: u32 },
    /// Nowhere: the engine failed, or it is closed.
    Gone,
}

pub(super) struct Queue {
    pub(super) line: Line<Waiting>,
    pub(super) state: State,
    /// Here while the state is `Idle` or `Waiting`.
    pub(super) connection: Option<Box<Connection>>,
    pub(super) busy_since: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Looks at the connection, wherever that is.
    pub(super) watch: Watch,
    /// A timer looks at who has the connection.
    pub(super) watching: bool,
    /// What a gate for the truncation of the log has come to.
    pub(super) truncation: Truncation,
    /// Who shares the transaction that is on.
    pub(super) sharers: Vec<(Arc<Mailbox>, u32)>,
    /// Jobs that wait for the readers, or for another process.
    pub(super) aside: Vec<Aside>,
    pub(super) figures: Figures,
}

/// What the writer has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) log_frames: u32,
    pub(crate) log_bytes: u64,
    pub(crate) commits: u64,
    pub(crate) rollbacks: u64,
    pub(crate) groups: u64,
    pub(crate) members: u64,
    pub(crate) checkpoints: u64,
    pub(crate) truncations: u64,
    pub(crate) busy_waits: u64,
    pub(crate) cache: CacheFigures,
}

impl Figures {
    /// So many calls have shared a transaction; one alone shares nothing.
    pub(super) fn shared(&mut self, calls: usize) {
        if calls > 1 {
            self.groups += 1;
            self.members += u64::try_from(calls).unwrap_or_default();
        }
    }
}

/// What the writer is at, and what it has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriterFigures {
    /// 0 idle, 1 running, 2 waiting for another process, 3 held by a transaction, 4 gone.
    pub(crate) state: u8,
    pub(crate) queued: usize,
    pub(crate) held_for: Duration,
    pub(crate) done: Figures,
}

impl Queue {
    /// Whether `op` of an environment shares the transaction that is on, and nobody wants that any more.
    pub(super) fn is_unwanted_by_all(&self, env: u64, op: u32) -> bool {
        self.sharers.iter().any(|(mailbox, other)| mailbox.env == env && *other == op)
            && self.sharers.iter().all(|(mailbox, op)| mailbox.is_closed() || mailbox.is_cancelled(*op))
    }
}

impl Waiting {
    pub(super) fn new(work: Work) -> Self {
        Self { since: None, alone: false, work }
    }

    pub(super) fn reply(&self) -> Option<&Reply> {
        match &self.work {
            Work::Run(Member { reply, .. })
            | Work::Script { reply, .. }
            | Work::Begin { reply, .. }
            | Work::Closure { reply, .. }
            | Work::Checkpoint(Asked { reply, .. }) => Some(reply),
            Work::Exclusive(exclusive) => exclusive.job.reply(),
            Work::Truncate { .. } | Work::Close { .. } => None,
        }
    }

    pub(super) fn fail(self, error: &Error) {
        match self.work {
            Work::Run(Member { reply, .. })
            | Work::Script { reply, .. }
            | Work::Begin { reply, .. }
            | Work::Closure { reply, .. }
            | Work::Checkpoint(Asked { reply, .. }) => reply.fail(error),
            Work::Truncate { gate } => drop(gate),
            Work::Exclusive(exclusive) => exclusive.fail(error),
            Work::Close { done } => done(),
        }
    }
}

impl Waits for Waiting {
    fn env(&self) -> Option<u64> {
        self.reply().map(Reply::env)
    }
}

impl WriterFigures {
    /// There is no writer.
    pub(crate) fn none() -> Self {
        Self { state: 4, ..Self::default() }
    }
}

impl Writer {
    /// What the writer is at.
    pub(crate) fn stats(&self) -> WriterFigures {
        let queue = self.queue.lock();
        let (state, held_for) = match &queue.state {
            State::Idle => (0, Duration::ZERO),
            State::Draining => (1, queue.watch.seen_for()),
            State::Waiting => (2, queue.busy_since.map_or(Duration::ZERO, |since| since.elapsed())),
            State::Held { transaction, .. } => (3, transaction.open_for()),
            State::Gone => (4, Duration::ZERO),
        };
        WriterFigures { state, queued: queue.line.len(), held_for, done: queue.figures }
    }
}
