//! Owns the write queue: first come, first served, one connection, one transaction at a time.
//!
//! At any moment the connection is in one place: idle in the queue, with the drain on an engine thread, or with the
//! transaction that holds the writer. [`State`] says which, and changes under the queue's lock only. The drain that ends a
//! transaction goes on with the next entry; completions are published in between, a checkpoint runs after.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::backoff::Backoff;
use crate::config::Synchronous;
use crate::connection::Connection;
use crate::error::{Error, ErrorCode};
use crate::exit;
use crate::group::{self, Answer, MOST_BYTES, MOST_MEMBERS, Member, Queued};
use crate::interrupt::Interrupt;
use crate::line::{Entry, Line, Waits};
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::sql::Sql;
use crate::transaction::Transaction;

mod busy;
mod grant;

pub(crate) use grant::{WATCH_EVERY, patience};

/// What waits for the writer.
pub(crate) enum Work {
    /// One statement, to be committed by the engine, together with its neighbours.
    Run(Member),
    /// A script in a transaction of its own.
    Script { reply: Reply, sql: Arc<Sql> },
    /// An interactive transaction.
    Begin { reply: Reply },
    /// The end of the queue: closes the connection.
    Close { done: Box<dyn FnOnce() + Send> },
}

struct Waiting {
    /// When it came, if the file was busy then; the time before does not count.
    since: Option<Instant>,
    /// Shares no transaction: its group was rolled back.
    alone: bool,
    work: Work,
}

/// Where the connection is.
enum State {
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

/// The run on the connection that the last look saw, and when it was seen first.
#[derive(Clone, Copy)]
struct Seen {
    run: u64,
    since: Instant,
}

struct Queue {
    line: Line<Waiting>,
    state: State,
    /// Here while the state is `Idle` or `Waiting`.
    connection: Option<Box<Connection>>,
    busy_since: Option<Instant>,
    backoff: Backoff,
    /// Of the connection, wherever that is.
    interrupt: Arc<Interrupt>,
    /// A timer looks at who has the connection.
    watching: bool,
    seen: Option<Seen>,
}

/// The writer of one database.
pub(crate) struct Writer {
    path: PathBuf,
    synchronous: Synchronous,
    max_queued: usize,
    queue: Mutex<Queue>,
}

/// Answers that are owed once the connection is free.
type Publish = Box<dyn FnOnce() + Send>;

/// What the drain does next.
enum Step {
    Group { members: Vec<Member>, alone: bool },
    One(Entry<Waiting>),
}

impl Waiting {
    fn new(work: Work) -> Self {
        Self { since: None, alone: false, work }
    }

    fn reply(&self) -> Option<&Reply> {
        match &self.work {
            Work::Run(Member { reply, .. }) | Work::Script { reply, .. } | Work::Begin { reply } => Some(reply),
            Work::Close { .. } => None,
        }
    }

    fn fail(self, error: &Error) {
        match self.work {
            Work::Run(Member { reply, .. }) | Work::Script { reply, .. } | Work::Begin { reply } => reply.fail(error),
            Work::Close { done } => done(),
        }
    }
}

impl Waits for Waiting {
    fn env(&self) -> Option<u64> {
        self.reply().map(Reply::env)
    }
}

impl Writer {
    pub(crate) fn new(connection: Box<Connection>, path: PathBuf, synchronous: Synchronous, max_queued: u32) -> Self {
        let queue = Queue {
            line: Line::new(),
            state: State::Idle,
            interrupt: Arc::clone(&connection.interrupt),
            connection: Some(connection),
            busy_since: None,
            backoff: Backoff::new(),
            watching: false,
            seen: None,
        };
        let max_queued = usize::try_from(max_queued).unwrap_or(usize::MAX);
        Self { path, synchronous, max_queued, queue: Mutex::new(queue) }
    }

    /// Queues `work`.
    pub(crate) fn submit(self: &Arc<Self>, work: Work) {
        let mut waiting = Waiting::new(work);
        let mut queue = self.queue.lock();
        let refused = match &queue.state {
            State::Gone => Some(engine_failed()),
            _ if queue.line.len() >= self.max_queued && waiting.reply().is_some() => Some(self.full()),
            State::Idle | State::Draining | State::Waiting | State::Held { .. } => None,
        };
        if let Some(error) = refused {
            drop(queue);
            return waiting.fail(&error);
        }
        // Its patience with the busy file begins now, not when the file became busy.
        waiting.since = queue.busy_since.map(|_| Instant::now());
        queue.line.push(waiting);
        self.start(queue);
    }

    fn full(&self) -> Error {
        Error::new(
            ErrorCode::QueueFull,
            format!(
                "{} operations wait for the writer, as many as maxQueued allows; slow down, or raise maxQueued",
                self.max_queued
            ),
        )
    }

    /// Starts the drain if the connection is idle and something waits.
    fn start(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if !matches!(queue.state, State::Idle) || queue.line.is_empty() {
            return;
        }
        let Some(connection) = queue.connection.take() else { return };
        queue.state = State::Draining;
        let watch = !std::mem::replace(&mut queue.watching, true);
        drop(queue);
        if watch {
            self.watch();
        }
        let writer = Arc::clone(self);
        runtime::spawn(Lane::Write, move || writer.drain(connection, None));
    }

