//! How long a statement of the engine's own transactions may hold the writer, and whom that ends.

mod support;

use std::time::Duration;

use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, OpenOptions, Storage};
use support::{Answer, Env, Target};

const ENDLESS: &str =
    "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
const LONG: &str = "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n";

fn database(env: &mut Env, limit: Duration) -> Target {
    let options = OpenOptions { storage: Storage::Temporary, transaction_timeout: limit, ..OpenOptions::default() };
    let db = env.open_with("", options);
    env.exec(db, "CREATE TABLE t(a)");
    db
}

#[test]
fn a_statement_that_runs_too_long_fails_alone_and_nobody_after_it() {
    let mut env = Env::new();
    let db = database(&mut env, Duration::from_secs(1));
    let holder = env.begin_write(db);
    let before = env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[]);
    let endless = env.ask(db, Kind::Run, ENDLESS, &[]);
    let script = env.ask(db, Kind::Exec, ENDLESS, &[]);
    let after: Vec<u32> = (0..50).map(|_| env.ask(db, Kind::Exec, "INSERT INTO t VALUES (1)", &[])).collect();
    assert_eq!(env.commit(holder), Answer::Done);
    assert_eq!(env.wait(endless).code(), ErrorCode::TransactionTimeout);
    assert!(matches!(env.wait(before), Answer::Changes { changes: 1, .. }));
    assert_eq!(env.wait(script).code(), ErrorCode::TransactionTimeout);
    for op in after {
        assert_eq!(env.wait(op), Answer::Done);
    }
    assert!((env.number(db, "SELECT count(*) FROM t") - 51.0).abs() < f64::EPSILON);
}

#[test]
fn neighbours_that_take_long_together_are_not_late() {
    let mut env = Env::new();
    let db = database(&mut env, Duration::from_secs(1));
    let holder = env.begin_write(db);
    let ops: Vec<u32> = (0..30).map(|_| env.ask(db, Kind::Run, LONG, &[])).collect();
    assert_eq!(env.commit(holder), Answer::Done);
    for op in ops {
        assert!(matches!(env.wait(op), Answer::Changes { changes: 1, .. }));
    }
}

#[test]
fn an_environment_that_is_gone_does_not_keep_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let options = OpenOptions { transaction_timeout: Duration::ZERO, ..OpenOptions::default() };
    let mut stays = Env::new();
    let db = stays.open_with(path, options.clone());
    stays.exec(db, "CREATE TABLE t(a)");
    for kind in [Kind::Run, Kind::Exec, Kind::Run, Kind::Exec] {
        let mut ends = Env::new();
        let handle = ends.open_with(path, options.clone());
        ends.ask(handle, kind, ENDLESS, &[]);
        drop(ends);
        assert!(matches!(stays.run(db, "INSERT INTO t VALUES (1)", &[]), Answer::Changes { changes: 1, .. }));
    }
}
