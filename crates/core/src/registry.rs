//! Owns which files are open in this process: one file, one engine, however often and by whichever path it is opened.
//!
//! A file is known by its canonical path and by its identity. While an entry opens, others who want it wait for the outcome;
//! while it closes, they wait and open it anew. An open that fails is not remembered.

use std::collections::HashMap;
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
use crate::location::{self, Identity};
use crate::migrate::Plan;
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::writer::Migrating;

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

enum State {
    /// One try is under way; these want the same file.
    Opening(Vec<Request>),
    Open {
        database: Arc<Database>,
        handles: usize,
    },
    /// The last handle is gone; these open the file anew afterwards.
    Closing(Vec<Request>),
}

struct Entry {
    identity: Option<Identity>,
    state: State,
}

static FILES: LazyLock<Mutex<HashMap<PathBuf, Entry>>> = LazyLock::new(|| Mutex::new(HashMap::new()));

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

/// What the registry says of a file.
enum Found {
    /// It is open; the handle is counted.
    Joined(Arc<Database>, Option<Plan>, Opened),
    Refused(Error, Opened),
    /// Nobody has it; the caller opens it.
    New(Request),
    /// Somebody opens or closes it, and answers later.
    Waits,
}

fn find(path: PathBuf, request: Request) {
    match look_up(&path, request) {
        Found::Joined(database, plan, opened) => joined(database, plan, opened),
        Found::Refused(error, opened) => opened(Err(error)),
        Found::Waits => {}
        Found::New(request) => attempt(Try::new(path, request)),
    }
}

fn look_up(path: &Path, request: Request) -> Found {
    let identity = location::identity(path);
    let mut files = FILES.lock();
    let known = known_as(&files, path, identity);
    let Some(entry) = known.and_then(|known| files.get_mut(&known)) else {
        files.insert(path.to_path_buf(), Entry { identity, state: State::Opening(Vec::new()) });
        return Found::New(request);
    };
    match &mut entry.state {
        State::Opening(waiting) | State::Closing(waiting) => {
            waiting.push(request);
            Found::Waits
        }
        State::Open { .. } if entry.identity != identity => {
            let why = format!(
                "{} is open in this process, but the file was removed or replaced since; close it first",
                path.display()
            );
            Found::Refused(Error::new(ErrorCode::CannotOpen, why), request.opened)
        }
        State::Open { database, handles } => match join(database, handles, &request.options) {
            Ok(database) => Found::Joined(database, request.plan, request.opened),
            Err(error) => Found::Refused(error, request.opened),
        },
    }
}

fn join(database: &Arc<Database>, handles: &mut usize, options: &OpenOptions) -> Result<Arc<Database>> {
    let path = database.path().display().to_string();
    database.profile.keys.admits(options.cipher.as_ref(), &path)?;
    options.must_agree_with(&database.options, &path)?;
    *handles += 1;
    Ok(Arc::clone(database))
}

/// Somebody has joined an open database; pending migrations of theirs are run while nobody else works on it.
fn joined(database: Arc<Database>, plan: Option<Plan>, opened: Opened) {
    let (Some(plan), Some(writer)) = (plan, database.writer().cloned()) else { return opened(Ok(database)) };
    let busy_timeout = database.options.busy_timeout;
    let done = Box::new(move |ran| match ran {
        Ok(()) => opened(Ok(database)),
        Err(error) => {
            release(&database, None);
            opened(Err(error));
        }
    });
    writer.submit_exclusive(Box::new(Migrating { plan, busy_timeout, done }));
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
    Opened(Arc<Database>, Option<Plan>, Opened),
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
    let (mut late, next) = {
        let mut files = FILES.lock();
        let Some(Entry { state: State::Opening(waiting), .. }) = files.get_mut(&this.path) else { return };
        let (late, mut stay): (Vec<Request>, Vec<Request>) =
            std::mem::take(waiting).into_iter().partition(Request::is_late);
        let next = this.request.is_late().then(|| if stay.is_empty() { None } else { Some(stay.remove(0)) });
        *waiting = stay;
        if matches!(next, Some(None)) {
            files.remove(&this.path);
        }
        (late, next)
    };
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
        waiting.into_iter().for_each(spawn);
    }
}

