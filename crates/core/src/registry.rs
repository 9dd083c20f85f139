//! Owns which files are open in this process: one file, one engine, however often and by whichever path it is opened.
//!
//! A file is known by its canonical path and by its identity. While an entry opens, others who want it wait for the outcome;
//! while it closes or is deleted, they wait and open it anew. An open that fails is not remembered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::config::OpenOptions;
use crate::database::{Database, Opening};
use crate::error::{Error, ErrorCode, Result};
use crate::exit;
use crate::location;
use crate::migrate::Plan;
use crate::runtime::{self, Lane};
use crate::writer::Migrating;

mod deletion;
mod files;

pub(crate) use deletion::delete;
use deletion::{Deletion, remove, spawn_delete};
use files::{Entry, Files};

/// Told the outcome of an open, on an engine thread.
pub(crate) type Opened = Box<dyn FnOnce(Result<Arc<Database>>) + Send>;

struct Request {
    path: String,
    options: OpenOptions,
    /// Its migrations.
    plan: Option<Plan>,
    opened: Opened,
    /// When it was asked for: each has its own patience with a busy file.
    since: Instant,
}

impl Request {
    fn is_late(&self) -> bool {
        self.since.elapsed() >= self.options.busy_timeout
    }
}

/// Somebody who waits until it is known what becomes of a file.
enum Waiting {
    Open(Box<Request>),
    Delete(Deletion),
}

impl Waiting {
    /// Has it look again.
    fn spawn(self) {
        match self {
            Self::Open(request) => spawn(*request),
            Self::Delete(deletion) => spawn_delete(deletion),
        }
    }
}

/// How many handles an open database has.
#[derive(Clone, Copy, Default)]
struct Handles {
    all: usize,
    /// Of these, the ones that no pool can close.
    unpooled: usize,
}

impl Handles {
    fn add(&mut self, is_pooled: bool) {
        self.all += 1;
        self.unpooled += usize::from(!is_pooled);
    }

    fn remove(&mut self, is_pooled: bool) {
        self.all = self.all.saturating_sub(1);
        self.unpooled = self.unpooled.saturating_sub(usize::from(!is_pooled));
    }
}

impl State {
    /// Those who wait for what becomes of the file.
    fn waiting(&mut self) -> Option<&mut Vec<Waiting>> {
        match self {
            Self::Opening(waiting) | Self::Closing(waiting) | Self::Open { deletion: Some((_, waiting)), .. } => {
                Some(waiting)
            }
            Self::Open { deletion: None, .. } => None,
        }
    }
}

enum State {
    /// One try is under way; these want the same file.
    Opening(Vec<Waiting>),
    Open {
        database: Arc<Database>,
        handles: Handles,
        /// It is deleted after its last handle; those who want it meanwhile wait for that.
        deletion: Option<(Deletion, Vec<Waiting>)>,
    },
    /// The last handle is gone, or the file is being deleted; these look again afterwards.
    Closing(Vec<Waiting>),
}

static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Default::default);

/// Opens the file at `path`, or joins those who have it open.
pub(crate) fn open(path: String, options: OpenOptions, plan: Option<Plan>, opened: Opened) {
    spawn(Request { path, options, plan, opened, since: Instant::now() });
}

fn spawn(request: Request) {
    runtime::spawn(Lane::Open, move || {
        let Some(_inside) = exit::enter() else { return };
        match location::resolve(&request.path, &request.options) {
            Ok(path) => find(path, request),
            Err(error) => (request.opened)(Err(error)),
        }
    });
}

/// One who has a handle on a database that somebody else has opened.
struct Joined {
    database: Arc<Database>,
    is_pooled: bool,
    plan: Option<Plan>,
    opened: Opened,
}

/// What the registry says of a file.
enum Found {
    /// It is open; the handle is counted.
    Joined(Joined),
    Refused(Error, Opened),
    /// Nobody has it; the caller opens it.
    New(Request),
    /// Somebody opens or closes it, and answers later.
    Waits,
}

fn find(path: PathBuf, request: Request) {
    match look_up(&path, request) {
        Found::Joined(joined) => joined.migrate(),
        Found::Refused(error, opened) => opened(Err(error)),
        Found::Waits => {}
        Found::New(request) => attempt(Try::new(path, request)),
    }
}

fn look_up(path: &Path, request: Request) -> Found {
    let identity = location::identity(path);
    let mut files = FILES.lock();
    let known = files.known_as(path, identity);
    let Some(entry) = known.and_then(|known| files.get_mut(&known)) else {
        files.insert(path, Entry { identity, state: State::Opening(Vec::new()) });
        return Found::New(request);
    };
    match &mut entry.state {
        State::Opening(waiting) | State::Closing(waiting) | State::Open { deletion: Some((_, waiting)), .. } => {
            waiting.push(Waiting::Open(Box::new(request)));
            Found::Waits
        }
        // Looked at again: it may have been deleted and made anew since.
        State::Open { .. } if entry.identity != identity && entry.identity != location::identity(path) => {
            let why = format!(
                "{} is open in this process, but the file was removed or replaced since; close it first",
                path.display()
            );
            Found::Refused(Error::new(ErrorCode::CannotOpen, why), request.opened)
        }
        State::Open { database, handles, .. } => match join(database, handles, &request.options) {
            Ok(database) => Found::Joined(Joined {
                database,
                is_pooled: request.options.is_pooled(),
                plan: request.plan,
                opened: request.opened,
            }),
            Err(error) => Found::Refused(error, request.opened),
        },
    }
}

