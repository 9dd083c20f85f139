//! What a cancelled operation comes to, at each point of its way: exactly one answer, and nothing of it is left.

mod support;

use sqlflow_core::wire::{Kind, Value};
use sqlflow_core::{CheckpointMode, ErrorCode, OpenOptions, Storage};
use support::{Answer, Env, Target, eventually};

/// Never ends by itself.
const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c";
const ENDLESS_WRITE: &str =
    "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c";
/// Places of figures.
const WRITER_STATE: usize = 0;
const WRITER_RUNS: f64 = 1.0;
const WRITER_WAITS: f64 = 2.0;
const READERS_IDLE: usize = 4;
const READERS_OPEN: usize = 3;

fn with_table(env: &mut Env, options: &OpenOptions) -> Target {
    let db = env.open_with("", OpenOptions { storage: Storage::Temporary, ..options.clone() });
    env.exec(db, "CREATE TABLE t(a)");
    db
}

fn count(env: &mut Env, db: Target) -> f64 {
    env.number(db, "SELECT count(*) FROM t")
}

fn is(number: f64, expected: f64) -> bool {
    (number - expected).abs() < f64::EPSILON
}

fn all_readers_are_back(env: &mut Env, db: Target) {
    eventually("all readers are back", || is(env.stat(db, READERS_IDLE), env.stat(db, READERS_OPEN)));
}

// holder                | cancelled            | behind it
// BEGIN                 |                      |
//                       | asks for the writer  |
//                       |                      | asks for the writer
//                       | cancelled: answered  |
// COMMIT                |                      |
//                       |                      | runs
#[test]
fn queued_it_is_removed_and_never_starts() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let holder = env.begin_write(db);
    for kind in [Kind::Run, Kind::Exec, Kind::BeginWrite, Kind::BeginBatch] {
        let sql = if matches!(kind, Kind::Run | Kind::Exec) { "INSERT INTO t VALUES ('cancelled')" } else { "" };
        let cancelled = env.ask(db, kind, sql, &[]);
        env.cancel(db, cancelled);
        assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort, "{kind:?}");
    }
    let behind = env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[]);
    assert_eq!(env.answered(behind), None);
    assert_eq!(env.commit(holder), Answer::Done);
    assert!(matches!(env.wait(behind), Answer::Changes { .. }));
    assert!(is(count(&mut env, db), 1.0));
}

#[test]
fn queued_for_a_reader_it_is_removed() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions { readers: 1, ..OpenOptions::default() });
    let holder = env.begin_read(db);
    let cancelled = env.ask(db, Kind::BeginRead, "", &[]);
    let behind = env.ask(db, Kind::Get, "SELECT 1", &[]);
    env.cancel(db, cancelled);
    assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort);
    assert_eq!(env.answered(behind), None);
    assert_eq!(env.commit(holder), Answer::Done);
    assert!(is(env.wait(behind).number(), 1.0));
}

// other connection      | cancelled            | behind it
// BEGIN IMMEDIATE       |                      |
//                       | BEGIN: busy, a timer |
//                       |                      | asks for the writer
//                       | cancelled: answered  |
// ROLLBACK              |                      |
//                       |                      | runs
#[test]
fn before_its_begin_while_the_file_is_busy_it_is_removed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let mut env = Env::new();
    let db = env.open(path.to_str().unwrap());
    env.exec(db, "CREATE TABLE t(a)");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let cancelled = env.ask(db, Kind::BeginWrite, "", &[]);
    eventually("the writer waits", || is(env.stat(db, WRITER_STATE), WRITER_WAITS));
    let behind = env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[]);
    env.cancel(db, cancelled);
    assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(env.wait(behind), Answer::Changes { .. }));
}

#[test]
fn a_running_read_is_interrupted_and_its_connection_serves_the_next() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions { readers: 1, ..OpenOptions::default() });
    for kind in [Kind::Get, Kind::All, Kind::Query] {
        let cancelled = env.ask(db, kind, ENDLESS, &[]);
        let next = env.ask(db, Kind::Get, "SELECT 2", &[]);
        eventually("the reader is away", || is(env.stat(db, READERS_IDLE), 0.0));
        env.cancel(db, cancelled);
        assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort, "{kind:?}");
        assert!(is(env.wait(next).number(), 2.0));
    }
    all_readers_are_back(&mut env, db);
}

