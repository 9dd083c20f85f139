//! Owns one granted transaction: a state machine with a generation, the calls that wait in it, and the connection while it lasts.
//!
//! Exactly one of these runs at a time: the drain on an engine thread, a `tx.sync` call on the JavaScript thread, or nobody.
//! `Turn::busy` says that somebody does; whoever clears it looks at the queue first.

use crate::sync::atomic::{AtomicU8, Ordering};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Mutex;

use crate::connection::{Connection, Role};
use crate::error::{self, Error};
use crate::handle::Lease;
use crate::interrupt::{Interrupt, Target, interrupt_until_ended};
use crate::listeners::Listeners;
use crate::mailbox::Mailbox;
use crate::runtime::{self, Lane};

mod cursors;
mod drain;
mod finish;
mod request;
mod stream;
mod sync;
mod terms;

use cursors::Core;
pub(crate) use cursors::{Opening, Reads};
pub(crate) use request::{Ending, Request, SavepointStep};
pub(crate) use sync::SyncRequest;
pub(crate) use terms::{Access, Askers, Expiry, GroupPlace, Terms};

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

/// What is left of a transaction that is over.
pub(crate) struct Released {
    /// None if it could not be brought to a clean state.
    pub(crate) connection: Option<Box<Connection>>,
    /// It was committed.
    pub(crate) committed: bool,
    /// How many calls shared it.
    pub(crate) calls: usize,
    /// Closures of its group that were not started, in order.
    pub(crate) unstarted: Vec<GroupPlace>,
    /// The answers that are owed once the connection is free.
    pub(crate) publish: Box<dyn FnOnce() + Send>,
}

/// What happens when a transaction is over: the owner takes the connection and publishes when it likes.
pub(crate) type Release = Box<dyn FnOnce(Released) + Send>;

/// One managed transaction.
pub(crate) struct Transaction {
    /// Unique in the process: the generation of the grant, and the owner of its statements for interrupts.
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) terms: Terms,
    /// Who is told of its commit.
    listeners: Option<Arc<Listeners>>,
    mailbox: Arc<Mailbox>,
    state: AtomicU8,
    expiry: Mutex<Option<Expiry>>,
    turn: Mutex<Turn>,
    core: Mutex<Option<Core>>,
    interrupt: Arc<Interrupt>,
    /// The answer to those who asked to begin; taken when the grant is accepted or revoked. A group keeps it until its end.
    askers: Mutex<Option<Askers>>,
    /// Where its environment has it, once that has accepted the grant.
    slot: Mutex<Option<(u32, u32)>>,
    /// Keeps the database open while the transaction is.
    lease: Mutex<Option<Lease>>,
    granted: Instant,
    accepted: Mutex<Option<Instant>>,
    release: Mutex<Option<Release>>,
    /// How long it waited for the lock of another process.
    pub(crate) lock_wait: Duration,
    /// Entries behind it when it was granted.
    pub(crate) behind: usize,
}

/// What a transaction is begun with.
pub(crate) struct Begun {
    pub(crate) connection: Box<Connection>,
    pub(crate) terms: Terms,
    pub(crate) listeners: Option<Arc<Listeners>>,
    pub(crate) lock_wait: Duration,
    pub(crate) behind: usize,
}

/// What an environment gets by accepting a grant.
pub(crate) enum Accepted {
    One(u32),
    Group(Vec<u32>),
}

