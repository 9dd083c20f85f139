//! What is told of a commit: the tables and rows it changed, in the order of the commits.

mod support;

use sqlflow_core::wire::{Changed, Kind, RowChange};
use sqlflow_core::{Listening, OpenOptions, Storage};
use support::{Answer, Env, Target};

fn open(env: &mut Env) -> Target {
    let db = env.open_with("", OpenOptions { storage: Storage::Temporary, ..OpenOptions::default() });
    env.exec(
        db,
        "CREATE TABLE parent(id INTEGER PRIMARY KEY);
         CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE);
         CREATE TABLE log(what);
         CREATE TABLE without(id TEXT PRIMARY KEY) WITHOUT ROWID;
         CREATE TRIGGER logged AFTER INSERT ON child BEGIN INSERT INTO log VALUES ('child'); END;",
    );
    db
}

fn tables(changed: &Changed) -> Vec<&str> {
    let mut tables: Vec<&str> = changed.tables.iter().map(AsRef::as_ref).collect();
    tables.sort_unstable();
    tables
}

fn rows(changed: &Changed) -> Vec<(&str, u32, i64)> {
    let name =
        |row: &RowChange| changed.tables.get(usize::try_from(row.table).unwrap_or(usize::MAX)).map_or("", |name| name);
    changed.rows.iter().map(|row| (name(row), row.kind, row.rowid)).collect()
}

#[test]
fn tables_of_triggers_and_cascades_are_told() {
    let mut env = Env::new();
    let db = open(&mut env);
    env.run(db, "INSERT INTO parent VALUES (1)", &[]);
    let transaction = env.begin_write(db);
    env.run(transaction, "INSERT INTO child VALUES (1, 1)", &[]);
    assert_eq!(tables(&env.commit_changed(transaction).changed()), ["child", "log"]);
    let transaction = env.begin_write(db);
    env.run(transaction, "DELETE FROM parent WHERE id = 1", &[]);
    assert_eq!(tables(&env.commit_changed(transaction).changed()), ["child", "parent"]);
}

#[test]
fn a_trigger_that_came_after_the_statement_was_prepared_is_told_of_as_well() {
    let mut env = Env::new();
    let db = open(&mut env);
    let insert = "INSERT INTO parent VALUES (NULL)";
    env.run(db, insert, &[]);
    env.exec(db, "CREATE TRIGGER later AFTER INSERT ON parent BEGIN INSERT INTO log VALUES ('parent'); END");
    for _ in 0..2 {
        let transaction = env.begin_write(db);
        env.run(transaction, insert, &[]);
        assert_eq!(tables(&env.commit_changed(transaction).changed()), ["log", "parent"]);
    }
}

#[test]
fn what_was_rolled_back_to_a_savepoint_is_not_told() {
    let mut env = Env::new();
    let db = open(&mut env);
    env.listen(db, Listening::Rows);
    let transaction = env.begin_write(db);
    env.run(transaction, "INSERT INTO parent VALUES (7)", &[]);
    assert_eq!(env.call(transaction, Kind::Savepoint, "", &[]), Answer::Done);
    env.run(transaction, "INSERT INTO log VALUES ('undone')", &[]);
    assert_eq!(env.call(transaction, Kind::RollbackTo, "", &[]), Answer::Done);
    assert_eq!(
        env.run(transaction, "INSERT INTO parent VALUES (8), (7)", &[]).code(),
        sqlflow_core::ErrorCode::Constraint
    );
    assert_eq!(env.commit(transaction), Answer::Done);
    let told = env.news().changed();
    assert_eq!(tables(&told), ["parent"]);
    assert_eq!(rows(&told), [("parent", 1, 7)]);
}

