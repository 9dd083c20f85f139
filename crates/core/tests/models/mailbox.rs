//! The mailbox: answers from several threads while the environment goes to sleep and wakes. Who sleeps beside an answer that waits
//! sleeps for ever, which the model checker reports.

use sqlflow_core::OpenOptions;
use sqlflow_core::wire::Kind;

use crate::check::check;
use crate::env::{Answer, Env};
use crate::write_queue::insert;

#[test]
fn no_answer_lies_beside_an_environment_that_sleeps() {
    check("mailbox", |path| {
        let mut env = Env::new();
        let db = env.open_with(path, OpenOptions { readers: 3, ..OpenOptions::default() });
        for n in 0..3 {
            let asked = [
                env.ask(db, Kind::Get, "SELECT 1"),
                env.ask(db, Kind::Run, &insert('m', n)),
                env.ask(db, Kind::Get, "SELECT 2"),
                env.ask(db, Kind::BeginRead, ""),
                env.ask(db, Kind::Get, "SELECT 3"),
            ];
            let transaction = env.wait(asked[3]).target();
            assert_eq!(env.sync(transaction, Kind::Commit, ""), Answer::Done);
            for op in asked {
                env.wait(op);
            }
            assert_eq!(env.answered(asked[1]), Some(Answer::Changes(1)));
        }
        assert!(env.has_all_answers());
        env.close(db);
    });
}
