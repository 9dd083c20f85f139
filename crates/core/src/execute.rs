//! Owns the running of one call of the user on a connection: from its parameters to its completion records.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Connection, Mark, Parts, step_to_end};
use crate::error::{Error, ErrorCode, Result};
use crate::interrupt::{Interrupt, Manner};
use crate::reply::Reply;
use crate::sql::Sql;
use crate::statement::{Lifetime, Statement, Step, without_values};
use crate::wire::{self, OwnedParams, Params, RowsHead};
use rusqlite::ffi;

mod script;

pub(crate) use script::{Script, ScriptError, run_script, run_script_in};

/// What the caller wants of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// At most one row.
    Get,
    /// All rows.
    All,
    /// All rows, the count of changed rows and the last row id.
    Query,
    /// No rows: the count of changed rows and the last row id.
    Run,
}

/// One statement to run.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) op: u32,
    pub(crate) sql: &'a Arc<Sql>,
    pub(crate) params: Params<'a>,
    pub(crate) mode: Mode,
    pub(crate) bigint: bool,
}

/// A [`Call`] that waits its turn.
#[derive(Debug)]
pub(crate) struct OwnedCall {
    pub(crate) op: u32,
    pub(crate) sql: Arc<Sql>,
    pub(crate) params: OwnedParams,
    pub(crate) mode: Mode,
    pub(crate) bigint: bool,
}

impl Call<'_> {
    pub(crate) fn to_owned(&self) -> OwnedCall {
        let Self { op, sql, ref params, mode, bigint } = *self;
        OwnedCall { op, sql: Arc::clone(sql), params: params.to_owned(), mode, bigint }
    }
}

impl OwnedCall {
    pub(crate) fn borrow(&self) -> Call<'_> {
        let Self { op, ref sql, ref params, mode, bigint } = *self;
        Call { op, sql, params: params.borrow(), mode, bigint }
    }
}

/// Where a statement runs, which decides what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a read transaction, or by itself on a reader.
    Read,
    /// In an interactive write transaction.
    Write,
    /// In a transaction that it shares with its neighbours in the write queue.
    Group,
    /// In a synchronous closure, which shares a transaction and cannot be run again by itself.
    Closure,
}

/// Rows of a chunk when the caller names no number.
pub(crate) const CHUNK_ROWS: usize = if cfg!(feature = "model") { 4 } else { 1_000 };

/// Refuses what `place` does not allow.
fn check_place(statement: &Statement, place: Place) -> Result<()> {
    match place {
        Place::Read if writes(statement) => Err(read_only_transaction()),
        Place::Group if statement.traits.temp => Err(Error::new(
            ErrorCode::StatementNotAllowed,
            "TEMP objects live on the connection; make them inside db.write(fn), where they are dropped at its end",
        )),
        Place::Closure if !statement.traits.shareable() => Err(Error::new(
            ErrorCode::StatementNotAllowed,
            "statements that change the schema, set pragmas or make TEMP objects do not share a transaction with their neighbours, as the closures of db.batch do; use db.write(fn)",
        )),
        Place::Read | Place::Write | Place::Group | Place::Closure => Ok(()),
    }
}

/// Whether the statement belongs to the writer.
pub(crate) fn writes(statement: &Statement) -> bool {
    let traits = statement.traits;
    // Some pragmas that only read do not count as read-only.
    (!statement.readonly && !traits.reads_pragma) || !traits.shareable()
}

fn read_only_transaction() -> Error {
    Error::new(
        ErrorCode::ReadOnlyTransaction,
        "the statement writes, and a read transaction does not; use db.write(fn)",
    )
}

/// Runs `call` to its end on a statement in the cache, and appends its one record to `out`. For [`Mode::Get`] and [`Mode::Run`].
pub(crate) fn run_short(connection: &mut Connection, call: &Call<'_>, place: Place, out: &mut Vec<u8>) -> Result<()> {
    let counts = run_counted(connection, call, place, out)?;
    if let Some((changes, rowid)) = counts {
        wire::changes(out, call.op, changes, rowid);
    }
    Ok(())
}

/// The same, but of [`Mode::Run`] it gives the count of changed rows and the last row id instead of a record.
fn run_counted(
    connection: &mut Connection,
    call: &Call<'_>,
    place: Place,
    out: &mut Vec<u8>,
) -> Result<Option<(i64, i64)>> {
    let begins = out.len();
    let total_before = if call.mode == Mode::Run { connection.total_changes() } else { 0 };
    let Parts { statement, rows, changes, encoding } = connection.parts(call.sql)?;
    check_place(statement, place)?;
    let traits = statement.traits;
    let mark = changes.mark();
    changes.note(statement.tables.as_ref());
    let ran: Result<()> = (|| {
        statement.bind(&call.params, Lifetime::Call)?;
        if call.mode == Mode::Run {
            return step_to_end(statement);
        }
        let step = statement.step()?;
        statement.refresh_columns();
        rows.begin(statement.columns(), call.bigint, 1);
        if step == Step::Row {
            statement.write_row(rows, encoding)?;
            if !statement.readonly {
                step_to_end(statement)?;
            }
        }
        let shape = statement.shape();
        rows.finish(&RowsHead { op: call.op, shape, last: true, open: false, changes: None }, out)?;
        Ok(())
    })();
    statement.reset();
    if statement.is_out_of_date() {
        connection.forget_out_of_date(call.sql);
    }
    connection.note(traits);
    if let Err(error) = ran {
        if connection.was_undone(&error) {
            connection.changes.back_to(mark);
        }
        return Err(explained(connection.explained(error), &call.sql.text));
    }
    if let Err(error) = connection.check_pages() {
        out.truncate(begins);
        return Err(error);
    }
    Ok((call.mode == Mode::Run).then(|| connection.counts(total_before, traits)))
}

