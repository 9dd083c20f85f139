//! Owns the write queue: first come, first served, one connection, one transaction at a time.
//!
//! At any moment the connection is in one place: idle in the queue, with the drain on an engine thread, or with the
//! transaction that holds the writer. [`State`] says which, and changes under the queue's lock only. The drain that ends a
//! transaction goes on with the next entry; completions are published in between, a checkpoint runs after.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::config::OpenOptions;
use crate::connection::{CacheFigures, CheckpointMode, Connection, Profile};
use crate::error::{self, Error, ErrorCode};
use crate::exit;
use crate::group::{self, Answer, MOST_BYTES, MOST_MEMBERS, Member, Queued};
use crate::interrupt::{Target, Watch, env_owner, interrupt_until_ended};
use crate::line::{Entry, Line, Waits};
use crate::listeners::Listeners;
use crate::readers::{Gate, Readers};
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::sql::Sql;
use crate::sync::{Mutex, MutexGuard};
use crate::transaction::{Askers, Terms, Transaction};

mod busy;
mod exclusive;
mod grant;
mod log;
mod queue;

use exclusive::{Aside, Exclusive};
use grant::Granted;
use log::{Asked, Truncation};
use queue::{Figures, Queue, State, Waiting};

pub(crate) use exclusive::{Job, Migrating};
pub(crate) use grant::{WATCH_EVERY, patience, told};
pub(crate) use queue::{Work, WriterFigures};

/// The writer of one database.
pub(crate) struct Writer {
    profile: Arc<Profile>,
    max_queued: usize,
    /// Bytes of the log beyond which it is truncated.
    log_limit: u64,
    readers: Arc<Readers>,
    pub(crate) listeners: Arc<Listeners>,
    queue: Mutex<Queue>,
}

/// Answers that are owed once the connection is free.
type Publish = Box<dyn FnOnce() + Send>;

/// What the drain does next.
enum Step {
    Group { members: Vec<Member>, alone: bool },
    Closures(Vec<Entry<Waiting>>),
    One(Entry<Waiting>),
}

/// Most closures of one group; their time bounds it as well.
const MOST_CLOSURES: usize = 256;

impl Writer {
    pub(crate) fn new(
        connection: Box<Connection>,
        profile: Arc<Profile>,
        options: &OpenOptions,
        readers: Arc<Readers>,
    ) -> Self {
        let queue = Queue {
            line: Line::new(),
            state: State::Idle,
            watch: Watch::new(Arc::clone(&connection.interrupt)),
            connection: Some(connection),
            busy_since: None,
            backoff: Backoff::new(),
            watching: false,
            truncation: Truncation::Open,
            sharers: Vec::new(),
            aside: Vec::new(),
            figures: Figures::default(),
        };
        Self {
            profile,
            max_queued: usize::try_from(options.max_queued).unwrap_or(usize::MAX),
            log_limit: options.log_limit,
            readers,
            listeners: Arc::new(Listeners::new()),
            queue: Mutex::new(queue),
        }
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

    /// Gives back what memory the connection can do without, if nobody has it. On an engine thread.
    pub(crate) fn rest(self: &Arc<Self>) {
        let connection = {
            let mut queue = self.queue.lock();
            if !matches!(queue.state, State::Idle) {
                return;
            }
            let Some(connection) = queue.connection.take() else { return };
            queue.state = State::Draining;
            connection
        };
        let mut connection = connection;
        connection.give_back_memory();
        self.drain(connection, None);
    }

    /// What the page cache of the connection held when it was last put back.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.queue.lock().figures.cache.bytes
    }

    /// Takes the next step's entries out of the queue, or puts the connection back and rests.
    fn next(&self, mut connection: Box<Connection>) -> Option<(Box<Connection>, Step)> {
        connection.note_rows(self.listeners.want_rows());
        let figures = connection.cache_figures();
        let mut queue = self.queue.lock();
        queue.figures.cache = figures;
        queue.figures.log_frames = connection.log_frames();
        queue.figures.log_bytes = connection.log_bytes(connection.log_frames());
        queue.sharers.clear();
        let Some(first) = queue.line.pop() else {
            queue.connection = Some(connection);
            queue.state = State::Idle;
            return None;
        };
        queue.state = State::Draining;
        if let Work::Closure { reply, terms } = &first.work.work {
            let (env, of, limit) = (reply.env(), terms.handle, terms.limit);
            // What ends a group from outside ends all of it: they came by one handle, and may take as long.
            let is_neighbour = |waiting: &Waiting| {
                matches!(&waiting.work, Work::Closure { reply, terms }
                    if reply.env() == env && terms.handle == of && terms.limit == limit)
            };
            let mut closures = vec![first];
            while closures.len() < MOST_CLOSURES {
                let Some(next) = queue.line.pop_if(is_neighbour) else { break };
                closures.push(next);
            }
            return Some((connection, Step::Closures(closures)));
        }
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
        if members.len() > 1 {
            queue.sharers.extend(members.iter().map(|member| (Arc::clone(member.reply.mailbox()), member.reply.op())));
        }
        Some((connection, Step::Group { members, alone }))
    }

