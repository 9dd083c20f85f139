//! Owns work that wants the database for itself: at the head of the queue, with the readers held back until none is on.

use super::{
    Arc, Backoff, Connection, Duration, Error, ErrorCode, Gate, Instant, Publish, Readers, Reply, Watch, Work, Writer,
    runtime,
};
use crate::error::Result;
use crate::migrate::Plan;

/// How long it waits for the reads that are on; new ones wait for it meanwhile.
const WAIT_FOR_READS: Duration = Duration::from_secs(30);
/// How long it waits for another gate before it asks again.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// Something that is done while nobody else works on the database.
pub(crate) trait Job: Send {
    /// What it is, for messages.
    fn name(&self) -> &'static str;

    /// Who waits for it, if that is one operation.
    fn reply(&self) -> Option<&Reply> {
        None
    }

    /// How long it waits for a lock of another process.
    fn busy_timeout(&self) -> Duration;

    /// Whether there is anything to do, found by reading only: nobody is held back before.
    fn is_needed(&self, _connection: &Connection) -> Result<bool> {
        Ok(true)
    }

    /// Does it, on the connection of the writer, and gives back that or another in its place; without one the writer opens
    /// one. No read is on. Busy: called again later.
    fn run(&mut self, connection: Box<Connection>, readers: &Readers) -> (Option<Box<Connection>>, Result<()>);

    /// Tells who waits for it.
    fn done(self: Box<Self>, outcome: Result<()>);
}

/// A job on its way.
pub(crate) struct Exclusive {
    /// Tells it apart while it is aside.
    number: u64,
    pub(super) job: Box<dyn Job>,
    /// Held once no reader is on.
    gate: Option<Gate>,
    submitted: Instant,
    /// When it first found the file busy, and how it has waited since.
    busy: Option<(Instant, Backoff)>,
}

/// A job that waits outside of the queue: for the readers, or for another process.
pub(super) struct Aside {
    exclusive: Box<Exclusive>,
    /// The gate it waits for, if that is what it waits for.
    gate: u64,
}

static NEXT_NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl Exclusive {
    pub(super) fn fail(self, error: &Error) {
        drop(self.gate);
        self.job.done(Err(error.clone()));
    }
}

impl Writer {
    /// Queues a job, which is only run if it has something to do.
    pub(crate) fn submit_exclusive(self: &Arc<Self>, job: Box<dyn Job>) {
        let number = NEXT_NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let exclusive = Exclusive { number, job, gate: None, submitted: Instant::now(), busy: None };
        self.submit(Work::Exclusive(Box::new(exclusive)));
    }

    /// Runs it if the readers are held back, else has them held back if it has anything to do.
    pub(super) fn run_exclusive(
        self: &Arc<Self>,
        connection: Box<Connection>,
        mut exclusive: Box<Exclusive>,
    ) -> Option<(Box<Connection>, Publish)> {
        let given_up = exclusive.job.reply().and_then(Reply::given_up);
        let (connection, ran) = match (given_up, &exclusive.gate) {
            (Some(error), _) => (Some(connection), Err(error)),
            (None, None) => match exclusive.job.is_needed(&connection) {
                Ok(true) => {
                    self.hold_readers_back(exclusive);
                    return Some((connection, Box::new(|| {})));
                }
                checked => (Some(connection), checked.map(drop)),
            },
            (None, Some(_)) => exclusive.job.run(connection, &self.readers),
        };
        match (connection, ran) {
            (Some(connection), Err(error)) if error.is_busy() => {
                self.watch_anew(&connection);
                Some((connection, self.step_aside(exclusive, error)))
            }
            (Some(mut connection), ran) => {
                connection.changes.clear();
                self.watch_anew(&connection);
                Some((connection, finished(*exclusive, ran)))
            }
            (None, ran) => {
                match ran {
                    Err(error) if error.is_busy() => self.step_aside(exclusive, error)(),
                    ran => finished(*exclusive, ran)(),
                }
                self.reopen();
                None
            }
        }
    }

    /// The writer has another connection: looked at from now on.
    fn watch_anew(&self, connection: &Connection) {
        let mut queue = self.queue.lock();
        if !Arc::ptr_eq(&queue.watch.interrupt, &connection.interrupt) {
            queue.watch = Watch::new(Arc::clone(&connection.interrupt));
        }
    }

