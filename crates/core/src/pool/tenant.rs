//! Owns one database of a pool while it is open: who uses it, and the end of its handles, which comes when nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Folder;
use crate::database::Database;
use crate::handle::Handle;
use crate::mailbox::{Arrival, Mailbox};
use crate::sync::{Mutex, MutexGuard};

/// Why a pool closes a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    /// Others are used more, or there are too many.
    Room = 0,
    /// Nobody has used it for long.
    Idle = 1,
    /// Somebody has asked for it.
    Asked = 2,
    /// Its file is deleted.
    Deleted = 3,
    /// All who had it have closed it themselves.
    Closed = 4,
}

/// How a use begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// By somebody who takes the database for open.
    Open,
    /// By somebody who has waited for it to be opened.
    Opened,
    /// Inside another use of the same environment, which does not end before.
    Inside,
}

/// Told once whether the file was closed (`true`), or used again before.
pub(crate) type Told = Box<dyn FnOnce(bool) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Closed with the end of its last use. A new use revives it, unless it is deleted.
    Draining(Reason),
    /// Its handles are being closed; whoever wants the database opens it anew.
    Closed,
}

/// The handle of one environment.
struct Attached {
    handle: Arc<Handle>,
    mailbox: Arc<Mailbox>,
    /// Uses of it that are on.
    leases: usize,
}

struct State {
    phase: Phase,
    attached: Vec<Attached>,
    /// Who has asked for its close, and waits.
    waiting: Vec<Told>,
    idle_since: Instant,
    /// Has given back what it can do without.
    rests: bool,
    /// Since it was opened.
    uses: u64,
    /// The cache keeps it: else it goes when there is no room.
    kept: bool,
}

/// The cache hears of so many uses of a database one by one, and from then on of one in so many: to tell it costs as much as all
/// the rest of a use, and its counters end at 15.
const EACH_COUNTS: u64 = 16;

/// One open database of a pool, whatever number of environments use it.
pub(crate) struct Tenant {
    /// Of its file, in the folder.
    pub(crate) name: Arc<str>,
    folder: Arc<Folder>,
    state: Mutex<State>,
}

impl State {
    fn leases(&self) -> usize {
        self.attached.iter().map(|attached| attached.leases).sum()
    }

    fn of(&mut self, handle: &Handle) -> Option<&mut Attached> {
        self.attached.iter_mut().find(|attached| attached.handle.id == handle.id)
    }

    fn is_idle(&self) -> bool {
        // One that is new in the table has no handle yet, and is as good as in use.
        self.phase == Phase::Open && !self.attached.is_empty() && self.leases() == 0
    }
}

/// Those who wait for a close; answered when the last part of it is done.
struct Waiters {
    tenant: Arc<Tenant>,
    told: Mutex<Vec<Told>>,
    closed: AtomicBool,
}

impl Drop for Waiters {
    fn drop(&mut self) {
        let closed = self.closed.load(Ordering::SeqCst);
        tell(std::mem::take(&mut *self.told.lock()), closed);
        self.tenant.folder.end_close(&self.tenant.name);
    }
}

/// What a database is worth that nobody uses: less if the cache does not keep it, if it was used less, if that was longer ago.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worth {
    pub(super) kept: bool,
    /// Since it was opened, up to a bound.
    pub(super) uses: u64,
    idle_since: Instant,
}

/// What the reaper sees of a tenant that nobody uses.
pub(super) struct AtRest {
    pub(super) since: Instant,
    pub(super) rests: bool,
    pub(super) database: Arc<Database>,
}

impl Tenant {
    pub(super) fn new(name: Arc<str>, folder: Arc<Folder>) -> Self {
        let state = State {
            phase: Phase::Open,
            attached: Vec::new(),
            waiting: Vec::new(),
            idle_since: Instant::now(),
            rests: false,
            uses: 0,
            kept: false,
        };
        Self { name, folder, state: Mutex::new(state) }
    }

    /// Takes a handle that was opened, and its first use; `false`: the tenant is closed.
    pub(super) fn attach(self: &Arc<Self>, handle: &Arc<Handle>, mailbox: &Arc<Mailbox>) -> bool {
        let mut state = self.state.lock();
        if state.phase == Phase::Closed {
            return false;
        }
        let revived = revive(&mut state);
        state.rests = false;
        state.attached.push(Attached { handle: Arc::clone(handle), mailbox: Arc::clone(mailbox), leases: 1 });
        drop(state);
        handle.set_tenant(Arc::clone(self));
        tell(revived, false);
        true
    }

    /// Begins a use of the database by the environment that has `handle`. `false`: it is closed, and to be opened anew.
    pub(crate) fn acquire(&self, handle: &Handle, how: Acquire) -> bool {
        let mut state = self.state.lock();
        if state.phase == Phase::Draining(Reason::Deleted) && how == Acquire::Inside {
            // The deletion waits for the use that this one is a part of.
            let inside = state.of(handle).filter(|attached| attached.leases > 0);
            return inside.map(|attached| attached.leases += 1).is_some();
        }
        if matches!(state.phase, Phase::Closed | Phase::Draining(Reason::Deleted)) {
            return false;
        }
        let Some(attached) = state.of(handle) else { return false };
        attached.leases += 1;
        state.uses += 1;
        let counts = state.uses < EACH_COUNTS || state.uses.is_multiple_of(EACH_COUNTS);
        let kept = state.kept;
        let revived = revive(&mut state);
        drop(state);
        let figures = &self.folder.figures;
        let count = if how == Acquire::Opened { &figures.misses } else { &figures.hits };
        count.fetch_add(1, Ordering::Relaxed);
        tell(revived, false);
        if !kept {
            self.folder.admit(&self.name);
        } else if counts {
            self.folder.advice.get(&*self.name);
        }
        true
    }

