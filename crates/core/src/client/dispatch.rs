//! Owns the way of one request from its record to the queue or transaction that it is for.

use std::sync::Arc;
use std::time::Duration;

use super::{Client, Statements};
use crate::error::{self, Error, ErrorCode, Result};
use crate::execute::{Batch, CHUNK_ROWS, Call, Mode, Wants};
use crate::group::{Member, Task};
use crate::handle::Handle;
use crate::readers::{self, to_writer};
use crate::reply::Reply;
use crate::sql::{Route, Sql};
use crate::transaction::{Access, Ending, Expiry, Opening, Reads, Request as Asked, SavepointStep, Terms};
use crate::wire::{Flags, Kind, Request, Value};
use crate::writer;

/// Most rows of a chunk, whatever the caller asks for.
const MOST_ROWS: usize = 10_000;
/// Bytes of a captured stack that are kept: it travels in messages.
const MOST_STACK: usize = 4 * 1024;

impl Client {
    pub(super) fn dispatch(&mut self, request: &Request<'_>) {
        match request.kind {
            Kind::Cancel => self.cancel(request),
            Kind::Batch => self.dispatch_batch(request),
            _ if request.flags.transaction() => self.dispatch_to_transaction(request),
            _ => self.dispatch_to_database(request),
        }
    }

    /// Marks an operation as cancelled, then looks for it where it can be.
    fn cancel(&mut self, request: &Request<'_>) {
        let (target, generation, op) = (request.target, request.generation, request.cursor);
        if !self.live.contains(op) {
            // Its answer is on its way through JavaScript, which has not settled it yet; the number is somebody else's soon.
            return;
        }
        self.mailbox.cancel(op);
        if request.flags.transaction() {
            if let Some(transaction) = self.transactions.get(target, generation) {
                transaction.cancel(op);
            }
            return;
        }
        match self.handles.get(target, generation) {
            Some(handle) => handle.database.cancel(op, &self.mailbox),
            // Its handle is closing.
            None => {
                for database in self.databases.iter().filter_map(std::sync::Weak::upgrade) {
                    database.cancel(op, &self.mailbox);
                }
            }
        }
    }

    /// Accepts a reply for a request on a database.
    fn enter(&mut self, request: &Request<'_>) -> Option<Reply> {
        let reply = self.enter_for(request.op, request.target, request.generation)?;
        Some(reply.with_queue_timeout(request.cursor))
    }

    fn dispatch_to_database(&mut self, request: &Request<'_>) {
        let Some(reply) = self.enter(request) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        let database = &handle.database;
        let mode = match request.kind {
            Kind::Get => Mode::Get,
            Kind::All => Mode::All,
            Kind::Query => Mode::Query,
            Kind::Run => Mode::Run,
            Kind::Exec => {
                match text(&self.statements, request.statement).cloned() {
                    Ok(sql) => to_write_queue(&handle, reply, |reply| writer::Work::Script { reply, sql }),
                    Err(error) => reply.fail(&error),
                }
                return;
            }
            Kind::BeginRead => {
                let terms = terms(request, &handle, Access::Read);
                return database.readers().submit(readers::Work::Begin { reply, terms });
            }
            Kind::BeginWrite => {
                let terms = terms(request, &handle, Access::Write);
                return to_write_queue(&handle, reply, |reply| writer::Work::Begin { reply, terms });
            }
            Kind::BeginBatch => {
                let terms = terms(request, &handle, Access::Batch);
                return to_write_queue(&handle, reply, |reply| writer::Work::Closure { reply, terms });
            }
            _ => return reply.fail(&Error::new(ErrorCode::Protocol, "the request is one for a transaction")),
        };
        let call = match call(&self.statements, request, mode).map(|call| call.to_owned()) {
            Ok(call) => call,
            Err(error) => return reply.fail(&error),
        };
        match (mode, call.sql.route(), database.writer()) {
            (Mode::Run, _, Some(writer)) => writer.submit(writer::Work::Run(Member::new(reply, Task::One(call)))),
            // Without a writer the guess is left to a reader, which knows.
            (Mode::Run, ..) | (_, Route::Writer, Some(_)) => to_writer(reply, call),
            _ => database.readers().submit(readers::Work::Run { reply, call }),
        }
    }

    /// Keeps one statement of a batch; the last one sends all of them on their way.
    fn dispatch_batch(&mut self, request: &Request<'_>) {
        let flags = request.flags;
        let wants = if flags.contains(Flags::TOTALS) { Wants::Totals } else { Wants::Results };
        // What a batch that was given up has left under this number goes with the first of the next.
        let kept = self.batches.remove(&request.op).filter(|_| !flags.contains(Flags::FIRST));
        let call = call(&self.statements, request, Mode::Query).map(|call| call.to_owned());
        let calls = kept.unwrap_or_else(|| Ok(Vec::new())).and_then(|mut calls| {
            calls.push(call?);
            Ok(calls)
        });
        if !flags.contains(Flags::FINAL) {
            self.batches.insert(request.op, calls);
            return;
        }
        let mut calls = match calls {
            Ok(calls) => calls,
            Err(error) => return self.reply(request.op, None).fail(&error),
        };
        if wants == Wants::Totals {
            for call in &mut calls {
                call.mode = Mode::Run;
            }
        }
        let batch = Batch { op: request.op, calls, wants };
        if flags.transaction() {
            let transaction = self.transactions.get(request.target, request.generation).cloned();
            let reply = self.reply(request.op, None);
            return match transaction {
                Some(transaction) => transaction.submit(Asked::Batch { reply, batch }),
                None => reply.fail(&error::transaction_closed()),
            };
        }
        let Some(reply) = self.enter(request) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        to_write_queue(&handle, reply, |reply| writer::Work::Run(Member::new(reply, Task::Batch(batch))));
    }

