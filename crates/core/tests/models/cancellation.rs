//! Cancellation and the patience with a queue against the start and the end of what they are meant for: exactly one answer, that it was
//! given up or what it really came to.

use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, OpenOptions};

use crate::check::check;
use crate::env::{Answer, Env, Target};
use crate::interrupts::{ENDLESS, LONG, one_reader, waits};
use crate::readers::LONG as ROWS;
use crate::write_queue::{insert, rows_of};

/// The answer of `op`; `false`: it was cancelled.
fn was_written(env: &mut Env, op: u32) -> bool {
    match env.wait(op) {
        Answer::Changes(1) => true,
        answer => {
            assert_eq!(answer.code(), Some(ErrorCode::Abort), "{answer:?}");
            false
        }
    }
}

/// Reads and writes as if nobody else was there.
fn others(path: &str, options: OpenOptions) {
    let mut env = Env::new();
    let db = env.open_with(path, options);
    let inserts = [1, 2].map(|n| env.ask(db, Kind::Run, &insert('o', n)));
    assert_eq!(env.values(db, LONG), ["1000"]);
    let transaction = env.call(db, Kind::BeginWrite, "").target();
    assert_eq!(env.values(transaction, LONG), ["1000"]);
    assert_eq!(env.call(transaction, Kind::Run, &insert('o', 3)), Answer::Changes(1));
    assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done);
    for op in inserts {
        assert_eq!(env.wait(op), Answer::Changes(1));
    }
    assert_eq!(rows_of(&mut env, db, 'o'), [1, 2, 3]);
    env.close(db);
}

// environment                                         | another
// asks to insert, to write, to insert, to read        | reads and writes
// for ever, to begin to read                          |
// cancels all of it, in any order, at any point       |
// every operation: what it came to, or given up       |
#[test]
fn what_is_cancelled_in_a_queue_is_given_up_or_done() {
    check("cancellation in queues", |path| {
        let of_others = path.to_owned();
        let others = shuttle::thread::spawn(move || others(&of_others, one_reader()));
        let mut env = Env::new();
        let db = env.open_with(path, one_reader());
        let first = env.ask(db, Kind::Run, &insert('c', 1));
        let write = env.ask(db, Kind::BeginWrite, "");
        let second = env.ask(db, Kind::Run, &insert('c', 2));
        let endless = env.ask(db, Kind::Get, ENDLESS);
        let read = env.ask(db, Kind::BeginRead, "");
        let mut all = vec![first, write, second, endless, read];
        while !all.is_empty() {
            waits();
            if thread_rng().gen_bool(0.3) {
                env.look();
            }
            let op = all.swap_remove(thread_rng().gen_range(0..all.len()));
            env.cancel(db, op);
        }
        assert_eq!(env.wait(endless).code(), Some(ErrorCode::Abort));
        for begin in [read, write] {
            match env.wait(begin) {
                Answer::Target(transaction, _) => assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done),
                answer => assert_eq!(answer.code(), Some(ErrorCode::Abort), "{answer:?}"),
            }
        }
        let written = [(first, 1), (second, 2)].map(|(op, n)| was_written(&mut env, op).then_some(n));
        let written: Vec<u32> = written.into_iter().flatten().collect();
        assert_eq!(rows_of(&mut env, db, 'c'), written);
        assert!(env.has_all_answers());
        env.close(db);
        others.join().unwrap();
    });
}

// environment                                         | another
// writes: inserts, perhaps opens a cursor,            | reads and writes
// asks to read for ever, to read, to insert           |
// cancels the first, and perhaps the last             |
// pulls from its cursor                               |
// commits                                             |
#[test]
fn what_is_cancelled_in_a_transaction_is_given_up_or_done_and_the_commit_tells_which() {
    check("cancellation in transactions", |path| {
        let of_others = path.to_owned();
        let others = shuttle::thread::spawn(move || others(&of_others, OpenOptions::default()));
        let mut env = Env::new();
        let db = env.open(path);
        let transaction = env.call(db, Kind::BeginWrite, "").target();
        assert_eq!(env.call(transaction, Kind::Run, &insert('c', 1)), Answer::Changes(1));
        let cursor = thread_rng().gen_bool(0.5);
        if cursor {
            assert_eq!(env.pull(transaction, Kind::Cursor, ROWS), ["1", "2", "3", "4"]);
        }
        let endless = env.ask(transaction, Kind::Get, ENDLESS);
        let read = env.ask(transaction, Kind::Get, LONG);
        let second = env.ask(transaction, Kind::Run, &insert('c', 2));
        waits();
        env.cancel(transaction, endless);
        if thread_rng().gen_bool(0.7) {
            waits();
            env.cancel(transaction, second);
        }
        assert_eq!(env.wait(endless).code(), Some(ErrorCode::Abort));
        assert_eq!(env.wait(read), Answer::Rows(vec!["1000".to_owned()]));
        let second = was_written(&mut env, second);
        if cursor && second {
            assert_eq!(env.pull(transaction, Kind::Pull, ""), ["5", "6", "7", "8"]);
        }
        match env.call(transaction, Kind::Commit, "") {
            Answer::Done if second => assert_eq!(rows_of(&mut env, db, 'c'), [1, 2]),
            Answer::Done => assert_eq!(rows_of(&mut env, db, 'c'), [1]),
            // It was interrupted as it wrote, and took the transaction with it.
            answer => {
                assert_eq!(answer.code(), Some(ErrorCode::TransactionAborted), "{answer:?}");
                assert!(!second);
                assert!(rows_of(&mut env, db, 'c').is_empty());
            }
        }
        env.close(db);
        others.join().unwrap();
    });
}

/// Ends a transaction, if it was granted before the environment lost its patience.
fn ends(env: &mut Env, begin: u32) {
    match env.wait(begin) {
        Answer::Target(transaction, _) => assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done),
        answer => assert_eq!(answer.code(), Some(ErrorCode::QueueTimeout), "{answer:?}"),
    }
}

fn impatient(path: &str, who: char) -> (Env, Target) {
    let mut env = Env::new();
    let options = OpenOptions { queue_timeout: Duration::from_nanos(1), readers: 1, ..OpenOptions::default() };
    let db = env.open_with(path, options);
    let read = env.ask(db, Kind::BeginRead, "");
    let first = env.ask(db, Kind::Run, &insert(who, 1));
    let write = env.ask(db, Kind::BeginWrite, "");
    let second = env.ask(db, Kind::Run, &insert(who, 2));
    ends(&mut env, read);
    ends(&mut env, write);
    let mut written = Vec::new();
    for (op, n) in [(first, 1), (second, 2)] {
        match env.wait(op) {
            Answer::Changes(1) => written.push(n),
            answer => assert_eq!(answer.code(), Some(ErrorCode::QueueTimeout), "{answer:?}"),
        }
    }
    assert!(env.has_all_answers());
    let begin = env.call(db, Kind::BeginRead, "");
    if let Answer::Target(transaction, _) = begin {
        assert_eq!(rows_of(&mut env, transaction, who), written);
        assert_eq!(env.call(transaction, Kind::Commit, ""), Answer::Done);
    }
    (env, db)
}

// environment                                         | another
// asks to read, to insert, to write, to insert        | the same
// each: what it came to, or waited too long           |
#[test]
fn what_waits_too_long_is_told_so_or_done() {
    check("patience with queues", |path| {
        let spawn = |who| {
            let path = path.to_owned();
            shuttle::thread::spawn(move || impatient(&path, who))
        };
        let both = [spawn('a'), spawn('b')];
        for one in both {
            let (mut env, db) = one.join().unwrap();
            env.close(db);
        }
    });
}
