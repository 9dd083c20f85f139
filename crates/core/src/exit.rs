//! Owns the process stop: nobody enters SQLite any more, whoever is inside is interrupted and waited for, and SQLCipher's
//! own exit handler never frees its state under a running thread.
//!
//! SQLCipher registers an `atexit` handler at its first use; `exit` runs handlers last in, first out, while other threads
//! still run. Ours is registered after that first use and so runs before it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Once, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::interrupt::{Interrupt, Target, env_owner, interrupt_until_ended};

/// How long the stop waits for threads to leave SQLite; an fsync can take longer.
const PATIENCE: Duration = Duration::from_millis(200);

static STOPPING: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);
static HANDLES: LazyLock<Mutex<Vec<Weak<Interrupt>>>> = LazyLock::new(|| Mutex::new(Vec::new()));
static AT_EXIT: Once = Once::new();

/// Proof that this thread may be inside SQLite; the stop waits for its end.
#[derive(Debug)]
pub(crate) struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Announces that this thread enters SQLite; `None` once the process is stopping.
pub(crate) fn enter() -> Option<Inside> {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let inside = Inside(());
    (!STOPPING.load(Ordering::SeqCst)).then_some(inside)
}

/// Whether the process is stopping; looked at before each SQLite call that begins something new.
pub(crate) fn stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// Makes a connection known to the stop, and registers our `atexit` handler behind SQLCipher's.
pub(crate) fn register(interrupt: &Arc<Interrupt>) {
    AT_EXIT.call_once(|| {
        // SAFETY: `at_exit` is a plain function with the C ABI that lives as long as the module, which the Node-API layer
        // keeps from being unloaded.
        unsafe { atexit(at_exit) };
    });
    let mut handles = HANDLES.lock();
    if handles.len() == handles.capacity() {
        handles.retain(|handle| handle.strong_count() > 0);
    }
    handles.push(Arc::downgrade(interrupt));
}

/// Folders of temporary databases that are open.
static FOLDERS: LazyLock<Mutex<Vec<PathBuf>>> = LazyLock::new(|| Mutex::new(Vec::new()));

/// Has `folder` removed should the process end before [`remove_folder`].
pub(crate) fn remember_folder(folder: PathBuf) {
    FOLDERS.lock().push(folder);
}

/// Removes the private folder of a temporary database.
pub(crate) fn remove_folder(folder: &Path) {
    FOLDERS.lock().retain(|other| other != folder);
    // What cannot be removed stays in the system's temporary folder, which the system sweeps.
    let _ = std::fs::remove_dir_all(folder);
}

/// Interrupts the single statements of an environment that is gone, on whatever connection they run.
pub(crate) fn interrupt_env(env: u64) {
    let handles: Vec<Arc<Interrupt>> = HANDLES.lock().iter().filter_map(Weak::upgrade).collect();
    for handle in handles {
        interrupt_until_ended(handle, Target::Owner(env_owner(env)));
    }
}

/// Stops the engine because the process ends with `code`: nothing new is begun, running statements are interrupted, and
/// for at most 200 ms it waits until no thread is inside SQLite. Idempotent.
pub fn process_exit(code: i32) {
    EXIT_CODE.store(code, Ordering::SeqCst);
    stop();
}

fn stop() -> bool {
    STOPPING.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + PATIENCE;
    while INSIDE.load(Ordering::SeqCst) > 0 {
        // A lock that cannot be had belongs to a thread that the system has already killed (Windows), or to one about to leave.
        if let Some(handles) = HANDLES.try_lock() {
            for interrupt in handles.iter().filter_map(Weak::upgrade) {
                interrupt.interrupt_any();
            }
        }
        if cfg!(windows) || Instant::now() >= deadline {
            return INSIDE.load(Ordering::SeqCst) == 0;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Whether a process of this system is alive. Where nobody tells: no.
pub(crate) fn is_alive(pid: u32) -> bool {
    #[cfg(unix)]
    {
        // SAFETY: signal 0 is sent to nobody; it only asks whether it could be.
        i32::try_from(pid).is_ok_and(|pid| pid > 0 && unsafe { kill(pid, 0) } == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = pid;
        false
    }
}

extern "C" fn at_exit() {
    let stopped = stop();
    if let Some(folders) = FOLDERS.try_lock() {
        for folder in folders.iter() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
    if !stopped {
        // SAFETY: ends the process without running further handlers: SQLCipher's would free its heap under the thread that
        // is still inside SQLite.
        unsafe { _exit(EXIT_CODE.load(Ordering::SeqCst)) };
    }
}

unsafe extern "C" {
    fn atexit(handler: extern "C" fn()) -> i32;
    fn _exit(code: i32) -> !;
    #[cfg(unix)]
    fn kill(pid: i32, signal: i32) -> i32;
}
