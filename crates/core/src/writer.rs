//! Owns the write queue: first come, first served, one connection, one transaction at a time.
//!
//! At any moment the connection is in one place: idle in the queue, with the drain on an engine thread, or with the
//! transaction that holds the writer. [`State`] says which, and changes under the queue's lock only. The drain that ends a
//! transaction goes on with the next entry; completions are published in between, a checkpoint runs after.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::config::Synchronous;
use crate::connection::{Connection, Role};
use crate::error::{Error, ErrorCode};
use crate::exit;
use crate::group::{self, Answer, MOST_BYTES, MOST_MEMBERS, Member, Queued};
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::sql::Sql;
use crate::transaction::Transaction;

/// An environment that has not taken a grant for this long loses it and stands aside.
pub(crate) const ACCEPT_WITHIN: Duration = Duration::from_millis(50);
/// How often held grants and transactions are looked at.
const WATCH_EVERY: Duration = Duration::from_millis(25);

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

struct Entry {
    /// Place in the queue, kept while the entry stands aside.
    seq: u64,
    /// When it came, if the file was busy then; the time before does not count.
    since: Option<Instant>,
    /// How often its environment has let its grant lie; each time doubles the patience.
    revocations: u32,
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
    /// With a transaction.
    Held { transaction: Arc<Transaction>, revocations: u32, seq: u64 },
    /// Nowhere: the engine failed, or it is closed.
    Gone,
}

struct Queue {
    entries: VecDeque<Entry>,
    /// Entries of environments that let a grant lie, until those call in.
    aside: Vec<Entry>,
    state: State,
    connection: Option<Box<Connection>>,
    next_seq: u64,
    busy_since: Option<Instant>,
    backoff: Backoff,
    watching: bool,
}

/// The writer of one database.
pub(crate) struct Writer {
    path: PathBuf,
    synchronous: Synchronous,
    max_queued: usize,
    queue: Mutex<Queue>,
}

type Publish = Box<dyn FnOnce() + Send>;

/// What the drain does next.
enum Step {
    Group { members: Vec<Member>, alone: bool },
    One(Entry),
}

impl Entry {
    fn reply(&self) -> Option<&Reply> {
        match &self.work {
            Work::Run(Member { reply, .. }) | Work::Script { reply, .. } | Work::Begin { reply } => Some(reply),
            Work::Close { .. } => None,
        }
    }

    fn env(&self) -> Option<u64> {
        self.reply().map(Reply::env)
    }

    /// Whether it has waited for a foreign lock as long as its handle allows.
    fn is_late(&self, busy_since: Instant, now: Instant) -> bool {
        let Some(limit) = self.reply().and_then(Reply::lease).map(|lease| lease.handle().busy_timeout) else {
            return false;
        };
        now.duration_since(self.since.unwrap_or(busy_since)) >= limit
    }

    fn fail(self, error: &Error) {
        match self.work {
            Work::Run(Member { reply, .. }) | Work::Script { reply, .. } | Work::Begin { reply } => reply.fail(error),
            Work::Close { done } => done(),
        }
    }
}

impl Writer {
    pub(crate) fn new(connection: Box<Connection>, path: PathBuf, synchronous: Synchronous, max_queued: u32) -> Self {
        let queue = Queue {
            entries: VecDeque::new(),
            aside: Vec::new(),
            state: State::Idle,
            connection: Some(connection),
            next_seq: 0,
            busy_since: None,
            backoff: Backoff::new(),
            watching: false,
        };
        let max_queued = usize::try_from(max_queued).unwrap_or(usize::MAX);
        Self { path, synchronous, max_queued, queue: Mutex::new(queue) }
    }

    /// Queues `work`.
    pub(crate) fn submit(self: &Arc<Self>, work: Work) {
        let mut queue = self.queue.lock();
        let since = matches!(queue.state, State::Waiting).then(Instant::now);
        let entry = Entry { seq: queue.next_seq, since, revocations: 0, alone: false, work };
        if matches!(queue.state, State::Gone) {
            drop(queue);
            return entry.fail(&engine_failed());
        }
        let full =
            queue.entries.len() + queue.aside.len() >= self.max_queued && !matches!(entry.work, Work::Close { .. });
        if full {
            drop(queue);
            return entry.fail(&Error::new(
                ErrorCode::QueueFull,
                format!(
                    "{} operations wait for the writer, as many as maxQueued allows; slow down, or raise maxQueued",
                    self.max_queued
                ),
            ));
        }
        queue.next_seq += 1;
        // Behind the others of its environment, wherever those are.
        if !queue.aside.is_empty() && queue.aside.iter().any(|other| other.env() == entry.env()) {
            queue.aside.push(entry);
            return;
        }
        queue.entries.push_back(entry);
        self.start(queue);
    }

    /// Starts the drain if the connection is idle and something waits.
    fn start(self: &Arc<Self>, mut queue: parking_lot::MutexGuard<'_, Queue>) {
        if !matches!(queue.state, State::Idle) || queue.entries.is_empty() {
            return;
        }
        let Some(connection) = queue.connection.take() else { return };
        queue.state = State::Draining;
        drop(queue);
        self.spawn_drain(connection);
    }