fn join(database: &Arc<Database>, handles: &mut Handles, options: &OpenOptions) -> Result<Arc<Database>> {
    let path = database.path().display().to_string();
    database.profile.keys.admits(options.cipher.as_ref(), &path)?;
    options.must_agree_with(&database.options, &path)?;
    handles.add(options.is_pooled());
    Ok(Arc::clone(database))
}

/// Whether the file at the canonical `path` is deleted as soon as nobody has it open.
pub(crate) fn is_deleting(path: &Path) -> bool {
    let files = FILES.lock();
    matches!(files.get(path).map(|entry| &entry.state), Some(State::Open { deletion: Some(_), .. }))
}

/// One more handle of a database that the caller has one of, which is kept from being closed meanwhile.
pub(crate) fn share(database: &Arc<Database>) {
    if let Some(Entry { state: State::Open { handles, .. }, .. }) = FILES.lock().get_mut(database.path()) {
        handles.add(true);
    }
}

impl Joined {
    /// Runs its pending migrations while nobody else works on the database.
    fn migrate(self) {
        let Self { database, is_pooled, plan, opened } = self;
        let (Some(plan), Some(writer)) = (plan, database.writer().cloned()) else { return opened(Ok(database)) };
        let busy_timeout = database.options.busy_timeout;
        let done = Box::new(move |ran| match ran {
            Ok(()) => opened(Ok(database)),
            Err(error) => {
                release(&database, is_pooled, Box::new(|_| {}));
                opened(Err(error));
            }
        });
        writer.submit_exclusive(Box::new(Migrating { plan, busy_timeout, done }));
    }
}

/// One open under way.
struct Try {
    path: PathBuf,
    opening: Opening,
    request: Request,
    backoff: Backoff,
}

/// Those who are answered once the outcome of an open is recorded.
enum Answer {
    Opened(Box<Joined>),
    Failed(Error, Opened),
}

impl Try {
    fn new(path: PathBuf, mut request: Request) -> Self {
        let opening = Opening::new(path.clone(), request.options.clone(), request.plan.take());
        Self { path, opening, request, backoff: Backoff::new() }
    }
}

/// Tries once; while the file is busy a timer tries again, on no thread.
fn attempt(mut this: Try) {
    let tried = catch_unwind(AssertUnwindSafe(|| this.opening.attempt()));
    let outcome = match tried {
        Ok(Err(error)) if error.is_busy() => return busy(this, &error),
        Ok(outcome) => outcome,
        Err(_) => {
            let why = format!("the engine failed while it opened {}", this.path.display());
            Err(Error::new(ErrorCode::EnginePanic, why))
        }
    };
    if outcome.is_err() {
        this.opening.give_up();
    }
    conclude(&this.path, outcome.map(Arc::new), this.request);
}

/// The file is busy: whoever has waited for its own `busyTimeoutMs` is told, the others go on trying.
fn busy(mut this: Try, error: &Error) {
    let mut again_later = Vec::new();
    let (mut late, next) = {
        let mut files = FILES.lock();
        let Some(Entry { state: State::Opening(waiting), .. }) = files.get_mut(&this.path) else { return };
        let (mut late, mut stay, mut deletions) = (Vec::new(), Vec::new(), Vec::new());
        for waiting in std::mem::take(waiting) {
            match waiting {
                Waiting::Open(request) if request.is_late() => late.push(*request),
                Waiting::Open(request) => stay.push(request),
                Waiting::Delete(_) => deletions.push(waiting),
            }
        }
        let next = this.request.is_late().then(|| if stay.is_empty() { None } else { Some(*stay.remove(0)) });
        if matches!(next, Some(None)) {
            files.remove(&this.path);
            again_later = deletions;
        } else {
            waiting.extend(stay.into_iter().map(Waiting::Open).chain(deletions));
        }
        (late, next)
    };
    again_later.into_iter().for_each(Waiting::spawn);
    match next {
        None => again(this),
        Some(next) => {
            this.opening.give_up();
            late.push(this.request);
            if let Some(next) = next {
                again(Try::new(this.path, next));
            }
        }
    }
    let message =
        format!("{}: another process holds a lock of the file, and held it for all of busyTimeoutMs", error.message);
    for request in late {
        (request.opened)(Err(Error { message: message.clone(), ..error.clone() }));
    }
}

fn again(mut this: Try) {
    let delay = this.backoff.next();
    runtime::after(delay, move || {
        runtime::spawn(Lane::Open, move || {
            let Some(_inside) = exit::enter() else { return };
            attempt(this);
        });
    });
}

/// A file that nobody of this process opens while it lasts: those who want to, wait.
pub(crate) struct Hold(PathBuf);

