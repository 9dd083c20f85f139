//! What the engine was built from: versions and flags as they are in effect, told by the library or shown by what it does.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails by a panic")]

mod support;

use std::env;
use std::process::Command;

use rusqlite::{Connection, OpenFlags};
use sqlflow_core::wire::Kind;
use sqlflow_core::{OpenOptions, Storage, versions};
use support::{Answer, Env, Stored, Target};

/// The numbers a version begins with.
fn numbers(version: &str) -> Vec<u32> {
    let start = version.split(' ').next().unwrap_or_default();
    start.split('.').map(|part| part.parse().unwrap()).collect()
}

/// The one value of the one row.
fn value(env: &mut Env, db: Target, sql: &str) -> Stored {
    match env.call(db, Kind::Get, sql, &[]) {
        Answer::Rows { rows, .. } => rows.into_iter().flatten().next().unwrap(),
        other => Stored::Text(format!("{other:?}")),
    }
}

#[test]
fn the_versions_are_those_that_are_needed() {
    let versions = versions();
    assert!(numbers(&versions.sqlite) >= vec![3, 53, 2], "SQLite {}", versions.sqlite);
    assert!(numbers(&versions.cipher) >= vec![4, 17, 0], "SQLCipher {}", versions.cipher);
    let mut env = Env::new();
    let db = env.temporary();
    assert_eq!(value(&mut env, db, "SELECT sqlite_version()"), Stored::Text(versions.sqlite));
    assert_eq!(value(&mut env, db, "PRAGMA cipher_version"), Stored::Text(versions.cipher));
}

#[test]
fn the_library_was_compiled_with_these_options() {
    let options = versions().compile_options;
    let has = |option: &str| options.iter().any(|has| has == option);
    for option in [
        "DEFAULT_MEMSTATUS=0",
        "DQS=0",
        "THREADSAFE=1",
        "OMIT_SHARED_CACHE",
        "LIKE_DOESNT_MATCH_BLOBS",
        "ENABLE_PREUPDATE_HOOK",
        "ENABLE_MATH_FUNCTIONS",
        "DEFAULT_PCACHE_INITSZ=0",
        "DEFAULT_LOOKASIDE=1200,16",
        "ENABLE_FTS5",
        "ENABLE_RTREE",
        "HAS_CODEC",
    ] {
        assert!(has(option), "{option} is missing in {options:?}");
    }
    // With either of them every connection of the process shares one lock.
    for option in ["ENABLE_MEMORY_MANAGEMENT", "DEFAULT_MEMSTATUS=1", "DEFAULT_MEMSTATUS"] {
        assert!(!has(option), "{option} must not be there");
    }
}

#[test]
fn the_options_are_in_effect() {
    let mut env = Env::new();
    let db = env.temporary();
    let one = Stored::Number(1.0);
    let zero = Stored::Number(0.0);
    // DQS=0: double quotes are for names.
    let quoted = env.call(db, Kind::Get, "SELECT \"text\"", &[]);
    assert!(matches!(&quoted, Answer::Error { message, .. } if message.starts_with("no such column")), "{quoted:?}");
    assert_eq!(value(&mut env, db, "SELECT x'61' LIKE 'a'"), zero);
    assert_eq!(value(&mut env, db, "SELECT sqrt(4) + ln(1) = 2"), one);
    assert_eq!(value(&mut env, db, "SELECT json_valid('{}')"), one);
    env.exec(db, "CREATE VIRTUAL TABLE words USING fts5 (body); CREATE VIRTUAL TABLE boxes USING rtree (id, a, b)");
    env.exec(db, "INSERT INTO words VALUES ('found'); INSERT INTO boxes VALUES (1, 0, 1)");
    assert_eq!(value(&mut env, db, "SELECT count(*) FROM words('found'), boxes WHERE a <= 0"), one);
}

#[test]
fn every_connection_is_set_up() {
    let mut env = Env::new();
    let db = env.open_with("", OpenOptions { storage: Storage::Temporary, ..OpenOptions::default() });
    let write = env.begin_write(db);
    let read = env.begin_read(db);
    for target in [write, read] {
        for (pragma, expected) in [
            ("foreign_keys", Stored::Number(1.0)),
            ("trusted_schema", Stored::Number(0.0)),
            ("busy_timeout", Stored::Number(0.0)),
            ("temp_store", Stored::Number(2.0)),
            ("journal_size_limit", Stored::Number(67_108_864.0)),
            ("journal_mode", Stored::Text("wal".to_owned())),
            ("synchronous", Stored::Number(2.0)),
        ] {
            let found = value(&mut env, target, &format!("SELECT * FROM pragma_{pragma}"));
            assert_eq!(found, expected, "{pragma}");
        }
    }
    env.commit(read);
    env.commit(write);
}

#[test]
fn a_path_is_a_name_and_never_a_uri() {
    let folder = tempfile::tempdir().unwrap();
    // Only a name that begins with `file:` could be a URI: it must be relative. No other test of this binary uses one.
    env::set_current_dir(folder.path()).unwrap();
    for name in ["file:x?mode=memory", "file::memory:?cache=shared", "file:y%20z"] {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let db = Connection::open_with_flags(name, flags).unwrap();
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(db);
        assert!(folder.path().join(name).is_file(), "SQLite has taken {name} for a URI");

        let name = format!("{name}&client");
        let mut env = Env::new();
        let db = env.open(&name);
        env.exec(db, "CREATE TABLE t (a); INSERT INTO t VALUES (7)");
        assert_eq!(env.close(db), Answer::Done);
        assert!(folder.path().join(&name).is_file(), "the engine has taken {name} for a URI");
        let db = env.open(&name);
        assert_eq!(value(&mut env, db, "SELECT a FROM t"), Stored::Number(7.0));
        assert_eq!(env.close(db), Answer::Done);
    }
    env::set_current_dir(env::temp_dir()).unwrap();
}

#[test]
fn nothing_is_said_on_stderr() {
    let test = env::current_exe().unwrap();
    let child =
        Command::new(test).args(["--exact", "opens_with_a_wrong_key", "--ignored", "--nocapture"]).output().unwrap();
    assert!(child.status.success(), "{child:?}");
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{child:?}");
    assert_eq!(String::from_utf8_lossy(&child.stderr), "");
}

#[test]
#[ignore = "run in a process of its own by nothing_is_said_on_stderr"]
fn opens_with_a_wrong_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encrypted.db");
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "key", "right").unwrap();
    db.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(db);
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "key", "wrong").unwrap();
    // SQLCipher logs this one unless it was told not to.
    assert!(db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).is_err());
}
