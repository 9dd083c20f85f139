//! What an environment asks of pools.

use std::sync::Arc;
use std::time::Duration;

use super::{Client, told};
use crate::config::OpenOptions;
use crate::database::Database;
use crate::error::{self, Error, ErrorCode, Result};
use crate::exit;
use crate::handle::{Handle, Timeouts};
use crate::location;
use crate::mailbox::Arrival;
use crate::pool::{Acquire, Folder, Pool, PoolLimits, PoolStats, Reason};
use crate::registry;
use crate::reply::Reply;
use crate::runtime::{self, Lane};
use crate::wire;

impl Client {
    /// Opens a pool on the folder at `path`; answered by an OPENED record with its number and canonical path.
    pub fn open_pool(&mut self, op: u32, path: &str, create: bool, limits: PoolLimits) {
        let reply = self.reply(op, None);
        let path = path.to_owned();
        runtime::spawn(Lane::Open, move || {
            let Some(_inside) = exit::enter() else { return };
            match Pool::open(&path, create, limits) {
                Ok(pool) => {
                    let mailbox = Arc::clone(reply.mailbox());
                    let op = reply.op();
                    reply.answered();
                    // An environment that is gone drops it.
                    drop(mailbox.arrive(Arrival::PoolOpened { op, pool }));
                }
                Err(error) => reply.fail(&error),
            }
        });
    }

    /// Gives a pool back, whose handles are closed by then; answered by DONE when what the pools of the folder are closing by
    /// themselves is closed.
    pub fn close_pool(&mut self, op: u32, pool: u32, generation: u32) {
        let reply = self.reply(op, None);
        match self.pools.remove(pool, generation) {
            Some(pool) => pool.folder.when_closed(Box::new(move || reply.done())),
            None => reply.fail(&error::database_closed()),
        }
    }

    /// Opens the database called `name` in the folder of a pool; answered as [`Client::open`], and its first use has begun.
    /// `apart`: for one piece of work, with no place in the cache.
    pub fn open_pooled(
        &mut self,
        op: u32,
        (pool, generation): (u32, u32),
        name: &str,
        mut options: OpenOptions,
        apart: bool,
    ) {
        let reply = self.reply(op, None);
        let Some(folder) = self.folder(pool, generation) else { return reply.fail(&error::database_closed()) };
        options.pool = Some(Arc::clone(&folder.path));
        folder.missed(name);
        Newcomer { folder, name: Arc::from(name), options, reply, apart, waits: true }.open();
    }

    /// Begins a use of a pooled database, which is not closed before its end. `false`: it is closed, and to be opened anew.
    #[must_use]
    pub fn acquire(&self, handle: u32, generation: u32, how: Acquire) -> bool {
        let Some(handle) = self.handles.get(handle, generation) else { return false };
        handle.tenant().is_some_and(|tenant| tenant.acquire(handle, how))
    }

    /// Ends a use.
    pub fn release(&self, handle: u32, generation: u32) {
        if let Some(handle) = self.handles.get(handle, generation)
            && let Some(tenant) = handle.tenant()
        {
            tenant.release(handle);
        }
    }

    /// Another handle on the database of a handle that is in use: what it has accepted, its own close waits for.
    pub fn share(&mut self, handle: u32, generation: u32) -> Option<(u32, u32)> {
        let shared = self.handles.get(handle, generation)?.share();
        Some(self.handles.insert(Arc::new(shared)))
    }

    /// Closes a database of the folder once nobody uses it; answered by CHANGES: 1 it is closed (or was not open), 0 it was
    /// used again before, or is open by another way.
    pub fn evict(&mut self, op: u32, (pool, generation): (u32, u32), name: &str) {
        let reply = self.reply(op, None);
        let Some(folder) = self.folder(pool, generation) else { return reply.fail(&error::database_closed()) };
        folder.evict(name, Box::new(move |closed| answer(reply, closed)));
    }

