//! Owns one JavaScript environment as the engine sees it: its statements, handles and transactions, what it asks, and what it
//! is told. Used on that environment's thread only; the mailbox inside is what engine threads share.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::OpenOptions;
use crate::connection::CheckpointMode;
use crate::database::Database;
use crate::error::{self, Error, ErrorCode, Result};
use crate::execute::{Mode, OwnedCall};
use crate::exit;
use crate::handle::{Handle, Timeouts};
use crate::listeners::Listening;
use crate::mailbox::{Arrival, Budget, Mailbox, Taken};
use crate::registry;
use crate::reply::Reply;
use crate::slab::Slab;
use crate::sql::Sql;
use crate::statement_cache::KeyHasher;
use crate::stats::Stats;
use crate::transaction::{Accepted, Access, Expiry, Opening, Reads, SyncRequest, Transaction};
use crate::wire::{self, Kind, NO_REPLY, Request, Requests, Shape};
use crate::writer;

mod dispatch;

use dispatch::{call, limit, read_only, savepoint_step, text};

/// Completions that one look into the mailbox may settle.
const MOST_COMPLETIONS: usize = 1_000;
/// Bytes that one look into the mailbox may settle, unless a single record is larger.
const MOST_BYTES: usize = 1024 * 1024;
/// How many turns of the loop in a row look for what is outstanding before the environment sleeps: some 20 us in which a fast
/// operation is answered without a sleep and a wake-up, which cost more than it does.
const MOST_LOOKS: u32 = if cfg!(feature = "model") { 1 } else { 16 };
/// Most bytes of the record of an arrival: a path and a captured stack are bounded.
const OPENED_BYTES: usize = 8 * 1024;

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
    /// Statements of batches whose last one has not come yet, by operation.
    batches: HashMap<u32, Vec<OwnedCall>>,
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
            batches: HashMap::new(),
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
        let timeouts = Timeouts::of(&options);
        let opened = move |outcome: Result<Arc<Database>>| match outcome {
            Ok(database) => {
                let handle = Arc::new(Handle::new(database, timeouts));
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

    /// Closes a handle once everything accepted through it is over, or ends that after `patience`; answered by a DONE record.
    pub fn close(&mut self, op: u32, handle: u32, generation: u32, patience: Option<Duration>) {
        let reply = self.reply(op, None);
        match (self.handles.remove(handle, generation), patience) {
            (Some(handle), Some(patience)) => handle.close_within(patience, reply),
            (Some(handle), None) => handle.close(Some(reply)),
            (None, _) => reply.fail(&error::database_closed()),
        }
    }

    /// Asks for a checkpoint; answered by a CHECKPOINTED record.
    pub fn checkpoint(&mut self, op: u32, handle: u32, generation: u32, mode: CheckpointMode) {
        let lease = self.handles.get(handle, generation).and_then(Handle::enter);
        let Some(lease) = lease else {
            return self.reply(op, None).fail(&error::database_closed());
        };
        let database = Arc::clone(&lease.handle().database);
        let reply = self.reply(op, Some(lease));
        match database.writer() {
            Some(writer) => writer.submit(writer::Work::Checkpoint { reply, mode }),
            None => reply.fail(&read_only()),
        }
    }

    /// Figures of an open database; `None` once the handle is closed.
    #[must_use]
    pub fn stats(&self, handle: u32, generation: u32) -> Option<Stats> {
        self.handles.get(handle, generation).map(|handle| handle.database.stats())
    }

    /// Sets what a handle wants to know of commits, whoever makes them: COMMITTED records without an operation.
    pub fn listen(&self, handle: u32, generation: u32, listening: Listening) {
        if let Some(open) = self.handles.get(handle, generation) {
            open.database.listen(open.id, (handle, generation), listening, &self.mailbox);
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

    /// Runs one request of `tx.sync` on this thread, or commits a read transaction; gives the answering record.
    pub fn sync(&mut self, record: &[u8]) -> &[u8] {
        self.answer.clear();
        let (op, ran) = match Requests::new(record).next() {
            Some(Ok(request)) => (request.op, self.run_sync(&request)),
            Some(Err((op, error))) => (op.unwrap_or(NO_REPLY), Err(error.into())),
            None => (NO_REPLY, Err(Error::new(ErrorCode::Protocol, "no request was given"))),
        };
        if let Err(error) = ran {
            self.answer.clear();
            wire::error(&mut self.answer, op, &error.record());
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
            Kind::All | Kind::Query | Kind::Cursor => {
                let mode = if request.kind == Kind::Query { Mode::Query } else { Mode::All };
                let reads = if request.kind == Kind::Cursor { Reads::Only } else { Reads::OrWrites };
                SyncRequest::Open { call: statement(mode)?, opening: Opening { cursor, limit, reads } }
            }
            Kind::Savepoint | Kind::Release | Kind::RollbackTo => {
                SyncRequest::Savepoint { op, step: savepoint_step(request) }
            }
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
            Kind::Rollback
            | Kind::BeginRead
            | Kind::BeginWrite
            | Kind::BeginBatch
            | Kind::Batch
            | Kind::Cancel
            | Kind::Expire => {
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
        let finished = match arrival {
            Arrival::Granted(transaction) => self.take_grant(&transaction),
            Arrival::Ended(transaction) => {
                self.take_end(&transaction);
                0
            }
            Arrival::Opened { op, handle } => {
                self.databases.retain(|database| database.strong_count() > 0);
                self.databases.push(Arc::downgrade(&handle.database));
                let path = handle.database.path.to_string_lossy().into_owned();
                let engine = handle.database.engine;
                let (index, generation) = self.handles.insert(handle);
                wire::opened(&mut self.scratch, op, index, generation, engine, &path);
                1
            }
        };
        self.outstanding = self.outstanding.saturating_sub(finished);
        let after = end + self.scratch.len();
        match out.get_mut(end..after) {
            Some(target) => {
                target.copy_from_slice(&self.scratch);
                after
            }
            None => end,
        }
    }

    /// Accepts a grant; how many operations it answers.
    fn take_grant(&mut self, transaction: &Arc<Transaction>) -> usize {
        let Some(accepted) = transaction.accept() else { return 0 };
        let slot = self.transactions.insert(Arc::clone(transaction));
        transaction.set_slot(slot);
        let granted = wire::Granted {
            transaction: slot.0,
            generation: slot.1,
            lock_wait_ms: u32::try_from(transaction.lock_wait.as_millis()).unwrap_or(u32::MAX),
            behind: u32::try_from(transaction.behind).unwrap_or(u32::MAX),
        };
        match accepted {
            Accepted::One(op) => {
                wire::grant(&mut self.scratch, op, granted);
                self.mailbox.taken(op);
                1
            }
            Accepted::Group(ops) => {
                wire::grant_group(&mut self.scratch, &ops, granted);
                for op in &ops {
                    self.mailbox.taken(*op);
                }
                ops.len()
            }
        }
    }

    /// Tells of a transaction that was ended from outside, unless it was ended from inside meanwhile.
    fn take_end(&mut self, transaction: &Arc<Transaction>) {
        let Some((index, generation)) = transaction.slot() else { return };
        if self.transactions.get(index, generation).is_none() {
            return;
        }
        // A group still says by its COMMIT which of its closures were started.
        if transaction.terms.access != Access::Batch {
            self.transactions.remove(index, generation);
        }
        if let Some(error) = transaction.news() {
            wire::ended(&mut self.scratch, index, generation, error.code, &error.message);
        }
    }

    /// The environment ends: drops its completions, ends its transactions, gives back its grants, removes what it has queued,
    /// and closes what only it holds. Idempotent.
    pub fn shutdown(&mut self) {
        let env = self.mailbox.env;
        for arrival in self.mailbox.close() {
            match arrival {
                Arrival::Granted(transaction) => transaction.revoke(drop),
                Arrival::Ended(_) => {}
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
