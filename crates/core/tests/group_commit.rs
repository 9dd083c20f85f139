//! Statements that wait for the writer together share a transaction, and each keeps the failures of the others at a distance.
//!
//! Each test holds the writer while its statements queue up, so that they become one group.

mod support;

use sqlflow_core::ErrorCode;
use sqlflow_core::wire::Kind;
use support::{Answer, Env, Stored, Target};

/// Queues `statements` behind a held writer, lets them go, and gives their answers.
fn grouped(env: &mut Env, db: Target, statements: &[&str]) -> Vec<Answer> {
    let holder = env.begin_write(db);
    let ops: Vec<u32> = statements.iter().map(|sql| env.ask(db, Kind::Run, sql, &[])).collect();
    env.poll();
    assert!(ops.iter().all(|op| env.answered(*op).is_none()));
    assert_eq!(env.commit(holder), Answer::Done);
    ops.into_iter().map(|op| env.wait(op)).collect()
}

fn changed(answer: &Answer) -> bool {
    matches!(answer, Answer::Changes { .. })
}

fn database(schema: &str) -> (Env, Target) {
    let mut env = Env::new();
    let db = env.temporary();
    env.exec(db, schema);
    (env, db)
}

#[test]
fn a_failing_statement_fails_alone() {
    let (mut env, db) = database("CREATE TABLE t(a INTEGER PRIMARY KEY)");
    let answers = grouped(
        &mut env,
        db,
        &[
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO nowhere VALUES (1)",
            "INSERT INTO t VALUES (2)",
        ],
    );
    assert!(changed(&answers[0]) && changed(&answers[3]));
    assert_eq!((answers[1].code(), answers[2].code()), (ErrorCode::Constraint, ErrorCode::Sql));
    assert_eq!(env.numbers(db, "SELECT a FROM t"), [1.0, 2.0]);
}

#[test]
fn an_ignored_insert_does_not_report_its_neighbours_row_id() {
    let (mut env, db) = database("CREATE TABLE t(a UNIQUE)");
    let answers = grouped(&mut env, db, &["INSERT INTO t VALUES (1)", "INSERT OR IGNORE INTO t VALUES (1)"]);
    assert_eq!(answers[0], Answer::Changes { changes: 1, rowid: 1 });
    assert_eq!(answers[1], Answer::Changes { changes: 0, rowid: 0 });
}

#[test]
fn a_statement_that_fails_half_way_leaves_no_row() {
    let (mut env, db) = database(
        "CREATE TABLE t(a UNIQUE);
         CREATE TABLE s(a UNIQUE ON CONFLICT FAIL);
         CREATE TABLE r(a);
         CREATE TRIGGER r_fails AFTER INSERT ON r WHEN new.a = 2 BEGIN SELECT RAISE(FAIL, 'no 2'); END",
    );
    for (table, or_fail) in [("t", "OR FAIL "), ("s", ""), ("r", "")] {
        let before = format!("INSERT INTO {table} VALUES (1)");
        let fails = format!("INSERT {or_fail}INTO {table} VALUES (8), (9), (1), (2), (10)");
        let after = format!("INSERT INTO {table} VALUES (3)");
        let answers = grouped(&mut env, db, &[&before, &fails, &after]);
        assert!(changed(&answers[0]) && changed(&answers[2]), "{table}: {answers:?}");
        assert_eq!(answers[1].code(), ErrorCode::Constraint);
        assert_eq!(env.numbers(db, &format!("SELECT a FROM {table} ORDER BY a")), [1.0, 3.0]);
    }
}

#[test]
fn a_deferred_foreign_key_violation_fails_alone() {
    let (mut env, db) = database(
        "CREATE TABLE p(id INTEGER PRIMARY KEY);
         CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    );
    let answers = grouped(
        &mut env,
        db,
        &[
            "INSERT INTO p VALUES (1)",
            "INSERT INTO c VALUES (1, 1)",
            "INSERT INTO c VALUES (2, 99)",
            "INSERT INTO c VALUES (3, 1)",
        ],
    );
    assert!(changed(&answers[0]) && changed(&answers[1]) && changed(&answers[3]), "{answers:?}");
    assert_eq!(answers[2].code(), ErrorCode::Constraint);
    assert_eq!(env.numbers(db, "SELECT id FROM c"), [1.0, 3.0]);
}

#[test]
fn a_statement_that_rolls_the_transaction_back_takes_nobody_with_it() {
    let (mut env, db) = database("CREATE TABLE t(a INTEGER PRIMARY KEY)");
    let answers = grouped(
        &mut env,
        db,
        &[
            "INSERT INTO t VALUES (1)",
            "INSERT OR ROLLBACK INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
            "DELETE FROM t WHERE a = 2",
        ],
    );
    assert_eq!(answers[1].code(), ErrorCode::Constraint);
    assert!([0, 2, 3].iter().all(|at| changed(&answers[*at])), "{answers:?}");
    assert_eq!(env.numbers(db, "SELECT a FROM t"), [1.0]);
}

#[test]
fn a_change_of_the_schema_shares_no_transaction_and_keeps_its_place() {
    let (mut env, db) = database("CREATE TABLE t(a)");
    let answers = grouped(
        &mut env,
        db,
        &[
            "INSERT INTO t VALUES (1)",
            "ALTER TABLE t ADD COLUMN b DEFAULT 5",
            "INSERT INTO t(a, b) VALUES (2, 6)",
            "CREATE TABLE t(a)",
        ],
    );
    assert!(answers[..3].iter().all(changed), "{answers:?}");
    assert_eq!(answers[3].code(), ErrorCode::Sql);
    assert_eq!(env.numbers(db, "SELECT b FROM t"), [5.0, 6.0]);
}

#[test]
fn temp_objects_are_refused_and_named() {
    let (mut env, db) = database("CREATE TABLE t(a)");
    let answers = grouped(&mut env, db, &["CREATE TEMP TABLE x(a)", "INSERT INTO t VALUES (1)"]);
    assert_eq!(answers[0].code(), ErrorCode::StatementNotAllowed);
    assert!(changed(&answers[1]));
}

#[test]
fn rows_of_a_writing_statement_come_after_the_commit() {
    let (mut env, db) = database("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    let holder = env.begin_write(db);
    let ops: Vec<u32> =
        (0..3).map(|_| env.ask(db, Kind::Query, "INSERT INTO t(b) VALUES ('x'), ('y') RETURNING a", &[])).collect();
    assert_eq!(env.commit(holder), Answer::Done);
    for (round, op) in ops.into_iter().enumerate() {
        let first = f64::from(u8::try_from(round).unwrap()) * 2.0 + 1.0;
        let expected = [[Stored::Number(first)], [Stored::Number(first + 1.0)]];
        let Answer::Rows { rows, changes, .. } = env.wait(op) else { panic!("rows were expected") };
        assert_eq!(rows, expected);
        assert_eq!(changes.map(|(changes, _)| changes), Some(2));
    }
}

#[test]
fn thousands_of_neighbours_keep_their_order() {
    let (mut env, db) = database("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    let statements: Vec<String> =
        (0..5_000).map(|n| format!("INSERT INTO t(a) SELECT {n} + 0 * count(*) FROM t")).collect();
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    assert!(grouped(&mut env, db, &statements).iter().all(changed));
    assert!(env.number(db, "SELECT count(*) FROM t WHERE id = a + 1") > 4_999.0);
}