    /// Deletes a database of the folder once nobody uses it, for which users of this process have `patience`; answered by
    /// CHANGES: 1 there was one, 0 there was none.
    pub fn delete(
        &mut self,
        op: u32,
        (pool, generation): (u32, u32),
        name: &str,
        (busy_timeout, patience): (Duration, Duration),
    ) {
        let reply = self.reply(op, None);
        let Some(folder) = self.folder(pool, generation) else { return reply.fail(&error::database_closed()) };
        let path = folder.file(name);
        let pool_path = Arc::clone(&folder.path);
        let name: Arc<str> = Arc::from(name);
        let (asked, kept) = ((Arc::clone(&folder), Arc::clone(&name)), (folder, name));
        let ask = move || {
            if let Some(tenant) = asked.0.tenant(&asked.1) {
                tenant.drain(Reason::Deleted, None);
            }
        };
        let done = move |outcome: Result<bool>| match outcome {
            Ok(found) => answer(reply, found),
            Err(error) => {
                if let Some(tenant) = kept.0.tenant(&kept.1) {
                    tenant.keep();
                }
                reply.fail(&error);
            }
        };
        runtime::spawn(Lane::Open, move || {
            let Some(_inside) = exit::enter() else { return };
            match location::check_within(&pool_path, &path) {
                Ok(()) => registry::delete(path, Arc::new(ask), (busy_timeout, patience), Box::new(done)),
                Err(error) => done(Err(error)),
            }
        });
    }

    /// A use has failed: if this process is out of file descriptors, databases that nobody uses give theirs back.
    pub fn relieve_pool(&self, pool: u32, generation: u32) {
        if let Some(folder) = self.folder(pool, generation) {
            folder.shed();
        }
    }

    /// Figures of the folder of a pool; `None` once the pool is closed.
    #[must_use]
    pub fn pool_stats(&self, pool: u32, generation: u32) -> Option<PoolStats> {
        self.folder(pool, generation).map(|folder| folder.stats())
    }

    fn folder(&self, pool: u32, generation: u32) -> Option<Arc<Folder>> {
        self.pools.get(pool, generation).map(|pool| Arc::clone(&pool.folder))
    }
}

/// A database on its way into a pool.
struct Newcomer {
    folder: Arc<Folder>,
    name: Arc<str>,
    options: OpenOptions,
    reply: Reply,
    apart: bool,
    /// May try again once others have made room for it.
    waits: bool,
}

impl Newcomer {
    fn open(self) {
        let told = told(self.reply.op(), self.reply.mailbox());
        let plan = self.options.migrations.as_ref().map(|migrations| migrations.plan(told));
        let file = self.folder.file(&self.name);
        let options = self.options.clone();
        let path = file.to_string_lossy().into_owned();
        let opened = move |outcome: Result<Arc<Database>>| match outcome {
            Ok(database) if database.path() == file => self.attach(database),
            Ok(database) => {
                let why = format!("{} is another name of {}, which is open", file.display(), database.path().display());
                registry::release(&database, true, Box::new(|_| {}));
                self.fail(&Error::new(ErrorCode::CannotOpen, why));
            }
            Err(error) if self.waits && self.folder.relieve(&error) => {
                let again = Self { waits: false, ..self };
                Arc::clone(&again.folder).when_closed(Box::new(move || again.open()));
            }
            Err(error) => self.fail(&error),
        };
        registry::open(path, options, plan, Box::new(opened));
    }

    fn attach(self, database: Arc<Database>) {
        let Self { folder, name, options, reply, apart, .. } = self;
        let handle = Arc::new(Handle::new(database, Timeouts::of(&options), options.migrations, true));
        let mailbox = Arc::clone(reply.mailbox());
        let op = reply.op();
        reply.answered();
        folder.attach(&name, &handle, &mailbox, apart);
        if let Err(Arrival::Opened { handle, .. }) = mailbox.arrive(Arrival::Opened { op, handle }) {
            handle.leave_pool();
            handle.close(Box::new(|_| {}));
        }
    }

    fn fail(self, error: &Error) {
        self.folder.failed();
        self.reply.fail(error);
    }
}

fn answer(reply: Reply, yes: bool) {
    let mut record = Vec::new();
    wire::changes(&mut record, reply.op(), yes.into(), 0);
    reply.send(&record);
}
