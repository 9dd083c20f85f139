//! Pools: two environments on one folder that use, evict and delete the same databases, with room for one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use sqlflow_core::wire::Kind;
use sqlflow_core::{ErrorCode, PoolLimits};

use crate::check::check;
use crate::env::{Answer, Env, Target};

const NAMES: [&str; 2] = ["a.db", "b.db"];
const STEPS: usize = 4;

/// What is known of a database, by all environments; of the process, not of the model: it changes no schedule.
#[derive(Default)]
struct Known {
    /// The engine that is in use, and how many uses of it are on.
    engine: u32,
    uses: usize,
    /// Rows that are acknowledged.
    rows: Vec<u64>,
    last: u64,
}

type World = Arc<Mutex<HashMap<&'static str, Known>>>;

/// One environment with a pool.
struct User {
    env: Env,
    pool: Target,
    world: World,
    open: HashMap<&'static str, (Target, u32)>,
}

impl User {
    fn new(folder: &str, limits: PoolLimits, world: &World) -> Self {
        let mut env = Env::new();
        let pool = env.open_pool(folder, limits);
        Self { env, pool, world: Arc::clone(world), open: HashMap::new() }
    }

    fn begin(&mut self, name: &'static str) -> Target {
        let (target, engine) = match self.open.get(name) {
            Some((target, engine)) if self.env.acquire(*target) => (*target, *engine),
            _ => {
                let op = self.env.ask_pooled(self.pool, name);
                let Answer::Target(target, engine) = self.env.wait(op) else { panic!("{name} was not opened") };
                self.open.insert(name, (target, engine));
                (target, engine)
            }
        };
        let mut world = self.world.lock().unwrap();
        let known = world.entry(name).or_default();
        assert!(known.uses == 0 || known.engine == engine, "{name} has two engines at a time");
        known.engine = engine;
        known.uses += 1;
        target
    }

    fn end(&mut self, name: &'static str, target: Target) {
        self.world.lock().unwrap().entry(name).or_default().uses -= 1;
        self.env.release(target);
    }

    /// Writes a row, and reads all that must be there.
    fn using(&mut self, name: &'static str) {
        let target = self.begin(name);
        self.env.exec(target, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, who TEXT, n INTEGER)");
        let (row, before) = {
            let mut world = self.world.lock().unwrap();
            let known = world.entry(name).or_default();
            known.last += 1;
            (known.last, known.rows.clone())
        };
        let wrote = self.env.call(target, Kind::Run, &format!("INSERT INTO t(n) VALUES ({row})"));
        assert_eq!(wrote, Answer::Changes(1));
        self.world.lock().unwrap().entry(name).or_default().rows.push(row);
        let there = self.env.values(target, "SELECT n FROM t");
        // While it is in use, nothing of it is deleted.
        for row in before.iter().chain([&row]) {
            assert!(there.contains(&row.to_string()), "{row} is not in {name}, which has {there:?}");
        }
        self.end(name, target);
    }

    fn delete(&mut self, name: &'static str, patience: Duration) {
        let op = self.env.ask_delete(self.pool, name, patience);
        match self.env.wait(op) {
            Answer::Changes(_) | Answer::Error(ErrorCode::QueueTimeout, _) => {}
            other => panic!("deleting {name} gave {other:?}"),
        }
    }

    fn evict(&mut self, name: &'static str) {
        let op = self.env.ask_evict(self.pool, name);
        assert!(matches!(self.env.wait(op), Answer::Changes(_)));
    }

    fn finish(mut self) {
        if thread_rng().gen_bool(0.5) {
            for (target, _) in std::mem::take(&mut self.open).into_values() {
                if self.env.acquire(target) {
                    self.env.release(target);
                }
            }
            assert!(self.env.has_all_answers());
        }
        self.env.shutdown();
    }
}

fn folder_of(path: &str) -> String {
    let folder = Path::new(path).parent().unwrap();
    std::fs::copy(path, folder.join("b.db")).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn eventually_closed(folder: &str) {
    let log = Path::new(folder).join("b.db-wal");
    while log.exists() {
        shuttle::thread::yield_now();
    }
}

fn limits(inactivity: Duration) -> PoolLimits {
    PoolLimits { max_open: 1, max_open_bytes: 1, inactivity }
}

/// Runs `user` in two environments at the same time.
fn together(path: &str, limits: PoolLimits, user: fn(&mut User)) {
    let folder = folder_of(path);
    let world = World::default();
    let spawn = || {
        let (folder, world) = (folder.clone(), Arc::clone(&world));
        shuttle::thread::spawn(move || {
            let mut one = User::new(&folder, limits, &world);
            user(&mut one);
            one.finish();
        })
    };
    for thread in [spawn(), spawn()] {
        thread.join().unwrap();
    }
    eventually_closed(&folder);
}

fn any_name() -> &'static str {
    NAMES[thread_rng().gen_range(0..NAMES.len())]
}

#[test]
fn a_database_in_use_is_never_closed_and_never_has_two_engines() {
    check("pools", |path| {
        together(path, limits(Duration::ZERO), |user| {
            for _ in 0..STEPS {
                match thread_rng().gen_range(0..4) {
                    0 => user.evict(any_name()),
                    _ => user.using(any_name()),
                }
            }
        });
    });
}

#[test]
fn what_is_closed_when_idle_is_opened_anew_with_all_it_had() {
    check("pools, idle", |path| {
        together(path, limits(Duration::from_nanos(1)), |user| {
            for _ in 0..STEPS {
                user.using(any_name());
            }
        });
    });
}

#[test]
fn a_deletion_waits_for_its_users_and_new_ones_for_it() {
    check("pools, deletion", |path| {
        let folder = folder_of(path);
        let world = World::default();
        let uses = {
            let (folder, world) = (folder.clone(), Arc::clone(&world));
            shuttle::thread::spawn(move || {
                let mut user = User::new(&folder, limits(Duration::ZERO), &world);
                for _ in 0..STEPS {
                    let target = user.begin("b.db");
                    user.env.exec(target, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, who TEXT, n INTEGER)");
                    user.env.exec(target, "DELETE FROM t; INSERT INTO t(n) VALUES (1)");
                    // Between the two nobody takes it away, whoever deletes it.
                    assert_eq!(user.env.values(target, "SELECT n FROM t"), ["1"]);
                    user.end("b.db", target);
                }
                user.finish();
            })
        };
        let mut user = User::new(&folder, limits(Duration::ZERO), &world);
        for _ in 0..STEPS {
            let patience = if thread_rng().gen_bool(0.5) { Duration::ZERO } else { Duration::from_millis(1) };
            user.delete("b.db", patience);
            if thread_rng().gen_bool(0.5) {
                user.evict("b.db");
            }
        }
        user.finish();
        uses.join().unwrap();
        eventually_closed(&folder);
    });
}
