//! Owns one JavaScript environment as the engine sees it: its statements, handles and transactions, what it asks, and what it
//! is told. Used on that environment's thread only; the mailbox inside is what engine threads share.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::beside::{self, Watcher};
use crate::config::OpenOptions;
use crate::connection::CheckpointMode;
use crate::database::Database;
use crate::error::{self, Error, ErrorCode, Result};
use crate::execute::{Mode, OwnedCall};
use crate::exit;
use crate::handle::{Handle, Timeouts};
use crate::listeners::Listening;
use crate::mailbox::{Arrival, Budget, Mailbox, Taken};
use crate::migrate::{MigrationOptions, Plan, Source, Told};
use crate::pool::Pool;
use crate::registry;
use crate::reply::Reply;
use crate::runtime::Lane;
use crate::slab::Slab;
use crate::sql::Sql;
use crate::statement_cache::KeyHasher;
use crate::stats::Stats;
use crate::transaction::{Accepted, Access, Expiry, Opening, Reads, SyncRequest, Transaction};
use crate::wire::{self, Kind, NO_REPLY, Request, Requests, Shape};
use crate::writer::Migrating;

mod copies;
mod dispatch;
mod live;
mod pools;

use live::Live;

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
    pools: Slab<Pool>,
    transactions: Slab<Arc<Transaction>>,
    /// Handles that are closing, for those who ask about them.
    closing: HashMap<(u32, u32), Weak<Handle>>,
    /// Every database this environment has opened, for its end.
    databases: Vec<Weak<Database>>,
    /// Operations whose last record was not taken yet.
    live: Live,
    looks: u32,
    /// Statements of batches whose last one has not come yet, by operation.
    batches: HashMap<u32, Result<Vec<OwnedCall>>>,
    /// Sources of migrations by the numbers that JavaScript has given them.
    sources: HashMap<u32, Source>,
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
            pools: Slab::new(),
            transactions: Slab::new(),
            closing: HashMap::new(),
            databases: Vec::new(),
            live: Live::default(),
            looks: 0,
            batches: HashMap::new(),
            sources: HashMap::new(),
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
        self.live.len()
    }

    /// Names a source of migrations by a number. Numbers are never reused.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::MigrationSource`] if a file of it is wrong.
    pub fn define_migrations(&mut self, id: u32, files: &[(String, String)]) -> Result<()> {
        self.sources.insert(id, Source::parse(files)?);
        Ok(())
    }

    /// The source of that number.
    #[must_use]
    pub fn migrations(&self, id: u32) -> Option<&Source> {
        self.sources.get(&id)
    }

    /// Tells the history of a database; answered by a HISTORY record.
    pub fn history(&mut self, op: u32, handle: u32, generation: u32) {
        let Some(reply) = self.enter_for(op, handle, generation) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        let busy_timeout = handle.timeouts.busy;
        let work = move |_: &Watcher| {
            let entries = handle.database.history(handle.migrations.as_ref())?;
            Ok(beside::Answer::Record(Box::new(move |out, op| wire::history(out, op, &entries))))
        };
        beside::run(Lane::Open, reply, busy_timeout, Box::new(work));
    }

    /// Takes migrations back to `version`; answered by a DONE record, after a MIGRATED record for each.
    pub fn migrate_back(&mut self, op: u32, handle: u32, generation: u32, version: i64) {
        let Some(reply) = self.enter_for(op, handle, generation) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        let Some(MigrationOptions { source, table, .. }) = handle.migrations.clone() else {
            let message = "the database was opened without migrations, and so has none to take back";
            return reply.fail(&Error::new(ErrorCode::Option, message));
        };
        let Some(writer) = handle.database.writer().cloned() else { return reply.fail(&read_only()) };
        let plan = Plan::back_to(source, table, version, told(op, reply.mailbox()));
        let done = move |ran: Result<()>| match ran {
            Ok(()) => reply.done(),
            Err(error) => reply.fail(&error),
        };
        let busy_timeout = handle.timeouts.busy;
        writer.submit_exclusive(Box::new(Migrating { plan, busy_timeout, done: Box::new(done) }));
    }

    /// Accepts an operation on an open handle.
    fn enter_for(&mut self, op: u32, handle: u32, generation: u32) -> Option<Reply> {
        let Some(lease) = self.handles.get(handle, generation).and_then(Handle::enter) else {
            self.reply(op, None).fail(&error::database_closed());
            return None;
        };
        Some(self.reply(op, Some(lease)))
    }

    /// Opens a database; answered by an OPENED record, after a MIGRATED record for each migration that was run.
    pub fn open(&mut self, op: u32, path: &str, options: OpenOptions) {
        let reply = self.reply(op, None);
        let timeouts = Timeouts::of(&options);
        let migrations = options.migrations.clone();
        let plan = migrations.as_ref().map(|migrations| migrations.plan(told(op, &self.mailbox)));
        let opened = move |outcome: Result<Arc<Database>>| match outcome {
            Ok(database) => {
                let handle = Arc::new(Handle::new(database, timeouts, migrations, false));
                let mailbox = Arc::clone(reply.mailbox());
                let op = reply.op();
                reply.answered();
                if let Err(Arrival::Opened { handle, .. }) = mailbox.arrive(Arrival::Opened { op, handle }) {
                    handle.close(Box::new(|_| {}));
                }
            }
            Err(error) => reply.fail(&error),
        };
        registry::open(path.to_owned(), options, plan, Box::new(opened));
    }

    /// Closes a handle once everything accepted through it is over, or ends that after `patience`; answered by a DONE record.
    pub fn close(&mut self, op: u32, handle: u32, generation: u32, patience: Option<Duration>) {
        let reply = self.reply(op, None);
        let slot = (handle, generation);
        self.closing.retain(|_, handle| handle.strong_count() > 0);
        if let Some(handle) = self.handles.get(handle, generation) {
            self.closing.insert(slot, Arc::downgrade(handle));
        }
        let Some(handle) = self.handles.remove(handle, generation) else {
            return reply.fail(&error::database_closed());
        };
        handle.leave_pool();
        let closed = Box::new(move |_| reply.done());
        match patience {
            Some(patience) => handle.close_within(patience, closed),
            None => handle.close(closed),
        }
    }

    /// Asks for a checkpoint; answered by a CHECKPOINTED record.
    pub fn checkpoint(&mut self, op: u32, handle: u32, generation: u32, mode: CheckpointMode) {
        let Some(reply) = self.enter_for(op, handle, generation) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        match handle.database.writer() {
            Some(writer) => writer.submit_checkpoint(reply, mode),
            None => reply.fail(&read_only()),
        }
    }

    /// Figures of an open database; `None` once the handle is closed.
    #[must_use]
    pub fn stats(&self, handle: u32, generation: u32) -> Option<Stats> {
        let closing = || self.closing.get(&(handle, generation)).and_then(Weak::upgrade);
        self.handles.get(handle, generation).cloned().or_else(closing).map(|handle| handle.database.stats())
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
            self.live.insert(op);
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
            let live = &mut self.live;
            let end = self.mailbox.take(out, end, budget, &mut taken, &mut |op| live.remove(op));
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
            if self.live.len() > 0 && self.looks < MOST_LOOKS {
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
            Arrival::Granted(transaction) => self.take_grant(&transaction),
            Arrival::Ended(transaction) => self.take_end(&transaction),
            Arrival::Opened { op, handle } => {
                self.databases.retain(|database| database.strong_count() > 0);
                self.databases.push(Arc::downgrade(&handle.database));
                let path = handle.database.path().to_string_lossy().into_owned();
                let engine = handle.database.engine;
                let (index, generation) = self.handles.insert(Arc::clone(&handle));
                handle.set_slot((index, generation));
                wire::opened(&mut self.scratch, op, index, generation, engine, &path);
                self.live.remove(op);
            }
            Arrival::PoolOpened { op, pool } => {
                let path = pool.folder.path.to_string_lossy().into_owned();
                let (index, generation) = self.pools.insert(pool);
                wire::opened(&mut self.scratch, op, index, generation, 0, &path);
                self.live.remove(op);
            }
            Arrival::LetGo { handle, reason } => {
                // Closed by itself meanwhile, it needs no telling.
                if let Some((index, generation)) = handle.slot()
                    && self.handles.remove(index, generation).is_some()
                {
                    wire::let_go(&mut self.scratch, index, generation, reason as u32);
                }
            }
        }
        let after = end + self.scratch.len();
        match out.get_mut(end..after) {
            Some(target) => {
                target.copy_from_slice(&self.scratch);
                after
            }
            None => end,
        }
    }

    /// Accepts a grant, which answers the operations that asked for it.
    fn take_grant(&mut self, transaction: &Arc<Transaction>) {
        let Some(accepted) = transaction.accept() else { return };
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
                self.answered(op);
            }
            Accepted::Group(ops) => {
                wire::grant_group(&mut self.scratch, &ops, granted);
                for op in ops {
                    self.answered(op);
                }
            }
        }
    }

    /// The last record of an operation was taken.
    fn answered(&mut self, op: u32) {
        self.live.remove(op);
        self.mailbox.taken(op);
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
                Arrival::Ended(_) | Arrival::PoolOpened { .. } | Arrival::LetGo { .. } => {}
                Arrival::Opened { handle, .. } => {
                    self.databases.push(Arc::downgrade(&handle.database));
                    handle.leave_pool();
                    handle.close(Box::new(|_| {}));
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
            handle.leave_pool();
            handle.close(Box::new(|_| {}));
        }
        drop(self.pools.drain());
        self.live.clear();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Tells an environment of the migrations that an operation of its runs.
fn told(op: u32, mailbox: &Arc<Mailbox>) -> Told {
    let mailbox = Arc::clone(mailbox);
    Box::new(move |migrated| {
        let mut record = Vec::new();
        wire::migrated(&mut record, op, migrated);
        mailbox.post(&record);
    })
}
