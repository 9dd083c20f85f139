//! Owns the answer that every operation gets exactly once, whatever becomes of it on the way.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{self, Error, ErrorCode};
use crate::exit;
use crate::handle::Lease;
use crate::interrupt::{Tag, env_owner};
use crate::mailbox::Mailbox;
use crate::wire::{self, NO_REPLY};

/// A record up to this size travels with the small completions, a larger one in the lane of chunks.
const SMALL: usize = 16 * 1024;

/// The way back to the one who asked. Dropped unanswered, it says that the engine failed: no caller waits for ever.
pub(crate) struct Reply {
    mailbox: Arc<Mailbox>,
    op: u32,
    /// Its own patience with the queue, in milliseconds plus one; 0: that of its handle.
    queue_timeout: u32,
    /// Keeps the database open for this operation; released after the answer was published.
    lease: Option<Lease>,
}

impl Reply {
    pub(crate) fn new(mailbox: Arc<Mailbox>, op: u32, lease: Option<Lease>) -> Self {
        Self { mailbox, op, queue_timeout: 0, lease }
    }

    /// Sets how long the operation waits in a queue: milliseconds plus one, 0 leaves it to the handle.
    pub(crate) fn with_queue_timeout(mut self, queue_timeout: u32) -> Self {
        self.queue_timeout = queue_timeout;
        self
    }

    /// How long it waits in a queue; zero: for ever.
    pub(crate) fn queue_timeout(&self) -> Duration {
        match (self.queue_timeout.checked_sub(1), &self.lease) {
            (Some(milliseconds), _) => Duration::from_millis(u64::from(milliseconds)),
            (None, Some(lease)) => lease.handle().timeouts.queue,
            (None, None) => Duration::ZERO,
        }
    }

    /// How long it waits for a lock of another process.
    pub(crate) fn busy_timeout(&self) -> Duration {
        self.lease.as_ref().map_or(Duration::ZERO, |lease| lease.handle().timeouts.busy)
    }

    /// The tag of a run of its own, apart from transactions.
    pub(crate) fn tag(&self) -> Tag {
        let handle = self.lease.as_ref().map_or(0, |lease| lease.handle().id);
        Tag { owner: env_owner(self.env()), op: self.op, handle }
    }

    /// Why it is not to be run, or not any more; to be asked after its run was announced.
    pub(crate) fn given_up(&self) -> Option<Error> {
        if self.mailbox.is_closed() {
            Some(error::transaction_closed())
        } else if self.mailbox.is_cancelled(self.op) {
            Some(error::aborted())
        } else if self.lease.as_ref().is_some_and(|lease| lease.handle().is_out_of_patience()) {
            Some(error::closed_by_timeout())
        } else {
            None
        }
    }

    /// Whether `op` of environment `env` is this one.
    pub(crate) fn is(&self, env: u64, op: u32) -> bool {
        self.op == op && self.mailbox.env == env
    }

    /// Whether it came by the handle `id`.
    pub(crate) fn came_by(&self, id: u64) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.handle().id == id)
    }

    pub(crate) fn op(&self) -> u32 {
        self.op
    }

    pub(crate) fn env(&self) -> u64 {
        self.mailbox.env
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Answers with one complete record.
    pub(crate) fn send(mut self, record: &[u8]) {
        self.answer(record);
    }

    fn answer(&mut self, record: &[u8]) {
        let op = std::mem::replace(&mut self.op, NO_REPLY);
        if op == NO_REPLY {
            return;
        }
        if record.len() <= SMALL {
            self.mailbox.post(record);
        } else {
            self.mailbox.chunk(op, record.to_vec());
        }
    }

    /// Answers with all records of a result.
    pub(crate) fn send_all(mut self, records: Vec<Vec<u8>>) {
        if let [record] = records.as_slice() {
            self.answer(record);
            return;
        }
        let op = std::mem::replace(&mut self.op, NO_REPLY);
        for record in records {
            self.mailbox.chunk(op, record);
        }
    }

    /// Delivers one chunk of several; the last one by [`Reply::finish`].
    pub(crate) fn chunk(&self, record: Vec<u8>) {
        if self.op != NO_REPLY {
            self.mailbox.chunk(self.op, record);
        }
    }

    /// Delivers the last chunk of several.
    pub(crate) fn finish(mut self, record: Vec<u8>) {
        let op = std::mem::replace(&mut self.op, NO_REPLY);
        if op != NO_REPLY {
            self.mailbox.chunk(op, record);
        }
    }

    /// Whether chunks have to wait now.
    pub(crate) fn is_full(&self) -> bool {
        self.op != NO_REPLY && self.mailbox.is_full(self.op)
    }

    /// Answers that it is done.
    pub(crate) fn done(self) {
        let mut record = Vec::with_capacity(32);
        wire::done(&mut record, self.op);
        self.send(&record);
    }

    /// Answers with an error, behind the chunks that are on their way.
    pub(crate) fn fail(mut self, error: &Error) {
        self.answer_error(error);
    }

    fn answer_error(&mut self, error: &Error) {
        let op = std::mem::replace(&mut self.op, NO_REPLY);
        if op == NO_REPLY {
            return;
        }
        let mut record = Vec::new();
        wire::error(&mut record, op, &error.record());
        if self.mailbox.has_stream(op) {
            self.mailbox.chunk(op, record);
        } else {
            self.mailbox.post(&record);
        }
    }

    /// Gives up the right to answer: somebody else has. Keeps the database open by the lease.
    pub(crate) fn answered(mut self) -> Option<Lease> {
        self.op = NO_REPLY;
        self.lease.take()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.op == NO_REPLY {
            return;
        }
        let error = if exit::stopping() {
            error::process_exiting()
        } else {
            Error::new(
                ErrorCode::EnginePanic,
                "the engine failed while it ran this operation; its outcome is unknown, and the database must be opened again",
            )
        };
        self.answer_error(&error);
    }
}
