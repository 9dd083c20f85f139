//! Owns the model checker's lock behind the interface of the real one, and the points in SQLite where a model changes threads.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};

/// A lock that the model checker schedules. Not poisoned by a panic, as the engine's is not.
#[derive(Default)]
pub(crate) struct Mutex<T: ?Sized>(shuttle::sync::Mutex<T>);

/// A lock that is held.
pub(crate) struct MutexGuard<'a, T: ?Sized>(shuttle::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(guard)),
            Err(TryLockError::Poisoned(guard)) => Some(MutexGuard(guard.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A progress handler that lets others run in the middle of a statement, and then asks `handler`.
pub(crate) fn interleaved(mut handler: Option<impl FnMut() -> bool>) -> impl FnMut() -> bool {
    move || {
        shuttle::thread::yield_now();
        handler.as_mut().is_some_and(|handler| handler())
    }
}
