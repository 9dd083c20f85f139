//! Owns one JavaScript environment as the engine sees it: its statements, handles and transactions, what it asks, and what it
//! is told. Used on that environment's thread only; the mailbox inside is what engine threads share.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Weak};

use crate::config::OpenOptions;
use crate::database::Database;
use crate::error::{self, Error, ErrorCode, Result};
use crate::execute::{CHUNK_ROWS, Call, Mode};
use crate::exit;
use crate::group::Member;
use crate::handle::Handle;
use crate::mailbox::{Arrival, Budget, Mailbox, Taken};
use crate::readers::{self, to_writer};
use crate::registry;
use crate::reply::Reply;
use crate::slab::Slab;
use crate::sql::{Route, Sql};
use crate::statement_cache::KeyHasher;
use crate::transaction::{Expiry, Request as Asked, SyncRequest, Transaction};
use crate::wire::{self, ErrorRecord, Kind, NO_REPLY, Request, Requests, Shape};
use crate::writer;

/// Completions that one look into the mailbox may settle.
const MOST_COMPLETIONS: usize = 1_000;
/// Bytes that one look into the mailbox may settle, unless a single record is larger.
const MOST_BYTES: usize = 1024 * 1024;
/// How many turns of the loop in a row look for what is outstanding before the environment sleeps: some 20 us in which a fast
/// operation is answered without a sleep and a wake-up, which cost more than it does.
const MOST_LOOKS: u32 = 16;
/// Bytes of a GRANT record.
const GRANT_BYTES: usize = 32;
/// Most bytes of an OPENED record: a path is bounded by the system.
const OPENED_BYTES: usize = 8 * 1024;
/// Most rows of a chunk, whatever the caller asks for.
const MOST_ROWS: usize = 10_000;

/// What [`Client::drain`] gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Drained {
    /// So many bytes of records are in the buffer. 0: nothing waits, and the next record wakes the environment.
    Bytes(usize),
    /// One record that is larger than the buffer.
    Oversized(Vec<u8>),
    /// Nothing yet; something is outstanding and may come soon. Look again in the next turn of the loop.
    Nothing,
}

/// SQL texts by the numbers that JavaScript has given them.
type Statements = HashMap<u32, Arc<Sql>, BuildHasherDefault<KeyHasher>>;

/// One environment.
pub struct Client {
    mailbox: Arc<Mailbox>,
    statements: Statements,
    handles: Slab<Arc<Handle>>,
    transactions: Slab<Arc<Transaction>>,
    /// Every database this environment has opened, for its end.
    databases: Vec<Weak<Database>>,
    outstanding: usize,
    looks: u32,
    answer: Vec<u8>,
    scratch: Vec<u8>,
}

impl Client {
    /// A new environment. `wake` is called by engine threads, at most once until [`Client::drain`] has given 0 bytes.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            mailbox: Arc::new(Mailbox::new(wake)),
            statements: Statements::default(),
            handles: Slab::new(),
            transactions: Slab::new(),
            databases: Vec::new(),
            outstanding: 0,
            looks: 0,
            answer: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Names a SQL text by a number. Numbers are never reused.
    pub fn define_statement(&mut self, id: u32, text: &str) {
        self.statements.insert(id, Sql::intern(text));
    }

    /// Forgets a SQL text.
    pub fn forget_statement(&mut self, id: u32) {
        self.statements.remove(&id);
    }

    /// A list of column names that a record has named by its number.
    #[must_use]
    pub fn shape(&self, id: u32) -> Option<Arc<Shape>> {
        wire::shape::get(id)
    }