    fn spawn_drain(self: &Arc<Self>, connection: Box<Connection>) {
        let writer = Arc::clone(self);
        runtime::spawn(Lane::Write, move || writer.drain(connection, None));
    }

    /// Takes the next step's entries out of the queue, or puts the connection back and rests.
    fn next(&self, connection: Box<Connection>) -> Option<(Box<Connection>, Step)> {
        let mut queue = self.queue.lock();
        let Some(first) = queue.entries.pop_front() else {
            queue.connection = Some(connection);
            queue.state = State::Idle;
            return None;
        };
        queue.state = State::Draining;
        let Entry { seq, since, alone, work: Work::Run(mut member), .. } = first else {
            return Some((connection, Step::One(first)));
        };
        member.queued = Queued { seq, since };
        let mut bytes = member.bytes();
        let mut members = vec![member];
        while !alone && members.len() < MOST_MEMBERS && bytes < MOST_BYTES {
            match queue.entries.pop_front() {
                Some(Entry { seq, since, alone: false, work: Work::Run(mut member), .. }) => {
                    member.queued = Queued { seq, since };
                    bytes += member.bytes();
                    members.push(member);
                }
                Some(other) => {
                    queue.entries.push_front(other);
                    break;
                }
                None => break,
            }
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
            // The next step is decided, and an idle connection put back, before anybody sees a result.
            let next = if exit::stopping() { None } else { self.next(connection) };
            if let Some(publish) = publish.take() {
                publish();
            }
            let Some((owned, step)) = next else { return };
            connection = owned;
            let ran = match step {
                Step::Group { members, alone } => self.run_group(connection, members, alone),
                Step::One(entry) => self.run_one(connection, entry),
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
                if !ran.again.is_empty() {
                    self.put_back(ran.again, ran.alone);
                }
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

    fn run_one(self: &Arc<Self>, mut connection: Box<Connection>, entry: Entry) -> Option<(Box<Connection>, Publish)> {
        let Entry { seq, since, revocations, alone, work } = entry;
        match work {
            Work::Run(member) => self.run_group(connection, vec![member], alone),
            Work::Script { reply, sql } => match group::run_script(&mut connection, &sql) {
                Err(error) if error.is_busy() => {
                    self.push_front(Entry { seq, since, revocations, alone, work: Work::Script { reply, sql } });
                    self.wait(connection, &error);
                    None
                }
                ran => {
                    self.no_longer_busy();
                    Some((
                        connection,
                        Box::new(move || match ran {
                            Ok(()) => reply.done(),
                            Err(error) => reply.fail(&error),
                        }),
                    ))
                }
            },
            Work::Begin { reply } if reply.mailbox().is_closed() => Some((connection, Box::new(move || drop(reply)))),
            Work::Begin { reply } => match connection.begin_immediate() {
                Ok(()) => {
                    self.no_longer_busy();
                    self.grant(connection, reply, seq, revocations);
                    None
                }
                Err(error) if error.is_busy() => {
                    self.push_front(Entry { seq, since, revocations, alone, work: Work::Begin { reply } });
                    self.wait(connection, &error);
                    None
                }
                Err(error) => Some((connection, Box::new(move || reply.fail(&error)))),
            },
            Work::Close { done } => {
                self.queue.lock().state = State::Gone;
                drop(connection);
                done();
                None
            }
        }
    }

    /// Hands the begun transaction to the environment that asked.
    fn grant(self: &Arc<Self>, connection: Box<Connection>, reply: Reply, seq: u64, revocations: u32) {
        let writer = Arc::clone(self);
        let release = Box::new(move |connection, publish| writer.released(connection, publish));
        let mailbox = Arc::clone(reply.mailbox());
        let transaction = Arc::new(Transaction::new(connection, reply, release));
        let watch = {
            let mut queue = self.queue.lock();
            queue.state = State::Held { transaction: Arc::clone(&transaction), revocations, seq };
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
        match connection {
            Some(connection) => self.drain(connection, Some(publish)),
            None => {
                publish();
                self.reopen();
            }
        }
    }

    fn watch(self: &Arc<Self>) {
        let writer = Arc::clone(self);
        runtime::after(WATCH_EVERY, move || writer.look());
    }

    /// Revokes a grant that lies too long, ends a transaction that is open too long.
    fn look(self: &Arc<Self>) {
        let held = {
            let mut queue = self.queue.lock();
            let State::Held { transaction, revocations, seq } = &queue.state else {
                queue.watching = false;
                return;
            };
            (Arc::clone(transaction), *revocations, *seq)
        };
        let (transaction, revocations, seq) = held;
        let patience = ACCEPT_WITHIN.saturating_mul(1 << revocations.min(16));
        if transaction.unaccepted_for().is_some_and(|waited| waited >= patience) {
            self.revoke(&transaction, seq, revocations);
        } else {
            transaction.expire_if_late();
        }
        self.watch();
    }

    /// Takes a grant back; its environment's entries stand aside, in order, until it calls in.
    fn revoke(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        transaction.revoke(|reply| {
            let mailbox = Arc::clone(reply.mailbox());
            {
                let mut queue = self.queue.lock();
                let entry =
                    Entry { seq, since: None, revocations: revocations + 1, alone: false, work: Work::Begin { reply } };
                let (aside, stay) =
                    std::mem::take(&mut queue.entries).into_iter().partition(|other| other.env() == Some(mailbox.env));
                queue.entries = stay;
                queue.aside.push(entry);
                queue.aside.extend::<VecDeque<Entry>>(aside);
            }
            let writer = Arc::clone(self);
            let env = mailbox.env;
            mailbox.stand_aside(Box::new(move || writer.readmit(env)));
        });
    }

    /// The environment has called in: its entries take their old places again.
    fn readmit(self: &Arc<Self>, env: u64) {
        let mut queue = self.queue.lock();
        let (back, stay): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut queue.aside).into_iter().partition(|entry| entry.env() == Some(env));
        queue.aside = stay;
        for entry in back {
            let at = queue.entries.partition_point(|other| other.seq < entry.seq);
            queue.entries.insert(at, entry);
        }
        self.start(queue);
    }

    /// Removes what an environment that is gone has queued.
    pub(crate) fn forget(&self, env: u64) {
        let gone = {
            let mut queue = self.queue.lock();
            let (mut gone, stay): (VecDeque<Entry>, VecDeque<Entry>) =
                std::mem::take(&mut queue.entries).into_iter().partition(|entry| entry.env() == Some(env));
            queue.entries = stay;
            let (aside, stay): (Vec<Entry>, Vec<Entry>) =
                std::mem::take(&mut queue.aside).into_iter().partition(|entry| entry.env() == Some(env));
            queue.aside = stay;
            gone.extend(aside);
            gone
        };
        // Outside the lock: the last lease of a handle closes it.
        drop(gone);
    }

    fn put_back(&self, members: Vec<Member>, alone: bool) {
        let mut queue = self.queue.lock();
        for member in members.into_iter().rev() {
            let Queued { seq, since } = member.queued;
            queue.entries.push_front(Entry { seq, since, revocations: 0, alone, work: Work::Run(member) });
        }
    }

    fn push_front(&self, entry: Entry) {
        self.queue.lock().entries.push_front(entry);
    }

    fn no_longer_busy(&self) {
        let mut queue = self.queue.lock();
        if queue.busy_since.take().is_some() {
            queue.backoff = Backoff::new();
        }
    }

    /// Another process holds the lock: the entries keep their places, a timer tries again, and whoever has waited for
    /// `busyTimeoutMs` is told.
    fn wait(self: &Arc<Self>, connection: Box<Connection>, error: &Error) {
        let (late, delay) = {
            let mut queue = self.queue.lock();
            let now = Instant::now();
            let busy_since = *queue.busy_since.get_or_insert(now);
            let (late, stay): (VecDeque<Entry>, VecDeque<Entry>) =
                std::mem::take(&mut queue.entries).into_iter().partition(|entry| entry.is_late(busy_since, now));
            queue.entries = stay;
            queue.connection = Some(connection);
            if queue.entries.is_empty() {
                queue.state = State::Idle;
                queue.busy_since = None;
                queue.backoff = Backoff::new();
                (late, None)
            } else {
                queue.state = State::Waiting;
                (late, Some(queue.backoff.next()))
            }
        };
        for entry in late {
            entry.fail(&Error {
                message: "another process holds the write lock of the file, and held it for all of busyTimeoutMs"
                    .to_owned(),
                ..error.clone()
            });
        }
        if let Some(delay) = delay {
            let writer = Arc::clone(self);
            runtime::after(delay, move || writer.retry());
        }
    }

    fn retry(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        if matches!(queue.state, State::Waiting) {
            queue.state = State::Idle;
            self.start(queue);
        }
    }

    /// Replaces a connection that did not come back clean.
    fn reopen(self: &Arc<Self>) {
        let writer = Arc::clone(self);
        runtime::spawn(Lane::Open, move || {
            let Some(_inside) = exit::enter() else { return };
            let opened = catch_unwind(AssertUnwindSafe(|| {
                let mut connection = Connection::open(&writer.path, Role::Writer)?;
                connection.set_up(writer.synchronous, &writer.path)?;
                Ok(connection)
            }));
            match opened {
                Ok(Ok(connection)) => writer.drain(Box::new(connection), None),
                Ok(Err(error)) if Error::is_busy(&error) => {
                    runtime::after(Backoff::new().next(), move || writer.reopen());
                }
                Ok(Err(error)) => writer.fail_all(&error),
                Err(_) => writer.fail_all(&engine_failed()),
            }
        });
    }

    /// There is no connection any more: everybody is told, now and from now on.
    fn fail_all(&self, error: &Error) {
        let entries = {
            let mut queue = self.queue.lock();
            queue.state = State::Gone;
            let aside = std::mem::take(&mut queue.aside);
            std::mem::take(&mut queue.entries).into_iter().chain(aside).collect::<Vec<_>>()
        };
        for entry in entries {
            entry.fail(error);
        }
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
