//! Owns how a transaction ends: COMMIT or ROLLBACK, the connection back to its owner, the answers after that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cursors::{Core, check_alive};
use super::{State, Transaction};
use crate::connection::Connection;
use crate::error::{self, Result};
use crate::execute::Cursor;
use crate::exit;
use crate::group::outcome_unknown_after_io_error;
use crate::reply::Reply;

impl Transaction {
    pub(super) fn finish_commit(self: &Arc<Self>, reply: Reply) {
        if self.state() == State::Committing {
            self.finish(commit, Some(reply), Health::Known);
        } else {
            // Ended from outside before; what it was is what the caller hears, after the rollback.
            let error = self.closed_error();
            self.finish(move |connection| connection.rollback().and(Err(error)), Some(reply), Health::Known);
        }
    }

    /// Ends the transaction by `how`, gives the connection back to its owner, and has the answer published after that.
    pub(super) fn finish(
        self: &Arc<Self>,
        how: impl FnOnce(&mut Connection) -> Result<()>,
        reply: Option<Reply>,
        health: Health,
    ) {
        let Some(Core { mut connection, cursors }) = self.core.lock().take() else { return };
        close_all(cursors, &mut connection);
        let outcome = if exit::stopping() { Err(error::process_exiting()) } else { how(&mut connection) };
        connection.forget_statements();
        let connection = (health == Health::Known && connection.is_clean()).then_some(connection);
        self.state.store(State::Closed as u8, Ordering::Release);
        let late = {
            let mut turn = self.turn.lock();
            turn.over = true;
            std::mem::take(&mut turn.queue)
        };
        let transaction = Arc::clone(self);
        let publish: Box<dyn FnOnce() + Send> = Box::new(move || {
            // The database stays open until the last answer is published.
            let _lease = transaction.lease.lock().take();
            match (reply, outcome) {
                (Some(reply), Ok(())) => reply.done(),
                (Some(reply), Err(error)) => reply.fail(&error),
                (None, _) => {}
            }
            for request in late {
                transaction.answer_late(request);
            }
        });
        match self.release.lock().take() {
            Some(release) => release(connection, publish),
            None => publish(),
        }
    }
}

/// Whether a connection can be trusted after its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Known,
    /// The engine panicked while it had it.
    Unknown,
}

/// Commits; on an error nothing of the transaction is left, unless the disk failed under the COMMIT itself.
pub(super) fn commit(connection: &mut Connection) -> Result<()> {
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