    /// Operations whose last record was not taken by [`Client::drain`] yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Opens a database; answered by an OPENED record.
    pub fn open(&mut self, op: u32, path: &str, options: OpenOptions) {
        let reply = self.reply(op, None);
        let (busy_timeout, transaction_timeout) = (options.busy_timeout, options.transaction_timeout);
        let opened = move |outcome: Result<Arc<Database>>| match outcome {
            Ok(database) => {
                let handle = Arc::new(Handle::new(database, busy_timeout, transaction_timeout));
                let mailbox = Arc::clone(reply.mailbox());
                let op = reply.op();
                reply.answered();
                if let Err(Arrival::Opened { handle, .. }) = mailbox.arrive(Arrival::Opened { op, handle }) {
                    handle.close(None);
                }
            }
            Err(error) => reply.fail(&error),
        };
        registry::open(path.to_owned(), options, Box::new(opened));
    }

    /// Closes a handle once everything accepted through it is over; answered by a DONE record.
    pub fn close(&mut self, op: u32, handle: u32, generation: u32) {
        let reply = self.reply(op, None);
        match self.handles.remove(handle, generation) {
            Some(handle) => handle.close(Some(reply)),
            None => reply.fail(&error::database_closed()),
        }
    }

    /// Accepts request records. Errors come back as completions of their operations.
    pub fn submit(&mut self, records: &[u8]) {
        for request in Requests::new(records) {
            match request {
                Ok(request) => self.dispatch(&request),
                Err((op, error)) => {
                    if let Some(op) = op {
                        self.reply(op, None).fail(&error.into());
                    }
                }
            }
        }
    }

    fn reply(&mut self, op: u32, lease: Option<crate::handle::Lease>) -> Reply {
        if op != NO_REPLY {
            self.outstanding += 1;
        }
        Reply::new(Arc::clone(&self.mailbox), op, lease)
    }

    fn dispatch(&mut self, request: &Request<'_>) {
        if request.flags.transaction() {
            self.dispatch_to_transaction(request);
        } else {
            self.dispatch_to_database(request);
        }
    }

    fn dispatch_to_database(&mut self, request: &Request<'_>) {
        let handle = self.handles.get(request.target, request.generation).cloned();
        let Some(lease) = handle.as_ref().and_then(Handle::enter) else {
            return self.reply(request.op, None).fail(&error::database_closed());
        };
        let database = Arc::clone(&lease.handle().database);
        let reply = self.reply(request.op, Some(lease));
        let mode = match request.kind {
            Kind::Get => Mode::Get,
            Kind::All => Mode::All,
            Kind::Query => Mode::Query,
            Kind::Run => Mode::Run,
            Kind::Exec => {
                return match (text(&self.statements, request.statement).cloned(), database.writer()) {
                    (Ok(sql), Some(writer)) => writer.submit(writer::Work::Script { reply, sql }),
                    (Ok(_), None) => reply.fail(&read_only()),
                    (Err(error), _) => reply.fail(&error),
                };
            }
            Kind::BeginRead => return database.readers().submit(readers::Work::Begin { reply }),
            Kind::BeginWrite => {
                return match database.writer() {
                    Some(writer) => writer.submit(writer::Work::Begin { reply }),
                    None => reply.fail(&read_only()),
                };
            }
            Kind::Commit | Kind::Rollback | Kind::Cursor | Kind::Pull | Kind::CloseCursor => {
                return reply.fail(&Error::new(ErrorCode::Protocol, "the request is one for a transaction"));
            }
        };
        let call = match call(&self.statements, request, mode).map(|call| call.to_owned()) {
            Ok(call) => call,
            Err(error) => return reply.fail(&error),
        };
        match (mode, call.sql.route(), database.writer()) {
            (Mode::Run, _, Some(writer)) => writer.submit(writer::Work::Run(Member::new(reply, call))),
            // Without a writer the guess is left to a reader, which knows.
            (Mode::Run, ..) | (_, Route::Writer, Some(_)) => to_writer(reply, call),
            _ => database.readers().submit(readers::Work::Run { reply, call }),
        }
    }

