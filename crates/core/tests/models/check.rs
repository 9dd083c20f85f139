//! Owns the running of one model: the file it works on, the schedulers, and what is printed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, MaxSteps, Runner};
use tempfile::TempDir;

use crate::env::Env;

/// Schedules of each scheduler.
const SCHEDULES: usize = 400;
/// Priority changes in a schedule of the PCT scheduler (Burckhardt and others, 2010): finds what needs so many of them.
const DEPTH: usize = 4;
/// SQLite needs more than the 60 KiB a model's thread has by default.
const STACK_BYTES: usize = 1024 * 1024;
/// Far more than any schedule that ends.
const MOST_STEPS: usize = 400_000;

/// One model at a time: the engine knows all of the process's connections, and one model's are not another's.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `model` in many schedules, each with a file of its own that holds an empty table `t(who, n)`.
pub(crate) fn check(name: &str, model: impl Fn(&str) + Clone + Send + Sync + 'static) {
    let _alone = ALONE.lock().expect("another model failed, and its threads are lost; run this one by itself");
    let from = Instant::now();
    let template = template();
    let run = move || {
        let folder = folder();
        let path = folder.path().join("a.db");
        std::fs::copy(template, &path).unwrap();
        model(path.to_str().unwrap());
        eventually_closed(&path);
    };
    if let Ok(schedule) = std::env::var("SQLFLOW_REPLAY") {
        Runner::new(ReplayScheduler::new_from_encoded(schedule.trim()), config()).run(run);
        return;
    }
    let schedules = number("SQLFLOW_SCHEDULES").map_or(SCHEDULES, |count| usize::try_from(count).unwrap());
    let seed = number("SQLFLOW_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() & 0xffff_ffff
    });
    say(&format!("model {name}: seed {seed}"));
    let random = Runner::new(RandomScheduler::new_from_seed(seed, schedules), config()).run(run.clone());
    let pct = Runner::new(PctScheduler::new_from_seed(seed, DEPTH, schedules), config()).run(run);
    say(&format!(
        "model {name}: {random} random schedules, {pct} by priority, in {:.1} s",
        from.elapsed().as_secs_f64()
    ));
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Past the harness, which hides what a test prints that passes: how much was looked at is part of the result.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

/// In memory where the system has a place for that: a schedule waits for no disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The file every schedule begins with, made once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = TEMPLATE.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("template.db");
        let made = path.to_str().unwrap().to_owned();
        let make = move || {
            let mut env = Env::new();
            let db = env.open(&made);
            env.exec(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, who TEXT, n INTEGER)");
            env.close(db);
        };
        Runner::new(RandomScheduler::new_from_seed(0, 1), config()).run(make);
        (folder, path)
    });
    path
}

/// The engine lets go of the file: its last connection, which removes the log, comes back whatever the users of it did.
fn eventually_closed(path: &Path) {
    let log = path.with_extension("db-wal");
    while log.exists() {
        shuttle::thread::yield_now();
    }
}
