//! The write queue: several environments, transactions and single writes, and one environment that ends at any point.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::{Rng, thread_rng};
use sqlflow_core::wire::Kind;

use crate::check::check;
use crate::env::{Answer, Env, Target};

/// Who holds the writer, as the environments see it.
#[derive(Default)]
pub(crate) struct Holders(AtomicUsize);

impl Holders {
    pub(crate) fn take(&self) {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "two transactions hold the writer");
    }

    pub(crate) fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn insert(who: char, n: u32) -> String {
    format!("INSERT INTO t(who, n) VALUES ('{who}', {n})")
}

/// The rows of `who`, in the order in which they were written.
pub(crate) fn rows_of(env: &mut Env, db: Target, who: char) -> Vec<u32> {
    let rows = env.values(db, "SELECT who, n FROM t ORDER BY id");
    let of = rows.chunks(2).filter(|row| row[0] == who.to_string());
    of.map(|row| row[1].parse().unwrap()).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Commit,
    Rollback,
}

// environment
// asks to insert 1, to write, to insert 4
// is granted
// inserts 2 and 3
// commits or rolls back
fn writes(path: &str, who: char, holders: &Holders) -> (Env, Target, Vec<u32>) {
    let mut env = Env::new();
    let db = env.open(path);
    let end = if thread_rng().gen_bool(0.3) { End::Rollback } else { End::Commit };
    let first = env.ask(db, Kind::Run, &insert(who, 1));
    let begin = env.ask(db, Kind::BeginWrite, "");
    let last = env.ask(db, Kind::Run, &insert(who, 4));
    let transaction = env.wait(begin).target();
    holders.take();
    assert_eq!(env.answered(last), None, "{who}: overtaken by what was asked later");
    let asked = [2, 3].map(|n| env.ask(transaction, Kind::Run, &insert(who, n)));
    for op in asked {
        assert_eq!(env.wait(op), Answer::Changes(1));
    }
    holders.give_back();
    let ended = env.call(transaction, if end == End::Commit { Kind::Commit } else { Kind::Rollback }, "");
    assert_eq!(ended, Answer::Done);
    assert_eq!(env.wait(first), Answer::Changes(1));
    assert_eq!(env.wait(last), Answer::Changes(1));
    assert!(env.has_all_answers());
    (env, db, if end == End::Commit { vec![1, 2, 3, 4] } else { vec![1, 4] })
}

/// What an environment knows of its rows when it ends.
struct Acknowledged {
    first: bool,
    transaction: bool,
}

/// The same as [`writes`], and ends after so many looks, whatever it does then.
fn writes_until_its_end(path: &str, who: char, holders: &Holders) -> Acknowledged {
    let mut env = Env::new();
    let db = env.open(path);
    let first = env.ask(db, Kind::Run, &insert(who, 1));
    let begin = env.ask(db, Kind::BeginWrite, "");
    env.ask(db, Kind::Run, &insert(who, 4));
    let (mut holds, mut commit) = (false, None);
    let mut transaction = None;
    for _ in 0..thread_rng().gen_range(0..40) {
        env.look();
        shuttle::thread::yield_now();
        if transaction.is_none()
            && let Some(granted) = env.answered(begin)
        {
            holders.take();
            holds = true;
            let granted = granted.target();
            transaction = Some((granted, [2, 3].map(|n| env.ask(granted, Kind::Run, &insert(who, n)))));
        }
        if let Some((granted, [_, last])) = transaction
            && commit.is_none()
            && env.answered(last).is_some()
        {
            holders.give_back();
            holds = false;
            commit = Some(env.ask(granted, Kind::Commit, ""));
        }
    }
    if holds {
        holders.give_back();
    }
    let known = |op| env.answered(op).is_some_and(|answer| matches!(answer, Answer::Changes(1) | Answer::Done));
    let acknowledged = Acknowledged { first: known(first), transaction: commit.is_some_and(known) };
    env.shutdown();
    acknowledged
}

#[test]
fn every_write_is_answered_once_in_order_and_the_table_holds_what_was_acknowledged() {
    check("write queue", |path| {
        let holders = Arc::new(Holders::default());
        let spawn = |who| {
            let (path, holders) = (path.to_owned(), Arc::clone(&holders));
            shuttle::thread::spawn(move || writes(&path, who, &holders))
        };
        let (a, b) = (spawn('a'), spawn('b'));
        let (mortal, held) = (path.to_owned(), Arc::clone(&holders));
        let c = shuttle::thread::spawn(move || writes_until_its_end(&mortal, 'c', &held));
        let ((mut a, of_a, rows_a), (mut b, of_b, rows_b)) = (a.join().unwrap(), b.join().unwrap());
        let acknowledged = c.join().unwrap();
        assert_eq!(rows_of(&mut a, of_a, 'a'), rows_a);
        assert_eq!(rows_of(&mut b, of_b, 'b'), rows_b);
        a.close(of_a);
        let rows = rows_of(&mut b, of_b, 'c');
        assert!(rows.is_sorted(), "{rows:?}");
        assert!(!acknowledged.first || rows.contains(&1), "{rows:?}");
        assert!(!acknowledged.transaction || rows.contains(&2), "{rows:?}");
        assert_eq!(rows.contains(&2), rows.contains(&3), "half a transaction: {rows:?}");
        b.close(of_b);
    });
}
