//! A grant against its acceptance, its revocation, its deadline and the end of its environment. A model's patience with a grant is
//! zero: any look at it revokes it.

use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, OpenOptions};

use crate::check::check;
use crate::env::{Answer, Env};
use crate::readers::LONG;
use crate::write_queue::{Holders, insert, rows_of};

/// Any look at a transaction with this deadline ends it.
const AT_ONCE: Duration = Duration::from_nanos(1);

// slow environment                        | quick environment
// asks to write twice, and to insert      | asks to insert twice
// looks late: granted, revoked, granted   |
// commits the first, the second           |
#[test]
fn a_grant_is_accepted_or_revoked_and_its_operation_answered_once_in_its_place() {
    check("grants", |path| {
        let holders = Arc::new(Holders::default());
        let (of_quick, of_slow) = (path.to_owned(), path.to_owned());
        let quick = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_quick);
            for n in 1..=3 {
                assert_eq!(env.call(db, Kind::Run, &insert('q', n)), Answer::Changes(1));
            }
            assert_eq!(rows_of(&mut env, db, 'q'), [1, 2, 3]);
            env.close(db);
        });
        let slow = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_slow);
            let begins = [env.ask(db, Kind::BeginWrite, ""), env.ask(db, Kind::BeginWrite, "")];
            let last = env.ask(db, Kind::Run, &insert('s', 3));
            for (n, begin) in (1..).zip(begins) {
                for _ in 0..thread_rng().gen_range(0..30) {
                    shuttle::thread::yield_now();
                }
                let transaction = env.wait(begin).target();
                holders.take();
                assert_eq!(env.call(transaction, Kind::Run, &insert('s', n)), Answer::Changes(1));
                holders.give_back();
                assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done);
            }
            assert_eq!(env.wait(last), Answer::Changes(1));
            assert_eq!(rows_of(&mut env, db, 's'), [1, 2, 3]);
            env.close(db);
        });
        quick.join().unwrap();
        slow.join().unwrap();
    });
}

// environment that ends       | another
// asks to write               | asks to write
// is granted, or not yet      |
// ends                        |
//                             | is granted, commits
#[test]
fn the_end_of_an_environment_gives_back_its_grant_wherever_that_is() {
    check("grants and the end", |path| {
        let (of_mortal, of_other) = (path.to_owned(), path.to_owned());
        let mortal = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_mortal);
            env.ask(db, Kind::BeginWrite, "");
            env.ask(db, Kind::BeginWrite, "");
            env.ask(db, Kind::BeginRead, "");
            for _ in 0..thread_rng().gen_range(0..12) {
                if thread_rng().gen_bool(0.5) {
                    env.look();
                }
                shuttle::thread::yield_now();
            }
            env.shutdown();
        });
        let other = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_other);
            let transaction = env.call(db, Kind::BeginWrite, "").target();
            assert_eq!(env.call(transaction, Kind::Run, &insert('o', 1)), Answer::Changes(1));
            assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done);
            env.close(db);
        });
        mortal.join().unwrap();
        other.join().unwrap();
    });
}

// environment                 | watch                    | another
// writes, its deadline is over at once                   | inserts
// inserts                     | ends the transaction     |
// commits                     |                          |
#[test]
fn a_deadline_ends_a_transaction_before_its_commit_or_not_at_all() {
    check("deadlines", |path| {
        let (of_late, of_other) = (path.to_owned(), path.to_owned());
        let late = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open_with(&of_late, OpenOptions { transaction_timeout: AT_ONCE, ..OpenOptions::default() });
            let transaction = env.call(db, Kind::BeginWrite, "").target();
            let inserted = if thread_rng().gen_bool(0.5) {
                env.call(transaction, Kind::Run, &insert('l', 1))
            } else {
                env.sync(transaction, Kind::Run, &insert('l', 1))
            };
            let committed = env.call(transaction, Kind::Commit, "");
            let rows = rows_of(&mut env, db, 'l');
            match (inserted, committed) {
                (Answer::Changes(1), Answer::Done) => assert_eq!(rows, [1]),
                (inserted, committed) => {
                    assert!(inserted == Answer::Changes(1) || is_over(&inserted), "{inserted:?}");
                    assert!(is_over(&committed), "{committed:?}");
                    assert!(rows.is_empty());
                }
            }
            assert!(env.has_all_answers());
            env.close(db);
        });
        let other = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_other);
            assert_eq!(env.call(db, Kind::Run, &insert('o', 1)), Answer::Changes(1));
            assert_eq!(rows_of(&mut env, db, 'o'), [1]);
            env.close(db);
        });
        late.join().unwrap();
        other.join().unwrap();
    });
}

// environment                           | watch                    | another
// writes, its deadline is over at once  |                          | asks to insert
// asks for many rows and takes none,    |                          |
// inserts on its own thread, or nothing | ends the transaction     |
//                                       |                          | has inserted
// looks: it is over                     |                          |
#[test]
fn a_deadline_ends_the_transaction_of_an_environment_that_does_not_come_back() {
    check("deadlines of the idle", |path| {
        let mut env = Env::new();
        let db = env.open_with(path, OpenOptions { transaction_timeout: AT_ONCE, ..OpenOptions::default() });
        let transaction = env.call(db, Kind::BeginWrite, "").target();
        let of_other = path.to_owned();
        let other = shuttle::thread::spawn(move || {
            let mut env = Env::new();
            let db = env.open(&of_other);
            assert_eq!(env.call(db, Kind::Run, &insert('o', 1)), Answer::Changes(1));
            env.close(db);
        });
        let mut long = None;
        match thread_rng().gen_range(0..3) {
            0 => long = Some(env.ask(transaction, Kind::All, LONG)),
            1 => {
                let inserted = env.sync(transaction, Kind::Run, &insert('i', 1));
                assert!(inserted == Answer::Changes(1) || is_over(&inserted), "{inserted:?}");
            }
            _ => {}
        }
        other.join().unwrap();
        if let Some(long) = long {
            let ended = env.wait(long);
            assert!(is_over(&ended), "{ended:?}");
        }
        let committed = env.call(transaction, Kind::Commit, "");
        assert!(is_over(&committed), "{committed:?}");
        env.close(db);
    });
}

fn is_over(answer: &Answer) -> bool {
    matches!(answer.code(), Some(ErrorCode::TransactionTimeout | ErrorCode::TransactionClosed))
}