    /// Runs what waits until nothing does, the connection is with a transaction, or the file is busy.
    fn drain(self: &Arc<Self>, connection: Box<Connection>, publish: Option<Publish>) {
        let Some(_inside) = exit::enter() else { return };
        if catch_unwind(AssertUnwindSafe(|| self.run(connection, publish))).is_err() {
            self.fail_all(&engine_failed());
        }
    }

    fn run(self: &Arc<Self>, mut connection: Box<Connection>, mut publish: Option<Publish>) {
        loop {
            if connection.wants_checkpoint(self.log_limit) {
                if let Some(publish) = publish.take() {
                    publish();
                }
                self.checkpoint_after_commit(&mut connection);
            }
            if exit::stopping() {
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
                Step::Closures(closures) => self.begin_group(owned, closures),
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
                let count = ran.answers.len();
                let any = ran.answers.iter().any(|answer| answer.outcome.is_ok());
                self.ended(ran.committed && any, |figures| {
                    figures.shared(count);
                });
                let answers = publish_answers(ran.answers);
                let publish = self.with_listeners(&mut connection, ran.committed, answers);
                Some((connection, publish))
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

    /// Has the listeners told of a commit, before its own answers.
    fn with_listeners(&self, connection: &mut Connection, committed: bool, publish: Publish) -> Publish {
        if !committed || !self.listeners.any() || connection.changes.is_empty() {
            connection.changes.clear();
            return publish;
        }
        let changed = connection.take_changed();
        let listeners = Arc::clone(&self.listeners);
        Box::new(move || {
            // Before the answers: the last of them lets its handle close, which listens no more then.
            listeners.tell(&changed);
            publish();
        })
    }

    fn run_one(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        entry: Entry<Waiting>,
    ) -> Option<(Box<Connection>, Publish)> {
        let ran = match &entry.work.work {
            Work::Script { reply, sql } => group::run_script(&mut connection, reply, sql),
            Work::Begin { reply, .. } => match reply.given_up() {
                Some(error) => return Some((connection, Box::new(move || entry.work.fail(&error)))),
                None => connection.begin_immediate(),
            },
            Work::Run(_)
            | Work::Closure { .. }
            | Work::Checkpoint(_)
            | Work::Truncate { .. }
            | Work::Exclusive(_)
            | Work::Close { .. } => Ok(()),
        };
        if let Err(error) = &ran
            && error.is_busy()
        {
            self.queue.lock().line.put_back(entry);
            self.wait(connection, error);
            return None;
        }
        let Entry { seq, revocations, seen, work: Waiting { alone, since, work } } = entry;
        match (work, ran) {
            (Work::Begin { reply, terms }, Ok(())) => {
                let mailbox = Arc::clone(reply.mailbox());
                self.grant(connection, Granted { seq, revocations, terms, mailbox, askers: Askers::One(reply) });
                None
            }
            (Work::Script { reply, .. }, Ok(())) => {
                self.ended(true, |_| {});
                let publish = self.with_listeners(&mut connection, true, Box::new(move || reply.done()));
                Some((connection, publish))
            }
            (Work::Script { reply, .. }, Err(error)) => {
                self.ended(false, |_| {});
                Some((connection, Box::new(move || reply.fail(&error))))
            }
            (Work::Begin { reply, .. }, Err(error)) => Some((connection, Box::new(move || reply.fail(&error)))),
            (Work::Run(member), _) => self.run_group(connection, vec![member], alone),
            (work @ Work::Closure { .. }, _) => self
                .begin_group(connection, vec![Entry { seq, revocations, seen, work: Waiting { since, alone, work } }]),
            (Work::Checkpoint(asked), _) => Some(self.checkpoint(connection, asked)),
            (Work::Truncate { gate }, _) => {
                self.truncate(&mut connection);
                Some((connection, Box::new(move || drop(gate))))
            }
            (Work::Exclusive(exclusive), _) => self.run_exclusive(connection, exclusive),
            (Work::Close { done }, _) => {
                self.queue.lock().state = State::Gone;
                connection.forget_interrupt();
                drop(connection);
                done();
                None
            }
        }
    }

    /// Notes how a transaction of the engine's own ended.
    fn ended(&self, committed: bool, more: impl FnOnce(&mut Figures)) {
        let mut queue = self.queue.lock();
        queue.calm();
        if committed {
            queue.figures.commits += 1;
        } else {
            queue.figures.rollbacks += 1;
        }
        more(&mut queue.figures);
    }

    fn put_back(&self, members: Vec<Member>, alone: bool) {
        if members.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        for member in members.into_iter().rev() {
            let Queued { seq, seen, since } = member.queued;
            let work = Waiting { since, alone, work: Work::Run(member) };
            queue.line.put_back(Entry { seq, revocations: 0, seen, work });
        }
    }

    /// Cancels an operation that waits in the queue or runs by itself.
    pub(crate) fn cancel(self: &Arc<Self>, env: u64, op: u32) {
        let is_it = |waiting: &Waiting| waiting.reply().is_some_and(|reply| reply.is(env, op));
        let (removed, interrupt, shared) = {
            let mut queue = self.queue.lock();
            let interrupt = Arc::clone(&queue.watch.interrupt);
            // While the queue is locked no other group begins.
            let shared = if queue.is_unwanted_by_all(env, op) { interrupt.interrupt_shared() } else { None };
            (queue.line.take_out(is_it), interrupt, shared)
        };
        if let Some(run) = shared {
            interrupt_until_ended(Arc::clone(&interrupt), run);
        }
        if removed.is_empty() {
            interrupt_until_ended(interrupt, Target::Operation { owner: env_owner(env), op });
        }
        fail_entries(removed, &error::aborted());
        for exclusive in self.take_aside_if(|reply| reply.is_some_and(|reply| reply.is(env, op))) {
            exclusive.fail(&error::aborted());
        }
    }

    /// Ends what came by a handle that is closing and has no more patience.
    pub(crate) fn end_all(self: &Arc<Self>, handle: u64) {
        let is_its = |waiting: &Waiting| waiting.reply().is_some_and(|reply| reply.came_by(handle));
        let (removed, interrupt, held) = {
            let mut queue = self.queue.lock();
            let held = match &queue.state {
                State::Held { transaction, .. } if transaction.terms.handle == handle => Some(Arc::clone(transaction)),
                _ => None,
            };
            (queue.line.take_out(is_its), Arc::clone(&queue.watch.interrupt), held)
        };
        if let Some(transaction) = held {
            transaction.close_now();
        }
        interrupt_until_ended(interrupt, Target::Handle(handle));
        fail_entries(removed, &error::closed_while_queued());
        for exclusive in self.take_aside_if(|reply| reply.is_some_and(|reply| reply.came_by(handle))) {
            exclusive.fail(&error::closed_while_queued());
        }
    }

    /// Removes what an environment that is gone has queued.
    pub(crate) fn forget(&self, env: u64) {
        let gone = self.queue.lock().line.forget(env);
        drop(gone);
        drop(self.take_aside_if(|reply| reply.is_some_and(|reply| reply.env() == env)));
    }

    /// There is no connection any more: everybody is told, now and from now on.
    fn fail_all(&self, error: &Error) {
        let entries = {
            let mut queue = self.queue.lock();
            queue.state = State::Gone;
            queue.line.clear()
        };
        fail_entries(entries, error);
        for exclusive in self.take_aside_if(|_| true) {
            exclusive.fail(error);
        }
    }
}

/// The statement of an entry that is one.
#[expect(clippy::result_large_err, reason = "it is the entry itself, handed back")]
fn member(entry: Entry<Waiting>) -> Result<Member, Entry<Waiting>> {
    match entry {
        Entry { seq, seen, work: Waiting { since, work: Work::Run(member), .. }, .. } => {
            Ok(Member { queued: Queued { seq, seen, since }, ..member })
        }
        other => Err(other),
    }
}

/// Tells entries that left the queue why; outside of its lock, for the last lease of a handle closes it.
fn fail_entries(entries: impl IntoIterator<Item = Entry<Waiting>>, error: &Error) {
    for entry in entries {
        entry.work.fail(error);
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
