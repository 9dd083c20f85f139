//! Owns work on a database by a connection of its own, beside the writer and the readers: what it tells of its progress, how
//! it is ended early, and how it waits for a busy file on no thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::error::{self, Error, ErrorCode, Result};
use crate::exit;
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::wire;

/// The least time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(20);

/// Who waits for the work, and what they are told.
#[derive(Clone)]
pub(crate) struct Watcher(Arc<Mutex<Watched>>);

struct Watched {
    /// `None` once it was answered.
    reply: Option<Reply>,
    reported: Option<Instant>,
}

impl Watcher {
    fn new(reply: Reply) -> Self {
        Self(Arc::new(Mutex::new(Watched { reply: Some(reply), reported: None })))
    }

    /// Fails once nobody wants the work any more, or the process is stopping. To be asked every few milliseconds.
    pub(crate) fn check(&self) -> Result<()> {
        if exit::stopping() {
            return Err(error::process_exiting());
        }
        self.0.lock().reply.as_ref().and_then(Reply::given_up).map_or(Ok(()), Err)
    }

    /// Tells how far the work is, if it was not told a moment ago. `phase`: a number that JavaScript knows.
    pub(crate) fn report(&self, phase: u32, done: u64, total: u64) {
        if self.0.lock().reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.report_now(phase, done, total);
        }
    }

    /// Tells it in any case.
    pub(crate) fn report_now(&self, phase: u32, done: u64, total: u64) {
        let mut watched = self.0.lock();
        watched.reported = Some(Instant::now());
        if let Some(reply) = &watched.reply {
            let mut record = Vec::new();
            wire::progress(&mut record, reply.op(), phase, done.min(total), total);
            reply.mailbox().post(&record);
        }
    }

    fn answer(&self) -> Option<Reply> {
        self.0.lock().reply.take()
    }
}

/// Something that is done beside the others; tried again, on no thread, while the file is busy.
pub(crate) type Work = Box<dyn FnMut(&Watcher) -> Result<Answer> + Send>;

type WriteRecord = Box<dyn FnOnce(&mut Vec<u8>, u32) + Send>;

/// What the work has to say.
pub(crate) enum Answer {
    Done,
    /// Writes the record of the operation.
    Record(WriteRecord),
}

/// Runs `work` on a thread of `lane`, and answers with what it gives. `busy_timeout`: how long a busy file is waited for.
pub(crate) fn run(lane: Lane, reply: Reply, busy_timeout: Duration, work: Work) {
    attempt(Attempt {
        lane,
        watcher: Watcher::new(reply),
        work,
        since: Instant::now(),
        busy_timeout,
        backoff: Backoff::new(),
    });
}

struct Attempt {
    lane: Lane,
    watcher: Watcher,
    work: Work,
    since: Instant,
    busy_timeout: Duration,
    backoff: Backoff,
}

fn attempt(mut this: Attempt) {
    runtime::spawn(this.lane, move || {
        let Some(_inside) = exit::enter() else { return };
        let tried = this.watcher.check().and_then(|()| {
            catch_unwind(AssertUnwindSafe(|| (this.work)(&this.watcher))).unwrap_or_else(|_| Err(engine_failed()))
        });
        if let Err(error) = &tried
            && error.is_busy()
            && this.since.elapsed() < this.busy_timeout
        {
            let delay = this.backoff.next();
            return runtime::after(delay, move || attempt(this));
        }
        let Some(reply) = this.watcher.answer() else { return };
        match tried {
            Err(error) => reply.fail(&error),
            Ok(Answer::Done) => reply.done(),
            Ok(Answer::Record(write)) => {
                let mut record = Vec::new();
                write(&mut record, reply.op());
                reply.send(&record);
            }
        }
    });
}

fn engine_failed() -> Error {
    Error::new(
        ErrorCode::EnginePanic,
        "the engine failed while it worked on a copy of the database, which was given up",
    )
}
