//! Synchronous closures that share a transaction: what the environment is granted, and who is granted again.

mod support;

use std::time::Duration;

use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, OpenOptions, Storage};
use support::{Answer, Env, Target};

fn with_table(env: &mut Env, options: &OpenOptions) -> Target {
    let db = env.open_with("", OpenOptions { storage: Storage::Temporary, ..options.clone() });
    env.exec(db, "CREATE TABLE t(a)");
    db
}

fn ask(env: &mut Env, db: Target, count: usize) -> Vec<u32> {
    (0..count).map(|_| env.ask(db, Kind::BeginBatch, "", &[])).collect()
}

/// The grant of a group, which is answered under the number of its first member.
fn group(env: &mut Env, first: u32) -> (Target, Vec<u32>) {
    env.wait(first).group()
}

fn count(env: &mut Env, db: Target) -> f64 {
    env.number(db, "SELECT count(*) FROM t")
}

/// One closure on the thread of the environment, in its savepoint.
fn run(env: &mut Env, transaction: Target, sql: &str, end: Kind) {
    assert_eq!(env.sync(transaction, Kind::Savepoint, "", &[]), Answer::Done);
    assert!(matches!(env.sync(transaction, Kind::Run, sql, &[]), Answer::Changes { .. }));
    assert_eq!(env.sync(transaction, end, "", &[]), Answer::Done);
}

#[test]
fn neighbours_share_a_grant_and_keep_their_failures_apart() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let holder = env.begin_write(db);
    let asked = ask(&mut env, db, 3);
    assert_eq!(env.commit(holder), Answer::Done);
    let (transaction, ops) = group(&mut env, asked[0]);
    assert_eq!(ops, asked);
    run(&mut env, transaction, "INSERT INTO t VALUES (1)", Kind::Release);
    run(&mut env, transaction, "INSERT INTO t VALUES ('thrown')", Kind::RollbackTo);
    run(&mut env, transaction, "INSERT INTO t VALUES (3)", Kind::Release);
    assert_eq!(env.commit_group(transaction, 3), Answer::Done);
    assert!((count(&mut env, db) - 2.0).abs() < f64::EPSILON);
}

#[test]
fn those_that_were_not_started_keep_their_places_before_what_came_behind_them() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let holder = env.begin_write(db);
    let asked = ask(&mut env, db, 3);
    let behind = env.ask(db, Kind::Run, "INSERT INTO t VALUES ('behind')", &[]);
    assert_eq!(env.commit(holder), Answer::Done);
    let (transaction, _) = group(&mut env, asked[0]);
    run(&mut env, transaction, "INSERT INTO t VALUES (1)", Kind::Release);
    assert_eq!(env.commit_group(transaction, 1), Answer::Done);
    let (transaction, ops) = group(&mut env, asked[1]);
    assert_eq!(ops, asked[1..]);
    assert_eq!(env.answered(behind), None);
    assert_eq!(env.commit_group(transaction, 2), Answer::Done);
    assert!(matches!(env.wait(behind), Answer::Changes { .. }));
}

#[test]
fn schema_changes_and_pragmas_are_refused_naming_write() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    let asked = ask(&mut env, db, 1);
    let (transaction, _) = group(&mut env, asked[0]);
    for sql in ["CREATE TABLE u(a)", "PRAGMA user_version = 3", "CREATE TEMP TABLE u(a)"] {
        let refused = env.sync(transaction, Kind::Run, sql, &[]);
        assert_eq!(refused.code(), ErrorCode::StatementNotAllowed, "{sql}");
        assert!(matches!(refused, Answer::Error { message, .. } if message.contains("db.write")));
    }
    assert_eq!(env.commit_group(transaction, 1), Answer::Done);
}

#[test]
fn a_group_that_lost_its_transaction_grants_those_that_were_not_started_again() {
    let mut env = Env::new();
    let db = with_table(&mut env, &OpenOptions::default());
    env.exec(db, "CREATE TABLE u(a INTEGER PRIMARY KEY ON CONFLICT ROLLBACK); INSERT INTO u VALUES (1)");
    let holder = env.begin_write(db);
    let asked = ask(&mut env, db, 3);
    assert_eq!(env.commit(holder), Answer::Done);
    let (transaction, _) = group(&mut env, asked[0]);
    run(&mut env, transaction, "INSERT INTO t VALUES (1)", Kind::Release);
    assert_eq!(env.sync(transaction, Kind::Savepoint, "", &[]), Answer::Done);
    assert_eq!(env.sync(transaction, Kind::Run, "INSERT INTO u VALUES (1)", &[]).code(), ErrorCode::Constraint);
    assert_eq!(env.sync(transaction, Kind::Release, "", &[]).code(), ErrorCode::TransactionAborted);
    assert_eq!(env.commit_group(transaction, 2).code(), ErrorCode::TransactionAborted);
    let (transaction, ops) = group(&mut env, asked[2]);
    assert_eq!(ops, asked[2..]);
    assert_eq!(env.commit_group(transaction, 1), Answer::Done);
    assert!(count(&mut env, db) < 1.0);
}

#[test]
fn a_group_that_was_open_too_long_grants_those_that_were_not_started_again() {
    let mut env = Env::new();
    let db =
        with_table(&mut env, &OpenOptions { transaction_timeout: Duration::from_millis(1), ..OpenOptions::default() });
    let asked = ask(&mut env, db, 2);
    let (transaction, ops) = group(&mut env, asked[0]);
    assert!(matches!(env.news(), Answer::Ended { code: ErrorCode::TransactionTimeout, .. }));
    assert_eq!(env.commit_group(transaction, 1).code(), ErrorCode::TransactionTimeout);
    if ops.len() == 2 {
        let (_, ops) = group(&mut env, asked[1]);
        assert_eq!(ops, asked[1..]);
    }
}

#[test]
fn an_environment_that_ends_inside_a_group_loses_its_own_closures_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let (mut stays, mut ends) = (Env::new(), Env::new());
    let (of_stays, of_ends) = (stays.open(path), ends.open(path));
    stays.exec(of_stays, "CREATE TABLE t(a)");
    let asked = ask(&mut ends, of_ends, 2);
    let (transaction, _) = group(&mut ends, asked[0]);
    run(&mut ends, transaction, "INSERT INTO t VALUES ('lost')", Kind::Release);
    let waiting = ask(&mut stays, of_stays, 1);
    drop(ends);
    let (transaction, _) = group(&mut stays, waiting[0]);
    run(&mut stays, transaction, "INSERT INTO t VALUES ('kept')", Kind::Release);
    assert_eq!(stays.commit_group(transaction, 1), Answer::Done);
    assert!((count(&mut stays, of_stays) - 1.0).abs() < f64::EPSILON);
}
