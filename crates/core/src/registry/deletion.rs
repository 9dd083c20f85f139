//! Owns the deletion of a file: asked of those who have it open, done when nobody has, waited for by those who want it anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Entry, FILES, Handles, State, Waiting, closed};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorCode, Result};
use crate::exit;
use crate::location;
use crate::place;
use crate::runtime::{self, Lane};

/// The wish to delete a file.
pub(crate) struct Deletion {
    /// Canonical.
    path: PathBuf,
    /// Those who have it open are asked to let it go: the pool of the path.
    ask: Arc<dyn Fn() + Send + Sync>,
    /// How long a lock of another process is waited for.
    busy_timeout: Duration,
    /// Told on an engine thread: whether there was a file.
    done: Box<dyn FnOnce(Result<bool>) + Send>,
    /// Unique in the process.
    id: u64,
    /// Until when users of this process are waited for.
    deadline: Option<Instant>,
    /// Since when it is tried.
    busy_since: Option<Instant>,
    backoff: Backoff,
}

static NEXT_DELETION: AtomicU64 = AtomicU64::new(1);

/// Deletes the file at the canonical `path` with its log, once nobody has it open; those who want it meanwhile wait. `ask` has the
/// pool let it go, and may be called again; `busy_timeout` is for locks of other processes, `patience` for users in this one (zero:
/// for ever).
pub(crate) fn delete(
    path: PathBuf,
    ask: Arc<dyn Fn() + Send + Sync>,
    (busy_timeout, patience): (Duration, Duration),
    done: Box<dyn FnOnce(Result<bool>) + Send>,
) {
    let id = NEXT_DELETION.fetch_add(1, Ordering::Relaxed);
    let deadline = (!patience.is_zero()).then(|| Instant::now() + patience);
    if deadline.is_some() {
        let path = path.clone();
        runtime::after(patience, move || give_up_deletion(&path, id));
    }
    spawn_delete(Deletion { path, ask, busy_timeout, done, id, deadline, busy_since: None, backoff: Backoff::new() });
}

pub(super) fn spawn_delete(deletion: Deletion) {
    runtime::spawn(Lane::Open, move || {
        let Some(_inside) = exit::enter() else { return };
        let path = deletion.path.clone();
        let ask = Arc::clone(&deletion.ask);
        let mut files = FILES.lock();
        // Under the lock: the file may have been made anew a moment ago.
        let identity = location::identity(&path);
        let known = files.known_as(&path, identity);
        let is_alias = known.as_ref().is_some_and(|known| *known != path);
        match known.and_then(|known| files.get_mut(&known)).map(|entry| &mut entry.state) {
            Some(_) if is_alias => {
                drop(files);
                let why = format!("{} is another name of a file that is open in this process", path.display());
                (deletion.done)(Err(Error::new(ErrorCode::CannotOpen, why)));
            }
            None => {
                files.insert(&path, Entry { identity, state: State::Closing(Vec::new()) });
                drop(files);
                remove(deletion, path);
            }
            Some(
                State::Opening(waiting) | State::Closing(waiting) | State::Open { deletion: Some((_, waiting)), .. },
            ) => waiting.push(Waiting::Delete(deletion)),
            Some(State::Open { handles: Handles { unpooled: 1.., .. }, .. }) => {
                drop(files);
                let why = format!("{} is open by Database.open in this process; close it first", path.display());
                (deletion.done)(Err(Error::new(ErrorCode::CannotOpen, why)));
            }
            // Its timer has found it nowhere, between two places.
            Some(State::Open { .. }) if deletion.deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                drop(files);
                (deletion.done)(Err(in_use(&path)));
            }
            Some(State::Open { deletion: none, .. }) => {
                *none = Some((deletion, Vec::new()));
                drop(files);
                ask();
            }
        }
    });
}

/// The users of the file have not let it go: it stays, and those who waited for its end have it.
fn give_up_deletion(path: &Path, id: u64) {
    let mut files = FILES.lock();
    let Some(state) = files.get_mut(path).map(|entry| &mut entry.state) else { return };
    let is_it = |deletion: &Deletion| deletion.id == id;
    let given_up = match state {
        State::Open { deletion, .. } if deletion.as_ref().is_some_and(|(deletion, _)| is_it(deletion)) => {
            deletion.take()
        }
        // One that waits for another one, or for an open.
        other => other.waiting().and_then(|waiting| {
            let at = waiting.iter().position(|each| matches!(each, Waiting::Delete(deletion) if is_it(deletion)))?;
            match waiting.remove(at) {
                Waiting::Delete(deletion) => Some((deletion, Vec::new())),
                Waiting::Open(_) => None,
            }
        }),
    };
    drop(files);
    let Some((deletion, waiting)) = given_up else { return };
    // First: whoever looks again finds it as it is left.
    (deletion.done)(Err(in_use(path)));
    waiting.into_iter().for_each(Waiting::spawn);
}

fn in_use(path: &Path) -> Error {
    let why = format!(
        "{} was not deleted: somebody used it for all of queueTimeoutMs, in a transaction or inside pool.use",
        path.display()
    );
    Error::new(ErrorCode::QueueTimeout, why)
}

/// Removes the file that nobody of this process has open, nor opens while its entry is there.
pub(super) fn remove(mut deletion: Deletion, path: PathBuf) {
    FILES.lock().forget_identity(&path);
    let outcome = place::remove(&path);
    let since = *deletion.busy_since.get_or_insert_with(Instant::now);
    if outcome.as_ref().is_err_and(Error::is_busy) && since.elapsed() < deletion.busy_timeout {
        let delay = deletion.backoff.next();
        return runtime::after(delay, move || {
            runtime::spawn(Lane::Open, move || {
                let Some(_inside) = exit::enter() else { return };
                remove(deletion, path);
            });
        });
    }
    match outcome {
        Ok(found) => {
            closed(&path);
            (deletion.done)(Ok(found));
        }
        Err(error) => {
            (deletion.done)(Err(error));
            closed(&path);
        }
    }
}