    /// The file is busy, which others need not wait for: they go on, and a timer has it tried again, until its `busyTimeoutMs`.
    fn step_aside(self: &Arc<Self>, mut exclusive: Box<Exclusive>, error: Error) -> Publish {
        let (since, backoff) = exclusive.busy.get_or_insert_with(|| (Instant::now(), Backoff::new()));
        if since.elapsed() >= exclusive.job.busy_timeout() {
            return finished(*exclusive, Err(error));
        }
        let delay = backoff.next();
        let gate = exclusive.gate.take();
        let writer = Arc::clone(self);
        Box::new(move || {
            drop(gate);
            let number = writer.put_aside(exclusive);
            runtime::after(delay, move || {
                if let Some(Aside { exclusive, .. }) = writer.take_aside(number) {
                    writer.put_first(Work::Exclusive(exclusive));
                }
            });
        })
    }

    /// Keeps a job where it can be found by those who end it.
    fn put_aside(&self, exclusive: Box<Exclusive>) -> u64 {
        let number = exclusive.number;
        self.queue.lock().aside.push(Aside { exclusive, gate: 0 });
        number
    }

    fn take_aside(&self, number: u64) -> Option<Aside> {
        let mut queue = self.queue.lock();
        let at = queue.aside.iter().position(|aside| aside.exclusive.number == number)?;
        Some(queue.aside.swap_remove(at))
    }

    /// Takes the jobs that are meant out of where they wait, and lets the reads go on that wait for them.
    pub(super) fn take_aside_if(&self, is_meant: impl Fn(Option<&Reply>) -> bool) -> Vec<Exclusive> {
        let taken: Vec<Aside> = {
            let mut queue = self.queue.lock();
            let is_its = |aside: &Aside| is_meant(aside.exclusive.job.reply());
            let (taken, stay) = std::mem::take(&mut queue.aside).into_iter().partition(is_its);
            queue.aside = stay;
            taken
        };
        for aside in &taken {
            self.readers.let_go(aside.gate);
        }
        taken.into_iter().map(|aside| *aside.exclusive).collect()
    }

    fn hold_readers_back(self: &Arc<Self>, exclusive: Box<Exclusive>) {
        let number = self.put_aside(exclusive);
        let writer = Arc::clone(self);
        let held = move |held: Result<Gate, u64>| writer.readers_held_back(held, number);
        let gate = self.readers.hold_back(WAIT_FOR_READS, Box::new(held));
        let wanted = {
            let mut queue = self.queue.lock();
            let aside = queue.aside.iter_mut().find(|aside| aside.exclusive.number == number);
            aside.map(|aside| aside.gate = gate).is_some()
        };
        // Taken out in between, or run already: then the gate is held, and not let go by its number.
        if !wanted {
            self.readers.let_go(gate);
        }
    }

    fn readers_held_back(self: &Arc<Self>, held: Result<Gate, u64>, number: u64) {
        // Ended meanwhile: a gate that came is dropped, and opens.
        let Some(Aside { mut exclusive, .. }) = self.take_aside(number) else { return };
        match held {
            Ok(gate) => {
                exclusive.gate = Some(gate);
                self.put_first(Work::Exclusive(exclusive));
            }
            // Somebody else holds them back, for a moment.
            Err(0) if exclusive.submitted.elapsed() < WAIT_FOR_READS => {
                let number = self.put_aside(exclusive);
                let writer = Arc::clone(self);
                runtime::after(ASK_AGAIN, move || {
                    if let Some(Aside { exclusive, .. }) = writer.take_aside(number) {
                        writer.hold_readers_back(exclusive);
                    }
                });
            }
            Err(_) => {
                let name = exclusive.job.name();
                let why = format!("{name} wants the database without readers, and a read was on for all of 30 s");
                exclusive.fail(&Error::new(ErrorCode::Busy, why));
            }
        }
    }
}

fn finished(exclusive: Exclusive, ran: Result<()>) -> Publish {
    let Exclusive { job, gate, .. } = exclusive;
    Box::new(move || {
        drop(gate);
        job.done(ran);
    })
}

/// Migrations of somebody who has joined an open database, or a way back.
pub(crate) struct Migrating {
    pub(crate) plan: Plan,
    pub(crate) busy_timeout: Duration,
    pub(crate) done: Box<dyn FnOnce(Result<()>) + Send>,
}

impl Job for Migrating {
    fn name(&self) -> &'static str {
        "a migration"
    }

    fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    fn is_needed(&self, connection: &Connection) -> Result<bool> {
        self.plan.is_needed(connection)
    }

    fn run(&mut self, mut connection: Box<Connection>, _readers: &Readers) -> (Option<Box<Connection>>, Result<()>) {
        let ran = self.plan.run(&mut connection);
        (Some(connection), ran)
    }

    fn done(self: Box<Self>, outcome: Result<()>) {
        (self.done)(outcome);
    }
}