#[test]
fn a_running_write_by_itself_is_interrupted_and_leaves_nothing() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    for kind in [Kind::Run, Kind::Exec] {
        let cancelled = env.ask(db, kind, ENDLESS_WRITE, &[]);
        eventually("the writer runs", || is(env.stat(db, WRITER_STATE), WRITER_RUNS));
        env.cancel(db, cancelled);
        assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort, "{kind:?}");
        assert!(matches!(env.run(db, "INSERT INTO t VALUES (1)", &[]), Answer::Changes { .. }));
    }
    assert!(is(count(&mut env, db), 2.0));
}

#[test]
fn a_running_batch_by_itself_is_interrupted_and_leaves_nothing() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let cancelled = env.ask_batch(db, &["INSERT INTO t VALUES (1)", ENDLESS_WRITE]);
    eventually("the writer runs", || is(env.stat(db, WRITER_STATE), WRITER_RUNS));
    env.cancel(db, cancelled);
    assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort);
    assert!(is(count(&mut env, db), 0.0));
}

// A cursor stands open: SQLite's own interrupt would end it, and every later statement of the transaction with it.
#[test]
fn a_reading_statement_of_a_transaction_is_interrupted_alone_beside_an_open_cursor() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    for kind in [Kind::Get, Kind::All] {
        let transaction = env.begin_write(db);
        env.run(transaction, "INSERT INTO t VALUES (1), (2), (3)", &[]);
        let first = env.ask_cursor(transaction, Kind::Cursor, "SELECT a FROM t ORDER BY rowid", &[], 1, 1);
        assert!(matches!(env.wait(first), Answer::Rows { open: true, .. }));
        let cancelled = env.ask(transaction, kind, ENDLESS, &[]);
        let behind = env.ask(transaction, Kind::Get, "SELECT 7", &[]);
        env.cancel(transaction, cancelled);
        assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort);
        assert!(is(env.wait(behind).number(), 7.0));
        let pulled = env.ask_cursor(transaction, Kind::Pull, "", &[], 1, 1);
        assert!(matches!(env.wait(pulled), Answer::Rows { open: true, .. }));
        assert_eq!(env.commit(transaction), Answer::Done);
    }
    assert!(is(count(&mut env, db), 6.0));
}

#[test]
fn a_writing_statement_of_a_transaction_takes_the_transaction_with_it() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let transaction = env.begin_write(db);
    env.run(transaction, "INSERT INTO t VALUES (1)", &[]);
    let cancelled = env.ask(transaction, Kind::Run, ENDLESS_WRITE, &[]);
    env.cancel(transaction, cancelled);
    assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort);
    let after = env.run(transaction, "INSERT INTO t VALUES (2)", &[]);
    // Cancelled before it began it is gone alone; running it took the transaction with it. Both are right.
    if let Answer::Error { code, .. } = after {
        assert_eq!(code, ErrorCode::TransactionAborted);
        assert_eq!(env.commit(transaction).code(), ErrorCode::TransactionAborted);
        assert!(is(count(&mut env, db), 0.0));
    } else {
        assert_eq!(env.commit(transaction), Answer::Done);
        assert!(is(count(&mut env, db), 2.0));
    }
}

#[test]
fn queued_in_a_transaction_it_is_removed_from_between_its_neighbours() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let transaction = env.begin_write(db);
    let running = env.ask(transaction, Kind::Get, ENDLESS, &[]);
    let cancelled = env.ask(transaction, Kind::Run, "INSERT INTO t VALUES ('cancelled')", &[]);
    let behind = env.ask(transaction, Kind::Run, "INSERT INTO t VALUES (1)", &[]);
    env.cancel(transaction, cancelled);
    assert_eq!(env.wait(cancelled).code(), ErrorCode::Abort);
    env.cancel(transaction, running);
    assert_eq!(env.wait(running).code(), ErrorCode::Abort);
    assert!(matches!(env.wait(behind), Answer::Changes { changes: 1, .. }));
    assert_eq!(env.commit(transaction), Answer::Done);
    assert!(is(count(&mut env, db), 1.0));
}

