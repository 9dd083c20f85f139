//! Owns the figures of an open database at one moment, and their order on the way to JavaScript.

use crate::readers::ReaderFigures;
use crate::writer::WriterFigures;

/// Figures of an open database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    values: [f64; 21],
}

impl Stats {
    pub(crate) fn new(writer: WriterFigures, readers: ReaderFigures) -> Self {
        let done = writer.done;
        let cache = {
            let mut cache = done.cache;
            cache += readers.cache;
            cache
        };
        Self {
            values: [
                f64::from(writer.state),
                count(writer.queued),
                writer.held_for.as_secs_f64() * 1_000.0,
                count(readers.open),
                count(readers.idle),
                count(readers.queued),
                readers.oldest.as_secs_f64() * 1_000.0,
                count(readers.transactions),
                f64::from(done.log_frames),
                number(done.log_bytes),
                number(done.commits),
                number(done.rollbacks),
                number(done.groups),
                number(done.members),
                number(done.checkpoints),
                number(done.truncations),
                number(cache.hits),
                number(cache.misses),
                number(cache.bytes),
                number(done.busy_waits),
                f64::from(u8::from(readers.held_back)),
            ],
        }
    }

    /// In the order that `src/stats.ts` names them in.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

fn count(value: usize) -> f64 {
    number(u64::try_from(value).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53, and figures may be rounded")]
fn number(value: u64) -> f64 {
    value as f64
}