impl Drop for Hold {
    fn drop(&mut self) {
        let waiting = match FILES.lock().remove(&self.0) {
            Some(Entry { state: State::Opening(waiting), .. }) => waiting,
            _ => Vec::new(),
        };
        waiting.into_iter().for_each(Waiting::spawn);
    }
}

/// Keeps the file at the canonical `path` from being opened. Busy while somebody opens or closes it; an error if it is open.
pub(crate) fn hold(path: &Path) -> Result<Hold> {
    let identity = location::identity(path);
    let mut files = FILES.lock();
    let known = files.known_as(path, identity);
    let state = known.and_then(|known| files.get(&known)).map(|entry| &entry.state);
    match state {
        None => {}
        Some(State::Opening(_) | State::Closing(_)) => {
            let why = format!("{} is being opened or closed in this process", path.display());
            return Err(Error::sqlite(ErrorCode::Busy, why, rusqlite::ffi::SQLITE_BUSY));
        }
        Some(State::Open { .. }) => {
            let why = format!("{} is open in this process; close it first", path.display());
            return Err(Error::new(ErrorCode::CannotOpen, why));
        }
    }
    files.insert(path, Entry { identity, state: State::Opening(Vec::new()) });
    Ok(Hold(path.to_path_buf()))
}

/// Records the outcome, and answers everybody who waits for it.
fn conclude(path: &Path, outcome: Result<Arc<Database>>, request: Request) {
    let Request { opened, options, .. } = request;
    let mut answers: Vec<Answer> = Vec::new();
    let mut again: Vec<Waiting> = Vec::new();
    {
        let mut files = FILES.lock();
        let all = match files.remove(path) {
            Some(Entry { state: State::Opening(waiting), .. }) => waiting,
            _ => Vec::new(),
        };
        let mut waiting = Vec::new();
        for each in all {
            match each {
                Waiting::Open(request) => waiting.push(*request),
                Waiting::Delete(_) => again.push(each),
            }
        }
        match outcome {
            Ok(database) => {
                let mut handles = Handles::default();
                handles.add(options.is_pooled());
                let with = |database, is_pooled, plan, opened| {
                    Answer::Opened(Box::new(Joined { database, is_pooled, plan, opened }))
                };
                answers.push(with(Arc::clone(&database), options.is_pooled(), None, opened));
                for Request { options, plan, opened, .. } in waiting {
                    answers.push(match join(&database, &mut handles, &options) {
                        Ok(database) => with(database, options.is_pooled(), plan, opened),
                        Err(error) => Answer::Failed(error, opened),
                    });
                }
                let identity = location::identity(path);
                let state = State::Open { database, handles, deletion: None };
                files.insert(path, Entry { identity, state });
            }
            // Each has a key and migrations of its own, or none: those of the first are no failure of the file.
            Err(error) if error.code.is_of_the_caller() => {
                let same = |other: &Request| !error.code.is_of_migrations() && other.options.cipher == options.cipher;
                let (alike, others): (Vec<Request>, Vec<Request>) = waiting.into_iter().partition(same);
                answers.push(Answer::Failed(error.clone(), opened));
                answers.extend(alike.into_iter().map(|request| Answer::Failed(error.clone(), request.opened)));
                again.extend(others.into_iter().map(Box::new).map(Waiting::Open));
            }
            Err(error) => {
                let others = waiting.into_iter().map(|request| request.opened);
                answers.extend([opened].into_iter().chain(others).map(|opened| Answer::Failed(error.clone(), opened)));
            }
        }
    }
    again.into_iter().for_each(Waiting::spawn);
    for answer in answers {
        match answer {
            Answer::Opened(joined) => joined.migrate(),
            Answer::Failed(error, opened) => opened(Err(error)),
        }
    }
}

/// Gives one handle back; the engine closes with its last. `done` is told when this handle's share of that is done, and whether
/// it was the last one, so that the file is closed.
pub(crate) fn release(database: &Arc<Database>, is_pooled: bool, done: Box<dyn FnOnce(bool) + Send>) {
    let last = {
        let mut files = FILES.lock();
        let Some(entry) = files.get_mut(database.path()) else { return done(false) };
        let State::Open { handles, deletion, .. } = &mut entry.state else { return done(false) };
        handles.remove(is_pooled);
        if handles.all == 0 {
            let (deletion, waiting) = deletion.take().unzip();
            entry.state = State::Closing(waiting.unwrap_or_default());
            Some(deletion)
        } else {
            None
        }
    };
    let Some(deletion) = last else { return done(false) };
    let path = database.path().to_path_buf();
    database.close(move || {
        let Some(deletion) = deletion else {
            closed(&path);
            return done(true);
        };
        done(true);
        remove(deletion, path);
    });
}

/// Nothing of the file is open any more: those who waited look again.
fn closed(path: &Path) {
    let waiting = match FILES.lock().remove(path) {
        Some(Entry { state: State::Closing(waiting), .. }) => waiting,
        _ => Vec::new(),
    };
    waiting.into_iter().for_each(Waiting::spawn);
}