    fn dispatch_to_transaction(&mut self, request: &Request<'_>) {
        let ends = matches!(request.kind, Kind::Commit | Kind::Rollback);
        let transaction = if ends {
            self.transactions.remove(request.target, request.generation)
        } else {
            self.transactions.get(request.target, request.generation).cloned()
        };
        let reply = self.reply(request.op, None);
        let Some(transaction) = transaction else {
            return reply.fail(&error::transaction_closed());
        };
        let (cursor, limit) = (request.cursor, limit(request));
        let mode = match request.kind {
            Kind::Commit => return transaction.submit(Asked::Commit { reply }),
            Kind::Rollback => return transaction.submit(Asked::Rollback { reply: Some(reply) }),
            Kind::Pull => return transaction.submit(Asked::Pull { reply, cursor, limit }),
            Kind::CloseCursor => {
                transaction.close_cursor(cursor);
                return reply.done();
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
            Kind::BeginRead | Kind::BeginWrite => {
                return reply.fail(&Error::new(ErrorCode::Protocol, "a transaction begins on a database"));
            }
        };
        match call(&self.statements, request, mode).map(|call| call.to_owned()) {
            Ok(call) if request.kind == Kind::Cursor => {
                transaction.submit(Asked::OpenCursor { reply, call, cursor, limit });
            }
            Ok(call) => transaction.submit(Asked::Statement { reply, call }),
            Err(error) => reply.fail(&error),
        }
    }

    /// Runs one request of `tx.sync` on this thread, or commits a read transaction; gives the answering record.
    pub fn sync(&mut self, record: &[u8]) -> &[u8] {
        self.answer.clear();
        let (op, ran) = match Requests::new(record).next() {
            Some(Ok(request)) => (request.op, self.run_sync(&request)),
            Some(Err((op, error))) => (op.unwrap_or(NO_REPLY), Err(error.into())),
            None => (NO_REPLY, Err(Error::new(ErrorCode::Protocol, "no request was given"))),
        };
        if let Err(Error { code, message, sqlite, offset }) = ran {
            self.answer.clear();
            wire::error(&mut self.answer, op, &ErrorRecord { code, sqlite, offset, message: &message });
        }
        &self.answer
    }

    fn run_sync(&mut self, request: &Request<'_>) -> Result<()> {
        let Some(transaction) =
            self.transactions.get(request.target, request.generation).filter(|_| request.flags.transaction())
        else {
            return Err(error::transaction_closed());
        };
        let (op, cursor, limit) = (request.op, request.cursor, limit(request));
        let statement = |mode| call(&self.statements, request, mode);
        let asked = match request.kind {
            Kind::Get => SyncRequest::Short(statement(Mode::Get)?),
            Kind::Run => SyncRequest::Short(statement(Mode::Run)?),
            Kind::All => SyncRequest::Open { call: statement(Mode::All)?, cursor, limit },
            Kind::Cursor => SyncRequest::Iterate { call: statement(Mode::All)?, cursor, limit },
            Kind::Query => SyncRequest::Open { call: statement(Mode::Query)?, cursor, limit },
            Kind::Exec => SyncRequest::Script { op, sql: text(&self.statements, request.statement)? },
            Kind::Pull => SyncRequest::Pull { op, cursor, limit },
            Kind::CloseCursor => {
                transaction.close_cursor(cursor);
                wire::done(&mut self.answer, op);
                return Ok(());
            }
            Kind::Commit => {
                transaction.commit_read()?;
                self.transactions.remove(request.target, request.generation);
                wire::done(&mut self.answer, op);
                return Ok(());
            }
            Kind::Rollback | Kind::BeginRead | Kind::BeginWrite => {
                return Err(Error::new(ErrorCode::Protocol, "this request is not one for the JavaScript thread"));
            }
        };
        transaction.sync(&asked, &mut self.answer)
    }

    /// Moves finished records into `out`, grants first. Bounded, so that the loop stays free between two calls.
    pub fn drain(&mut self, out: &mut [u8]) -> Drained {
        loop {
            let (arrivals, readmit) = self.mailbox.call_in(out.len() / OPENED_BYTES);
            let mut end = 0;
            for arrival in arrivals {
                end = self.take_arrival(arrival, out, end);
            }
            for readmit in readmit {
                readmit();
            }
            let budget = Budget { completions: MOST_COMPLETIONS, bytes: MOST_BYTES };
            let mut taken = Taken::default();
            let end = self.mailbox.take(out, end, budget, &mut taken);
            self.outstanding = self.outstanding.saturating_sub(taken.finished);
            for parked in taken.resumed {
                parked(crate::mailbox::Resume::Continue);
            }
            if let Some(record) = taken.oversized {
                return Drained::Oversized(record);
            }
            if end > 0 {
                self.looks = 0;
                return Drained::Bytes(end);
            }
            if self.outstanding > 0 && self.looks < MOST_LOOKS {
                self.looks += 1;
                return Drained::Nothing;
            }
            if self.mailbox.disarm() {
                self.looks = 0;
                return Drained::Bytes(0);
            }
        }
    }

    fn take_arrival(&mut self, arrival: Arrival, out: &mut [u8], end: usize) -> usize {
        self.scratch.clear();
        match arrival {
            Arrival::Granted(transaction) => {
                // Revoked in the meantime: its operation is answered by a later grant.
                let Some(op) = transaction.accept() else { return end };
                let (index, generation) = self.transactions.insert(transaction);
                wire::grant(&mut self.scratch, op, index, generation);
                debug_assert_eq!(self.scratch.len(), GRANT_BYTES);
            }
            Arrival::Opened { op, handle } => {
                self.databases.retain(|database| database.strong_count() > 0);
                self.databases.push(Arc::downgrade(&handle.database));
                let path = handle.database.path.to_string_lossy().into_owned();
                let (index, generation) = self.handles.insert(handle);
                wire::opened(&mut self.scratch, op, index, generation, &path);
            }
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        let after = end + self.scratch.len();
        match out.get_mut(end..after) {
            Some(target) => {
                target.copy_from_slice(&self.scratch);
                after
            }
            None => end,
        }
    }

    /// The environment ends: drops its completions, ends its transactions, gives back its grants, removes what it has queued,
    /// and closes what only it holds. Idempotent.
    pub fn shutdown(&mut self) {
        let env = self.mailbox.env;
        for arrival in self.mailbox.close() {
            match arrival {
                Arrival::Granted(transaction) => transaction.revoke(drop),
                Arrival::Opened { handle, .. } => {
                    self.databases.push(Arc::downgrade(&handle.database));
                    handle.close(None);
                }
            }
        }
        // What is queued goes first: the end of a transaction would let it run.
        for database in std::mem::take(&mut self.databases).iter().filter_map(Weak::upgrade) {
            database.forget(env);
        }
        for transaction in self.transactions.drain() {
            transaction.expire(Expiry::Abandoned);
        }
        exit::interrupt_env(env);
        for handle in self.handles.drain() {
            handle.close(None);
        }
        self.outstanding = 0;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn text(statements: &Statements, id: u32) -> Result<&Arc<Sql>> {
    statements.get(&id).ok_or_else(|| Error::new(ErrorCode::Protocol, format!("statement {id} is not defined")))
}

fn call<'c>(statements: &'c Statements, request: &Request<'c>, mode: Mode) -> Result<Call<'c>> {
    let sql = text(statements, request.statement)?;
    Ok(Call { op: request.op, sql, params: request.params.clone(), mode, bigint: request.flags.bigint() })
}

fn limit(request: &Request<'_>) -> usize {
    match usize::try_from(request.limit) {
        Ok(0) | Err(_) => CHUNK_ROWS,
        Ok(limit) => limit.min(MOST_ROWS),
    }
}

fn read_only() -> Error {
    Error::new(ErrorCode::ReadOnlyDatabase, "the database was opened with readOnly: true")
}
