//! Owns the running of a transaction's requests: on an engine thread in order, or by `tx.sync` on the JavaScript thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::ffi;

use super::{Core, Request, State, Transaction};
use crate::connection::{Connection, Role};
use crate::error::{self, Error, ErrorCode, Result};
use crate::execute::{CHUNK_ROWS, Call, Chunk, Cursor, Filled, Mode, Place, run_script, run_short};
use crate::group::outcome_unknown_after_io_error;
use crate::mailbox::Resume;
use crate::reply::Reply;
use crate::sql::Sql;
use crate::{exit, runtime, wire};

/// What a statement gave, kept until the turn was passed on.
enum Outcome {
    /// One final record.
    Record(Reply, Vec<u8>),
    /// The last chunk of several.
    LastChunk(Reply, Vec<u8>),
    Failed(Reply, Error),
    Nothing,
    /// It waits until its chunks are delivered, and keeps the turn.
    Parked,
}

/// A statement that gives all its rows, chunk by chunk.
struct Streaming {
    cursor: Cursor,
    reply: Reply,
    chunks: usize,
}

/// A request of `tx.sync`.
pub(crate) enum SyncRequest {
    /// One record: [`Mode::Get`] or [`Mode::Run`].
    Short(Call),
    Script {
        op: u32,
        sql: Arc<Sql>,
    },
    /// The first chunk; the cursor stays open under `cursor` while there is more.
    Open {
        call: Call,
        cursor: u32,
        limit: usize,
    },
    Pull {
        op: u32,
        cursor: u32,
        limit: usize,
    },
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

    /// Goes on with a statement whose chunks were delivered, then with what waits.
    fn resume(self: &Arc<Self>, streaming: Streaming, resume: Resume) {
        let Some(_inside) = exit::enter() else { return };
        self.guarded(|| {
            self.turn.lock().parked = None;
            let outcome = self.stream(streaming, resume);
            if let Some(request) = self.pass_on(outcome) {
                self.drain_from(request);
            }
        });
    }