/// Keeps the file at the canonical `path` from being opened. Busy while somebody opens or closes it; an error if it is open.
pub(crate) fn hold(path: &Path) -> Result<Hold> {
    let identity = location::identity(path);
    let mut files = FILES.lock();
    let known = known_as(&files, path, identity);
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
    files.insert(path.to_path_buf(), Entry { identity, state: State::Opening(Vec::new()) });
    Ok(Hold(path.to_path_buf()))
}

/// The path by which a file is known, by whatever other it is asked for.
fn known_as(files: &HashMap<PathBuf, Entry>, path: &Path, identity: Option<Identity>) -> Option<PathBuf> {
    if files.contains_key(path) {
        return Some(path.to_path_buf());
    }
    let same = |entry: &Entry| identity.is_some() && entry.identity == identity;
    files.iter().find(|(_, entry)| same(entry)).map(|(path, _)| path.clone())
}

/// Records the outcome, and answers everybody who waits for it.
fn conclude(path: &Path, outcome: Result<Arc<Database>>, request: Request) {
    let Request { opened, options, .. } = request;
    let mut answers: Vec<Answer> = Vec::new();
    let mut again: Vec<Request> = Vec::new();
    {
        let mut files = FILES.lock();
        let waiting = match files.remove(path) {
            Some(Entry { state: State::Opening(waiting), .. }) => waiting,
            _ => Vec::new(),
        };
        match outcome {
            Ok(database) => {
                let mut handles = 1;
                answers.push(Answer::Opened(Arc::clone(&database), None, opened));
                for Request { options, plan, opened, .. } in waiting {
                    answers.push(match join(&database, &mut handles, &options) {
                        Ok(database) => Answer::Opened(database, plan, opened),
                        Err(error) => Answer::Failed(error, opened),
                    });
                }
                let identity = location::identity(path);
                files.insert(path.to_path_buf(), Entry { identity, state: State::Open { database, handles } });
            }
            // Each has a key and migrations of its own, or none: those of the first are no failure of the file.
            Err(error) if error.code.is_of_the_caller() => {
                let same = |other: &Request| !error.code.is_of_migrations() && other.options.cipher == options.cipher;
                let (alike, others): (Vec<Request>, Vec<Request>) = waiting.into_iter().partition(same);
                answers.push(Answer::Failed(error.clone(), opened));
                answers.extend(alike.into_iter().map(|request| Answer::Failed(error.clone(), request.opened)));
                again = others;
            }
            Err(error) => {
                let others = waiting.into_iter().map(|request| request.opened);
                answers.extend([opened].into_iter().chain(others).map(|opened| Answer::Failed(error.clone(), opened)));
            }
        }
    }
    again.into_iter().for_each(spawn);
    for answer in answers {
        match answer {
            Answer::Opened(database, plan, opened) => joined(database, plan, opened),
            Answer::Failed(error, opened) => opened(Err(error)),
        }
    }
}

/// Gives one handle back; the engine closes with its last. `reply` is answered when this handle's share of that is done.
pub(crate) fn release(database: &Arc<Database>, reply: Option<Reply>) {
    let last = {
        let mut files = FILES.lock();
        match files.get_mut(database.path()) {
            Some(entry) => match &mut entry.state {
                State::Open { handles, .. } => {
                    *handles = handles.saturating_sub(1);
                    let last = *handles == 0;
                    if last {
                        entry.state = State::Closing(Vec::new());
                    }
                    last
                }
                State::Opening(_) | State::Closing(_) => false,
            },
            None => false,
        }
    };
    if !last {
        if let Some(reply) = reply {
            reply.done();
        }
        return;
    }
    let path = database.path().to_path_buf();
    database.close(move || {
        let waiting = match FILES.lock().remove(&path) {
            Some(Entry { state: State::Closing(waiting), .. }) => waiting,
            _ => Vec::new(),
        };
        if let Some(reply) = reply {
            reply.done();
        }
        waiting.into_iter().for_each(spawn);
    });
}
