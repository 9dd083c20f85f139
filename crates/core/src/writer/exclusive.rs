//! Owns work that wants the database for itself: at the head of the queue, with the readers held back until none is on.

use super::{Arc, Connection, Duration, Entry, Error, ErrorCode, Gate, Instant, Publish, Waiting, Work, Writer};
use crate::error::Result;
use crate::migrate::Plan;

/// How long it waits for the reads that are on; new ones wait for it meanwhile.
const WAIT_FOR_READS: Duration = Duration::from_secs(30);

/// Migrations of somebody who has joined an open database.
pub(crate) struct Exclusive {
    plan: Plan,
    /// Held once no reader is on.
    gate: Option<Gate>,
    pub(super) busy_timeout: Duration,
    done: Box<dyn FnOnce(Result<()>) + Send>,
}

impl Exclusive {
    pub(super) fn fail(self, error: &Error) {
        (self.done)(Err(error.clone()));
    }
}

impl Writer {
    /// Queues `plan`, which is only run if it has something to do.
    pub(crate) fn submit_exclusive(
        self: &Arc<Self>,
        plan: Plan,
        busy_timeout: Duration,
        done: Box<dyn FnOnce(Result<()>) + Send>,
    ) {
        self.submit(Work::Exclusive(Box::new(Exclusive { plan, gate: None, busy_timeout, done })));
    }

    /// Runs it if the readers are held back, else has them held back if it has anything to do.
    pub(super) fn run_exclusive(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        seq: u64,
        since: Option<Instant>,
        exclusive: Box<Exclusive>,
    ) -> Option<(Box<Connection>, Publish)> {
        let ran = match &exclusive.gate {
            None => exclusive.plan.is_needed(&connection),
            Some(_) => exclusive.plan.run(&mut connection).map(|()| false),
        };
        match ran {
            Ok(false) => {
                let Exclusive { gate, done, .. } = *exclusive;
                connection.changes.clear();
                Some((
                    connection,
                    Box::new(move || {
                        drop(gate);
                        done(Ok(()));
                    }),
                ))
            }
            Ok(true) => {
                let writer = Arc::clone(self);
                let held = move |held: Result<Gate, u64>| writer.readers_held_back(held, exclusive);
                self.readers.hold_back(WAIT_FOR_READS, Box::new(held));
                Some((connection, Box::new(|| {})))
            }
            Err(error) if error.is_busy() => {
                let work = Waiting { since, alone: false, work: Work::Exclusive(exclusive) };
                self.queue.lock().line.put_back(Entry { seq, revocations: 0, seen: None, work });
                self.wait(connection, &error);
                None
            }
            Err(error) => Some((connection, Box::new(move || exclusive.fail(&error)))),
        }
    }

    fn readers_held_back(self: &Arc<Self>, held: Result<Gate, u64>, mut exclusive: Box<Exclusive>) {
        match held {
            Ok(gate) => {
                exclusive.gate = Some(gate);
                self.put_first(Work::Exclusive(exclusive));
            }
            Err(_) => exclusive.fail(&Error::new(
                ErrorCode::Busy,
                "pending migrations want the database without readers, and a read was on for all of 30 s",
            )),
        }
    }
}
