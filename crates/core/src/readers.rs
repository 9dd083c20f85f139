//! Owns the read connections: opened when they are first needed, up to the limit; the one used last is used next; whoever
//! finds none free waits in order.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::connection::{CacheFigures, Connection, Profile, Role};
use crate::error::{self, Error, ErrorCode};
use crate::execute::OwnedCall;
use crate::exit;
use crate::interrupt::{Interrupt, Target, Watch, env_owner, interrupt_until_ended};
use crate::line::{Entry, Line, Waits};
use crate::mailbox::{Mailbox, Resume};
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::sync::{Mutex, MutexGuard};
use crate::transaction::{Askers, State, Terms, Transaction};
use crate::writer::{WATCH_EVERY, patience};

mod gate;
mod run;
mod watch;

pub(crate) use gate::Gate;
pub(crate) use run::to_writer;
pub(crate) use watch::ReaderFigures;

/// What waits for a reader.
pub(crate) enum Work {
    /// One statement by itself: its own snapshot.
    Run { reply: Reply, call: OwnedCall },
    /// A read transaction.
    Begin { reply: Reply, terms: Terms },
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
    /// Uses of connections so far, and those that are on.
    last_checkout: u64,
    checkouts: Vec<u64>,
    /// The connections, wherever they are.
    known: Vec<Known>,
    /// Transactions that were granted and are not over, with what is needed to let them stand aside.
    granted: Vec<Granted>,
    /// Entries that found the file busy, with their connections, until a timer tries again.
    busy: HashMap<u64, Busy>,
    watching: bool,
    gate: gate::State,
    /// Gates so far.
    last_gate: u64,
    closed: Option<Publish>,
    closing: bool,
}

/// What the pool knows of a connection that it does not have at hand.
struct Known {
    watch: Watch,
    /// As of the last time it was at hand when somebody asked.
    figures: CacheFigures,
}

impl Known {
    fn new(connection: &Connection) -> Self {
        Self { watch: Watch::new(Arc::clone(&connection.interrupt)), figures: CacheFigures::default() }
    }
}

struct Granted {
    transaction: Weak<Transaction>,
    seq: u64,
    revocations: u32,
}

/// An entry that found the file busy.
struct Busy {
    connection: Box<Connection>,
    entry: Entry<Work>,
    patience: run::Patience,
}

/// The readers of one database.
pub(crate) struct Readers {
    profile: Arc<Profile>,
    limit: usize,
    max_queued: usize,
    pool: Mutex<Pool>,
}

impl Work {
    fn reply(&self) -> &Reply {
        match self {
            Self::Run { reply, .. } | Self::Begin { reply, .. } => reply,
        }
    }

    fn fail(self, error: &Error) {
        match self {
            Self::Run { reply, .. } | Self::Begin { reply, .. } => reply.fail(error),
        }
    }
}

impl Waits for Work {
    fn env(&self) -> Option<u64> {
        Some(self.reply().env())
    }
}

impl Readers {
    pub(crate) fn new(profile: Arc<Profile>, limit: u32, max_queued: u32) -> Self {
        let pool = Pool {
            line: Line::new(),
            idle: Vec::new(),
            open: 0,
            waking: 0,
            last_checkout: 0,
            checkouts: Vec::new(),
            known: Vec::new(),
            granted: Vec::new(),
            busy: HashMap::new(),
            watching: false,
            gate: gate::State::Open,
            last_gate: 0,
            closed: None,
            closing: false,
        };
        Self {
            profile,
            limit: usize::try_from(limit).unwrap_or(1).max(1),
            max_queued: usize::try_from(max_queued).unwrap_or(usize::MAX),
            pool: Mutex::new(pool),
        }
    }

    /// Puts a connection that was opened by somebody else into the pool.
    pub(crate) fn adopt(&self, connection: Box<Connection>) {
        let mut pool = self.pool.lock();
        pool.open += 1;
        pool.known.push(Known::new(&connection));
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
        // What waits and what runs is timed by looks.
        let watch = !std::mem::replace(&mut pool.watching, true);
        self.start(pool);
        if watch {
            self.watch();
        }
    }

