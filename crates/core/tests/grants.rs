//! Who holds the writer: in order, one at a time, and nobody for long who does not answer.

mod support;

use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, OpenOptions};
use support::{Answer, Env};

#[test]
fn writers_are_served_in_the_order_in_which_they_asked() {
    let mut env = Env::new();
    let db = env.temporary();
    env.exec(db, "CREATE TABLE t(a)");
    let first = env.begin_write(db);
    let waiting: Vec<u32> = (0..3)
        .flat_map(|_| [env.ask(db, Kind::BeginWrite, "", &[]), env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[])])
        .collect();
    assert_eq!(env.commit(first), Answer::Done);
    for pair in waiting.chunks(2) {
        let transaction = env.wait(pair[0]).target();
        // Its neighbour behind it waits until it has ended.
        assert_eq!(env.answered(pair[1]), None);
        assert_eq!(env.commit(transaction), Answer::Done);
        assert!(matches!(env.wait(pair[1]), Answer::Changes { changes: 1, .. }));
    }
}

// slow environment              | quick environment
// asks to write                 |
// is granted, does not look     |
//                               | asks to write twice, is served
// looks                         |
// is granted again, writes      |
#[test]
fn an_environment_that_lets_its_grant_lie_stands_aside_and_still_gets_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let (mut slow, mut quick) = (Env::new(), Env::new());
    let (of_slow, of_quick) = (slow.open(path), quick.open(path));
    slow.exec(of_slow, "CREATE TABLE t(who TEXT)");
    let asked = slow.ask(of_slow, Kind::BeginWrite, "", &[]);
    let behind = slow.ask(of_slow, Kind::Run, "INSERT INTO t VALUES ('slow, second')", &[]);
    slow.wait_for_wake();
    for _ in 0..2 {
        assert!(matches!(quick.run(of_quick, "INSERT INTO t VALUES ('quick')", &[]), Answer::Changes { .. }));
    }
    let transaction = slow.wait(asked).target();
    assert_eq!(slow.answered(behind), None);
    slow.run(transaction, "INSERT INTO t VALUES ('slow, first')", &[]);
    assert_eq!(slow.commit(transaction), Answer::Done);
    assert!(matches!(slow.wait(behind), Answer::Changes { rowid: 4, .. }));
    assert!(
        (quick.number(of_quick, "SELECT count(*) FROM t WHERE rowid = 3 AND who = 'slow, first'") - 1.0).abs()
            < f64::EPSILON
    );
}

#[test]
fn a_read_grant_that_lies_is_revoked_only_while_others_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let options = OpenOptions { readers: 1, ..OpenOptions::default() };
    let (mut slow, mut quick) = (Env::new(), Env::new());
    let (of_slow, of_quick) = (slow.open_with(path, options.clone()), quick.open_with(path, options));
    let asked = slow.ask(of_slow, Kind::BeginRead, "", &[]);
    slow.wait_for_wake();
    assert!(quick.number(of_quick, "SELECT 1") > 0.0);
    let transaction = slow.wait(asked).target();
    assert!(slow.number(transaction, "SELECT 1") > 0.0);
    assert_eq!(slow.commit(transaction), Answer::Done);
}

#[test]
fn an_environment_that_ends_gives_its_grant_its_transaction_and_its_places_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let path = path.to_str().unwrap();
    let mut stays = Env::new();
    let db = stays.open(path);
    stays.exec(db, "CREATE TABLE t(a)");
    for step in 0..3 {
        let mut ends = Env::new();
        let handle = ends.open(path);
        match step {
            // In the queue behind somebody.
            0 => {
                let transaction = stays.begin_write(db);
                ends.ask(handle, Kind::BeginWrite, "", &[]);
                ends.ask(handle, Kind::Run, "INSERT INTO t VALUES (0)", &[]);
                drop(ends);
                assert_eq!(stays.commit(transaction), Answer::Done);
            }
            // Granted and not taken.
            1 => {
                ends.ask(handle, Kind::BeginWrite, "", &[]);
                ends.wait_for_wake();
                drop(ends);
            }
            // In the middle.
            _ => {
                let transaction = ends.begin_write(handle);
                ends.run(transaction, "INSERT INTO t VALUES (0)", &[]);
                drop(ends);
            }
        }
        assert!(matches!(stays.run(db, "INSERT INTO t VALUES (1)", &[]), Answer::Changes { changes: 1, .. }));
    }
    assert!((stays.number(db, "SELECT count(*) FROM t WHERE a = 1") - 3.0).abs() < f64::EPSILON);
    assert!(stays.number(db, "SELECT count(*) FROM t WHERE a = 0") < 1.0);
}

#[test]
fn a_transaction_that_is_open_too_long_is_rolled_back_and_says_so() {
    let mut env = Env::new();
    let limit = std::time::Duration::from_millis(1);
    let db = env.open_with(
        "",
        OpenOptions { storage: sqlflow_core::Storage::Temporary, transaction_timeout: limit, ..OpenOptions::default() },
    );
    env.exec(db, "CREATE TABLE t(a)");
    let transaction = env.begin_write(db);
    env.run(transaction, "INSERT INTO t VALUES (1)", &[]);
    assert_eq!(env.news().ended(), (transaction, ErrorCode::TransactionTimeout));
    // The environment has been told; the transaction is nobody's any more.
    assert_eq!(env.commit(transaction).code(), ErrorCode::TransactionClosed);
    assert!(env.number(db, "SELECT count(*) FROM t") < 1.0);
}

#[test]
fn a_full_queue_refuses_and_names_the_option() {
    let mut env = Env::new();
    let db = env.open_with(
        "",
        OpenOptions { storage: sqlflow_core::Storage::Temporary, max_queued: 2, ..OpenOptions::default() },
    );
    env.exec(db, "CREATE TABLE t(a)");
    let transaction = env.begin_write(db);
    let queued: Vec<u32> = (0..3).map(|_| env.ask(db, Kind::Run, "INSERT INTO t VALUES (1)", &[])).collect();
    let refused = env.wait(queued[2]);
    assert_eq!(refused.code(), ErrorCode::QueueFull);
    assert!(matches!(refused, Answer::Error { message, .. } if message.contains("maxQueued")));
    assert_eq!(env.commit(transaction), Answer::Done);
    assert!(matches!(env.wait(queued[1]), Answer::Changes { .. }));
}