#[test]
fn what_is_answered_is_not_cancelled_any_more() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let ran = env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[]);
    env.wait_for_wake();
    eventually("the run is over", || is(env.stat(db, WRITER_STATE), 0.0));
    env.cancel(db, ran);
    assert!(matches!(env.wait(ran), Answer::Changes { changes: 1, .. }));
    assert!(is(count(&mut env, db), 1.0));
}

#[test]
fn a_result_that_is_paused_gives_its_reader_back() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions { readers: 1, ..OpenOptions::default() });
    let rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c LIMIT 100000";
    let paused = env.ask(db, Kind::All, rows, &[]);
    env.wait_for_wake();
    env.cancel(db, paused);
    assert_eq!(env.wait(paused).code(), ErrorCode::Abort);
    assert!(is(env.number(db, "SELECT 3"), 3.0));
}

#[test]
fn a_transaction_that_is_aborted_between_two_statements_is_rolled_back_and_says_so() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    for kind in [Kind::BeginWrite, Kind::BeginRead] {
        let transaction = env.call(db, kind, "", &[]).target();
        if kind == Kind::BeginWrite {
            env.run(transaction, "INSERT INTO t VALUES (1)", &[]);
        }
        env.expire(transaction);
        assert_eq!(env.news().ended(), (transaction, ErrorCode::Abort));
        assert_eq!(env.call(transaction, Kind::Get, "SELECT 1", &[]).code(), ErrorCode::TransactionClosed);
        assert!(is(count(&mut env, db), 0.0));
    }
}

#[test]
fn a_transaction_that_is_aborted_in_a_statement_ends_it_and_what_waits_behind() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let transaction = env.begin_write(db);
    let running = env.ask(transaction, Kind::Run, ENDLESS_WRITE, &[]);
    let behind = env.ask(transaction, Kind::Get, "SELECT 1", &[]);
    env.expire(transaction);
    assert_eq!(env.wait(running).code(), ErrorCode::Abort);
    assert_eq!(env.wait(behind).code(), ErrorCode::Abort);
    assert!(matches!(env.news(), Answer::Ended { .. }));
    assert!(is(count(&mut env, db), 0.0));
}

#[test]
fn after_commit_or_rollback_was_sent_the_real_outcome_is_delivered() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    for end in [Kind::Commit, Kind::Rollback] {
        let transaction = env.begin_write(db);
        env.run(transaction, "INSERT INTO t VALUES (1)", &[]);
        let ended = env.ask(transaction, end, "", &[]);
        env.expire(transaction);
        env.cancel(transaction, ended);
        assert_eq!(env.wait(ended), Answer::Done);
    }
    assert!(is(count(&mut env, db), 1.0));
}

// environment           | engine
// asks to write         |
//                       | BEGIN, grant published
// cancels               |
// takes the grant       |
#[test]
fn a_grant_that_was_published_before_the_cancellation_is_delivered() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let asked = env.ask(db, Kind::BeginWrite, "", &[]);
    env.wait_for_wake();
    eventually("the transaction is begun", || is(env.stat(db, WRITER_STATE), 3.0));
    env.cancel(db, asked);
    let transaction = env.wait(asked).target();
    env.run(transaction, "INSERT INTO t VALUES (?)", &[Value::Int(1)]);
    assert_eq!(env.commit(transaction), Answer::Done);
}

#[test]
fn ten_thousand_cancellations_leave_every_connection_free() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM (SELECT n FROM c LIMIT 500)";
    let mut aborted = 0;
    for round in 0..100 {
        let asked: Vec<u32> = (0..100).map(|_| env.ask(db, Kind::Get, rows, &[])).collect();
        for op in &asked {
            if (op + round) % 3 > 0 {
                env.cancel(db, *op);
            }
        }
        for op in asked {
            match env.wait(op) {
                Answer::Error { code, .. } => {
                    assert_eq!(code, ErrorCode::Abort);
                    aborted += 1;
                }
                answer => assert!(is(answer.number(), 500.0)),
            }
        }
    }
    assert!(aborted > 0);
    all_readers_are_back(&mut env, db);
    assert!(matches!(env.checkpoint(db, CheckpointMode::Truncate), Answer::Checkpointed(done) if !done.busy));
    assert_eq!(env.close(db), Answer::Done);
}
