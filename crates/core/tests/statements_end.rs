//! How statements end: paused by a slow reader of chunks, interrupted by the end of their transaction, left open.

mod support;

use sqlflow_core::wire::{Kind, Value};
use sqlflow_core::{ErrorCode, OpenOptions, Storage};
use support::{Answer, Env};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
const MANY_ROWS: &str =
    "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n";

fn one_reader(env: &mut Env) -> support::Target {
    env.open_with("", OpenOptions { storage: Storage::Temporary, readers: 1, ..OpenOptions::default() })
}

#[test]
fn a_result_nobody_takes_pauses_and_goes_on_when_it_is_taken() {
    let mut env = Env::new();
    let db = one_reader(&mut env);
    let all = env.ask(db, Kind::All, MANY_ROWS, &[]);
    let behind = env.ask(db, Kind::Get, "SELECT 1", &[]);
    let Answer::Rows { rows, .. } = env.wait(all) else { panic!("rows were expected") };
    assert_eq!(rows.len(), 100_000);
    assert!(env.wait(behind).number() > 0.0);
    // A chunk has at most 1,000 rows, and each look took no more than were ready: 4 ahead, and those made meanwhile.
    assert!(env.drained.len() > 10);
}

#[test]
fn a_paused_result_does_not_outlive_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let options = OpenOptions { readers: 1, ..OpenOptions::default() };
    let mut stays = Env::new();
    let db = stays.open_with(path, options.clone());
    for in_transaction in [false, true] {
        let mut ends = Env::new();
        let handle = ends.open_with(path, options.clone());
        let target = if in_transaction { ends.begin_read(handle) } else { handle };
        ends.ask(target, Kind::All, MANY_ROWS, &[]);
        ends.wait_for_wake();
        drop(ends);
        assert!(stays.number(db, "SELECT 1") > 0.0);
    }
}

#[test]
fn a_running_statement_of_an_environment_that_ends_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let options = OpenOptions { readers: 1, ..OpenOptions::default() };
    let mut stays = Env::new();
    let db = stays.open_with(path, options.clone());
    for in_transaction in [false, true] {
        let mut ends = Env::new();
        let handle = ends.open_with(path, options.clone());
        let target = if in_transaction { ends.begin_read(handle) } else { handle };
        ends.ask(target, Kind::Get, ENDLESS, &[]);
        drop(ends);
        assert!(stays.number(db, "SELECT 1") > 0.0);
    }
}

#[test]
fn a_statement_in_flight_at_the_end_is_interrupted_and_the_transaction_rolled_back() {
    let mut env = Env::new();
    let db = env.temporary();
    env.exec(db, "CREATE TABLE t(a)");
    let transaction = env.begin_write(db);
    env.run(transaction, "INSERT INTO t VALUES (1)", &[]);
    let running = env.ask(transaction, Kind::Get, ENDLESS, &[]);
    let waiting = env.ask(transaction, Kind::Run, "INSERT INTO t VALUES (2)", &[]);
    let ended = env.ask(transaction, Kind::Commit, "", &[]);
    assert_eq!(env.wait(running).code(), ErrorCode::UnfinishedQuery);
    assert_eq!(env.wait(waiting).code(), ErrorCode::UnfinishedQuery);
    assert_eq!(env.wait(ended).code(), ErrorCode::UnfinishedQuery);
    assert!(env.number(db, "SELECT count(*) FROM t") < 1.0);
    assert!(matches!(env.run(db, "INSERT INTO t VALUES (3)", &[]), Answer::Changes { .. }));
}

#[test]
fn an_interrupt_never_reaches_the_next_owner_of_the_connection() {
    let mut env = Env::new();
    let db = one_reader(&mut env);
    for _ in 0..300 {
        let transaction = env.begin_read(db);
        env.ask(transaction, Kind::Get, "SELECT sum(value) FROM json_each('[1,2,3]')", &[]);
        let ended = env.ask(transaction, Kind::Rollback, "", &[]);
        // Queued behind the end, on the same and only connection.
        let next = env.ask(
            db,
            Kind::Get,
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT count(*) FROM n",
            &[],
        );
        assert!((env.wait(next).number() - 2000.0).abs() < f64::EPSILON);
        assert_eq!(env.wait(ended), Answer::Done);
    }
}

#[test]
fn an_idle_cursor_does_not_keep_the_snapshot_for_the_next_reader() {
    let mut env = Env::new();
    let db = one_reader(&mut env);
    env.exec(db, "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    let transaction = env.begin_read(db);
    let opened = env.ask_cursor(transaction, Kind::Cursor, "SELECT a FROM t", &[], 7, 1);
    assert!(matches!(env.wait(opened), Answer::Rows { open: true, .. }));
    // On this thread, with the cursor standing on its first row.
    assert_eq!(env.sync(transaction, Kind::Commit, "", &[]), Answer::Done);
    env.run(db, "INSERT INTO t VALUES (4)", &[]);
    assert!((env.number(db, "SELECT count(*) FROM t") - 4.0).abs() < f64::EPSILON);
}

#[test]
fn a_synchronous_statement_beside_an_asynchronous_one_is_refused() {
    let mut env = Env::new();
    let db = env.temporary();
    let transaction = env.begin_read(db);
    let running = env.ask(transaction, Kind::Get, ENDLESS, &[]);
    assert_eq!(env.sync(transaction, Kind::Get, "SELECT 1", &[]).code(), ErrorCode::StatementInFlight);
    let ended = env.ask(transaction, Kind::Rollback, "", &[]);
    assert_eq!(env.wait(ended), Answer::Done);
    assert_eq!(env.wait(running).code(), ErrorCode::UnfinishedQuery);
    assert_eq!(env.sync(transaction, Kind::Get, "SELECT 1", &[]).code(), ErrorCode::TransactionClosed);
}

#[test]
fn one_record_larger_than_the_buffer_comes_by_itself() {
    let mut env = Env::new();
    let db = env.temporary();
    env.exec(db, "CREATE TABLE t(a BLOB)");
    let blob = vec![7_u8; 3 * 1024 * 1024];
    env.run(db, "INSERT INTO t VALUES (?)", &[Value::Blob(&blob)]);
    let Answer::Rows { rows, .. } = env.call(db, Kind::All, "SELECT a, length(a) FROM t", &[]) else { panic!("rows") };
    assert_eq!(rows, [[support::Stored::Blob(blob), support::Stored::Number(3_145_728.0)]]);
}

#[test]
fn a_look_takes_no_more_than_a_thousand_completions() {
    let mut env = Env::new();
    let db = env.temporary();
    let ops: Vec<u32> = (0..5_000).map(|_| env.ask(db, Kind::Get, "SELECT 1", &[])).collect();
    for op in ops {
        assert!(env.wait(op).number() > 0.0);
    }
    assert!(env.drained.iter().all(|records| *records <= 1_000));
}
