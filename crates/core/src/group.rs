//! Owns group commit: statements that wait for the writer together run in one SQLite transaction, and each keeps the
//! failure isolation of its own.
//!
//! After each member the group checks what a statement can leave behind: deferred foreign-key violations, rows of a failed
//! `OR FAIL`, a transaction that is gone. On a hit the group is rolled back, the culprit gets its error, and the other
//! members go back to the head of the queue, each to run alone. Results leave the engine only after the COMMIT, and nothing
//! is run again once COMMIT was sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::ffi;

use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::execute::{Batch, Mode, OwnedCall, Place, run_for, run_whole, why_interrupted, writes};
use crate::exit;
use crate::interrupt::{Manner, SHARED, Tag};
use crate::reply::Reply;
use crate::sql::{Route, Sql};

/// Most members of one group.
pub(crate) const MOST_MEMBERS: usize = 1_024;
/// A group takes no further member once its parameters or results have this many bytes.
pub(crate) const MOST_BYTES: usize = 1024 * 1024;
/// A group takes no further member once it runs for this long.
const LONGEST: Duration = Duration::from_millis(20);

/// One statement, or several that belong together, that waits for the writer.
pub(crate) struct Member {
    pub(crate) reply: Reply,
    pub(crate) task: Task,
    pub(crate) queued: Queued,
}

/// What a member runs.
pub(crate) enum Task {
    One(OwnedCall),
    /// In a savepoint of its own.
    Batch(Batch),
}

/// What the write queue must know of a member that comes back to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queued {
    pub(crate) seq: u64,
    pub(crate) seen: Option<Instant>,
    pub(crate) since: Option<Instant>,
}

impl Member {
    pub(crate) fn new(reply: Reply, task: Task) -> Self {
        Self { reply, task, queued: Queued::default() }
    }

    /// Bytes of its parameters.
    pub(crate) fn bytes(&self) -> usize {
        match &self.task {
            Task::One(call) => call.params.borrow().bytes(),
            Task::Batch(batch) => batch.bytes(),
        }
    }
}

/// What is owed to a member once the connection is free.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) outcome: Result<Vec<Vec<u8>>>,
}

/// What became of a group.
pub(crate) struct Ran {
    pub(crate) answers: Vec<Answer>,
    /// Members that have not run, or whose run was undone: they are next, in this order.
    pub(crate) again: Vec<Member>,
    /// Each of `again` runs in a transaction of its own.
    pub(crate) alone: bool,
    /// The group was committed.
    pub(crate) committed: bool,
}

/// How a member ended.
enum End {
    Ran(Vec<Vec<u8>>),
    /// It failed and left nothing behind.
    Failed(Error),
    /// It left something behind, or took the transaction with it.
    Culprit(Error),
    /// It does not share a transaction; it is first in the next one.
    Alone,
}

/// Runs `members`, of which there is at least one, in one transaction. `Err`: BEGIN failed and nothing ran.
pub(crate) fn run(connection: &mut Connection, members: Vec<Member>) -> Result<Ran, (Error, Vec<Member>)> {
    if let Err(error) = connection.begin_immediate() {
        return Err((error, members));
    }
    Ok(run_members(connection, members))
}

fn run_members(connection: &mut Connection, members: Vec<Member>) -> Ran {
    let started = Instant::now();
    let mut done: Vec<(Member, Result<Vec<Vec<u8>>>)> = Vec::with_capacity(members.len());
    let mut bytes = 0;
    let mut shares = true;
    let lone = members.len() == 1;
    let mut waiting = members.into_iter();
    let mut again = Vec::new();
    while let Some(member) = waiting.next() {
        match run_member(connection, &member, lone, done.is_empty(), &mut shares) {
            End::Ran(records) => {
                bytes += records.iter().map(Vec::len).sum::<usize>();
                done.push((member, Ok(records)));
            }
            End::Failed(error) => done.push((member, Err(error))),
            End::Culprit(error) => return undo(connection, done, member, error, waiting),
            End::Alone => {
                again.push(member);
                break;
            }
        }
        let late = started.elapsed() > LONGEST;
        if !shares || late || bytes > MOST_BYTES || exit::stopping() {
            break;
        }
    }
    again.extend(waiting);
    let committed = commit(connection);
    connection.forget_statements();
    let answers = done
        .into_iter()
        .map(|(member, outcome)| {
            let outcome = match &committed {
                Ok(()) => outcome,
                Err(error) => outcome.and_then(|_| Err(error.clone())),
            };
            Answer { reply: member.reply, outcome }
        })
        .collect();
    Ran { answers, again, alone: false, committed: committed.is_ok() }
}

