//! Owns what a folder counts, and its figures at one moment.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Folder, Reason};

/// Counted since the first pool on the folder was opened.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) failed: AtomicU64,
    /// By reason.
    closed: [AtomicU64; 5],
}

impl Figures {
    pub(super) fn closed(&self, reason: Reason) {
        if let Some(count) = self.closed.get(usize::from(reason as u8)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Figures of a pool's folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolStats {
    values: [f64; 16],
}

impl PoolStats {
    /// In the order that `src/pool-stats.ts` names them in.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

impl Folder {
    /// Figures of this moment.
    pub(crate) fn stats(&self) -> PoolStats {
        let (mut open, mut used, mut draining, mut leases, mut bytes) = (0, 0, 0, 0, 0);
        for tenant in self.all() {
            let (database, on, drains) = tenant.look();
            open += 1;
            used += u64::from(on > 0);
            draining += u64::from(drains);
            leases += u64::try_from(on).unwrap_or_default();
            bytes += database.map_or(0, |database| database.cache_bytes());
        }
        let opening = u64::try_from(self.opening.load(Ordering::Relaxed)).unwrap_or_default();
        let figures = &self.figures;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let [room, idle, asked, deleted, closed] = &figures.closed;
        let values = [
            open,
            used,
            draining,
            opening,
            leases,
            count(&figures.hits),
            count(&figures.misses),
            count(&figures.opened),
            count(&figures.failed),
            count(room),
            count(idle),
            count(asked),
            count(deleted),
            count(closed),
            bytes,
            u64::from(self.limits.max_open),
        ];
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        PoolStats { values: values.map(|value| value as f64) }
    }
}
