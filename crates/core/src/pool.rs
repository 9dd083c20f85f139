//! Owns the pools: of each folder, which databases this process has open for its keys, and which are closed to make room.
//!
//! One folder has one [`Folder`] however many environments have a pool of it. What a database is used by is known to its
//! [`Tenant`], which alone decides when its handles are closed: never while somebody uses it. The cache (`TinyLFU`) only
//! nominates; which files are open is for the registry to know, so that there are never two engines for one of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use moka::notification::RemovalCause;

use crate::error::{Error, ErrorCode, Result};
use crate::handle::Handle;
use crate::location;
use crate::mailbox::Mailbox;
use crate::registry;
use crate::sync::Mutex;

mod figures;
mod reaper;
mod tenant;

use figures::Figures;
pub use figures::PoolStats;
pub use tenant::Acquire;
pub(crate) use tenant::{Reason, Tenant};
use tenant::{Told, Worth};

/// So many uses since a database was opened are hardly any: it goes for one that is in use.
const HARDLY: u64 = 2;

/// How much a pool keeps open. Must agree with other pools on the same folder in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Databases, but for those that are in use. Default 1,000.
    pub max_open: u32,
    /// Bytes of their page caches together; 0: no limit, the default.
    pub max_open_bytes: u64,
    /// How long one stays open that nobody uses; zero: for ever. Default 5 minutes.
    pub inactivity: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { max_open: 1_000, max_open_bytes: 0, inactivity: Duration::from_mins(5) }
    }
}

/// The databases of one folder that this process has open for its pools.
pub(crate) struct Folder {
    /// Canonical.
    pub(crate) path: Arc<Path>,
    limits: PoolLimits,
    /// Knows how often each name was asked for, and says who should go.
    advice: moka::sync::Cache<Arc<str>, ()>,
    /// Names that should go. Filled inside the cache, where nothing else may be done.
    nominated: Arc<parking_lot::Mutex<Vec<Arc<str>>>>,
    tenants: Mutex<HashMap<Arc<str>, Arc<Tenant>>>,
    /// How many those are, for those who only look.
    open: AtomicUsize,
    closing: Mutex<Closing>,
    figures: Figures,
    /// Opens under way.
    opening: AtomicUsize,
    /// The reaper looks within a second.
    awake: AtomicBool,
    /// Its timers so far: only the last one counts.
    timer: AtomicU64,
}

type Folders = HashMap<PathBuf, (Arc<Folder>, usize)>;

/// Databases that are on their way from closed by their tenant to closed.
#[derive(Default)]
struct Closing {
    /// By name: how many, and who is told when there are none of it.
    names: HashMap<Arc<str>, (usize, Vec<Told>)>,
    /// Those who are told when there are none at all.
    waiting: Vec<Box<dyn FnOnce() + Send>>,
}

/// The folders with pools, and how many each has.
static FOLDERS: LazyLock<parking_lot::Mutex<Folders>> = LazyLock::new(Default::default);

/// One pool on a folder; the folder is forgotten with its last one.
pub(crate) struct Pool {
    pub(crate) folder: Arc<Folder>,
}

impl Pool {
    /// A pool on the folder at `path`, which is made if it is missing and `create` says so.
    pub(crate) fn open(path: &str, create: bool, limits: PoolLimits) -> Result<Self> {
        let cannot =
            |why: String| Error::new(ErrorCode::CannotOpen, format!("the pool {path} cannot be opened: {why}"));
        let absolute = std::path::absolute(path).map_err(|error| cannot(error.to_string()))?;
        if !absolute.exists() {
            if !create {
                return Err(cannot("the folder does not exist".to_owned()));
            }
            location::make_folder(&absolute).map_err(|error| cannot(error.to_string()))?;
        }
        if !absolute.is_dir() {
            return Err(cannot("it is no folder".to_owned()));
        }
        let canonical = absolute.canonicalize().map_err(|error| cannot(error.to_string()))?;
        let mut folders = FOLDERS.lock();
        let (folder, pools) = folders
            .entry(canonical.clone())
            .or_insert_with(|| (Arc::new(Folder::new(Arc::from(canonical.as_path()), limits)), 0));
        folder.must_agree(limits)?;
        *pools += 1;
        Ok(Self { folder: Arc::clone(folder) })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut folders = FOLDERS.lock();
        let Some((folder, pools)) = folders.get_mut(&*self.folder.path) else { return };
        if !Arc::ptr_eq(folder, &self.folder) {
            return;
        }
        *pools -= 1;
        if *pools == 0 {
            folders.remove(&*self.folder.path);
        }
    }
}