    /// A panic ends the transaction and the connection with it; what was under way is answered by `Reply` itself.
    fn guarded(self: &Arc<Self>, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.finish(|_| Ok(()), None, Health::Unknown);
        }
    }

    fn drain_from(self: &Arc<Self>, first: Request) {
        let mut request = first;
        loop {
            let outcome = match request {
                Request::Commit { reply } => return self.finish_commit(reply),
                Request::Rollback { reply } => {
                    return self.finish(Connection::rollback, reply, Health::Known);
                }
                Request::CloseCursor { cursor } => {
                    self.with_core(|core| core.close(cursor));
                    Outcome::Nothing
                }
                Request::Statement { reply, call } => self.statement(reply, &call),
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
                    let ran =
                        self.guarded_run(|core, place| core.open_cursor(&call, place, cursor, limit, &mut record));
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

    fn statement(self: &Arc<Self>, reply: Reply, call: &Call) -> Outcome {
        match call.mode {
            Mode::Get | Mode::Run => {
                let mut record = Vec::new();
                let ran = self.guarded_run(|core, place| run_short(&mut core.connection, call, place, &mut record));
                Outcome::of(reply, record, ran)
            }
            Mode::All | Mode::Query => {
                match self.guarded_run(|core, place| Cursor::open(&mut core.connection, call, place)) {
                    Ok(cursor) => self.stream(Streaming { cursor, reply, chunks: 0 }, Resume::Continue),
                    Err(error) => Outcome::Failed(reply, error),
                }
            }
        }
    }

    /// Gives chunks until the rows are at their end or the reader of the chunks is too far behind.
    fn stream(self: &Arc<Self>, mut streaming: Streaming, mut resume: Resume) -> Outcome {
        loop {
            let mut record = Vec::new();
            let op = streaming.reply.op();
            let Streaming { cursor, .. } = &mut streaming;
            let filled = match resume {
                Resume::Abandon => Err(self.closed_error()),
                Resume::Continue => self.guarded_run(|core, _| {
                    let filled = cursor.fill(&mut core.connection, CHUNK_ROWS)?;
                    let chunk = Chunk { op, last: filled == Filled::Exhausted, open: false };
                    cursor.finish(&mut core.connection, chunk, &mut record)?;
                    Ok(filled)
                }),
            };
            match filled {
                Ok(Filled::More) => {
                    streaming.chunks += 1;
                    streaming.reply.chunk(record);
                }
                Ok(Filled::Exhausted) => {
                    self.with_core(|core| streaming.cursor.close(&mut core.connection));
                    return if streaming.chunks == 0 {
                        Outcome::Record(streaming.reply, record)
                    } else {
                        Outcome::LastChunk(streaming.reply, record)
                    };
                }
                Err(error) => {
                    self.with_core(|core| streaming.cursor.close(&mut core.connection));
                    return Outcome::Failed(streaming.reply, error);
                }
            }
            if streaming.reply.is_full() {
                match self.park(streaming) {
                    Ok(()) => return Outcome::Parked,
                    Err((back, how)) => {
                        streaming = back;
                        resume = how;
                    }
                }
            }
        }
    }

    /// Leaves the statement to the mailbox until its chunks are delivered. The turn stays taken.
    fn park(self: &Arc<Self>, streaming: Streaming) -> Result<(), (Streaming, Resume)> {
        let op = streaming.reply.op();
        self.turn.lock().parked = Some(op);
        let slot = Arc::new(parking_lot::Mutex::new(Some(streaming)));
        let (transaction, taken) = (Arc::clone(self), Arc::clone(&slot));
        let parked = self.mailbox.park(
            op,
            Box::new(move |resume| {
                let Some(streaming) = taken.lock().take() else { return };
                runtime::spawn(transaction.lane(), {
                    let transaction = Arc::clone(&transaction);
                    move || transaction.resume(streaming, resume)
                });
            }),
        );
        match parked {
            Ok(()) => {
                // An expiry between the two lines above found nothing to abandon.
                if self.state() == State::Expired {
                    self.mailbox.abandon(op);
                }
                Ok(())
            }
            Err((_, resume)) => {
                self.turn.lock().parked = None;
                match slot.lock().take() {
                    Some(streaming) => Err((streaming, resume)),
                    None => Ok(()),
                }
            }
        }
    }

    /// The next request, or the turn given up.
    fn next(&self, answered: usize) -> Option<Request> {
        let mut turn = self.turn.lock();
        turn.awaited -= answered;
        let next = turn.queue.pop_front();
        turn.busy = next.is_some();
        next
    }

    /// Passes the turn on first, publishes then: whoever sees the result finds the transaction free.
    fn pass_on(&self, outcome: Outcome) -> Option<Request> {
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

    fn with_core<T>(&self, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
        self.core.lock().as_mut().map(work)
    }

    /// Runs one piece of user SQL under everything that guards it: the state, the lost transaction, the interrupt handshake.
    fn guarded_run<T>(&self, work: impl FnOnce(&mut Core, Place) -> Result<T>) -> Result<T> {
        let mut core = self.core.lock();
        let Some(core) = core.as_mut() else { return Err(self.closed_error()) };
        self.run_in(core, work)
    }

    fn run_in<T>(&self, core: &mut Core, work: impl FnOnce(&mut Core, Place) -> Result<T>) -> Result<T> {
        if exit::stopping() {
            return Err(error::process_exiting());
        }
        core.check_alive()?;
        // The token before the state: an expiry that comes in between interrupts us.
        self.interrupt.begin(self.id);
        let ran = if self.state() == State::Open { work(core, self.place()) } else { Err(self.closed_error()) };
        self.interrupt.end();
        ran.map_err(|error| {
            if error.sqlite & 0xff == ffi::SQLITE_INTERRUPT && self.state() == State::Expired {
                return self.closed_error();
            }
            error
        })
    }

    /// Runs a request of `tx.sync` on this thread and appends its one record to `out`.
    pub(crate) fn sync(self: &Arc<Self>, request: &SyncRequest, out: &mut Vec<u8>) -> Result<()> {
        if self.state() != State::Open {
            return Err(self.closed_error());
        }
        self.take_turn()?;
        let inside = exit::enter();
        let ran = match (inside.is_some(), self.core.try_lock()) {
            (true, Some(mut core)) => match core.as_mut() {
                Some(core) => self.run_in(core, |core, place| match *request {
                    SyncRequest::Short(ref call) => run_short(&mut core.connection, call, place, out),
                    SyncRequest::Script { op, ref sql } => {
                        run_script(&mut core.connection, sql, place)?;
                        wire::done(out, op);
                        Ok(())
                    }
                    SyncRequest::Open { ref call, cursor, limit } => core.open_sync(call, place, cursor, limit, out),
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
        self.finish(commit, None, Health::Known);
        Ok(())
    }

    fn take_turn(&self) -> Result<()> {
        let mut turn = self.turn.lock();
        if turn.over {
            drop(turn);
            return Err(self.closed_error());
        }
        if std::mem::replace(&mut turn.busy, true) {
            return Err(in_flight());
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

    fn finish_commit(self: &Arc<Self>, reply: Reply) {
        if self.state() == State::Committing {
            self.finish(commit, Some(reply), Health::Known);
        } else {
            // Ended from outside before; what it was is what the caller hears, after the rollback.
            let error = self.closed_error();
            self.finish(move |connection| connection.rollback().and(Err(error)), Some(reply), Health::Known);
        }
    }

    /// Ends the transaction by `how`, gives the connection back to its owner, and has the answer published after that.
    fn finish(self: &Arc<Self>, how: impl FnOnce(&mut Connection) -> Result<()>, reply: Option<Reply>, health: Health) {
        let Some(Core { mut connection, cursors }) = self.core.lock().take() else { return };
        close_all(cursors, &mut connection);
        let outcome = if exit::stopping() { Err(error::process_exiting()) } else { how(&mut connection) };
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
enum Health {
    Known,
    /// The engine panicked while it had it.
    Unknown,
}

/// Commits; on an error nothing of the transaction is left, unless the disk failed under the COMMIT itself.
fn commit(connection: &mut Connection) -> Result<()> {
    let committed =
        check_alive(connection).and_then(|()| connection.drop_temp_objects()).and_then(|()| connection.commit());
    let Err(error) = committed else { return Ok(()) };
    connection.rollback()?;
    Err(outcome_unknown_after_io_error(error))
}

fn check_alive(connection: &Connection) -> Result<()> {
    if connection.is_autocommit() {
        return Err(Error::new(
            ErrorCode::TransactionAborted,
            "SQLite has rolled the transaction back (OR ROLLBACK, RAISE(ROLLBACK), a full disk or an interrupt); nothing of it is left, start it again",
        ));
    }
    Ok(())
}

fn close_all(cursors: HashMap<u32, Cursor>, connection: &mut Connection) {
    for cursor in cursors.into_values() {
        cursor.close(connection);
    }
}

fn in_flight() -> Error {
    Error::new(
        ErrorCode::StatementInFlight,
        "an asynchronous statement of this transaction is in flight; await it before you use tx.sync",
    )
}

impl Outcome {
    fn of(reply: Reply, record: Vec<u8>, ran: Result<()>) -> Self {
        match ran {
            Ok(()) => Self::Record(reply, record),
            Err(error) => Self::Failed(reply, error),
        }
    }
}

impl Core {
    fn check_alive(&self) -> Result<()> {
        check_alive(&self.connection)
    }

    fn close(&mut self, cursor: u32) {
        if let Some(cursor) = self.cursors.remove(&cursor) {
            cursor.close(&mut self.connection);
        }
    }

    fn open_cursor(&mut self, call: &Call, place: Place, id: u32, limit: usize, out: &mut Vec<u8>) -> Result<()> {
        let cursor = Cursor::open(&mut self.connection, call, place)?;
        if cursor.writes() {
            cursor.close(&mut self.connection);
            return Err(Error::new(
                ErrorCode::Statement,
                "iterate and batches run statements that read; use all for one that writes and returns rows",
            ));
        }
        self.fill(cursor, call.op, id, limit, out)
    }

    fn open_sync(&mut self, call: &Call, place: Place, id: u32, limit: usize, out: &mut Vec<u8>) -> Result<()> {
        let cursor = Cursor::open(&mut self.connection, call, place)?;
        self.fill(cursor, call.op, id, limit, out)
    }

    fn pull(&mut self, op: u32, id: u32, limit: usize, out: &mut Vec<u8>) -> Result<()> {
        let Some(cursor) = self.cursors.remove(&id) else {
            return Err(Error::new(ErrorCode::TransactionClosed, "the iterator is closed"));
        };
        self.fill(cursor, op, id, limit, out)
    }

    /// The next chunk of `cursor`, which stays open under `id` while there may be more.
    fn fill(&mut self, mut cursor: Cursor, op: u32, id: u32, limit: usize, out: &mut Vec<u8>) -> Result<()> {
        let filled = cursor.fill(&mut self.connection, limit).and_then(|filled| {
            let chunk = Chunk { op, last: true, open: filled == Filled::More };
            cursor.finish(&mut self.connection, chunk, out)?;
            Ok(filled)
        });
        match filled {
            Ok(Filled::More) => {
                self.cursors.insert(id, cursor);
                Ok(())
            }
            Ok(Filled::Exhausted) => {
                cursor.close(&mut self.connection);
                Ok(())
            }
            Err(error) => {
                cursor.close(&mut self.connection);
                Err(error)
            }
        }
    }
}
