//! Owns what runs on the JavaScript thread: the statements of `tx.sync` and the end of a read, never waiting for anybody.

use std::sync::Arc;

use super::drain::Beside;
use super::finish::How;
use super::{Opening, Request, SavepointStep, State, Transaction};
use crate::connection::Role;
use crate::error::{self, Error, ErrorCode, Result};
use crate::execute::{Call, run_script, run_short};
use crate::sql::Sql;
use crate::wire::NO_REPLY;
use crate::{exit, wire};

/// A request of `tx.sync`.
pub(crate) enum SyncRequest<'a> {
    /// One record: [`Mode::Get`](crate::execute::Mode::Get) or [`Mode::Run`](crate::execute::Mode::Run).
    Short(Call<'a>),
    /// A script.
    Script { op: u32, sql: &'a Sql },
    /// The first chunk; the cursor stays open while there is more.
    Open { call: Call<'a>, opening: Opening },
    /// A step of a savepoint.
    Savepoint { op: u32, step: SavepointStep },
    /// The next chunk.
    Pull { op: u32, cursor: u32, limit: usize },
}

impl Transaction {
    /// Runs a request of `tx.sync` on this thread and appends its one record to `out`.
    pub(crate) fn sync(self: &Arc<Self>, request: &SyncRequest<'_>, out: &mut Vec<u8>) -> Result<()> {
        if self.state() != State::Open {
            return Err(self.closed_error());
        }
        self.take_turn()?;
        let inside = exit::enter();
        let ran = match (inside.is_some(), self.core.try_lock()) {
            (true, Some(mut core)) => match core.as_mut() {
                Some(core) => self.run_in(core, Beside::Others, NO_REPLY, |core, place| match *request {
                    SyncRequest::Short(ref call) => run_short(&mut core.connection, call, place, out),
                    SyncRequest::Script { op, sql } => {
                        run_script(&mut core.connection, sql, place)?;
                        wire::done(out, op);
                        Ok(())
                    }
                    SyncRequest::Open { ref call, opening } => core.open(call, place, opening, out),
                    SyncRequest::Savepoint { op, step } => {
                        core.savepoint(step, place)?;
                        wire::done(out, op);
                        Ok(())
                    }
                    SyncRequest::Pull { op, cursor, limit } => core.pull(op, cursor, limit, out),
                }),
                None => Err(self.closed_error()),
            },
            (true, None) => Err(in_flight()),
            (false, _) => Err(error::process_exiting()),
        };
        self.give_turn_back();
        ran
    }

    /// Closes a cursor at once if nothing runs, else in its turn.
    pub(crate) fn close_cursor(self: &Arc<Self>, cursor: u32) {
        if self.take_turn().is_err() {
            return self.submit(Request::CloseCursor { cursor });
        }
        if let (Some(_inside), Some(mut core)) = (exit::enter(), self.core.try_lock())
            && let Some(core) = core.as_mut()
        {
            core.close(cursor);
        }
        self.give_turn_back();
    }

    /// Ends a read transaction on this thread: an unlock.
    pub(crate) fn commit_read(self: &Arc<Self>) -> Result<()> {
        if self.role != Role::Reader {
            return Err(Error::new(
                ErrorCode::Protocol,
                "a write transaction is not committed on the JavaScript thread",
            ));
        }
        self.take_turn()?;
        let Some(_inside) = exit::enter() else {
            self.give_turn_back();
            return Err(error::process_exiting());
        };
        if !self.move_to(State::Open, State::Committing) {
            self.give_turn_back();
            return Err(self.closed_error());
        }
        self.finish(How::Commit, None);
        Ok(())
    }

    fn take_turn(&self) -> Result<()> {
        let mut turn = self.turn.lock();
        if turn.over {
            drop(turn);
            return Err(self.closed_error());
        }
        if std::mem::replace(&mut turn.busy, true) {
            drop(turn);
            // What took the turn may be the end from outside.
            return Err(if self.state() == State::Open { in_flight() } else { self.closed_error() });
        }
        Ok(())
    }

    fn give_turn_back(self: &Arc<Self>) {
        let waits = {
            let mut turn = self.turn.lock();
            turn.busy = !turn.queue.is_empty();
            turn.busy
        };
        // Something ended the transaction while the statement ran: the connection goes over to the engine now.
        if waits {
            self.spawn_drain();
        }
    }
}

fn in_flight() -> Error {
    Error::new(
        ErrorCode::StatementInFlight,
        "an asynchronous statement of this transaction is in flight; await it before you use tx.sync",
    )
}
