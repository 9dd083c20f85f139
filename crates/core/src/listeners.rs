//! Owns who is told of the commits of one database: the handles with `onCommit` listeners, of all environments.

use std::sync::Arc;

use crate::mailbox::Mailbox;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::wire::{self, Changed, NO_REPLY};

/// What a handle wants to know of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Listening {
    /// Nothing.
    Off = 0,
    /// The tables.
    Tables = 1,
    /// The tables and the row ids.
    Rows = 2,
}

struct Listener {
    handle: u64,
    listening: Listening,
    /// Where its environment has the handle.
    slot: (u32, u32),
    mailbox: Arc<Mailbox>,
}

/// The listeners of one database.
pub(crate) struct Listeners {
    /// The most that any of them wants.
    most: AtomicU8,
    list: Mutex<Vec<Listener>>,
}

impl Listeners {
    pub(crate) fn new() -> Self {
        Self { most: AtomicU8::new(Listening::Off as u8), list: Mutex::new(Vec::new()) }
    }

    /// Sets what the handle `handle`, which its environment has at `slot`, wants to know.
    pub(crate) fn set(&self, handle: u64, slot: (u32, u32), listening: Listening, mailbox: &Arc<Mailbox>) {
        let wanted = listening != Listening::Off;
        self.replace(handle, wanted.then(|| Listener { handle, listening, slot, mailbox: Arc::clone(mailbox) }));
    }

    /// The handle is closed.
    pub(crate) fn remove(&self, handle: u64) {
        self.replace(handle, None);
    }

    fn replace(&self, handle: u64, listener: Option<Listener>) {
        let mut list = self.list.lock();
        list.retain(|listener| listener.handle != handle);
        list.extend(listener);
        let most = list.iter().map(|listener| listener.listening as u8).max().unwrap_or_default();
        self.most.store(most, Ordering::SeqCst);
    }

    /// Whether anybody listens.
    pub(crate) fn any(&self) -> bool {
        self.most.load(Ordering::SeqCst) != Listening::Off as u8
    }

    /// Whether anybody wants row ids.
    pub(crate) fn want_rows(&self) -> bool {
        self.most.load(Ordering::SeqCst) == Listening::Rows as u8
    }

    /// Tells of one commit. Called in the order of the commits, with no lock held.
    pub(crate) fn tell(&self, changed: &Changed) {
        if changed.tables.is_empty() {
            return;
        }
        let list = self.list.lock();
        for Listener { listening, slot, mailbox, .. } in list.iter() {
            let mut record = Vec::new();
            if *listening == Listening::Rows {
                wire::committed(&mut record, NO_REPLY, *slot, changed);
            } else {
                wire::committed(&mut record, NO_REPLY, *slot, &changed.without_rows());
            }
            mailbox.post(&record);
        }
    }
}
