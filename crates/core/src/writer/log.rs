//! Owns how the log stays short: a passive checkpoint after a COMMIT as it grows; when it has passed its limit nevertheless, because
//! readers overlap without a gap, new reads wait for a moment at a gate and the log is truncated; and the checkpoints that are
//! asked for.

use super::{
    Arc, CheckpointMode, Connection, Duration, Entry, Error, ErrorCode, Gate, Instant, Publish, Reply, Waiting, Work,
    Writer,
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
    RanOut { oldest: u64, frames: u32 },
}

/// What a checkpoint that was asked for waits with.
type Asked = (Reply, CheckpointMode, Option<Instant>);

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
                frames >= then.saturating_mul(2) || !self.readers.is_checked_out(oldest)
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
        let mut queue = self.queue.lock();
        match held {
            Ok(gate) => {
                queue.line.push_front(Waiting::new(Work::Truncate { gate }));
                self.start(queue);
            }
            Err(oldest) => queue.truncation = Truncation::RanOut { oldest, frames },
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
            queue.truncation = Truncation::RanOut { oldest: 0, frames };
        }
    }

    /// Runs a checkpoint that was asked for. Busy: tried again until `busyTimeoutMs`, then answered as it is.
    pub(super) fn checkpoint(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        entry: Entry<Asked>,
    ) -> Option<(Box<Connection>, Publish)> {
        let Entry { seq, revocations, seen, work: (reply, mode, since) } = entry;
        let checkpoint = match connection.checkpoint(mode) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Some((connection, Box::new(move || reply.fail(&error)))),
        };
        let busy_since = self.queue.lock().busy_since;
        let waits_since = since.or(busy_since);
        let is_late = waits_since.is_some_and(|since| since.elapsed() >= reply.busy_timeout());
        if checkpoint.busy && mode != CheckpointMode::Passive && !is_late && !reply.busy_timeout().is_zero() {
            let work = Waiting { since, alone: false, work: Work::Checkpoint { reply, mode } };
            self.queue.lock().line.put_back(Entry { seq, revocations, seen, work });
            self.wait(connection, &Error::new(ErrorCode::Busy, "readers are in the way of the checkpoint"));
            return None;
        }
        {
            let mut queue = self.queue.lock();
            queue.calm();
            queue.figures.checkpoints += 1;
            queue.figures.truncations += u64::from(mode == CheckpointMode::Truncate && !checkpoint.busy);
        }
        let mut record = Vec::new();
        wire::checkpointed(&mut record, reply.op(), checkpoint);
        Some((connection, Box::new(move || reply.send(&record))))
    }
}
