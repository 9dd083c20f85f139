//! Owns the read connections: opened when they are first needed, up to the limit; the one used last is used next; whoever
//! finds none free waits in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::config::Synchronous;
use crate::connection::{Connection, Role};
use crate::error::{Error, ErrorCode};
use crate::execute::OwnedCall;
use crate::exit;
use crate::line::{Entry, Line, Waits};
use crate::mailbox::Resume;
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::transaction::Transaction;
use crate::writer::{WATCH_EVERY, patience};

mod run;

pub(crate) use run::to_writer;

/// What waits for a reader.
pub(crate) enum Work {
    /// One statement by itself: its own snapshot.
    Run { reply: Reply, call: OwnedCall },
    /// A read transaction.
    Begin { reply: Reply },
}

type Publish = Box<dyn FnOnce() + Send>;

struct Pool {
    line: Line<Work>,
    /// Connections nobody uses; the last one was used last.
    #[expect(
        clippy::vec_box,
        reason = "a connection moves between queue, drain and transaction; boxed it moves as a pointer"
    )]
    idle: Vec<Box<Connection>>,
    /// Connections that exist or are being opened.
    open: usize,
    /// Drains that were started and have not looked at the queue yet.
    waking: usize,
    /// Transactions granted and not seen accepted, with what is needed to let them stand aside.
    granted: Vec<Granted>,
    watching: bool,
    closed: Option<Publish>,
    closing: bool,
}

struct Granted {
    transaction: Weak<Transaction>,
    seq: u64,
    revocations: u32,
}

/// The readers of one database.
pub(crate) struct Readers {
    path: PathBuf,
    synchronous: Synchronous,
    limit: usize,
    max_queued: usize,
    pool: Mutex<Pool>,
}

impl Work {
    fn reply(&self) -> &Reply {
        match self {
            Self::Run { reply, .. } | Self::Begin { reply } => reply,
        }
    }

    fn fail(self, error: &Error) {
        match self {
            Self::Run { reply, .. } | Self::Begin { reply } => reply.fail(error),
        }
    }
}

impl Waits for Work {
    fn env(&self) -> Option<u64> {
        Some(self.reply().env())
    }
}

impl Readers {
    pub(crate) fn new(path: PathBuf, synchronous: Synchronous, limit: u32, max_queued: u32) -> Self {
        let pool = Pool {
            line: Line::new(),
            idle: Vec::new(),
            open: 0,
            waking: 0,
            granted: Vec::new(),
            watching: false,
            closed: None,
            closing: false,
        };
        Self {
            path,
            synchronous,
            limit: usize::try_from(limit).unwrap_or(1).max(1),
            max_queued: usize::try_from(max_queued).unwrap_or(usize::MAX),
            pool: Mutex::new(pool),
        }
    }

    /// Puts a connection that was opened by somebody else into the pool.
    pub(crate) fn adopt(&self, connection: Box<Connection>) {
        let mut pool = self.pool.lock();
        pool.open += 1;
        pool.idle.push(connection);
    }

    /// Queues `work`, and starts a connection for it if one may be started.
    pub(crate) fn submit(self: &Arc<Self>, work: Work) {
        let mut pool = self.pool.lock();
        if pool.line.len() >= self.max_queued {
            drop(pool);
            return work.fail(&Error::new(
                ErrorCode::QueueFull,
                format!("{} operations wait for a reader, as many as maxQueued allows; slow down, or raise readers or maxQueued", self.max_queued),
            ));
        }
        pool.line.push(work);
        self.start(pool);
    }

    /// Starts one more drain if something waits. One at a time: a drain that finds more than it takes starts the next.
    fn start(self: &Arc<Self>, mut pool: parking_lot::MutexGuard<'_, Pool>) {
        if pool.line.is_empty() || pool.waking > 0 {
            return;
        }
        let readers = Arc::clone(self);
        if let Some(connection) = pool.idle.pop() {
            pool.waking += 1;
            drop(pool);
            runtime::spawn(Lane::Read, move || readers.drain(Some(connection), None));
        } else if pool.open < self.limit {
            pool.open += 1;
            pool.waking += 1;
            drop(pool);
            runtime::spawn(Lane::Read, move || readers.drain(None, None));
        }
    }

    /// The next entry for `connection`, or the connection put back. Decided before anybody sees the result of the last one.
    fn next(self: &Arc<Self>, connection: Box<Connection>, woken: bool) -> Option<(Box<Connection>, Entry<Work>)> {
        let mut pool = self.pool.lock();
        if woken {
            pool.waking = pool.waking.saturating_sub(1);
        }
        let Some(entry) = pool.line.pop() else {
            self.put_back(pool, connection);
            return None;
        };
        if woken {
            self.start(pool);
        }
        Some((connection, entry))
    }