/// An error of SQLite's in the course of a statement, without the values in it.
fn explained(error: Error, sql: &str) -> Error {
    if error.code == ErrorCode::Sql { without_values(error, sql) } else { error }
}

/// Runs `work` for the environment of `reply`, which interrupts it by going away; a watch does after `limit` (zero: never).
pub(crate) fn run_for<T>(
    connection: &mut Connection,
    reply: &Reply,
    limit: Duration,
    work: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    // The run before the look: an environment that goes away in between interrupts us.
    let interrupt = Arc::clone(&connection.interrupt);
    let run = interrupt.begin(reply.tag(), Manner::Interrupt, limit);
    let ran = match reply.given_up() {
        Some(error) => Err(error),
        None => work(connection),
    };
    drop(run);
    ran.map_err(|error| why_interrupted(error, reply, &interrupt))
}

/// An interrupted statement says who interrupted it.
pub(crate) fn why_interrupted(error: Error, reply: &Reply, interrupt: &Interrupt) -> Error {
    if error.sqlite & 0xff != ffi::SQLITE_INTERRUPT {
        return error;
    }
    match reply.given_up() {
        Some(given_up) => given_up,
        None if interrupt.was_overdue() => Error {
            code: ErrorCode::TransactionTimeout,
            message: "the statement ran for longer than transactionTimeoutMs (readTimeoutMs if it reads) and was interrupted; nothing of it is left".to_owned(),
            ..error
        },
        None => error,
    }
}

/// A statement under way that gives its rows in chunks. Holds a statement of its connection, and must be closed on it.
pub(crate) struct Cursor {
    sql: Arc<Sql>,
    statement: Statement,
    mode: Mode,
    bigint: bool,
    stepped: bool,
    total_before: i64,
    /// What had been changed before it.
    mark: Mark,
}

/// Whether a cursor may have further rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    More,
    Exhausted,
}

impl Cursor {
    /// Prepares and binds; steps nothing.
    pub(crate) fn open(connection: &mut Connection, call: &Call<'_>, place: Place) -> Result<Self> {
        let mut statement = connection.take_statement(call.sql)?;
        let ready = check_place(&statement, place).and_then(|()| statement.bind(&call.params, Lifetime::Copied));
        connection.note(statement.traits);
        let mark = connection.changes.mark();
        connection.changes.note(statement.tables.as_ref());
        match ready {
            Ok(()) => Ok(Self {
                mark,
                sql: Arc::clone(call.sql),
                statement,
                mode: call.mode,
                bigint: call.bigint,
                stepped: false,
                total_before: connection.total_changes(),
            }),
            Err(error) => {
                connection.give_back(call.sql, statement);
                Err(error)
            }
        }
    }

    /// Whether the statement changes the file.
    pub(crate) fn writes(&self) -> bool {
        writes(&self.statement)
    }

    /// Steps until the chunk is full or the rows are at their end.
    pub(crate) fn fill(&mut self, connection: &mut Connection, limit: usize) -> Result<Filled> {
        let encoding = connection.encoding;
        connection.rows.begin(self.statement.columns(), self.bigint, limit);
        loop {
            let step = match self.statement.step() {
                Ok(step) => step,
                Err(error) => {
                    // One that writes has done all of it in its first step.
                    if !self.stepped && connection.was_undone(&error) {
                        connection.changes.back_to(self.mark);
                    }
                    return Err(explained(connection.explained(error), &self.sql.text));
                }
            };
            if !self.stepped {
                self.stepped = true;
                self.statement.refresh_columns();
                connection.rows.begin(self.statement.columns(), self.bigint, limit);
            }
            if step == Step::Done {
                return connection.check_pages().map(|()| Filled::Exhausted);
            }
            self.statement.write_row(&mut connection.rows, encoding)?;
            if connection.rows.is_full() {
                return connection.check_pages().map(|()| Filled::More);
            }
        }
    }

    /// Appends the filled chunk to `out` as one record.
    pub(crate) fn finish(&mut self, connection: &mut Connection, chunk: Chunk, out: &mut Vec<u8>) -> Result<()> {
        let changes = (chunk.ends && self.mode == Mode::Query)
            .then(|| connection.counts(self.total_before, self.statement.traits));
        let shape = self.statement.shape();
        let head = RowsHead { op: chunk.op, shape, last: chunk.last, open: chunk.open, changes };
        Ok(connection.rows.finish(&head, out)?)
    }

