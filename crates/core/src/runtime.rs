//! Owns the engine's threads: one tokio runtime per process, a scheduler thread for timers and a bounded pool for SQLite work.
//!
//! The runtime starts with the first database and lives until the process ends; its threads leave after ten idle seconds.
//! Work comes in lanes, so that no kind of it can take every thread: opens at most half of them, reads and opens together
//! at most three quarters. A COMMIT always finds a thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// What kind of work wants a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The writer's drain and everything that ends a transaction.
    Write,
    /// A reader's drain.
    Read,
    /// Opening and closing of databases, key derivation.
    Open,
}

type Work = Box<dyn FnOnce() + Send>;

struct Lanes {
    /// Threads inside reads and opens.
    reads: usize,
    /// Threads inside opens.
    opens: usize,
    waiting_reads: VecDeque<Work>,
    waiting_opens: VecDeque<Work>,
}

struct Threads {
    /// `None` when the system gave no thread for the scheduler; work then runs where it is submitted.
    runtime: Option<Runtime>,
    most: usize,
    lanes: Mutex<Lanes>,
}

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
    let lanes = Lanes { reads: 0, opens: 0, waiting_reads: VecDeque::new(), waiting_opens: VecDeque::new() };
    Threads { runtime, most, lanes: Mutex::new(lanes) }
});

impl Lanes {
    /// The next waiting work that may have a thread now; counted as running.
    fn admit(&mut self, most: usize) -> Option<(Lane, Work)> {
        if self.reads + self.opens >= most * 3 / 4 {
            return None;
        }
        if self.opens < most / 2
            && let Some(work) = self.waiting_opens.pop_front()
        {
            self.opens += 1;
            return Some((Lane::Open, work));
        }
        let work = self.waiting_reads.pop_front()?;
        self.reads += 1;
        Some((Lane::Read, work))
    }

    fn leave(&mut self, lane: Lane) {
        match lane {
            Lane::Write => {}
            Lane::Read => self.reads -= 1,
            Lane::Open => self.opens -= 1,
        }
    }
}

impl Threads {
    fn start(&'static self, lane: Lane, work: Work) {
        let body = move || {
            // A panic of a job is answered by its own guards (`Reply`, `Poison`); here it only must not be swallowed half way.
            let _ = catch_unwind(AssertUnwindSafe(work));
            if lane != Lane::Write {
                self.finish(lane);
            }
        };
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn_blocking(body)),
            None => body(),
        }
    }

    fn finish(&'static self, lane: Lane) {
        let next = {
            let mut lanes = self.lanes.lock();
            lanes.leave(lane);
            lanes.admit(self.most)
        };
        if let Some((lane, work)) = next {
            self.start(lane, work);
        }
    }
}

/// Runs `work` on an engine thread, in the order of its lane.
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
        }
    };
    if let Some((lane, work)) = next {
        threads.start(lane, work);
    }
}

/// Runs `work`, which must be short and must not enter SQLite, on the scheduler thread after `delay`.
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
        let mut lanes = Lanes { reads: 0, opens: 0, waiting_reads: VecDeque::new(), waiting_opens: VecDeque::new() };
        for _ in 0..20 {
            lanes.waiting_opens.push_back(work());
            lanes.waiting_reads.push_back(work());
        }
        while lanes.admit(16).is_some() {}
        assert_eq!((lanes.opens, lanes.reads), (8, 4));
        lanes.leave(Lane::Open);
        assert_eq!(lanes.admit(16).map(|(lane, _)| lane), Some(Lane::Open));
    }
}
