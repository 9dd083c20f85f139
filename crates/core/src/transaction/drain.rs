//! Owns the running of a transaction's requests on an engine thread, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ffi;

use super::cursors::Core;
use super::finish::How;
use super::stream::Streaming;
use super::{Access, Request, State, Transaction};
use crate::error::{self, Error, Result};
use crate::execute::{Call, Cursor, Mode, Place, run_script, run_short};
use crate::interrupt::{Manner, Tag};
use crate::mailbox::Resume;
use crate::reply::Reply;
use crate::wire::NO_REPLY;
use crate::{exit, wire};

/// What a statement gave, kept until the turn was passed on.
pub(super) enum Outcome {
    /// One final record.
    Record(Reply, Vec<u8>),
    /// The last chunk of several.
    LastChunk(Reply, Vec<u8>),
    /// All records of a batch.
    Records(Reply, Vec<Vec<u8>>),
    Failed(Reply, Error),
    /// It waits until its chunks are delivered, and keeps the turn.
    Parked,
}

/// What a run leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// A cursor that may have more rows.
    Cursor,
    /// Nothing; other cursors may stand open beside it.
    Others,
}

impl Transaction {
    fn place(&self) -> Place {
        match self.terms.access {
            Access::Read => Place::Read,
            Access::Write => Place::Write,
            Access::Batch => Place::Closure,
        }
    }

    /// Runs what waits, until nothing does.
    pub(super) fn drain(self: &Arc<Self>) {
        // Once the process is stopping the turn stays taken: nothing is begun any more.
        let Some(_inside) = exit::enter() else { return };
        self.guarded(|| {
            if let Some(request) = self.next(0) {
                self.drain_from(request);
            }
        });
    }

