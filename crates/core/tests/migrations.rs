//! The driver by which refinery keeps the history: what it writes, reads and refuses.

mod support;

use sqlflow_core::wire::Applied;
use sqlflow_core::{ErrorCode, MigrationOptions, OpenOptions, Source, Table, When};
use support::{Answer, Env, Stored, Target};

fn source(files: &[(&str, &str)]) -> Source {
    let files: Vec<(String, String)> =
        files.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    Source::parse(&files).unwrap_or_else(|error| unreachable!("the source is right: {error}"))
}

fn options(files: &[(&str, &str)], table: Table) -> OpenOptions {
    let migrations = MigrationOptions { source: source(files), table, when: When::Always };
    OpenOptions { migrations: Some(migrations), ..OpenOptions::default() }
}

const ONE: (&str, &str) = ("1_one.sql", "CREATE TABLE one(a);\n");
const TWO: (&str, &str) = ("2_add-two.sql", "-- +goose Up\nCREATE TABLE two(a);\n-- +goose Down\nDROP TABLE two;\n");

fn texts(env: &mut Env, db: Target, sql: &str) -> Vec<String> {
    let Answer::Rows { rows, .. } = env.call(db, sqlflow_core::wire::Kind::All, sql, &[]) else { return Vec::new() };
    let text = |row: &Vec<Stored>| match row.first() {
        Some(Stored::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    rows.iter().map(text).collect()
}

struct File {
    _folder: tempfile::TempDir,
    path: String,
}

fn file() -> File {
    let folder = tempfile::tempdir().unwrap_or_else(|error| unreachable!("a folder: {error}"));
    let path = folder.path().join("a.db").to_string_lossy().into_owned();
    File { _folder: folder, path }
}

#[test]
fn each_migration_is_entered_as_refinery_does_it() {
    let (file, mut env) = (file(), Env::new());
    let db = env.open_with(&file.path, options(&[ONE, TWO], Table::Sqlflow));
    let rows = texts(&mut env, db, "SELECT version || ' ' || name FROM refinery_schema_history ORDER BY version");
    assert_eq!(rows, ["1 one", "2 add_two"]);
    // SipHash 1-3 of name, version and text, as a decimal; the time by RFC 3339.
    let formed =
        "SELECT count(*) FROM refinery_schema_history WHERE checksum NOT GLOB '*[^0-9]*' AND applied_on GLOB '20*T*Z'";
    assert!((env.number(db, formed) - 2.0).abs() < f64::EPSILON);
    assert_eq!(texts(&mut env, db, "SELECT name FROM sqlite_schema WHERE name LIKE 'sqlflow%'"), Vec::<String>::new());
}

#[test]
fn what_is_applied_is_not_run_again_and_the_rest_is() {
    let (file, mut env) = (file(), Env::new());
    let db = env.open_with(&file.path, options(&[ONE], Table::Sqlflow));
    assert_eq!(env.close(db), Answer::Done);
    for _ in 0..2 {
        let db = env.open_with(&file.path, options(&[ONE, TWO], Table::Sqlflow));
        assert_eq!(
            texts(&mut env, db, "SELECT name FROM sqlite_schema WHERE name IN ('one', 'two') ORDER BY 1"),
            ["one", "two"]
        );
        assert_eq!(env.close(db), Answer::Done);
    }
}

#[test]
fn line_ends_and_blanks_around_are_the_same_text_to_it_and_a_changed_one_is_divergent() {
    let (file, mut env) = (file(), Env::new());
    let db = env.open_with(&file.path, options(&[ONE], Table::Sqlflow));
    assert_eq!(env.close(db), Answer::Done);
    let same = ("1_one.sql", "\u{feff}\r\nCREATE TABLE one(a);  \r\n\r\n");
    let db = env.open_with(&file.path, options(&[same], Table::Sqlflow));
    assert_eq!(env.close(db), Answer::Done);
    let asked = env.ask_open(&file.path, options(&[("1_one.sql", "CREATE TABLE one(b);")], Table::Sqlflow));
    assert_eq!(env.wait(asked).code(), ErrorCode::MigrationDivergent);
}

#[test]
fn one_that_fails_leaves_those_before_it_and_nothing_of_itself() {
    let (file, mut env) = (file(), Env::new());
    let bad = ("2_bad.sql", "CREATE TABLE half(a);\nINSERT INTO nowhere VALUES (1);\n");
    let asked = env.ask_open(&file.path, options(&[ONE, bad], Table::Sqlflow));
    let answer = env.wait(asked);
    assert_eq!(answer.code(), ErrorCode::MigrationFailed);
    let fields: Vec<&str> = answer.message().split(sqlflow_core::wire::FIELD).collect();
    assert_eq!(fields.get(1..), Some(&["2_bad.sql", "2", "2"][..]));
    let db = env.open(&file.path);
    assert_eq!(texts(&mut env, db, "SELECT name FROM sqlite_schema WHERE name IN ('one', 'half')"), ["one"]);
    // Foreign keys are on for whoever comes next.
    assert!((env.number(db, "PRAGMA foreign_keys") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_history_of_goose_is_taken_over_or_kept_as_it_is() {
    let (file, mut env) = (file(), Env::new());
    let db = env.open_with(&file.path, options(&[ONE], Table::Goose));
    assert_eq!(
        texts(&mut env, db, "SELECT version_id || ' ' || is_applied FROM goose_db_version ORDER BY id"),
        ["0 1", "1 1"]
    );
    assert_eq!(env.close(db), Answer::Done);
    let db = env.open_with(&file.path, options(&[ONE, TWO], Table::Sqlflow));
    assert_eq!(texts(&mut env, db, "SELECT name FROM refinery_schema_history ORDER BY version"), ["one", "add_two"]);
    assert_eq!(texts(&mut env, db, "SELECT version_id || '' FROM goose_db_version ORDER BY id"), ["0", "1"]);
}

#[test]
fn the_way_back_runs_down_parts_newest_first_and_refuses_before_anything_runs() {
    let (file, mut env) = (file(), Env::new());
    let db = env.open_with(&file.path, options(&[ONE, TWO], Table::Sqlflow));
    assert_eq!(env.back(db, 0).code(), ErrorCode::MigrationFailed);
    assert_eq!(texts(&mut env, db, "SELECT name FROM sqlite_schema WHERE name = 'two'"), ["two"]);
    assert_eq!(env.back(db, 1), Answer::Done);
    let Answer::History(entries) = env.history(db) else { unreachable!("the history") };
    let states: Vec<(i64, Applied)> = entries.iter().map(|entry| (entry.version, entry.applied)).collect();
    assert_eq!(states, [(1, Applied::Yes), (2, Applied::Pending)]);
}
