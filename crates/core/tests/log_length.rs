//! How the log stays short: whoever reads, and whatever is asked for.

mod support;

use sqlflow_core::wire::{Checkpointed, Kind};
use sqlflow_core::{CheckpointMode, OpenOptions};
use support::{Answer, Env, Target, eventually};

const LOG_BYTES: usize = 9;
const TRUNCATIONS: usize = 15;
const TRANSACTIONS: usize = 7;
const HELD_BACK: usize = 20;
const LIMIT: u64 = 8 * 1024 * 1024;

fn open(env: &mut Env, folder: &tempfile::TempDir, options: OpenOptions) -> Target {
    let db = env.open_with(&folder.path().join("a.db").to_string_lossy(), options);
    env.exec(db, "CREATE TABLE t(a)");
    db
}

/// Some four megabytes of log.
fn grow(env: &mut Env, db: Target) {
    assert!(matches!(env.run(db, "INSERT INTO t VALUES (randomblob(4000000))", &[]), Answer::Changes { .. }));
}

#[test]
fn a_checkpoint_that_is_asked_for_tells_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let mut env = Env::new();
    let options = OpenOptions { busy_timeout: std::time::Duration::from_millis(5), ..OpenOptions::default() };
    let db = open(&mut env, &folder, options);
    let pinned = env.begin_read(db);
    env.run(db, "INSERT INTO t VALUES (1)", &[]);
    let passive = env.checkpoint(db, CheckpointMode::Passive).checkpointed();
    assert!(passive.log_frames > passive.checkpointed_frames, "{passive:?}");
    for mode in [CheckpointMode::Full, CheckpointMode::Restart, CheckpointMode::Truncate] {
        assert!(env.checkpoint(db, mode).checkpointed().busy, "{mode:?}");
    }
    assert_eq!(env.commit(pinned), Answer::Done);
    let full = env.checkpoint(db, CheckpointMode::Full).checkpointed();
    assert_eq!((full.busy, full.log_frames), (false, full.checkpointed_frames));
    let truncated = env.checkpoint(db, CheckpointMode::Truncate).checkpointed();
    assert_eq!(truncated, Checkpointed { busy: false, log_frames: 0, checkpointed_frames: 0 });
    assert_eq!(folder.path().join("a.db-wal").metadata().unwrap().len(), 0);
}

// reader 1              | reader 2              | writer
// BEGIN                 |                       |
//                       |                       | writes
//                       | asks to begin         |
// COMMIT                |                       |
//                       | BEGIN                 |
// ... never without one that reads or waits: without the gate the log could never be begun anew.
#[test]
fn readers_that_overlap_without_a_gap_do_not_make_the_log_grow() {
    let folder = tempfile::tempdir().unwrap();
    let mut env = Env::new();
    let db = open(&mut env, &folder, OpenOptions { log_limit: LIMIT, ..OpenOptions::default() });
    let mut reading = env.begin_read(db);
    let mut longest = 0.0_f64;
    for _ in 0..24 {
        grow(&mut env, db);
        let next = env.ask(db, Kind::BeginRead, "", &[]);
        // Granted already, unless it is held back at the gate for the one that reads.
        eventually("it has begun or is held back", || {
            env.poll();
            env.stat(db, TRANSACTIONS) > 1.0 || env.stat(db, HELD_BACK) > 0.0
        });
        assert_eq!(env.commit(reading), Answer::Done);
        reading = env.wait(next).target();
        longest = longest.max(env.stat(db, LOG_BYTES));
    }
    assert_eq!(env.commit(reading), Answer::Done);
    assert!(env.stat(db, TRUNCATIONS) > 0.0);
    assert!(longest < 40_000_000.0, "the log grew to {longest} bytes");
}

#[test]
fn a_log_beyond_its_limit_is_truncated_once_the_reader_that_pins_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut env = Env::new();
    let db = open(&mut env, &folder, OpenOptions { log_limit: LIMIT, ..OpenOptions::default() });
    let pinned = env.begin_read(db);
    for _ in 0..4 {
        grow(&mut env, db);
    }
    assert!(env.stat(db, LOG_BYTES) > 12_000_000.0);
    assert_eq!(env.commit(pinned), Answer::Done);
    eventually("the log is truncated", || {
        grow(&mut env, db);
        env.stat(db, TRUNCATIONS) > 0.0
    });
    eventually("the file of the log is short", || {
        folder.path().join("a.db-wal").metadata().unwrap().len() < 10_000_000
    });
}

#[test]
fn reads_go_on_while_a_gate_waits_for_a_reader_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut env = Env::new();
    let db = open(&mut env, &folder, OpenOptions { log_limit: LIMIT, ..OpenOptions::default() });
    let pinned = env.begin_read(db);
    for _ in 0..4 {
        grow(&mut env, db);
        // At most held back for a moment: the gate runs out.
        assert!(env.number(db, "SELECT count(*) FROM t") >= 1.0);
    }
    assert_eq!(env.commit(pinned), Answer::Done);
}
