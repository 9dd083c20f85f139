//! Owns the engine's threads: one tokio runtime per process, a scheduler thread for timers and a bounded pool for SQLite work.
//!
//! The runtime starts with the first database and lives until the process ends; its threads leave after ten idle seconds.
//! Work comes in lanes, so that no kind of it can take every thread: opens at most half of them, copies at most a quarter, all
//! of these with the reads together at most three quarters. A COMMIT always finds a thread.

#![cfg_attr(
    feature = "model",
    expect(dead_code, reason = "a model runs the work as threads of its own, and has no use for the pool")
)]

#[cfg(feature = "model")]
mod model;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

#[cfg(feature = "model")]
pub(crate) use model::{after, spawn};

/// What kind of work wants a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The writer's drain and everything that ends a transaction.
    Write,
    /// A reader's drain.
    Read,
    /// Opening and closing of databases, key derivation.
    Open,
    /// Copies and checks of whole databases, which take as long as they take.
    Copy,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Lanes {
    /// Threads inside reads and opens.
    reads: usize,
    /// Threads inside opens.
    opens: usize,
    /// Threads inside copies.
    copies: usize,
    waiting_reads: VecDeque<Work>,
    waiting_opens: VecDeque<Work>,
    waiting_copies: VecDeque<Work>,
}

struct Threads {
    /// `None` when the system gave no thread for the scheduler; work then runs where it is submitted.
    runtime: Option<Runtime>,
    most: usize,
    lanes: Mutex<Lanes>,
    /// Admitted work that no thread has taken yet.
    ready: Mutex<VecDeque<(Lane, Work)>>,
    /// How much that is, for those who only look. Set under the lock: counted beside it, two takers of one that was counted and
    /// one that was not yet made it wrap, and whoever looked then asked for as many threads.
    waiting: AtomicUsize,
    /// A thread that ran out of work is still looking.
    looking: AtomicBool,
}

/// How long a thread that ran out of work looks for more before it sleeps. Waking a thread costs the submitting one 5-8 us, and
/// the next statement of an interactive transaction comes within 20.
const LOOK_FOR: Duration = Duration::from_micros(50);

static THREADS: LazyLock<Threads> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let most = (4 * cores).max(8);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(most)
        .thread_name("sqlflow")
        .enable_time()
        .build()
        .ok();
    let lanes = Lanes::default();
    Threads {
        runtime,
        most,
        lanes: Mutex::new(lanes),
        ready: Mutex::new(VecDeque::new()),
        waiting: AtomicUsize::new(0),
        looking: AtomicBool::new(false),
    }
});

impl Lanes {
    /// The next waiting work that may have a thread now; counted as running.
    fn admit(&mut self, most: usize) -> Option<(Lane, Work)> {
        if self.reads + self.opens + self.copies >= most * 3 / 4 {
            return None;
        }
        if self.opens < most / 2
            && let Some(work) = self.waiting_opens.pop_front()
        {
            self.opens += 1;
            return Some((Lane::Open, work));
        }
        if let Some(work) = self.waiting_reads.pop_front() {
            self.reads += 1;
            return Some((Lane::Read, work));
        }
        if self.copies >= most / 4 {
            return None;
        }
        let work = self.waiting_copies.pop_front()?;
        self.copies += 1;
        Some((Lane::Copy, work))
    }

    fn leave(&mut self, lane: Lane) {
        match lane {
            Lane::Write => {}
            Lane::Read => self.reads -= 1,
            Lane::Open => self.opens -= 1,
            Lane::Copy => self.copies -= 1,
        }
    }
}

impl Threads {
    /// Hands admitted work to the thread that is looking for some, or to one of the pool.
    fn start(&'static self, lane: Lane, work: Work) {
        let Some(runtime) = &self.runtime else { return self.run(lane, work) };
        {
            let mut ready = self.ready.lock();
            ready.push_back((lane, work));
            self.waiting.store(ready.len(), Ordering::SeqCst);
        }
        // Either we see the one who looks, or it sees our work in its last look: both sides are sequentially consistent.
        if !self.looking.load(Ordering::SeqCst) {
            drop(runtime.spawn_blocking(|| self.serve()));
        }
    }

