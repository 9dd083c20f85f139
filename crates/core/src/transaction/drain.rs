//! Owns the running of a transaction's requests on an engine thread, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ffi;

use super::cursors::Core;
use super::finish::Health;
use super::stream::Streaming;
use super::{Request, State, Transaction};
use crate::connection::{Connection, Role};
use crate::error::{self, Error, Result};
use crate::execute::{Call, Cursor, Mode, Place, run_script, run_short};
use crate::mailbox::Resume;
use crate::reply::Reply;
use crate::{exit, wire};

/// What a statement gave, kept until the turn was passed on.
pub(super) enum Outcome {
    /// One final record.
    Record(Reply, Vec<u8>),
    /// The last chunk of several.
    LastChunk(Reply, Vec<u8>),
    Failed(Reply, Error),
    Nothing,
    /// It waits until its chunks are delivered, and keeps the turn.
    Parked,
}

impl Transaction {
    fn place(&self) -> Place {
        match self.role {
            Role::Writer => Place::Write,
            Role::Reader => Place::Read,
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
            self.finish(|_| Ok(()), None, Health::Unknown);
        }
    }

    pub(super) fn drain_from(self: &Arc<Self>, first: Request) {
        let mut request = first;
        loop {
            let outcome = match request {
                Request::Commit { reply } => return self.finish_commit(reply),
                Request::Rollback { reply } => {
                    return self.finish(Connection::rollback, reply, Health::Known);
                }
                // Taken care of by `next`.
                Request::CloseCursor { .. } => Outcome::Nothing,
                Request::Statement { reply, call } => self.statement(reply, &call.borrow()),
                Request::Script { reply, sql } => {
                    let ran = self.guarded_run(|core, place| run_script(&mut core.connection, &sql, place));
                    match ran {
                        Ok(()) => {
                            let mut record = Vec::new();
                            wire::done(&mut record, reply.op());
                            Outcome::Record(reply, record)
                        }
                        Err(error) => Outcome::Failed(reply, error),
                    }
                }
                Request::OpenCursor { reply, call, cursor, limit } => {
                    let mut record = Vec::new();
                    let ran = self
                        .guarded_run(|core, place| core.open_cursor(&call.borrow(), place, cursor, limit, &mut record));
                    Outcome::of(reply, record, ran)
                }
                Request::Pull { reply, cursor, limit } => {
                    let mut record = Vec::new();
                    let ran = self.guarded_run(|core, _| core.pull(reply.op(), cursor, limit, &mut record));
                    Outcome::of(reply, record, ran)
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
            Mode::Get | Mode::Run => {
                let mut record = Vec::new();
                let ran = self.guarded_run(|core, place| run_short(&mut core.connection, call, place, &mut record));
                Outcome::of(reply, record, ran)
            }
            Mode::All | Mode::Query => {
                match self.guarded_run(|core, place| Cursor::open(&mut core.connection, call, place)) {
                    Ok(cursor) => self.stream(Streaming::new(cursor, reply), Resume::Continue),
                    Err(error) => Outcome::Failed(reply, error),
                }
            }
        }
    }

    /// The next request, or the turn given up. Cursors that were closed meanwhile are closed first: nobody waits for that, and
    /// whoever comes next is not to find the turn taken by it.
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
        match outcome {
            Outcome::Parked => None,
            Outcome::Nothing => self.next(0),
            outcome => {
                let next = self.next(1);
                match outcome {
                    Outcome::Record(reply, record) => reply.send(&record),
                    Outcome::LastChunk(reply, record) => reply.finish(record),
                    Outcome::Failed(reply, error) => reply.fail(&error),
                    Outcome::Nothing | Outcome::Parked => {}
                }
                next
            }
        }
    }

    pub(super) fn with_core<T>(&self, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
        self.core.lock().as_mut().map(work)
    }

    /// Runs one piece of user SQL under everything that guards it: the state, the lost transaction, the interrupt handshake.
    pub(super) fn guarded_run<T>(&self, work: impl FnOnce(&mut Core, Place) -> Result<T>) -> Result<T> {
        let mut core = self.core.lock();
        let Some(core) = core.as_mut() else { return Err(self.closed_error()) };
        self.run_in(core, work)
    }

    pub(super) fn run_in<T>(&self, core: &mut Core, work: impl FnOnce(&mut Core, Place) -> Result<T>) -> Result<T> {
        if exit::stopping() {
            return Err(error::process_exiting());
        }
        core.check_alive()?;
        // The run before the state: an expiry that comes in between interrupts us.
        let run = self.interrupt.begin(self.id, Duration::ZERO);
        let ran = if self.state() == State::Open { work(core, self.place()) } else { Err(self.closed_error()) };
        drop(run);
        ran.map_err(|error| {
            if error.sqlite & 0xff == ffi::SQLITE_INTERRUPT && self.state() == State::Expired {
                return self.closed_error();
            }
            error
        })
    }
}

impl Outcome {
    fn of(reply: Reply, record: Vec<u8>, ran: Result<()>) -> Self {
        match ran {
            Ok(()) => Self::Record(reply, record),
            Err(error) => Self::Failed(reply, error),
        }
    }
}
