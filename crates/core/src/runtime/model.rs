//! Owns the engine's work in a model: each job is a thread of the model checker, each timer one that may run at any later point.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Lane;

/// So many timers of a schedule run whenever they like. Those that come later give way first, or a watch that arms itself again and
/// again would be most of the schedule.
const EAGER: usize = 8;
/// How often a later timer gives way.
const GIVES_WAY: usize = 16;
/// A schedule that needs more timers than this has come to a halt: nothing but its watches runs any more.
const MOST: usize = 4_000;

shuttle::lazy_static! {
    /// Timers that the schedule has run.
    static ref FIRED: AtomicUsize = AtomicUsize::new(0);
}

/// Runs `work` as a thread of the model. Lanes bound how many threads there are, which a model does not do.
pub(crate) fn spawn(_lane: Lane, work: impl FnOnce() + Send + 'static) {
    drop(shuttle::thread::spawn(work));
}

/// Runs `work` at any later point, whatever the delay.
pub(crate) fn after(_delay: Duration, work: impl FnOnce() + Send + 'static) {
    drop(shuttle::thread::spawn(move || {
        let fired = FIRED.fetch_add(1, Ordering::Relaxed);
        assert!(fired < MOST, "{MOST} timers have run: somebody waits for what never comes");
        if fired >= EAGER {
            for _ in 0..GIVES_WAY {
                shuttle::thread::yield_now();
            }
        }
        work();
    }));
}