    fn run(&'static self, lane: Lane, work: Work) {
        // A panic of a job is answered by its own guards (`Reply`, the queues); here it only must not end the thread's accounting.
        let _ = catch_unwind(AssertUnwindSafe(work));
        if lane == Lane::Write {
            return;
        }
        let next = {
            let mut lanes = self.lanes.lock();
            lanes.leave(lane);
            lanes.admit(self.most)
        };
        if let Some((lane, work)) = next {
            self.start(lane, work);
        }
    }

    /// What a thread of the pool does: runs what is ready, looks a little longer, and leaves.
    fn serve(&'static self) {
        while let Some((lane, work)) = self.take().or_else(|| self.look()) {
            self.run(lane, work);
        }
    }

    fn take(&self) -> Option<(Lane, Work)> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut ready = self.ready.lock();
        let taken = ready.pop_front();
        self.waiting.store(ready.len(), Ordering::SeqCst);
        taken
    }

    /// Looks for work for a moment; one thread at a time.
    fn look(&'static self) -> Option<(Lane, Work)> {
        if self.looking.swap(true, Ordering::SeqCst) {
            return None;
        }
        let since = Instant::now();
        while self.waiting.load(Ordering::Relaxed) == 0 && since.elapsed() < LOOK_FOR {
            // On a busy machine the one we wait for may need this very core.
            std::thread::yield_now();
        }
        self.looking.store(false, Ordering::SeqCst);
        let taken = self.take();
        // What came while we were the one to take it, and is more than one thread's work: a thread for each.
        if let Some(runtime) = &self.runtime {
            for _ in 0..self.waiting.load(Ordering::SeqCst) {
                drop(runtime.spawn_blocking(|| self.serve()));
            }
        }
        taken
    }
}

/// Runs `work` on an engine thread, in the order of its lane.
#[cfg(not(feature = "model"))]
pub(crate) fn spawn(lane: Lane, work: impl FnOnce() + Send + 'static) {
    let threads = &*THREADS;
    let work: Work = Box::new(work);
    let next = {
        let mut lanes = threads.lanes.lock();
        match lane {
            Lane::Write => Some((Lane::Write, work)),
            Lane::Read => {
                lanes.waiting_reads.push_back(work);
                lanes.admit(threads.most)
            }
            Lane::Open => {
                lanes.waiting_opens.push_back(work);
                lanes.admit(threads.most)
            }
            Lane::Copy => {
                lanes.waiting_copies.push_back(work);
                lanes.admit(threads.most)
            }
        }
    };
    if let Some((lane, work)) = next {
        threads.start(lane, work);
    }
}

/// Runs `work`, which must be short and must not enter SQLite, on the scheduler thread after `delay`.
#[cfg(not(feature = "model"))]
pub(crate) fn after(delay: Duration, work: impl FnOnce() + Send + 'static) {
    if let Some(runtime) = &THREADS.runtime {
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            work();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Box::new(|| {})
    }

    #[test]
    fn opens_take_half_of_the_threads_and_reads_leave_a_quarter_to_writes() {
        let mut lanes = Lanes::default();
        for _ in 0..20 {
            lanes.waiting_opens.push_back(work());
            lanes.waiting_reads.push_back(work());
            lanes.waiting_copies.push_back(work());
        }
        while lanes.admit(16).is_some() {}
        assert_eq!((lanes.opens, lanes.reads), (8, 4));
        lanes.leave(Lane::Open);
        assert_eq!(lanes.admit(16).map(|(lane, _)| lane), Some(Lane::Open));
    }

    #[test]
    fn copies_take_a_quarter_of_the_threads_and_wait_for_nobody_else() {
        let mut lanes = Lanes::default();
        for _ in 0..20 {
            lanes.waiting_copies.push_back(work());
        }
        while lanes.admit(16).is_some() {}
        assert_eq!(lanes.copies, 4);
        lanes.waiting_opens.push_back(work());
        assert_eq!(lanes.admit(16).map(|(lane, _)| lane), Some(Lane::Open));
    }
}