#[test]
fn a_rollback_and_a_read_are_no_news() {
    let mut env = Env::new();
    let db = open(&mut env);
    env.listen(db, Listening::Tables);
    let transaction = env.begin_write(db);
    env.run(transaction, "INSERT INTO parent VALUES (1)", &[]);
    assert_eq!(env.rollback(transaction), Answer::Done);
    env.number(db, "SELECT count(*) FROM parent");
    assert_eq!(env.run(db, "INSERT INTO parent VALUES (1), (1)", &[]).code(), sqlflow_core::ErrorCode::Constraint);
    env.run(db, "INSERT INTO log VALUES (1)", &[]);
    assert_eq!(tables(&env.news().changed()), ["log"]);
}

// The blind spots of SQLite's update hook: rows that REPLACE deletes, and a DELETE of all rows.
#[test]
fn rows_that_are_replaced_or_deleted_all_at_once_are_told() {
    let mut env = Env::new();
    let db = open(&mut env);
    let delete = "DELETE FROM log";
    // Prepared before anybody listens, it would delete them unseen.
    env.run(db, delete, &[]);
    env.listen(db, Listening::Rows);
    env.run(db, "INSERT INTO log VALUES (1), (2)", &[]);
    assert_eq!(rows(&env.news().changed()), [("log", 1, 1), ("log", 1, 2)]);
    env.run(db, delete, &[]);
    assert_eq!(rows(&env.news().changed()), [("log", 3, 1), ("log", 3, 2)]);
    env.run(db, "INSERT INTO parent VALUES (5)", &[]);
    env.news();
    env.run(db, "REPLACE INTO parent VALUES (5)", &[]);
    assert_eq!(rows(&env.news().changed()), [("parent", 3, 5), ("parent", 1, 5)]);
    env.run(db, "UPDATE parent SET id = 6", &[]);
    assert_eq!(rows(&env.news().changed()), [("parent", 2, 6)]);
}

#[test]
fn a_table_without_rowid_is_told_without_rows() {
    let mut env = Env::new();
    let db = open(&mut env);
    env.listen(db, Listening::Rows);
    env.run(db, "INSERT INTO without VALUES ('a')", &[]);
    let told = env.news().changed();
    assert_eq!((tables(&told), rows(&told)), (vec!["without"], vec![]));
}

#[test]
fn commits_are_told_in_their_order_whoever_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let (mut writes, mut listens) = (Env::new(), Env::new());
    let (of_writes, of_listens) = (writes.open(path), listens.open(path));
    writes.exec(of_writes, "CREATE TABLE t(a INTEGER PRIMARY KEY)");
    listens.listen(of_listens, Listening::Rows);
    // A first commit from which on the rows are noted.
    let asked: Vec<u32> =
        (0..50).map(|_| writes.ask(of_writes, Kind::Run, "INSERT INTO t VALUES (NULL)", &[])).collect();
    let transaction = writes.begin_write(of_writes);
    writes.run(transaction, "INSERT INTO t VALUES (NULL)", &[]);
    assert_eq!(writes.commit(transaction), Answer::Done);
    for op in asked {
        assert!(matches!(writes.wait(op), Answer::Changes { .. }));
    }
    let mut told = Vec::new();
    while told.last() != Some(&51) {
        told.extend(listens.news().changed().rows.iter().map(|row| row.rowid));
    }
    assert!(told.is_sorted() && told.windows(2).all(|pair| pair[1] == pair[0] + 1), "{told:?}");
    listens.listen(of_listens, Listening::Off);
    writes.run(of_writes, "INSERT INTO t VALUES (NULL)", &[]);
    assert!((listens.number(of_listens, "SELECT count(*) FROM t") - 52.0).abs() < f64::EPSILON);
}

#[test]
fn more_rows_than_are_kept_are_said_to_be_more() {
    let mut env = Env::new();
    let db = open(&mut env);
    env.listen(db, Listening::Rows);
    env.run(
        db,
        "INSERT INTO log WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 20000) SELECT n FROM c",
        &[],
    );
    let told = env.news().changed();
    assert!(told.truncated && told.rows.len() == 10_000);
}