    /// Resets the statement and puts it back into the cache.
    pub(crate) fn close(self, connection: &mut Connection) {
        connection.give_back(&self.sql, self.statement);
    }
}

/// How a chunk is marked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    op: u32,
    /// The final record of its operation.
    last: bool,
    /// The cursor stays open.
    open: bool,
    /// The final record of its statement.
    ends: bool,
}

impl Chunk {
    /// One of those that come by themselves until the rows are at their end.
    pub(crate) fn streamed(op: u32, filled: Filled) -> Self {
        let ends = filled == Filled::Exhausted;
        Self { op, last: ends, open: false, ends }
    }

    /// One that was asked for.
    pub(crate) fn pulled(op: u32, filled: Filled) -> Self {
        let ends = filled == Filled::Exhausted;
        Self { op, last: true, open: !ends, ends }
    }

    /// One of a statement of a batch; `last`: of the last statement.
    fn of_batch(op: u32, filled: Filled, last: bool) -> Self {
        let ends = filled == Filled::Exhausted;
        Self { op, last: ends && last, open: false, ends }
    }
}

/// Runs `call` to its end and gives all its records, for results that leave only after a COMMIT.
pub(crate) fn run_whole(connection: &mut Connection, call: &Call<'_>, place: Place) -> Result<Vec<Vec<u8>>> {
    if matches!(call.mode, Mode::Get | Mode::Run) {
        let mut out = Vec::new();
        run_short(connection, call, place, &mut out)?;
        return Ok(vec![out]);
    }
    let mut records = Vec::new();
    run_all(connection, call, place, &mut records, |filled| Chunk::streamed(call.op, filled))?;
    Ok(records)
}

fn run_all(
    connection: &mut Connection,
    call: &Call<'_>,
    place: Place,
    records: &mut Vec<Vec<u8>>,
    mark: impl Fn(Filled) -> Chunk,
) -> Result<()> {
    let mut cursor = Cursor::open(connection, call, place)?;
    let ran = (|| {
        loop {
            let filled = cursor.fill(connection, CHUNK_ROWS)?;
            let mut record = Vec::new();
            cursor.finish(connection, mark(filled), &mut record)?;
            records.push(record);
            if filled == Filled::Exhausted {
                return Ok(());
            }
        }
    })();
    cursor.close(connection);
    ran
}

/// Several statements that are accepted, and succeed or fail, together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) op: u32,
    pub(crate) calls: Vec<OwnedCall>,
    pub(crate) wants: Wants,
}

/// What the caller wants of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// The rows and counts of each statement.
    Results,
    /// The sum of the changes.
    Totals,
}

impl Batch {
    /// Runs the statements in order. The error says which one failed; undoing the others is the caller's.
    pub(crate) fn run(&self, connection: &mut Connection, place: Place) -> Result<Vec<Vec<u8>>> {
        let mut records = Vec::new();
        let (mut changes, mut rowid) = (0, 0);
        for (call, number) in self.calls.iter().zip(1_u32..) {
            connection.clear_last_insert_rowid();
            let last = usize::try_from(number).is_ok_and(|number| number == self.calls.len());
            let ran = match self.wants {
                Wants::Results => run_all(connection, &call.borrow(), place, &mut records, |filled| {
                    Chunk::of_batch(self.op, filled, last)
                }),
                Wants::Totals => run_counted(connection, &call.borrow(), place, &mut Vec::new()).map(|counts| {
                    let (changed, inserted) = counts.unwrap_or_default();
                    changes += changed;
                    rowid = if inserted == 0 { rowid } else { inserted };
                }),
            };
            ran.map_err(|error| Error { statement: number, ..error })?;
        }
        if self.wants == Wants::Totals {
            let mut record = Vec::new();
            wire::changes(&mut record, self.op, changes, rowid);
            records.push(record);
        }
        Ok(records)
    }

    /// The same inside a savepoint, and `verify` before that is released: on an error of either nothing of it is left.
    pub(crate) fn run_atomically(
        &self,
        connection: &mut Connection,
        place: Place,
        verify: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<Vec<Vec<u8>>> {
        let mark = connection.changes.mark();
        connection.savepoint()?;
        let ran = self.run(connection, place);
        if connection.is_autocommit() {
            // SQLite has rolled everything back, the savepoint too.
            return ran;
        }
        match ran.and_then(|records| verify(connection).map(|()| records)) {
            Ok(records) => connection.release().map(|()| records),
            Err(error) => {
                connection.changes.back_to(mark);
                connection.rollback_to_savepoint().and(Err(error))
            }
        }
    }

    /// Bytes of its parameters.
    pub(crate) fn bytes(&self) -> usize {
        self.calls.iter().map(|call| call.params.borrow().bytes()).sum()
    }
}