    /// Starts one more drain if something waits. One at a time: a drain that finds more than it takes starts the next.
    fn start(self: &Arc<Self>, mut pool: MutexGuard<'_, Pool>) {
        if pool.line.is_empty() || pool.waking > 0 || pool.gate.is_closed() {
            return;
        }
        let readers = Arc::clone(self);
        if let Some(mut connection) = pool.idle.pop() {
            pool.waking += 1;
            pool.check_out(&mut connection);
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
    fn next(self: &Arc<Self>, mut connection: Box<Connection>, woken: bool) -> Option<(Box<Connection>, Entry<Work>)> {
        let mut pool = self.pool.lock();
        if woken {
            pool.waking = pool.waking.saturating_sub(1);
        }
        let next = if pool.gate.is_closed() { None } else { pool.line.pop() };
        let Some(entry) = next else {
            self.put_back(pool, connection);
            return None;
        };
        pool.check_in(&connection);
        pool.check_out(&mut connection);
        if woken {
            self.start(pool);
        }
        Some((connection, entry))
    }

    fn put_back(self: &Arc<Self>, mut pool: MutexGuard<'_, Pool>, connection: Box<Connection>) {
        pool.check_in(&connection);
        if pool.closing {
            drop(pool);
            drop(connection);
            return self.left();
        }
        if self.profile.pooled {
            pool.note_cache(&connection);
        }
        pool.idle.push(connection);
        self.gate_may_hold(pool);
    }

    /// A connection is gone.
    fn left(self: &Arc<Self>) {
        let (pool, closed) = {
            let mut pool = self.pool.lock();
            pool.open = pool.open.saturating_sub(1);
            let closed = if pool.open == 0 { pool.closed.take() } else { None };
            (pool, closed)
        };
        self.gate_may_hold(pool);
        if let Some(closed) = closed {
            closed();
        }
    }

    /// Closes the connections that nobody uses; others are opened when they are needed.
    pub(crate) fn close_idle(&self) {
        let idle = {
            let mut pool = self.pool.lock();
            let idle = std::mem::take(&mut pool.idle);
            pool.open -= idle.len();
            for connection in &idle {
                pool.known.retain(|known| !Arc::ptr_eq(&known.watch.interrupt, &connection.interrupt));
            }
            idle
        };
        drop(idle);
    }

    /// What their page caches held when each was last put back.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.pool.lock().known.iter().map(|known| known.figures.bytes).sum()
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
    fn released(self: &Arc<Self>, checkout: u64, connection: Option<Box<Connection>>, publish: Publish) {
        match connection {
            Some(connection) => {
                let mut pool = self.pool.lock();
                if pool.line.is_empty() || pool.gate.is_closed() {
                    self.put_back(pool, connection);
                } else {
                    pool.check_in(&connection);
                    pool.idle.push(connection);
                    self.start(pool);
                }
            }
            None => self.discarded(checkout),
        }
        publish();
    }

    /// A connection was thrown away; another may be opened in its place.
    fn discarded(self: &Arc<Self>, checkout: u64) {
        self.pool.lock().checkouts.retain(|on| *on != checkout);
        self.left();
        self.start(self.pool.lock());
    }

    /// Cancels an operation that waits here, or runs by itself.
    pub(crate) fn cancel(self: &Arc<Self>, env: u64, op: u32, mailbox: &Mailbox) {
        let (found, interrupts) = self.take_out(|reply| reply.is(env, op));
        if !found {
            mailbox.abandon(op);
            for interrupt in interrupts {
                interrupt_until_ended(interrupt, Target::Operation { owner: env_owner(env), op });
            }
        }
    }

    /// Ends what came by a handle that is closing and has no more patience.
    pub(crate) fn end_all(self: &Arc<Self>, handle: u64) {
        let transactions = self.transactions();
        for transaction in transactions.iter().filter(|transaction| transaction.terms.handle == handle) {
            transaction.close_now();
        }
        let (_, interrupts) = self.take_out(|reply| reply.came_by(handle));
        for interrupt in interrupts {
            interrupt_until_ended(interrupt, Target::Handle(handle));
        }
    }

    /// Takes out who waits in line or for the file, and tells them why; whether there was anybody, and who may be running.
    fn take_out(self: &Arc<Self>, is_meant: impl Fn(&Reply) -> bool) -> (bool, Vec<Arc<Interrupt>>) {
        let (entries, busy, interrupts) = {
            let mut pool = self.pool.lock();
            let entries = pool.line.take_out(|work| is_meant(work.reply()));
            let meant: Vec<u64> =
                pool.busy.iter().filter(|(_, busy)| is_meant(busy.entry.work.reply())).map(|(key, _)| *key).collect();
            let busy: Vec<Busy> = meant.iter().filter_map(|key| pool.busy.remove(key)).collect();
            let interrupts: Vec<_> = pool.known.iter().map(|known| Arc::clone(&known.watch.interrupt)).collect();
            (entries, busy, interrupts)
        };
        let found = !entries.is_empty() || !busy.is_empty();
        let entries = entries.into_iter().map(|entry| (entry.work, None));
        let waited = busy.into_iter().map(|Busy { connection, entry, .. }| (entry.work, Some(connection)));
        for (work, connection) in entries.chain(waited) {
            let aborted = work.reply().mailbox().is_cancelled(work.reply().op());
            let error = if aborted { error::aborted() } else { error::closed_while_queued() };
            let tell: Publish = Box::new(move || work.fail(&error));
            match connection {
                Some(connection) => self.released(connection.checkout, Some(connection), tell),
                None => tell(),
            }
        }
        (found, interrupts)
    }

    /// Removes what an environment that is gone has queued.
    pub(crate) fn forget(&self, env: u64) {
        let gone = self.pool.lock().line.forget(env);
        drop(gone);
    }
}

impl Pool {
    fn check_out(&mut self, connection: &mut Connection) {
        self.last_checkout += 1;
        connection.checkout = self.last_checkout;
        self.checkouts.push(self.last_checkout);
    }

    fn note_cache(&mut self, connection: &Connection) {
        let is_it = |known: &&mut Known| Arc::ptr_eq(&known.watch.interrupt, &connection.interrupt);
        if let Some(known) = self.known.iter_mut().find(is_it) {
            known.figures = connection.cache_figures();
        }
    }

    fn check_in(&mut self, connection: &Connection) {
        if let Some(at) = self.checkouts.iter().position(|on| *on == connection.checkout) {
            self.checkouts.swap_remove(at);
        }
    }
}
