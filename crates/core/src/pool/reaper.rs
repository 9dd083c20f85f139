//! Owns what time does to a pool: memory is given back after a second without use, the byte budget is kept, and what nobody
//! uses for long is closed. A timer of the scheduler, set only while there is something to come.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Folder;
use super::tenant::{AtRest, Reason, Tenant};
use crate::database::Database;
use crate::exit;
use crate::runtime::{self, Lane};

/// How long a database is without use before it gives its memory back. In a model time does not pass.
const REST_AFTER: Duration = if cfg!(feature = "model") { Duration::ZERO } else { Duration::from_secs(1) };
/// Looks come no closer than this.
const LEAST: Duration = Duration::from_millis(50);

impl Folder {
    /// Something was used: the reaper is to look in a second. Costs one load nearly always.
    pub(super) fn wake(self: &Arc<Self>) {
        if !self.awake.load(Ordering::SeqCst) && !self.awake.swap(true, Ordering::SeqCst) {
            let timer = self.timer.fetch_add(1, Ordering::SeqCst) + 1;
            self.look_after(REST_AFTER, timer);
        }
    }

    fn look_after(self: &Arc<Self>, delay: Duration, timer: u64) {
        let folder = Arc::downgrade(self);
        runtime::after(delay, move || {
            if let Some(folder) = folder.upgrade()
                && folder.timer.load(Ordering::SeqCst) == timer
            {
                folder.look(timer);
            }
        });
    }

    fn look(self: &Arc<Self>, timer: u64) {
        // First: what is used from here on sets a timer of its own.
        self.awake.store(false, Ordering::SeqCst);
        let now = Instant::now();
        let tenants = self.all();
        let mut idle: Vec<(Arc<Tenant>, AtRest)> =
            tenants.iter().filter_map(|tenant| tenant.at_rest().map(|rest| (Arc::clone(tenant), rest))).collect();
        idle.sort_by_key(|(_, rest)| rest.since);
        let mut resting = Vec::new();
        let mut next: Option<Duration> = None;
        let mut sooner = |due: Duration| next = Some(next.map_or(due, |next| next.min(due)));
        for (tenant, rest) in &mut idle {
            let idle_for = now.saturating_duration_since(rest.since);
            let inactivity = self.limits.inactivity;
            if !inactivity.is_zero() && idle_for >= inactivity {
                tenant.close_if_idle(Reason::Idle);
                continue;
            }
            if !inactivity.is_zero() {
                sooner(inactivity.saturating_sub(idle_for));
            }
            if rest.rests {
                continue;
            }
            if idle_for >= REST_AFTER {
                rest.rests = true;
                tenant.begin_rest();
                resting.push(Arc::clone(&rest.database));
            } else {
                sooner(REST_AFTER.saturating_sub(idle_for));
            }
        }
        if self.keep_budget(&tenants, &mut idle, &mut resting) {
            sooner(REST_AFTER);
        }
        self.follow_advice();
        rest(resting);
        let Some(next) = next else { return };
        // Unless somebody has used one meanwhile: its timer looks at all of them.
        if self.timer.compare_exchange(timer, timer + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            if next <= REST_AFTER {
                self.awake.store(true, Ordering::SeqCst);
            }
            self.look_after(next.max(LEAST), timer + 1);
        }
    }

    /// Has the longest idle give memory back, and once all of them have, closes the longest idle, until the page caches keep to
    /// `maxOpenBytes`. Whether there is more to do.
    fn keep_budget(
        &self,
        tenants: &[Arc<Tenant>],
        idle: &mut [(Arc<Tenant>, AtRest)],
        resting: &mut Vec<Arc<Database>>,
    ) -> bool {
        let most = self.limits.max_open_bytes;
        if most == 0 {
            return false;
        }
        let held: u64 =
            tenants.iter().filter_map(|tenant| tenant.look().0).map(|database| database.cache_bytes()).sum();
        let mut excess = held.saturating_sub(most);
        if excess == 0 {
            return false;
        }
        // What has begun to rest in this look counts in the next one.
        let all_rest = resting.is_empty() && idle.iter().all(|(_, rest)| rest.rests);
        for (tenant, rest) in idle {
            if excess == 0 {
                break;
            }
            if all_rest {
                tenant.close_if_idle(Reason::Room);
            } else if !rest.rests {
                tenant.begin_rest();
                resting.push(Arc::clone(&rest.database));
            } else {
                continue;
            }
            excess = excess.saturating_sub(rest.database.cache_bytes());
        }
        true
    }
}

/// Has them give back what they can do without, on a thread of the engine: a connection is its owner's.
fn rest(databases: Vec<Arc<Database>>) {
    if databases.is_empty() {
        return;
    }
    runtime::spawn(Lane::Open, move || {
        for database in databases {
            let Some(_inside) = exit::enter() else { return };
            database.rest();
        }
        trim();
    });
}

/// Has the allocator give free memory back to the system, where it does not by itself.
fn trim() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: may be called at any time, by any thread (`man 3 malloc_trim`).
        unsafe { malloc_trim(0) };
    }
}
