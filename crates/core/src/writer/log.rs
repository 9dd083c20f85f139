//! Owns how the log stays short: a passive checkpoint after a COMMIT as it grows; when it has passed its limit nevertheless, because
//! readers overlap without a gap, new reads wait for a moment at a gate and the log is truncated; and the checkpoints that are
//! asked for.

use super::{
    Arc, Backoff, CheckpointMode, Connection, Duration, Gate, Instant, Publish, Reply, State, Waiting, Work, Writer,
    engine_failed, runtime,
};
use crate::wire;

/// How long new reads are held back for a truncation.
const HOLD_READS_FOR: Duration = Duration::from_millis(100);

/// What a gate for the truncation of the log has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truncation {
    /// None is set; one may be.
    Open,
    /// Reads are held back, or the truncation waits in the queue.
    Pending,
    /// It ran out: none is set again before the oldest reader it waited for has ended, or the log has doubled.
    RanOut { oldest: Option<u64>, frames: u32 },
}

/// A checkpoint that was asked for.
pub(crate) struct Asked {
    pub(super) reply: Reply,
    mode: CheckpointMode,
    /// When it first found readers in the way, and the tries since.
    waits: Option<(Instant, Backoff)>,
    /// Held for its second try, so that readers that overlap without a gap are out of the way once.
    gate: Option<Gate>,
}

impl Asked {
    pub(super) fn new(reply: Reply, mode: CheckpointMode) -> Self {
        Self { reply, mode, waits: None, gate: None }
    }
}

impl Writer {
    /// After a COMMIT that has let the log grow.
    pub(super) fn checkpoint_after_commit(self: &Arc<Self>, connection: &mut Connection) {
        // What fails here fails again, and is told, where somebody asked for it.
        let _ = connection.checkpoint(CheckpointMode::Passive);
        self.queue.lock().figures.checkpoints += 1;
        if connection.log_bytes(connection.log_frames()) < self.log_limit {
            return;
        }
        let frames = connection.log_frames();
        let truncation = self.queue.lock().truncation;
        let may = match truncation {
            Truncation::Open => true,
            Truncation::Pending => false,
            Truncation::RanOut { oldest, frames: then } => {
                frames >= then.saturating_mul(2) || oldest.is_some_and(|oldest| !self.readers.is_checked_out(oldest))
            }
        };
        if !may {
            return;
        }
        self.queue.lock().truncation = Truncation::Pending;
        let writer = Arc::clone(self);
        self.readers.hold_back(HOLD_READS_FOR, Box::new(move |held| writer.gate_came(held, frames)));
    }

    /// No reader is in the way any more, or the gate has run out. `Err`: the oldest reader that was in the way.
    fn gate_came(self: &Arc<Self>, held: Result<Gate, u64>, frames: u32) {
        match held {
            Ok(gate) => self.put_first(Work::Truncate { gate }),
            Err(oldest) => self.queue.lock().truncation = Truncation::RanOut { oldest: Some(oldest), frames },
        }
    }

    /// Truncates the log; the gate is held.
    pub(super) fn truncate(&self, connection: &mut Connection) {
        let frames = connection.log_frames();
        let truncated = connection.checkpoint(CheckpointMode::Truncate).is_ok_and(|checkpoint| !checkpoint.busy);
        let mut queue = self.queue.lock();
        queue.figures.checkpoints += 1;
        if truncated {
            queue.figures.truncations += 1;
            queue.truncation = Truncation::Open;
        } else {
            // A reader of another process.
            queue.truncation = Truncation::RanOut { oldest: None, frames };
        }
    }

    /// Asks for a checkpoint.
    pub(crate) fn submit_checkpoint(self: &Arc<Self>, reply: Reply, mode: CheckpointMode) {
        self.submit(Work::Checkpoint(Asked::new(reply, mode)));
    }

    /// Runs a checkpoint that was asked for. With readers in the way it is tried again until `busyTimeoutMs`, then answered as it
    /// is; writers pass meanwhile.
    pub(super) fn checkpoint(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        asked: Asked,
    ) -> (Box<Connection>, Publish) {
        let Asked { reply, mode, waits, gate } = asked;
        let checkpoint = match connection.checkpoint(mode) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return (connection, Box::new(move || reply.fail(&error))),
        };
        let limit = reply.busy_timeout();
        let is_late = waits.as_ref().map_or(limit.is_zero(), |(since, _)| since.elapsed() >= limit);
        if checkpoint.busy && mode != CheckpointMode::Passive && !is_late {
            return (connection, self.try_again(Asked { reply, mode, waits, gate }));
        }
        {
            let mut queue = self.queue.lock();
            queue.figures.checkpoints += 1;
            queue.figures.truncations += u64::from(mode == CheckpointMode::Truncate && !checkpoint.busy);
        }
        let mut record = Vec::new();
        wire::checkpointed(&mut record, reply.op(), checkpoint);
        let publish = move || {
            drop(gate);
            reply.send(&record);
        };
        (connection, Box::new(publish))
    }

    /// The first time as soon as the readers that are on have ended, new ones held back for a moment; later by timer.
    fn try_again(self: &Arc<Self>, asked: Asked) -> Publish {
        let writer = Arc::clone(self);
        let Asked { reply, mode, waits, gate } = asked;
        Box::new(move || {
            drop(gate);
            let Some((since, mut backoff)) = waits else {
                let waits = Some((Instant::now(), Backoff::new()));
                let again = Arc::clone(&writer);
                let held = move |held: Result<Gate, u64>| {
                    again.put_first(Work::Checkpoint(Asked { reply, mode, waits, gate: held.ok() }));
                };
                writer.readers.hold_back(HOLD_READS_FOR, Box::new(held));
                return;
            };
            let delay = backoff.next();
            let waits = Some((since, backoff));
            let again = Arc::clone(&writer);
            runtime::after(delay, move || {
                again.put_first(Work::Checkpoint(Asked { reply, mode, waits, gate: None }));
            });
        })
    }

    /// Puts work before all that waits.
    pub(super) fn put_first(self: &Arc<Self>, work: Work) {
        let mut queue = self.queue.lock();
        if matches!(queue.state, State::Gone) {
            drop(queue);
            return Waiting::new(work).fail(&engine_failed());
        }
        queue.line.push_front(Waiting::new(work));
        self.start(queue);
    }
}
