//! How long anybody waits and anything lasts, and who is named when that is too long.

mod support;

use std::time::Duration;

use sqlflow_core::wire::{Kind, Value};
use sqlflow_core::{ErrorCode, OpenOptions, Storage};
use support::{Answer, Env, Target};

const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c";

fn open(env: &mut Env, options: &OpenOptions) -> Target {
    let db = env.open_with("", OpenOptions { storage: Storage::Temporary, ..options.clone() });
    env.exec(db, "CREATE TABLE t(a)");
    db
}

fn short() -> OpenOptions {
    OpenOptions { queue_timeout: Duration::from_millis(1), readers: 1, ..OpenOptions::default() }
}

#[test]
fn who_waits_too_long_for_the_writer_hears_who_holds_it_and_where_that_was_taken() {
    let mut env = Env::new();
    let db = open(&mut env, &short());
    let stack = Value::Text(b"    at taken (here.js:1:2)");
    let holder = env.call(db, Kind::BeginWrite, "", &[stack]).target();
    for (kind, sql) in [(Kind::BeginWrite, ""), (Kind::Run, "INSERT INTO t VALUES (1)"), (Kind::BeginBatch, "")] {
        let answer = env.call(db, kind, sql, &[]);
        assert_eq!(answer.code(), ErrorCode::QueueTimeout);
        let message = answer.message();
        for part in ["queueTimeoutMs (1 ms)", "a db.write that has been open for", "at taken (here.js:1:2)"] {
            assert!(message.contains(part), "{message}");
        }
    }
    assert_eq!(env.commit(holder), Answer::Done);
    assert!(matches!(env.run(db, "INSERT INTO t VALUES (1)", &[]), Answer::Changes { .. }));
}

#[test]
fn who_waits_too_long_for_a_reader_hears_who_has_them() {
    let mut env = Env::new();
    let db = open(&mut env, &short());
    let holder = env.begin_read(db);
    for (kind, sql) in [(Kind::BeginRead, ""), (Kind::Get, "SELECT 1")] {
        let answer = env.call(db, kind, sql, &[]);
        assert_eq!(answer.code(), ErrorCode::QueueTimeout);
        let message = answer.message();
        assert!(message.contains("1 readers") && message.contains("a db.read that has been open for"), "{message}");
    }
    assert_eq!(env.commit(holder), Answer::Done);
    assert!((env.number(db, "SELECT 1") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_call_can_have_a_patience_of_its_own() {
    let mut env = Env::new();
    let db = open(&mut env, &OpenOptions { queue_timeout: Duration::ZERO, ..OpenOptions::default() });
    let holder = env.begin_write(db);
    let waits = env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[]);
    // Milliseconds plus one.
    let gives_up = env.ask_cursor(db, Kind::Run, "INSERT INTO t VALUES (2)", &[], 1 + 1, 0);
    assert_eq!(env.wait(gives_up).code(), ErrorCode::QueueTimeout);
    assert_eq!(env.answered(waits), None);
    assert_eq!(env.commit(holder), Answer::Done);
    assert!(matches!(env.wait(waits), Answer::Changes { .. }));
}

#[test]
fn a_transaction_that_is_open_too_long_ends_without_being_asked() {
    let mut env = Env::new();
    let limit = Duration::from_millis(1);
    let options = OpenOptions { transaction_timeout: limit, read_timeout: limit, ..OpenOptions::default() };
    let timed = open(&mut env, &options);
    for (kind, option) in [(Kind::BeginWrite, "transactionTimeoutMs"), (Kind::BeginRead, "readTimeoutMs")] {
        let transaction = env.call(timed, kind, "", &[]).target();
        let news = env.news();
        assert_eq!(news.ended(), (transaction, ErrorCode::TransactionTimeout));
        assert!(news.message().contains(option), "{news:?}");
    }
}

#[test]
fn a_read_by_itself_that_runs_too_long_is_interrupted() {
    let mut env = Env::new();
    let db = open(&mut env, &OpenOptions { read_timeout: Duration::from_millis(1), ..OpenOptions::default() });
    for kind in [Kind::Get, Kind::All] {
        assert_eq!(env.call(db, kind, ENDLESS, &[]).code(), ErrorCode::TransactionTimeout);
    }
}

#[test]
fn a_transaction_can_have_a_limit_of_its_own() {
    let mut env = Env::new();
    let db = open(&mut env, &OpenOptions::default());
    let asked = env.ask_cursor(db, Kind::BeginWrite, "", &[], 0, 1 + 1);
    let transaction = env.wait(asked).target();
    assert!(matches!(env.news(), Answer::Ended { target, .. } if target == transaction));
}

// closing handle                | other handle
// write, open                   |
// run, queued                   |
// read, endless                 |
//                               | run, queued
// close: waits, then ends them  |
//                               | runs
#[test]
fn a_close_with_a_limit_ends_what_its_handle_has_under_way_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let mut env = Env::new();
    let (closing, other) = (env.open(path), env.open(path));
    env.exec(other, "CREATE TABLE t(a)");
    let transaction = env.begin_write(closing);
    env.run(transaction, "INSERT INTO t VALUES ('lost')", &[]);
    let reading = env.begin_read(closing);
    let queued = env.ask(closing, Kind::Run, "INSERT INTO t VALUES ('lost')", &[]);
    let endless = env.ask(closing, Kind::Get, ENDLESS, &[]);
    let others = env.ask(other, Kind::Run, "INSERT INTO t VALUES ('kept')", &[]);
    let closed = env.ask_close_within(closing, Duration::from_millis(1));
    assert_eq!(env.wait(closed), Answer::Done);
    assert_eq!(env.wait(queued).code(), ErrorCode::DatabaseClosed);
    assert_eq!(env.wait(endless).code(), ErrorCode::DatabaseClosed);
    for _ in 0..2 {
        let (target, code) = env.news().ended();
        assert!([transaction, reading].contains(&target));
        assert_eq!(code, ErrorCode::DatabaseClosed);
    }
    assert!(matches!(env.wait(others), Answer::Changes { .. }));
    assert!((env.number(other, "SELECT count(*) FROM t WHERE a = 'kept'") - 1.0).abs() < f64::EPSILON);
    assert!(env.number(other, "SELECT count(*) FROM t WHERE a = 'lost'") < 1.0);
    assert_eq!(env.close(other), Answer::Done);
}