    fn dispatch_to_transaction(&mut self, request: &Request<'_>) {
        if request.kind == Kind::Expire {
            if let Some(transaction) = self.transactions.get(request.target, request.generation) {
                transaction.expire(Expiry::Aborted);
            }
            return;
        }
        if matches!(request.kind, Kind::Commit | Kind::Rollback) {
            return self.end_transaction(request);
        }
        let transaction = self.transactions.get(request.target, request.generation).cloned();
        let reply = self.reply(request.op, None);
        let Some(transaction) = transaction else {
            return reply.fail(&error::transaction_closed());
        };
        let (cursor, limit) = (request.cursor, limit(request));
        let mode = match request.kind {
            Kind::Pull => return transaction.submit(Asked::Pull { reply, cursor, limit }),
            Kind::CloseCursor => {
                transaction.close_cursor(cursor);
                return reply.done();
            }
            Kind::Savepoint | Kind::Release | Kind::RollbackTo => {
                return transaction.submit(Asked::Savepoint { reply, step: savepoint_step(request) });
            }
            Kind::Exec => {
                return match text(&self.statements, request.statement).cloned() {
                    Ok(sql) => transaction.submit(Asked::Script { reply, sql }),
                    Err(error) => reply.fail(&error),
                };
            }
            Kind::Get => Mode::Get,
            Kind::All | Kind::Cursor => Mode::All,
            Kind::Query => Mode::Query,
            Kind::Run => Mode::Run,
            _ => return reply.fail(&Error::new(ErrorCode::Protocol, "the request is one for a database")),
        };
        match call(&self.statements, request, mode).map(|call| call.to_owned()) {
            Ok(call) if request.kind == Kind::Cursor => {
                let opening = Opening { cursor, limit, reads: Reads::Only };
                transaction.submit(Asked::OpenCursor { reply, call, opening });
            }
            Ok(call) => transaction.submit(Asked::Statement { reply, call }),
            Err(error) => reply.fail(&error),
        }
    }

    fn end_transaction(&mut self, request: &Request<'_>) {
        let transaction = self.transactions.remove(request.target, request.generation);
        let reply = self.reply(request.op, None);
        let Some(transaction) = transaction else {
            // It was ended from outside, and that is on its way to the caller.
            match request.kind {
                Kind::Rollback => reply.done(),
                _ => reply.fail(&error::transaction_closed()),
            }
            return;
        };
        let started = usize::try_from(request.limit).unwrap_or(usize::MAX);
        for op in transaction.unstarted(started) {
            self.live.insert(op);
        }
        let wants_changed = request.flags.contains(Flags::TABLES);
        let ending = Ending { reply, wants_changed, started };
        transaction.submit(match request.kind {
            Kind::Commit => Asked::Commit { ending },
            _ => Asked::Rollback { ending: Some(ending) },
        });
    }
}

fn to_write_queue(handle: &Handle, reply: Reply, work: impl FnOnce(Reply) -> writer::Work) {
    match handle.database.writer() {
        Some(writer) => writer.submit(work(reply)),
        None => reply.fail(&read_only()),
    }
}

/// On what terms a transaction is asked for.
fn terms(request: &Request<'_>, handle: &Handle, access: Access) -> Terms {
    let (limit, option) = match (request.limit.checked_sub(1), access) {
        (Some(milliseconds), _) => (Duration::from_millis(u64::from(milliseconds)), "timeoutMs"),
        (None, Access::Read) => (handle.timeouts.read, access.timeout_option()),
        (None, Access::Write | Access::Batch) => (handle.timeouts.transaction, access.timeout_option()),
    };
    let stack = request.params.iter().next().and_then(|param| match param.value {
        Value::Text(text) => Some(Arc::from(String::from_utf8_lossy(text.get(..MOST_STACK).unwrap_or(text)))),
        _ => None,
    });
    Terms { access, limit, option, handle: handle.id, taken: stack }
}

pub(super) fn savepoint_step(request: &Request<'_>) -> SavepointStep {
    match request.kind {
        Kind::Release => SavepointStep::Release { above: request.cursor },
        Kind::RollbackTo => SavepointStep::RollBack { above: request.cursor },
        _ => SavepointStep::Open,
    }
}

pub(super) fn text(statements: &Statements, id: u32) -> Result<&Arc<Sql>> {
    statements.get(&id).ok_or_else(|| Error::new(ErrorCode::Protocol, format!("statement {id} is not defined")))
}

pub(super) fn call<'c>(statements: &'c Statements, request: &Request<'c>, mode: Mode) -> Result<Call<'c>> {
    let sql = text(statements, request.statement)?;
    Ok(Call { op: request.op, sql, params: request.params.clone(), mode, bigint: request.flags.bigint() })
}

pub(super) fn limit(request: &Request<'_>) -> usize {
    match usize::try_from(request.limit) {
        Ok(0) | Err(_) => CHUNK_ROWS,
        Ok(limit) => limit.min(MOST_ROWS),
    }
}

pub(super) fn read_only() -> Error {
    Error::new(ErrorCode::ReadOnlyDatabase, "the database was opened with readOnly: true")
}
