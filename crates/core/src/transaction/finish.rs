//! Owns how a transaction ends: COMMIT or ROLLBACK, the connection back to its owner, the answers after that.

use std::collections::HashMap;
use std::sync::Arc;

use super::cursors::{Core, check_alive};
use super::{Askers, Ending, Expiry, GroupPlace, Released, State, Transaction};
use crate::connection::Connection;
use crate::error::{self, Result};
use crate::execute::Cursor;
use crate::exit;
use crate::group::outcome_unknown_after_io_error;
use crate::sync::atomic::Ordering;
use crate::wire::{self, Changed};

/// How a transaction is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Commit,
    Rollback,
    /// It was ended from outside before; what it was is what the caller of COMMIT hears, after the rollback.
    Expired,
    /// The engine panicked while it had the connection, which is not used again.
    GiveUp,
}

impl Transaction {
    pub(super) fn finish_commit(self: &Arc<Self>, ending: Ending) {
        let how = if self.state() == State::Committing { How::Commit } else { How::Expired };
        self.finish(how, Some(ending));
    }

    /// Ends the transaction, gives the connection back to its owner, and has the answer published after that.
    pub(super) fn finish(self: &Arc<Self>, how: How, ending: Option<Ending>) {
        let Some(Core { mut connection, cursors, .. }) = self.core.lock().take() else { return };
        close_all(cursors, &mut connection);
        let outcome = if exit::stopping() { Err(error::process_exiting()) } else { self.run_end(how, &mut connection) };
        connection.forget_statements();
        let committed = how == How::Commit && outcome.is_ok();
        let changed = self.changed(committed, ending.as_ref(), &mut connection);
        let frames = connection.log_frames();
        let connection = (how != How::GiveUp && connection.is_clean()).then_some(connection);
        self.state.store(State::Closed as u8, Ordering::Release);
        let late = {
            let mut turn = self.turn.lock();
            turn.over = true;
            std::mem::take(&mut turn.queue)
        };
        // Ended from outside, a group is told so, and says which of its closures were started when it ends by itself.
        let waits = ending.is_none() && self.news().is_some();
        let (started, unstarted) = if waits { Default::default() } else { self.split_group(ending.as_ref()) };
        let calls = started.len();
        let transaction = Arc::clone(self);
        let publish: Box<dyn FnOnce() + Send> = Box::new(move || {
            // The database stays open until the last answer is published.
            let _lease = transaction.lease.lock().take();
            if waits {
                transaction.mailbox.ended(Arc::clone(&transaction));
            }
            transaction.answer(ending, outcome, committed, frames, changed.as_ref());
            if let (true, Some(changed), Some(listeners)) = (committed, &changed, &transaction.listeners) {
                listeners.tell(changed);
            }
            for request in late {
                transaction.answer_late(request);
            }
            settle_by_their_closures(started);
        });
        let released = Released { connection, committed, calls, unstarted, publish };
        match self.release.lock().take() {
            Some(release) => release(released),
            None => (released.publish)(),
        }
    }

    fn run_end(&self, how: How, connection: &mut Connection) -> Result<()> {
        match how {
            How::Commit => commit(connection),
            How::Rollback => connection.rollback(),
            How::Expired => connection.rollback().and(Err(self.closed_error())),
            How::GiveUp => Ok(()),
        }
    }

    /// What was changed, if anybody wants to know.
    fn changed(&self, committed: bool, ending: Option<&Ending>, connection: &mut Connection) -> Option<Changed> {
        let wanted = ending.is_some_and(|ending| ending.wants_changed)
            || self.listeners.as_ref().is_some_and(|listeners| listeners.any());
        if committed && wanted {
            return Some(connection.take_changed());
        }
        connection.changes.clear();
        None
    }

    fn answer(
        &self,
        ending: Option<Ending>,
        outcome: Result<()>,
        committed: bool,
        frames: u32,
        changed: Option<&Changed>,
    ) {
        let Some(Ending { reply, wants_changed, .. }) = ending else { return };
        let mut record = Vec::new();
        match (outcome, changed) {
            (Err(error), _) => return reply.fail(&error),
            (Ok(()), Some(changed)) if wants_changed => {
                // Row ids are for those who have asked for them.
                wire::committed(&mut record, reply.op(), self.slot().unwrap_or_default(), &changed.without_rows());
            }
            (Ok(()), _) => wire::done_commit(&mut record, reply.op(), if committed { frames } else { 0 }),
        }
        reply.send(&record);
    }

    /// The closures of a group that were started, and those that were not and keep their places.
    pub(super) fn split_group(&self, ending: Option<&Ending>) -> (Vec<GroupPlace>, Vec<GroupPlace>) {
        let Some(Askers::Group(mut places)) = self.askers.lock().take() else { return (Vec::new(), Vec::new()) };
        let started = ending.map_or(places.len(), |ending| ending.started.min(places.len()));
        let abandoned = matches!(*self.expiry.lock(), Some(Expiry::Abandoned));
        let unstarted = if abandoned { Vec::new() } else { places.split_off(started) };
        (places, unstarted)
    }
}

/// The closures have settled their operations by themselves.
pub(super) fn settle_by_their_closures(started: Vec<GroupPlace>) {
    for place in started {
        drop(place.reply.answered());
    }
}

/// Commits; on an error nothing of the transaction is left, unless the disk failed under the COMMIT itself.
fn commit(connection: &mut Connection) -> Result<()> {
    let committed =
        check_alive(connection).and_then(|()| connection.drop_temp_objects()).and_then(|()| connection.commit());
    let Err(error) = committed else { return Ok(()) };
    connection.rollback()?;
    Err(outcome_unknown_after_io_error(error))
}

fn close_all(cursors: HashMap<u32, Cursor>, connection: &mut Connection) {
    for cursor in cursors.into_values() {
        cursor.close(connection);
    }
}