impl Folder {
    fn new(path: Arc<Path>, limits: PoolLimits) -> Self {
        let nominated: Arc<parking_lot::Mutex<Vec<Arc<str>>>> = Arc::default();
        let nominations = Arc::clone(&nominated);
        let advice = moka::sync::Cache::<Arc<str>, ()>::builder()
            .max_capacity(u64::from(limits.max_open))
            .eviction_listener(move |name: Arc<Arc<str>>, (), cause| {
                if cause == RemovalCause::Size {
                    nominations.lock().push(Arc::clone(&*name));
                }
            })
            .build();
        Self {
            path,
            limits,
            advice,
            nominated,
            tenants: Mutex::new(HashMap::new()),
            open: AtomicUsize::new(0),
            closing: Mutex::new(Closing::default()),
            figures: Figures::default(),
            opening: AtomicUsize::new(0),
            awake: AtomicBool::new(false),
            timer: AtomicU64::new(0),
        }
    }

    fn must_agree(&self, limits: PoolLimits) -> Result<()> {
        let has = self.limits;
        let differs = |option: &str, asked: u128, has: u128| {
            if asked == has {
                return Ok(());
            }
            let why = format!(
                "{} has a pool in this process with {option} {has}, and now one is opened with {option} {asked}; all pools on a folder share one cache, so use the same value or close the other first",
                self.path.display()
            );
            Err(Error::new(ErrorCode::OptionsConflict, why))
        };
        differs("maxOpen", limits.max_open.into(), has.max_open.into())?;
        differs("maxOpenBytes", limits.max_open_bytes.into(), has.max_open_bytes.into())?;
        differs("inactivityTimeoutMs", limits.inactivity.as_millis(), has.inactivity.as_millis())
    }

    /// Where the database of that name is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Somebody wants a database that is not open for them.
    pub(crate) fn missed(&self, name: &str) {
        self.opening.fetch_add(1, Ordering::Relaxed);
        // It is noted that it was asked for, which counts when it is admitted.
        self.advice.get(name);
    }

