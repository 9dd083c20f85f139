//! The readers: more of them than connections, results that pause, and an environment that ends in between.

use shuttle::rand::{Rng, thread_rng};
use sqlflow_core::OpenOptions;
use sqlflow_core::wire::Kind;

use crate::check::check;
use crate::env::{Answer, Env};

/// More chunks than may wait for delivery: in a model a chunk has four rows.
pub(crate) const LONG: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 32) SELECT i FROM n";
const ROWS: usize = 32;

fn options() -> OpenOptions {
    OpenOptions { readers: 2, ..OpenOptions::default() }
}

fn reads(path: &str) {
    let mut env = Env::new();
    let db = env.open_with(path, options());
    let long = env.ask(db, Kind::All, LONG);
    let begin = env.ask(db, Kind::BeginRead, "");
    let short = env.ask(db, Kind::Get, "SELECT 7");
    let transaction = env.wait(begin).target();
    let inside = env.ask(transaction, Kind::All, LONG);
    assert_eq!(env.wait(inside).rows().len(), ROWS);
    if thread_rng().gen_bool(0.5) {
        assert_eq!(env.sync(transaction, Kind::Commit, ""), Answer::Done);
    } else {
        assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done);
    }
    assert_eq!(env.wait(long).rows().len(), ROWS);
    assert_eq!(env.wait(short), Answer::Rows(vec!["7".to_owned()]));
    assert!(env.has_all_answers());
    env.close(db);
}

fn reads_until_its_end(path: &str) {
    let mut env = Env::new();
    let db = env.open_with(path, options());
    env.ask(db, Kind::All, LONG);
    let begin = env.ask(db, Kind::BeginRead, "");
    env.ask(db, Kind::Get, "SELECT 7");
    let mut reading = false;
    for _ in 0..thread_rng().gen_range(0..25) {
        env.look();
        shuttle::thread::yield_now();
        if !reading && let Some(granted) = env.answered(begin) {
            reading = true;
            env.ask(granted.target(), Kind::All, LONG);
        }
    }
    env.shutdown();
}

#[test]
fn every_read_is_answered_and_every_connection_comes_back() {
    check("readers", |path| {
        let spawn = |reads: fn(&str)| {
            let path = path.to_owned();
            shuttle::thread::spawn(move || reads(&path))
        };
        let all = [spawn(reads), spawn(reads_until_its_end), spawn(reads)];
        for reader in all {
            reader.join().unwrap();
        }
        // Whoever opens it exclusively now finds nobody.
        let mut env = Env::new();
        let db = env.open_with(path, options());
        assert_eq!(env.values(db, LONG).len(), ROWS);
        env.close(db);
    });
}
