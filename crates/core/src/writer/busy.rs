//! Owns what the write queue does when it cannot go on: another process holds the lock, or its connection was lost.

use super::{
    Arc, AssertUnwindSafe, Backoff, Connection, Entry, Error, Instant, Lane, Queue, Reply, State, Waiting, Watch, Work,
    Writer, catch_unwind, engine_failed, exit, fail_entries, runtime,
};
use crate::connection::Role;

impl Waiting {
    /// Whether it has waited for a foreign lock as long as its handle allows.
    fn is_late(&self, busy_since: Instant, now: Instant) -> bool {
        let limit = match &self.work {
            // It does not wait here: see `step_aside`.
            Work::Exclusive(_) => None,
            _ => self.reply().map(Reply::busy_timeout),
        };
        limit.is_some_and(|limit| now.duration_since(self.since.unwrap_or(busy_since)) >= limit)
    }
}

impl Writer {
    /// Another process holds the lock: the entries keep their places, a timer tries again, and whoever has waited for
    /// `busyTimeoutMs` is told.
    pub(super) fn wait(self: &Arc<Self>, connection: Box<Connection>, error: &Error) {
        let (late, delay) = {
            let mut queue = self.queue.lock();
            let now = Instant::now();
            let busy_since = *queue.busy_since.get_or_insert(now);
            let late = queue.line.remove_if(|waiting| waiting.is_late(busy_since, now));
            queue.connection = Some(connection);
            queue.figures.busy_waits += 1;
            if queue.line.is_empty() {
                queue.state = State::Idle;
                queue.calm();
                (late, None)
            } else {
                queue.state = State::Waiting;
                (late, Some(queue.backoff.next()))
            }
        };
        tell(late, error);
        if let Some(delay) = delay {
            let writer = Arc::clone(self);
            runtime::after(delay, move || writer.retry());
        }
    }

    fn retry(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        if matches!(queue.state, State::Waiting) {
            queue.state = State::Idle;
            if queue.line.is_empty() {
                queue.calm();
            }
            self.start(queue);
        }
    }

    /// Replaces a connection that did not come back clean. Busy: tried again by timer.
    pub(super) fn reopen(self: &Arc<Self>) {
        self.reopen_after(Backoff::new());
    }

    fn reopen_after(self: &Arc<Self>, mut backoff: Backoff) {
        let writer = Arc::clone(self);
        runtime::spawn(Lane::Open, move || {
            let Some(_inside) = exit::enter() else { return };
            let opened = catch_unwind(AssertUnwindSafe(|| writer.profile.connect(Role::Writer)));
            match opened {
                Ok(Ok(connection)) => {
                    writer.queue.lock().watch = Watch::new(Arc::clone(&connection.interrupt));
                    writer.drain(Box::new(connection), None);
                }
                Ok(Err(error)) if Error::is_busy(&error) => {
                    let late = {
                        let mut queue = writer.queue.lock();
                        let now = Instant::now();
                        let busy_since = *queue.busy_since.get_or_insert(now);
                        queue.line.remove_if(|waiting| waiting.is_late(busy_since, now))
                    };
                    tell(late, &error);
                    runtime::after(backoff.next(), move || writer.reopen_after(backoff));
                }
                Ok(Err(error)) => writer.fail_all(&error),
                Err(_) => writer.fail_all(&engine_failed()),
            }
        });
    }
}

impl Queue {
    /// The file is not busy, or nobody waits for it.
    pub(super) fn calm(&mut self) {
        if self.busy_since.take().is_some() {
            self.backoff = Backoff::new();
        }
    }
}

/// Tells those who have waited as long as they would.
fn tell(late: impl IntoIterator<Item = Entry<Waiting>>, error: &Error) {
    let message = "another process holds the write lock of the file, and held it for all of busyTimeoutMs".to_owned();
    let error = Error { message, ..error.clone() };
    fail_entries(late, &error);
}