    /// That has come to nothing.
    pub(crate) fn failed(&self) {
        self.opening.fetch_sub(1, Ordering::Relaxed);
        self.figures.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// An open has failed: whether it is for want of file descriptors, and some are being given back.
    pub(crate) fn relieve(&self, error: &Error) -> bool {
        matches!(error.code, ErrorCode::CannotOpen | ErrorCode::Io) && self.shed()
    }

    /// A handle of a database that was opened for the pool of an environment, which begins to use it: as
    /// [`Tenant::acquire`] does.
    ///
    /// `apart`: for one piece of work, after which the environment closes it; the cache does not hear of it.
    pub(crate) fn attach(self: &Arc<Self>, name: &Arc<str>, handle: &Arc<Handle>, mailbox: &Arc<Mailbox>, apart: bool) {
        self.opening.fetch_sub(1, Ordering::Relaxed);
        loop {
            let tenant = {
                let mut tenants = self.tenants.lock();
                let new = || Arc::new(Tenant::new(Arc::clone(name), Arc::clone(self)));
                let tenant = Arc::clone(tenants.entry(Arc::clone(name)).or_insert_with(new));
                self.open.store(tenants.len(), Ordering::SeqCst);
                tenant
            };
            if tenant.attach(handle, mailbox) {
                self.figures.opened.fetch_add(1, Ordering::Relaxed);
                // A deletion that came before has found nobody to ask.
                if registry::is_deleting(handle.database.path()) {
                    tenant.drain(Reason::Deleted, None);
                }
                if !apart {
                    self.admit(name);
                    self.make_room();
                }
                return;
            }
            // It is on its way out of the table.
            self.remove(&tenant);
        }
    }

    /// The cache hears of a database that is in use and that it does not keep, and says who goes for it: that one itself, it
    /// may be, which is served all the same.
    fn admit(&self, name: &Arc<str>) {
        if let Some(tenant) = self.tenant(name) {
            tenant.set_kept(true);
        }
        self.advice.insert(Arc::clone(name), ());
        self.advice.run_pending_tasks();
        self.follow_advice();
    }

    fn follow_advice(&self) {
        let nominated = std::mem::take(&mut *self.nominated.lock());
        for name in nominated {
            if let Some(tenant) = self.tenant(&name) {
                tenant.set_kept(false);
            }
        }
    }

    /// Whether more are open than shall stay open.
    fn is_over(&self) -> bool {
        self.open.load(Ordering::SeqCst) > self.most()
    }

    fn most(&self) -> usize {
        usize::try_from(self.limits.max_open).unwrap_or(usize::MAX)
    }

    /// Closes as many as are too many, of those that nobody uses and that the cache does not keep, or that were hardly used
    /// since they were opened. What is used much stays: whoever is served beside it has its place for as long as it is in use.
    fn make_room(&self) {
        if !self.is_over() {
            return;
        }
        let excess = self.open.load(Ordering::SeqCst).saturating_sub(self.most());
        self.close_idle(excess, |worth| !worth.kept || worth.uses <= HARDLY);
    }

    /// If there are no file descriptors left, some databases that nobody uses give theirs back; whether any does.
    pub(crate) fn shed(&self) -> bool {
        if !location::is_out_of_descriptors() {
            return false;
        }
        let some = self.open.load(Ordering::SeqCst) / 8;
        self.close_idle(some.max(4), |_| true) > 0
    }

    /// Closes at most so many that nobody uses and that `may_go`, the least worth first; how many it has.
    fn close_idle(&self, count: usize, may_go: impl Fn(&Worth) -> bool) -> usize {
        let worth = |tenant: Arc<Tenant>| tenant.worth().filter(&may_go).map(|worth| (worth, tenant));
        let mut idle: Vec<_> = self.all().into_iter().filter_map(worth).collect();
        idle.sort_by_key(|(worth, _)| *worth);
        idle.iter().take(count).filter(|(_, tenant)| tenant.close_if_idle(Reason::Room)).count()
    }

    /// The open database of that name.
    pub(crate) fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        self.tenants.lock().get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<Tenant>> {
        self.tenants.lock().values().cloned().collect()
    }

    /// A tenant is closed; another one may have its name already, and is left alone.
    fn remove(&self, tenant: &Arc<Tenant>) {
        let mut tenants = self.tenants.lock();
        if tenants.get(&*tenant.name).is_some_and(|known| Arc::ptr_eq(known, tenant)) {
            tenants.remove(&*tenant.name);
            self.open.store(tenants.len(), Ordering::SeqCst);
            self.advice.invalidate(&*tenant.name);
        }
    }

    /// A tenant is closed, and its handles are about to be.
    fn begin_close(&self, tenant: &Arc<Tenant>, reason: Reason) {
        self.closing.lock().names.entry(Arc::clone(&tenant.name)).or_default().0 += 1;
        self.remove(tenant);
        self.figures.closed(reason);
    }

    /// Its handles are.
    fn end_close(&self, name: &Arc<str>) {
        let (asked, waiting) = {
            let mut closing = self.closing.lock();
            let Some((count, _)) = closing.names.get_mut(name) else { return };
            *count -= 1;
            let is_last = *count == 0;
            let asked = if is_last { closing.names.remove(name).map(|(_, told)| told) } else { None };
            let is_empty = closing.names.is_empty();
            (asked, if is_empty { std::mem::take(&mut closing.waiting) } else { Vec::new() })
        };
        for told in asked.into_iter().flatten() {
            told(true);
        }
        for told in waiting {
            told();
        }
    }

    /// Closes the database of that name once nobody uses it; `told` when that is done.
    pub(crate) fn evict(&self, name: &str, told: Told) {
        match self.tenant(name) {
            Some(tenant) => tenant.drain(Reason::Asked, Some(told)),
            None => self.tell_closed(name, told),
        }
    }

    /// Tells when nothing of that name is being closed.
    fn tell_closed(&self, name: &str, told: Told) {
        {
            let mut closing = self.closing.lock();
            if let Some((_, waiting)) = closing.names.get_mut(name) {
                return waiting.push(told);
            }
        }
        told(true);
    }

    /// Tells when nothing of the folder is being closed.
    pub(crate) fn when_closed(&self, told: Box<dyn FnOnce() + Send>) {
        {
            let mut closing = self.closing.lock();
            if !closing.names.is_empty() {
                return closing.waiting.push(told);
            }
        }
        told();
    }
}