static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl Transaction {
    /// A transaction that was begun for `askers`.
    pub(crate) fn new(begun: Begun, askers: Askers, mailbox: Arc<Mailbox>, release: Release) -> Self {
        let Begun { connection, terms, listeners, lock_wait, behind } = begun;
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            role: connection.role,
            terms,
            listeners,
            mailbox,
            state: AtomicU8::new(State::Granting as u8),
            expiry: Mutex::new(None),
            turn: Mutex::new(Turn::default()),
            interrupt: Arc::clone(&connection.interrupt),
            core: Mutex::new(Some(Core::new(connection))),
            askers: Mutex::new(Some(askers)),
            slot: Mutex::new(None),
            lease: Mutex::new(None),
            granted: Instant::now(),
            accepted: Mutex::new(None),
            release: Mutex::new(Some(release)),
            lock_wait,
            behind,
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

    /// The environment takes the grant. `None`: it was revoked before. Otherwise the operations that asked for it.
    pub(crate) fn accept(&self) -> Option<Accepted> {
        // Taken first: an end from outside right behind the change of state waits for it.
        let mut askers = self.askers.lock();
        if !self.move_to(State::Granting, State::Open) {
            return None;
        }
        *self.accepted.lock() = Some(Instant::now());
        match askers.take()? {
            Askers::One(reply) => {
                let op = reply.op();
                *self.lease.lock() = reply.answered();
                Some(Accepted::One(op))
            }
            Askers::Group(places) => {
                let ops = places.iter().map(|place| place.reply.op()).collect();
                *askers = Some(Askers::Group(places));
                Some(Accepted::Group(ops))
            }
        }
    }

    /// The closures of its group that go back into the queue when so many were started.
    pub(crate) fn unstarted(&self, started: usize) -> Vec<u32> {
        match &*self.askers.lock() {
            Some(Askers::Group(places)) => places.iter().skip(started).map(|place| place.reply.op()).collect(),
            Some(Askers::One(_)) | None => Vec::new(),
        }
    }

    /// Notes where its environment has it.
    pub(crate) fn set_slot(&self, slot: (u32, u32)) {
        *self.slot.lock() = Some(slot);
    }

    /// Where its environment has it.
    pub(crate) fn slot(&self) -> Option<(u32, u32)> {
        *self.slot.lock()
    }

    /// How long it has been open.
    pub(crate) fn open_for(&self) -> Duration {
        self.granted.elapsed()
    }

    /// Ends the transaction if it is open for longer than it may be.
    pub(crate) fn expire_if_late(self: &Arc<Self>) {
        let limit = self.terms.limit;
        if !limit.is_zero() && self.accepted.lock().is_some_and(|since| since.elapsed() >= limit) {
            self.expire(Expiry::TimedOut);
        }
    }

    /// Takes back a grant that nobody accepted. `owed` gets the answers that are still owed, before the connection is rolled back and
    /// released: what it puts aside is not overtaken by what waits behind it.
    pub(crate) fn revoke(self: &Arc<Self>, owed: impl FnOnce(Askers)) {
        if !self.move_to(State::Granting, State::Expired) {
            return;
        }
        let askers = self.askers.lock().take();
        *self.expiry.lock() = Some(Expiry::Revoked);
        if let Some(askers) = askers {
            owed(askers);
        }
        self.enqueue(Request::Rollback { ending: None });
    }

    /// Ends the transaction because its handle is closing and has no more patience, granted or taken.
    pub(crate) fn close_now(self: &Arc<Self>) {
        self.revoke(|askers| askers.fail(&error::closed_by_timeout()));
        self.expire(Expiry::Closed);
    }

    /// Takes the grant back at once if it is wanted no more. To be called once the transaction can be found by those who end it from
    /// outside: they set their flags before they look for it. `false`: it was taken back.
    pub(crate) fn still_wanted(self: &Arc<Self>) -> bool {
        let given_up = match &*self.askers.lock() {
            Some(Askers::One(reply)) => reply.given_up(),
            // The closures of a group are looked at one by one when they are started.
            Some(Askers::Group(_)) | None => None,
        };
        let Some(error) = given_up else { return true };
        self.revoke(|askers| askers.fail(&error));
        false
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
            let waiting = mem::take(&mut turn.queue);
            turn.awaited -= waiting.iter().filter(|request| request.is_awaited()).count();
            (waiting, turn.parked)
        };
        let error = expiry.error(&self.terms);
        for request in waiting {
            request.fail(&error);
        }
        self.enqueue(Request::Rollback { ending: None });
        if let Some(op) = parked {
            self.mailbox.abandon(op);
        }
        interrupt_until_ended(Arc::clone(&self.interrupt), Target::Owner(self.id));
    }

    /// The error of a call that comes after the end, in the words of what ended it.
    pub(crate) fn closed_error(&self) -> Error {
        self.expiry.lock().map_or_else(error::transaction_closed, |expiry| expiry.error(&self.terms))
    }

    /// What an environment is told when the transaction was ended from outside and is rolled back.
    pub(crate) fn news(&self) -> Option<Error> {
        let expiry = (*self.expiry.lock()).filter(|expiry| expiry.is_news())?;
        Some(expiry.error(&self.terms))
    }

    /// Cancels one statement, which was marked as cancelled before: in the queue it is answered and never runs, running it is
    /// interrupted alone (SQLite rolls the transaction back with it if it writes), over it is over.
    pub(crate) fn cancel(self: &Arc<Self>, op: u32) {
        let (removed, parked) = {
            let mut turn = self.turn.lock();
            let at = turn.queue.iter().position(|request| request.is_awaited() && request.op() == Some(op));
            let removed = at.and_then(|at| turn.queue.remove(at));
            turn.awaited -= usize::from(removed.is_some());
            (removed, turn.parked == Some(op))
        };
        if let Some(request) = removed {
            return request.fail(&error::aborted());
        }
        if parked {
            self.mailbox.abandon(op);
        }
        interrupt_until_ended(Arc::clone(&self.interrupt), Target::Operation { owner: self.id, op });
    }

    /// Accepts a request of the closure, to be run in order.
    pub(crate) fn submit(self: &Arc<Self>, request: Request) {
        match request {
            Request::Commit { .. } | Request::Rollback { .. } => self.end(request),
            request if self.state() == State::Open => self.enqueue(request),
            request => request.fail(&self.closed_error()),
        }
    }

    /// The closure has settled. A statement that is still under way is interrupted, and the transaction rolled back.
    fn end(self: &Arc<Self>, request: Request) {
        if self.turn.lock().awaited > 0 {
            self.expire(Expiry::Unfinished);
        } else {
            self.move_to(State::Open, State::Committing);
        }
        // Behind whatever ends the transaction from outside, and answered with it.
        self.enqueue(request);
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
            !mem::replace(&mut turn.busy, true)
        };
        if starts {
            self.spawn_drain();
        }
    }

    /// Answers a request that comes after the connection was given back.
    fn answer_late(&self, request: Request) {
        match request {
            Request::Rollback { ending } => {
                if let Some(ending) = ending {
                    ending.reply.done();
                }
            }
            Request::Commit { ending } => {
                let (started, unstarted) = self.split_group(Some(&ending));
                finish::settle_by_their_closures(started);
                let first = unstarted.first().and_then(|place| place.reply.lease());
                let writer = first.and_then(|lease| lease.handle().database.writer().cloned());
                if let Some(writer) = writer {
                    writer.put_closures_back(unstarted);
                }
                ending.reply.fail(&self.closed_error());
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
            Role::Reader | Role::Copier => Lane::Read,
        }
    }
}