    /// Ends a use.
    pub(crate) fn release(self: &Arc<Self>, handle: &Handle) {
        let mut state = self.state.lock();
        if let Some(attached) = state.of(handle) {
            attached.leases = attached.leases.saturating_sub(1);
            self.used(state);
        }
    }

    /// An environment closes its handle by itself, or ends.
    pub(crate) fn detach(self: &Arc<Self>, handle: &Handle) {
        let mut state = self.state.lock();
        if state.phase == Phase::Closed {
            return;
        }
        state.attached.retain(|attached| attached.handle.id != handle.id);
        if state.attached.is_empty() {
            return self.close(state, Reason::Closed);
        }
        self.used(state);
    }

    /// Something has ended: perhaps nobody uses it any more.
    fn used(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.leases() > 0 {
            return;
        }
        match state.phase {
            Phase::Draining(reason) => self.close(state, reason),
            Phase::Open if !state.kept && self.folder.is_over() => self.close(state, Reason::Room),
            Phase::Open => {
                state.idle_since = Instant::now();
                state.rests = false;
                drop(state);
                self.folder.wake();
            }
            Phase::Closed => {}
        }
    }

    /// Has it closed, now or when nobody uses it any more; `told` what has come of it.
    pub(crate) fn drain(self: &Arc<Self>, reason: Reason, told: Option<Told>) {
        let mut state = self.state.lock();
        state.waiting.extend(told);
        if state.phase == Phase::Closed {
            // Its handles are on their way.
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            for told in waiting {
                self.folder.tell_closed(&self.name, told);
            }
            return;
        }
        if state.leases() == 0 {
            return self.close(state, reason);
        }
        if state.phase != Phase::Draining(Reason::Deleted) {
            state.phase = Phase::Draining(reason);
        }
    }

    /// It is not deleted after all.
    pub(crate) fn keep(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Draining(Reason::Deleted) {
            let revived = revive(&mut state);
            drop(state);
            tell(revived, false);
        }
    }

    /// Has it closed if nobody uses it at this moment; whether it is.
    pub(super) fn close_if_idle(self: &Arc<Self>, reason: Reason) -> bool {
        let state = self.state.lock();
        let is_idle = state.is_idle();
        if is_idle {
            self.close(state, reason);
        }
        is_idle
    }

    fn close(self: &Arc<Self>, mut state: MutexGuard<'_, State>, reason: Reason) {
        state.phase = Phase::Closed;
        let attached = std::mem::take(&mut state.attached);
        let told = Mutex::new(std::mem::take(&mut state.waiting));
        drop(state);
        self.folder.begin_close(self, reason);
        let waiters = Arc::new(Waiters { tenant: Arc::clone(self), told, closed: AtomicBool::new(false) });
        for Attached { handle, mailbox, .. } in attached {
            let waiters = Arc::clone(&waiters);
            // An environment that is gone need not know.
            drop(mailbox.arrive(Arrival::LetGo { handle: Arc::clone(&handle), reason }));
            handle.close(Box::new(move |closed| {
                waiters.closed.fetch_or(closed, Ordering::SeqCst);
                drop(waiters);
            }));
        }
    }

    /// What it is worth to stay open, if nobody uses it.
    pub(super) fn worth(&self) -> Option<Worth> {
        let state = self.state.lock();
        let uses = state.uses.min(EACH_COUNTS);
        state.is_idle().then_some(Worth { kept: state.kept, uses, idle_since: state.idle_since })
    }

    /// Whether the cache keeps it.
    pub(super) fn set_kept(&self, kept: bool) {
        self.state.lock().kept = kept;
    }

    /// What the reaper needs of it, if nobody uses it.
    pub(super) fn at_rest(&self) -> Option<AtRest> {
        let state = self.state.lock();
        let database = state.attached.first().map(|attached| Arc::clone(&attached.handle.database))?;
        state.is_idle().then_some(AtRest { since: state.idle_since, rests: state.rests, database })
    }

    /// It gives its memory back now.
    pub(super) fn begin_rest(&self) {
        self.state.lock().rests = true;
    }

    /// Its engine, how many uses are on, and whether it is closed after them.
    pub(super) fn look(&self) -> (Option<Arc<Database>>, usize, bool) {
        let state = self.state.lock();
        let database = state.attached.first().map(|attached| Arc::clone(&attached.handle.database));
        (database, state.leases(), matches!(state.phase, Phase::Draining(_)))
    }
}

fn tell(waiting: Vec<Told>, closed: bool) {
    for told in waiting {
        told(closed);
    }
}

/// It stays open; those who are to be told so.
fn revive(state: &mut State) -> Vec<Told> {
    if state.phase == Phase::Open {
        return Vec::new();
    }
    state.phase = Phase::Open;
    std::mem::take(&mut state.waiting)
}
