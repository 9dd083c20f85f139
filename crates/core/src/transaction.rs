//! Owns one granted transaction: a state machine with a generation, the calls that wait in it, and the connection while it lasts.
//!
//! Exactly one of these runs at a time: the drain on an engine thread, a `tx.sync` call on the JavaScript thread, or nobody.
//! `Turn::busy` says that somebody does; whoever clears it looks at the queue first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connection::{Connection, Role};
use crate::error::{self, Error, ErrorCode};
use crate::execute::OwnedCall;
use crate::handle::Lease;
use crate::interrupt::{Interrupt, Target, interrupt_until_ended};
use crate::mailbox::Mailbox;
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::sql::Sql;

mod cursors;
mod drain;
mod finish;
mod stream;
mod sync;

use cursors::Core;
pub(crate) use sync::SyncRequest;

/// Where a transaction is in its life. Only [`Transaction::move_to`] changes it, by compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Begun for an environment that has not taken it yet.
    Granting = 0,
    /// Its closure runs.
    Open = 1,
    /// Its closure has settled; the outcome is decided by COMMIT.
    Committing = 2,
    /// Ended from outside; what is left is the rollback.
    Expired = 3,
    /// Over.
    Closed = 4,
}

/// Why a transaction was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The environment did not take the grant in time.
    Revoked,
    /// The closure settled while a statement was under way.
    Unfinished,
    /// It was open for longer than `transactionTimeoutMs`.
    TimedOut(Duration),
    /// The environment is gone.
    Abandoned,
}

impl Expiry {
    fn error(self) -> Error {
        match self {
            Self::Unfinished => Error::new(
                ErrorCode::UnfinishedQuery,
                "the closure settled while this statement was under way, so the transaction was rolled back; await every statement inside the closure",
            ),
            Self::TimedOut(limit) => Error::new(
                ErrorCode::TransactionTimeout,
                format!(
                    "the transaction was open for longer than transactionTimeoutMs ({}) and was rolled back",
                    limit.as_millis()
                ),
            ),
            Self::Revoked | Self::Abandoned => error::transaction_closed(),
        }
    }
}

/// What is asked of an open transaction.
pub(crate) enum Request {
    Statement {
        reply: Reply,
        call: OwnedCall,
    },
    Script {
        reply: Reply,
        sql: Arc<Sql>,
    },
    OpenCursor {
        reply: Reply,
        call: OwnedCall,
        cursor: u32,
        limit: usize,
    },
    Pull {
        reply: Reply,
        cursor: u32,
        limit: usize,
    },
    CloseCursor {
        cursor: u32,
    },
    Commit {
        reply: Reply,
    },
    /// `reply`: who asked; nobody after an expiry.
    Rollback {
        reply: Option<Reply>,
    },
}

/// Who may run, and what waits.
#[derive(Default)]
struct Turn {
    queue: VecDeque<Request>,
    busy: bool,
    /// Requests, queued or running, that somebody waits for.
    awaited: usize,
    /// The operation whose statement waits for its chunks to be delivered.
    parked: Option<u32>,
    /// The connection is given back: whoever comes now is answered at once.
    over: bool,
}

/// What happens to the connection when a transaction is over: the owner takes it and publishes when it likes.
pub(crate) type Release = Box<dyn FnOnce(Option<Box<Connection>>, Box<dyn FnOnce() + Send>) + Send>;