fn run_member(connection: &mut Connection, member: &Member, lone: bool, first: bool, shares: &mut bool) -> End {
    let Member { reply, task, .. } = member;
    let total_before = connection.total_changes();
    let mark = connection.changes.mark();
    match prepare(connection, task) {
        Ok(Shares::No) if !first => return End::Alone,
        Ok(Shares::No) => *shares = false,
        Ok(Shares::Yes) => {}
        Err(error) => return End::Failed(error),
    }
    connection.clear_last_insert_rowid();
    let work = |connection: &mut Connection| match task {
        Task::One(call) => run_whole(connection, &call.borrow(), Place::Group),
        Task::Batch(batch) => batch.run_atomically(connection, Place::Group, no_deferred_violations),
    };
    let ran = if lone {
        run_for(connection, reply, limit(reply), work)
    } else {
        // No end of an environment and no signal interrupts what others share; the deadline and a closing handle do, and the signal
        // of the last who wanted it.
        let interrupt = Arc::clone(&connection.interrupt);
        let tag = Tag { owner: SHARED, ..reply.tag() };
        let run = interrupt.begin(tag, Manner::Interrupt, limit(reply));
        // The run before the look: see `run_for`.
        let ran = match reply.given_up() {
            Some(error) => Err(error),
            None => work(connection),
        };
        drop(run);
        ran.map_err(|error| why_interrupted(error, reply, &interrupt))
    };
    if connection.is_autocommit() {
        return End::Culprit(ran.err().unwrap_or_else(lost));
    }
    match ran {
        Ok(_) if connection.has_deferred_violations() => End::Culprit(deferred_violation()),
        Ok(records) => End::Ran(records),
        // A batch was rolled back to its savepoint; of a lone statement OR FAIL, RAISE(FAIL) and ON CONFLICT FAIL keep the rows
        // written before the failure.
        Err(error) if matches!(task, Task::One(_)) && connection.total_changes() != total_before => End::Culprit(error),
        Err(error) => {
            connection.changes.back_to(mark);
            End::Failed(error)
        }
    }
}

/// Whether a member may share its transaction.
enum Shares {
    Yes,
    No,
}

/// Prepares a member, and learns by that what it is. A batch is prepared statement by statement as it runs; what cannot be prepared
/// yet may need a table that the batch makes, and is left to the run.
fn prepare(connection: &mut Connection, task: &Task) -> Result<Shares> {
    match task {
        Task::One(call) => {
            let statement = connection.statement(&call.sql)?;
            if !statement.traits.shareable() {
                return Ok(Shares::No);
            }
            if !writes(statement) && call.mode != Mode::Run {
                call.sql.set_route(Route::Reader);
            }
            Ok(Shares::Yes)
        }
        Task::Batch(batch) => {
            for call in &batch.calls {
                match connection.statement(&call.sql) {
                    Ok(statement) if !statement.traits.shareable() => return Ok(Shares::No),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            Ok(Shares::Yes)
        }
    }
}

/// A member of a group answers for its deferred constraints itself, though nobody has sent COMMIT yet.
fn no_deferred_violations(connection: &Connection) -> Result<()> {
    if connection.has_deferred_violations() { Err(deferred_violation()) } else { Ok(()) }
}

/// Rolls the group back for `culprit`. Failures that left nothing behind stand; everybody else runs again, alone.
fn undo(
    connection: &mut Connection,
    done: Vec<(Member, Result<Vec<Vec<u8>>>)>,
    culprit: Member,
    error: Error,
    waiting: impl Iterator<Item = Member>,
) -> Ran {
    let mut answers = Vec::new();
    let mut again = Vec::new();
    if let Err(error) = connection.rollback() {
        // Nobody's rows are kept and nobody's run can be repeated on a connection that does not roll back.
        let all = done.into_iter().map(|(member, _)| member).chain([culprit]).chain(waiting);
        answers.extend(all.map(|member| Answer { reply: member.reply, outcome: Err(error.clone()) }));
        return Ran { answers, again, alone: false, committed: false };
    }
    again.extend(done.into_iter().map(|(member, _)| member));
    answers.push(Answer { reply: culprit.reply, outcome: Err(error) });
    again.extend(waiting);
    Ran { answers, again, alone: true, committed: false }
}

fn commit(connection: &mut Connection) -> Result<()> {
    let Err(error) = connection.drop_temp_objects().and_then(|()| connection.commit()) else { return Ok(()) };
    connection.rollback()?;
    Err(outcome_unknown_after_io_error(error))
}

/// A disk that failed under COMMIT leaves open whether it took effect; every other error does not.
pub(crate) fn outcome_unknown_after_io_error(error: Error) -> Error {
    if error.sqlite & 0xff != ffi::SQLITE_IOERR {
        return error;
    }
    Error {
        code: ErrorCode::CommitOutcomeUnknown,
        message: format!("the disk failed during COMMIT, which may or may not have taken effect: {}", error.message),
        ..error
    }
}

pub(crate) fn deferred_violation() -> Error {
    Error::sqlite(ErrorCode::Constraint, "FOREIGN KEY constraint failed", ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

fn lost() -> Error {
    Error::new(ErrorCode::TransactionAborted, "the statement ended the transaction it ran in; nothing of it is left")
}

/// Runs a script in a transaction of its own. On an error nothing of it is left.
pub(crate) fn run_script(connection: &mut Connection, reply: &Reply, sql: &Sql) -> Result<()> {
    connection.begin_immediate()?;
    let ran = run_for(connection, reply, limit(reply), |connection| {
        crate::execute::run_script(connection, sql, Place::Write)
    });
    let outcome = match ran {
        Ok(()) if connection.is_autocommit() => Err(lost()),
        Ok(()) => commit(connection),
        Err(error) => connection.rollback().and(Err(error)),
    };
    connection.forget_statements();
    outcome
}

/// How long a statement of the caller may run.
fn limit(reply: &Reply) -> Duration {
    reply.lease().map_or(Duration::ZERO, |lease| lease.handle().timeouts.transaction)
}