    /// Takes the next step's entries out of the queue, or puts the connection back and rests.
    fn next(&self, connection: Box<Connection>) -> Option<(Box<Connection>, Step)> {
        let mut queue = self.queue.lock();
        let Some(first) = queue.line.pop() else {
            queue.connection = Some(connection);
            queue.state = State::Idle;
            return None;
        };
        queue.state = State::Draining;
        let alone = first.work.alone;
        let first = match member(first) {
            Ok(first) => first,
            Err(other) => return Some((connection, Step::One(other))),
        };
        let mut bytes = first.bytes();
        let mut members = vec![first];
        while !alone && members.len() < MOST_MEMBERS && bytes < MOST_BYTES {
            let shareable = |waiting: &Waiting| !waiting.alone && matches!(waiting.work, Work::Run(_));
            let Some(Ok(next)) = queue.line.pop_if(shareable).map(member) else { break };
            bytes += next.bytes();
            members.push(next);
        }
        Some((connection, Step::Group { members, alone }))
    }

    /// Runs what waits until nothing does, the connection is with a transaction, or the file is busy.
    fn drain(self: &Arc<Self>, connection: Box<Connection>, publish: Option<Publish>) {
        let Some(_inside) = exit::enter() else {
            // The process is stopping: SQLite is not entered any more, not even to close.
            std::mem::forget(connection);
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| self.run(connection, publish))).is_err() {
            self.fail_all(&engine_failed());
        }
    }

    fn run(self: &Arc<Self>, mut connection: Box<Connection>, mut publish: Option<Publish>) {
        loop {
            if connection.wants_checkpoint() {
                if let Some(publish) = publish.take() {
                    publish();
                }
                connection.checkpoint_passive();
            }
            if exit::stopping() {
                std::mem::forget(connection);
                return;
            }
            // The next step is decided, and an idle connection put back, before anybody sees a result.
            let next = self.next(connection);
            if let Some(publish) = publish.take() {
                publish();
            }
            let Some((owned, step)) = next else { return };
            let ran = match step {
                Step::Group { members, alone } => self.run_group(owned, members, alone),
                Step::One(entry) => self.run_one(owned, entry),
            };
            match ran {
                Some((owned, answers)) if owned.is_clean() => {
                    connection = owned;
                    publish = Some(answers);
                }
                Some((owned, answers)) => {
                    drop(owned);
                    answers();
                    return self.reopen();
                }
                None => return,
            }
        }
    }

    fn run_group(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        members: Vec<Member>,
        alone: bool,
    ) -> Option<(Box<Connection>, Publish)> {
        match group::run(&mut connection, members) {
            Ok(ran) => {
                self.put_back(ran.again, ran.alone);
                self.no_longer_busy();
                Some((connection, publish_answers(ran.answers)))
            }
            Err((error, members)) if error.is_busy() => {
                self.put_back(members, alone);
                self.wait(connection, &error);
                None
            }
            Err((error, members)) => {
                let answer = |member: Member| Answer { reply: member.reply, outcome: Err(error.clone()) };
                Some((connection, publish_answers(members.into_iter().map(answer).collect())))
            }
        }
    }

    fn run_one(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        entry: Entry<Waiting>,
    ) -> Option<(Box<Connection>, Publish)> {
        let ran = match &entry.work.work {
            Work::Script { reply, sql } => group::run_script(&mut connection, reply, sql),
            Work::Begin { reply } if reply.mailbox().is_closed() => {
                return Some((connection, Box::new(move || drop(entry))));
            }
            Work::Begin { .. } => connection.begin_immediate(),
            Work::Run(_) | Work::Close { .. } => Ok(()),
        };
        if let Err(error) = &ran
            && error.is_busy()
        {
            self.queue.lock().line.put_back(entry);
            self.wait(connection, error);
            return None;
        }
        self.no_longer_busy();
        let Entry { seq, revocations, work: Waiting { alone, work, .. } } = entry;
        match (work, ran) {
            (Work::Begin { reply }, Ok(())) => {
                self.grant(connection, reply, seq, revocations);
                None
            }
            (Work::Script { reply, .. }, Ok(())) => Some((connection, Box::new(move || reply.done()))),
            (Work::Begin { reply } | Work::Script { reply, .. }, Err(error)) => {
                Some((connection, Box::new(move || reply.fail(&error))))
            }
            (Work::Run(member), _) => self.run_group(connection, vec![member], alone),
            (Work::Close { done }, _) => {
                self.queue.lock().state = State::Gone;
                drop(connection);
                done();
                None
            }
        }
    }

    fn put_back(&self, members: Vec<Member>, alone: bool) {
        if members.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        for member in members.into_iter().rev() {
            let Queued { seq, since } = member.queued;
            let work = Waiting { since, alone, work: Work::Run(member) };
            queue.line.put_back(Entry { seq, revocations: 0, work });
        }
    }

    /// Removes what an environment that is gone has queued.
    pub(crate) fn forget(&self, env: u64) {
        let gone = self.queue.lock().line.forget(env);
        drop(gone);
    }

    /// There is no connection any more: everybody is told, now and from now on.
    fn fail_all(&self, error: &Error) {
        let entries = {
            let mut queue = self.queue.lock();
            queue.state = State::Gone;
            queue.line.clear()
        };
        for entry in entries {
            entry.work.fail(error);
        }
    }
}

/// The statement of an entry that is one.
#[expect(clippy::result_large_err, reason = "it is the entry itself, handed back")]
fn member(entry: Entry<Waiting>) -> Result<Member, Entry<Waiting>> {
    match entry {
        Entry { seq, work: Waiting { since, work: Work::Run(member), .. }, .. } => {
            Ok(Member { queued: Queued { seq, since }, ..member })
        }
        other => Err(other),
    }
}

fn publish_answers(answers: Vec<Answer>) -> Publish {
    Box::new(move || {
        for Answer { reply, outcome } in answers {
            match outcome {
                Ok(records) => reply.send_all(records),
                Err(error) => reply.fail(&error),
            }
        }
    })
}

fn engine_failed() -> Error {
    Error::new(
        ErrorCode::EnginePanic,
        "the writer of this database is gone after a failure of the engine; close the database and open it again",
    )
}