    /// A panic ends the transaction and the connection with it; what was under way is answered by `Reply` itself.
    pub(super) fn guarded(self: &Arc<Self>, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.finish(How::GiveUp, None);
        }
    }

    pub(super) fn drain_from(self: &Arc<Self>, first: Request) {
        let mut request = first;
        loop {
            let outcome = match request {
                Request::Commit { ending } => return self.finish_commit(ending),
                Request::Rollback { ending } => return self.finish(How::Rollback, ending),
                // `next` has taken care of them.
                Request::CloseCursor { .. } => return,
                Request::Statement { reply, call } => self.statement(reply, &call.borrow()),
                Request::Script { reply, sql } => self.answered(Beside::Others, reply, |core, place, op, out| {
                    run_script(&mut core.connection, &sql, place)?;
                    wire::done(out, op);
                    Ok(())
                }),
                Request::OpenCursor { reply, call, opening } => {
                    self.answered(Beside::Cursor, reply, |core, place, _, out| {
                        core.open(&call.borrow(), place, opening, out)
                    })
                }
                Request::Pull { reply, cursor, limit } => {
                    self.answered(Beside::Cursor, reply, |core, _, op, out| core.pull(op, cursor, limit, out))
                }
                Request::Savepoint { reply, step } => self.answered(Beside::Others, reply, |core, place, op, out| {
                    core.savepoint(step, place)?;
                    wire::done(out, op);
                    Ok(())
                }),
                Request::Batch { reply, batch } => {
                    let op = reply.op();
                    match self.guarded_run(Beside::Others, op, |core, place| {
                        batch.run_atomically(&mut core.connection, place, |_| Ok(()))
                    }) {
                        Ok(records) => Outcome::Records(reply, records),
                        Err(error) => Outcome::Failed(reply, error),
                    }
                }
            };
            match self.pass_on(outcome) {
                Some(next) => request = next,
                None => return,
            }
        }
    }

    fn statement(self: &Arc<Self>, reply: Reply, call: &Call<'_>) -> Outcome {
        match call.mode {
            Mode::Get | Mode::Run => self.answered(Beside::Others, reply, |core, place, _, out| {
                run_short(&mut core.connection, call, place, out)
            }),
            Mode::All | Mode::Query => {
                match self
                    .guarded_run(Beside::Others, call.op, |core, place| Cursor::open(&mut core.connection, call, place))
                {
                    Ok(cursor) => self.stream(Streaming::new(cursor, reply), Resume::Continue),
                    Err(error) => Outcome::Failed(reply, error),
                }
            }
        }
    }

    /// Runs what answers with one record.
    fn answered(
        &self,
        beside: Beside,
        reply: Reply,
        work: impl FnOnce(&mut Core, Place, u32, &mut Vec<u8>) -> Result<()>,
    ) -> Outcome {
        let (op, mut record) = (reply.op(), Vec::new());
        match self.guarded_run(beside, op, |core, place| work(core, place, op, &mut record)) {
            Ok(()) => Outcome::Record(reply, record),
            Err(error) => Outcome::Failed(reply, error),
        }
    }

    /// The next request, or the turn given up. Cursors that were closed meanwhile are closed first: nobody waits for that, and
    /// whoever comes next is not to find the turn taken by it. `answered`: how many that somebody waits for are over.
    pub(super) fn next(&self, answered: usize) -> Option<Request> {
        self.turn.lock().awaited -= answered;
        loop {
            let next = {
                let mut turn = self.turn.lock();
                let next = turn.queue.pop_front();
                turn.busy = next.is_some();
                next
            };
            match next {
                Some(Request::CloseCursor { cursor }) => self.with_core(|core| core.close(cursor)),
                next => return next,
            };
        }
    }

    /// Passes the turn on first, publishes then: whoever sees the result finds the transaction free.
    pub(super) fn pass_on(&self, outcome: Outcome) -> Option<Request> {
        if matches!(outcome, Outcome::Parked) {
            return None;
        }
        let next = self.next(1);
        match outcome {
            Outcome::Record(reply, record) => reply.send(&record),
            Outcome::LastChunk(reply, record) => reply.finish(record),
            Outcome::Records(reply, records) => reply.send_all(records),
            Outcome::Failed(reply, error) => reply.fail(&error),
            Outcome::Parked => {}
        }
        next
    }

    pub(super) fn with_core<T>(&self, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
        self.core.lock().as_mut().map(work)
    }

    /// Runs one piece of user SQL under everything that guards it: the state, the lost transaction, the interrupt handshake.
    pub(super) fn guarded_run<T>(
        &self,
        beside: Beside,
        op: u32,
        work: impl FnOnce(&mut Core, Place) -> Result<T>,
    ) -> Result<T> {
        let mut core = self.core.lock();
        let Some(core) = core.as_mut() else { return Err(self.closed_error()) };
        self.run_in(core, beside, op, work)
    }

    pub(super) fn run_in<T>(
        &self,
        core: &mut Core,
        beside: Beside,
        op: u32,
        work: impl FnOnce(&mut Core, Place) -> Result<T>,
    ) -> Result<T> {
        if exit::stopping() {
            return Err(error::process_exiting());
        }
        core.check_alive()?;
        // SQLite's interrupt would end the open cursors along with the statement that is to stop alone, and stay on behind the last
        // step of one that is left open.
        let stoppable = op != NO_REPLY && (beside == Beside::Cursor || !core.cursors.is_empty());
        if stoppable {
            core.connection.set_stoppable(true)?;
        }
        let manner = if stoppable { Manner::Progress } else { Manner::Interrupt };
        // The run before the state: an expiry or a cancellation that comes in between interrupts us.
        let run = self.interrupt.begin(Tag { owner: self.id, op, handle: self.terms.handle }, manner, Duration::ZERO);
        let ran = match self.given_up(op) {
            Some(error) => Err(error),
            None => work(core, self.place()),
        };
        drop(run);
        if stoppable {
            core.connection.set_stoppable(false)?;
        }
        ran.map_err(|error| {
            if error.sqlite & 0xff != ffi::SQLITE_INTERRUPT {
                return error;
            }
            self.given_up(op).unwrap_or(error)
        })
    }

    /// Why a statement is not to be run, or not any more.
    pub(super) fn given_up(&self, op: u32) -> Option<Error> {
        if self.state() != State::Open {
            Some(self.closed_error())
        } else if self.mailbox.is_cancelled(op) {
            Some(error::aborted())
        } else {
            None
        }
    }
}
