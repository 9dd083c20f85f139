//! The interrupt handshake: what has to end ends, and whoever has the connection next is never hit.

use shuttle::rand::{Rng, thread_rng};
use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, OpenOptions};

use crate::check::check;
use crate::env::{Answer, Env};
use crate::write_queue::{insert, rows_of};

/// Ends by an interrupt only.
pub(crate) const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
/// The same behind other statements: an interrupt that comes between two of them is forgotten, and has to come again.
const ENDLESS_SCRIPT: &str = "SELECT 1; SELECT 2; SELECT 3; SELECT 4;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
/// Long enough for an interrupt to come in between.
pub(crate) const LONG: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT count(*) FROM n";

pub(crate) fn one_reader() -> OpenOptions {
    OpenOptions { readers: 1, ..OpenOptions::default() }
}

/// Gives way for a while, mostly a short one.
pub(crate) fn waits() {
    let most = 1 << thread_rng().gen_range(0..7);
    for _ in 0..thread_rng().gen_range(0..most) {
        shuttle::thread::yield_now();
    }
}

// environment that ends       | another, on the same connection
// reads for ever              | reads
// ends                        |
//                             | is answered by rows
#[test]
fn a_read_of_an_environment_that_ends_is_interrupted_and_its_successor_is_not() {
    check("interrupts of reads", |path| {
        let (of_mortal, of_other) = (path.to_owned(), path.to_owned());
        let mortal = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open_with(&of_mortal, one_reader());
            env.ask(db, Kind::Get, ENDLESS);
            waits();
            env.shutdown();
        });
        let other = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open_with(&of_other, one_reader());
            for _ in 0..3 {
                assert_eq!(env.values(db, LONG), ["1000"]);
            }
            env.close(db);
        });
        mortal.join().unwrap();
        other.join().unwrap();
    });
}

// environment                         | another
// writes                              | asks to read for long on the writer
// inserts, asks for what never ends   |
// settles: commits                    |
//                                     | is answered by rows
#[test]
fn what_runs_when_a_transaction_ends_is_interrupted_and_the_next_transaction_is_not() {
    check("interrupts of writes", |path| {
        let (of_settled, of_other) = (path.to_owned(), path.to_owned());
        let settled = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_settled);
            let transaction = env.call(db, Kind::BeginWrite, "").target();
            assert_eq!(env.call(transaction, Kind::Run, &insert('s', 1)), Answer::Changes(1));
            let (kind, sql) =
                if thread_rng().gen_bool(0.5) { (Kind::Get, ENDLESS) } else { (Kind::Exec, ENDLESS_SCRIPT) };
            let endless = env.ask(transaction, kind, sql);
            waits();
            let committed = env.ask(transaction, Kind::Commit, "");
            assert_eq!(env.wait(committed).code(), Some(ErrorCode::UnfinishedQuery));
            assert_eq!(env.wait(endless).code(), Some(ErrorCode::UnfinishedQuery));
            assert!(rows_of(&mut env, db, 's').is_empty());
            env.close(db);
        });
        let other = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_other);
            for _ in 0..2 {
                let transaction = env.call(db, Kind::BeginWrite, "").target();
                assert_eq!(env.values(transaction, LONG), ["1000"]);
                assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done);
            }
            env.close(db);
        });
        settled.join().unwrap();
        other.join().unwrap();
    });
}