/// One managed transaction.
pub(crate) struct Transaction {
    /// Unique in the process: the generation of the grant, and the token of its statements for interrupts.
    pub(crate) id: u64,
    pub(crate) role: Role,
    mailbox: Arc<Mailbox>,
    state: AtomicU8,
    expiry: Mutex<Option<Expiry>>,
    turn: Mutex<Turn>,
    core: Mutex<Option<Core>>,
    interrupt: Arc<Interrupt>,
    /// The answer to the one who asked to begin; taken when the grant is accepted or revoked.
    grant: Mutex<Option<Reply>>,
    /// Keeps the database open while the transaction is.
    lease: Mutex<Option<Lease>>,
    granted: Instant,
    accepted: Mutex<Option<Instant>>,
    release: Mutex<Option<Release>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Transaction {
    /// A transaction that was begun on `connection` for the one who waits for `reply`.
    pub(crate) fn new(connection: Box<Connection>, reply: Reply, release: Release) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            role: connection.role,
            mailbox: Arc::clone(reply.mailbox()),
            state: AtomicU8::new(State::Granting as u8),
            expiry: Mutex::new(None),
            turn: Mutex::new(Turn::default()),
            interrupt: Arc::clone(&connection.interrupt),
            core: Mutex::new(Some(Core { connection, cursors: HashMap::new() })),
            grant: Mutex::new(Some(reply)),
            lease: Mutex::new(None),
            granted: Instant::now(),
            accepted: Mutex::new(None),
            release: Mutex::new(Some(release)),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Granting,
            1 => State::Open,
            2 => State::Committing,
            3 => State::Expired,
            _ => State::Closed,
        }
    }

    fn move_to(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// How long the environment has let the grant lie; `None` once it was accepted.
    pub(crate) fn unaccepted_for(&self) -> Option<Duration> {
        (self.state() == State::Granting).then(|| self.granted.elapsed())
    }

    /// The environment takes the grant. `None`: it was revoked before. Otherwise the operation that asked for it.
    pub(crate) fn accept(&self) -> Option<u32> {
        if !self.move_to(State::Granting, State::Open) {
            return None;
        }
        let reply = self.grant.lock().take()?;
        let op = reply.op();
        *self.accepted.lock() = Some(Instant::now());
        *self.lease.lock() = reply.answered();
        Some(op)
    }

    /// Ends the transaction if it is open for longer than its handle allows.
    pub(crate) fn expire_if_late(self: &Arc<Self>) {
        let limit = match &*self.lease.lock() {
            Some(lease) => lease.handle().transaction_timeout,
            None => return,
        };
        let late = self.accepted.lock().is_some_and(|since| since.elapsed() >= limit);
        if late && !limit.is_zero() {
            self.expire(Expiry::TimedOut(limit));
        }
    }

    /// Takes back a grant that nobody accepted. `owed` gets the answer that is still owed, before the connection is rolled back and
    /// released: what it puts aside is not overtaken by what waits behind it.
    pub(crate) fn revoke(self: &Arc<Self>, owed: impl FnOnce(Reply)) {
        if !self.move_to(State::Granting, State::Expired) {
            return;
        }
        let reply = self.grant.lock().take();
        *self.expiry.lock() = Some(Expiry::Revoked);
        if let Some(reply) = reply {
            owed(reply);
        }
        self.enqueue(Request::Rollback { reply: None });
    }

    /// Ends the transaction from outside: state first, so that every later statement fails; then what waits is answered, and
    /// what runs is interrupted until it has stopped; then the rollback, behind it.
    pub(crate) fn expire(self: &Arc<Self>, expiry: Expiry) {
        // The reason is written under the lock that its readers take after they saw the state.
        let mut reason = self.expiry.lock();
        if !self.move_to(State::Open, State::Expired) {
            return;
        }
        *reason = Some(expiry);
        drop(reason);
        let (waiting, parked) = {
            let mut turn = self.turn.lock();
            let waiting = std::mem::take(&mut turn.queue);
            turn.awaited -= waiting.iter().filter(|request| request.is_awaited()).count();
            (waiting, turn.parked)
        };
        let error = expiry.error();
        for request in waiting {
            request.fail(&error);
        }
        self.enqueue(Request::Rollback { reply: None });
        if let Some(op) = parked {
            self.mailbox.abandon(op);
        }
        interrupt_until_ended(Arc::clone(&self.interrupt), Target::Owner(self.id));
    }

    /// The error of a call that comes after the end, in the words of what ended it.
    pub(crate) fn closed_error(&self) -> Error {
        self.expiry.lock().map_or_else(error::transaction_closed, Expiry::error)
    }

    /// Accepts a request of the closure, to be run in order.
    pub(crate) fn submit(self: &Arc<Self>, request: Request) {
        match request {
            Request::Commit { reply } => self.end(reply, |reply| Request::Commit { reply }),
            Request::Rollback { reply: Some(reply) } => {
                self.end(reply, |reply| Request::Rollback { reply: Some(reply) });
            }
            request if self.state() == State::Open => self.enqueue(request),
            request => request.fail(&self.closed_error()),
        }
    }

    /// The closure has settled. A statement that is still under way is interrupted, and the transaction rolled back.
    fn end(self: &Arc<Self>, reply: Reply, request: fn(Reply) -> Request) {
        if self.turn.lock().awaited > 0 {
            self.expire(Expiry::Unfinished);
        } else {
            self.move_to(State::Open, State::Committing);
        }
        // Behind whatever ends the transaction from outside, and answered with it.
        self.enqueue(request(reply));
    }

    fn enqueue(self: &Arc<Self>, request: Request) {
        let starts = {
            let mut turn = self.turn.lock();
            if turn.over {
                drop(turn);
                return self.answer_late(request);
            }
            turn.awaited += usize::from(request.is_awaited());
            turn.queue.push_back(request);
            !std::mem::replace(&mut turn.busy, true)
        };
        if starts {
            self.spawn_drain();
        }
    }

    /// Answers a request that comes after the connection was given back.
    fn answer_late(&self, request: Request) {
        match request {
            Request::Rollback { reply } => {
                if let Some(reply) = reply {
                    reply.done();
                }
            }
            request => request.fail(&self.closed_error()),
        }
    }

    fn spawn_drain(self: &Arc<Self>) {
        let transaction = Arc::clone(self);
        runtime::spawn(self.lane(), move || transaction.drain());
    }

    fn lane(&self) -> Lane {
        match self.role {
            Role::Writer => Lane::Write,
            Role::Reader => Lane::Read,
        }
    }
}

impl Request {
    /// Whether a statement somebody waits for is behind it; the end of the transaction does not wait for others.
    fn is_awaited(&self) -> bool {
        match self {
            Self::Statement { .. } | Self::Script { .. } | Self::OpenCursor { .. } | Self::Pull { .. } => true,
            Self::CloseCursor { .. } | Self::Commit { .. } | Self::Rollback { .. } => false,
        }
    }

    fn fail(self, error: &Error) {
        match self {
            Self::Statement { reply, .. }
            | Self::Script { reply, .. }
            | Self::OpenCursor { reply, .. }
            | Self::Pull { reply, .. }
            | Self::Commit { reply } => reply.fail(error),
            Self::Rollback { reply } => {
                if let Some(reply) = reply {
                    reply.fail(error);
                }
            }
            Self::CloseCursor { .. } => {}
        }
    }
}
