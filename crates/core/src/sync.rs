//! Owns where the engine's queues and states take their locks and atomics from, so that a model checker can put its own in their place.

#[cfg(feature = "model")]
mod model;

#[cfg(feature = "model")]
pub(crate) use model::{Mutex, MutexGuard, interleaved};
#[cfg(not(feature = "model"))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

pub(crate) mod atomic {
    #[cfg(feature = "model")]
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    #[cfg(not(feature = "model"))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
}

/// What a loop does that waits a few instructions for another thread.
pub(crate) fn spin_loop() {
    #[cfg(feature = "model")]
    shuttle::hint::spin_loop();
    #[cfg(not(feature = "model"))]
    std::hint::spin_loop();
}

/// A point before something that other threads can see and that is neither a lock nor an atomic: a model may change threads here.
pub(crate) fn point() {
    #[cfg(feature = "model")]
    shuttle::thread::sleep(std::time::Duration::ZERO);
}