    fn put_back(&self, mut pool: parking_lot::MutexGuard<'_, Pool>, connection: Box<Connection>) {
        if !pool.closing {
            pool.idle.push(connection);
            return;
        }
        drop(pool);
        drop(connection);
        self.left();
    }

    /// A connection is gone.
    fn left(&self) {
        let closed = {
            let mut pool = self.pool.lock();
            pool.open = pool.open.saturating_sub(1);
            if pool.open == 0 { pool.closed.take() } else { None }
        };
        if let Some(closed) = closed {
            closed();
        }
    }

    /// Closes all connections, now or as they come back; `closed` is called after the last. Nothing may be queued any more.
    pub(crate) fn close(&self, closed: Publish) {
        let (idle, closed) = {
            let mut pool = self.pool.lock();
            pool.closing = true;
            let idle = std::mem::take(&mut pool.idle);
            pool.open -= idle.len();
            if pool.open == 0 {
                (idle, Some(closed))
            } else {
                pool.closed = Some(closed);
                (idle, None)
            }
        };
        drop(idle);
        if let Some(closed) = closed {
            closed();
        }
    }

    /// A transaction is over and gives its connection back; none if it could not be brought to a clean state. May be called on
    /// the JavaScript thread: what waits goes to an engine thread.
    fn released(self: &Arc<Self>, connection: Option<Box<Connection>>, publish: Publish) {
        match connection {
            Some(connection) => {
                let mut pool = self.pool.lock();
                if pool.line.is_empty() {
                    self.put_back(pool, connection);
                } else {
                    pool.idle.push(connection);
                    self.start(pool);
                }
            }
            None => self.discarded(),
        }
        publish();
    }

    /// A connection was thrown away; another may be opened in its place.
    fn discarded(self: &Arc<Self>) {
        self.left();
        self.start(self.pool.lock());
    }

    /// Remembers a grant, so that it can be revoked if it lies while others wait.
    fn remember(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        let watch = {
            let mut pool = self.pool.lock();
            // No more than `limit` of them can still be waiting.
            if pool.granted.len() >= 4 * self.limit {
                pool.granted.retain(|granted| granted.waits().is_some());
            }
            pool.granted.push(Granted { transaction: Arc::downgrade(transaction), seq, revocations });
            !std::mem::replace(&mut pool.watching, true)
        };
        if watch {
            self.watch();
        }
    }

    fn watch(self: &Arc<Self>) {
        let readers = Arc::clone(self);
        runtime::after(WATCH_EVERY, move || readers.look());
    }

    fn look(self: &Arc<Self>) {
        let late = {
            let mut pool = self.pool.lock();
            pool.granted.retain(|granted| granted.waits().is_some());
            if pool.granted.is_empty() {
                pool.watching = false;
                return;
            }
            if pool.line.is_empty() {
                Vec::new()
            } else {
                let (late, stay) = std::mem::take(&mut pool.granted).into_iter().partition(Granted::is_late);
                pool.granted = stay;
                late
            }
        };
        for Granted { transaction, seq, revocations } in late {
            if let Some(transaction) = transaction.upgrade() {
                self.revoke(&transaction, seq, revocations);
            }
        }
        self.watch();
    }

    fn revoke(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        transaction.revoke(|reply| {
            let mailbox = Arc::clone(reply.mailbox());
            let work = Work::Begin { reply };
            self.pool.lock().line.stand_aside(Entry { seq, revocations: revocations + 1, work });
            let readers = Arc::clone(self);
            let env = mailbox.env;
            mailbox.stand_aside(Box::new(move || readers.readmit(env)));
        });
    }

    fn readmit(self: &Arc<Self>, env: u64) {
        let mut pool = self.pool.lock();
        pool.line.readmit(env);
        self.start(pool);
    }

    /// Removes what an environment that is gone has queued.
    pub(crate) fn forget(&self, env: u64) {
        let gone = self.pool.lock().line.forget(env);
        drop(gone);
    }
}

impl Granted {
    /// How long the grant lies; `None` when it was taken, revoked or ended.
    fn waits(&self) -> Option<Duration> {
        self.transaction.upgrade().and_then(|transaction| transaction.unaccepted_for())
    }

    fn is_late(&self) -> bool {
        self.waits().is_some_and(|waited| waited >= patience(self.revocations))
    }
}
