//! Owns what one read connection does with the entries it takes: single statements, begun transactions, retries and pauses.

use super::{
    Arc, AssertUnwindSafe, Backoff, Connection, Duration, Entry, Error, ErrorCode, Instant, Lane, OwnedCall, Publish,
    Readers, Reply, Resume, Role, Transaction, Work, catch_unwind, exit, runtime,
};
use crate::execute::{CHUNK_ROWS, Chunk, Cursor, Filled, Mode, Place, run_for, run_short, writes};
use crate::group::Member;
use crate::sql::Route;
use crate::writer;

/// What became of an entry.
enum Ran {
    /// The connection is free, and this is owed.
    Free(Box<Connection>, Publish),
    /// The connection is with a transaction, a timer or the mailbox, or gone.
    Away,
}

/// A statement that gives all its rows, with the connection it runs on.
struct Streaming {
    // Dropped first: its statement is finalized before the connection is closed.
    cursor: Cursor,
    connection: Box<Connection>,
    reply: Reply,
    chunks: usize,
}

/// How long an entry waits for a foreign lock, and how often it has tried.
pub(super) struct Patience {
    since: Instant,
    backoff: Backoff,
}

impl Readers {
    /// Serves the queue with `connection`, or with one it opens.
    pub(super) fn drain(self: &Arc<Self>, connection: Option<Box<Connection>>, opening: Option<Patience>) {
        let Some(_inside) = exit::enter() else {
            // The process is stopping: SQLite is not entered any more, not even to close.
            std::mem::forget(connection);
            return;
        };
        self.guarded(|| {
            let connection = match connection {
                Some(connection) => connection,
                None => match self.open() {
                    Ok(connection) => connection,
                    Err(error) => return self.not_opened(&error, opening),
                },
            };
            self.serve(connection, true, None);
        });
    }

    /// A panic loses the connection; what was under way is answered by `Reply` itself.
    fn guarded(self: &Arc<Self>, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.pool.lock().waking = 0;
            self.discarded();
        }
    }

    fn open(&self) -> Result<Box<Connection>, Error> {
        let mut connection = Connection::open(&self.path, Role::Reader)?;
        connection.set_up(self.synchronous, &self.path)?;
        Ok(Box::new(connection))
    }

    /// No connection could be opened: tried again while the file is busy, else the first in the queue is told.
    fn not_opened(self: &Arc<Self>, error: &Error, opening: Option<Patience>) {
        let mut patience = opening.unwrap_or_else(Patience::new);
        let entry = {
            let mut pool = self.pool.lock();
            let limit = pool.line.front().map(Work::busy_timeout);
            if error.is_busy() && limit.is_some_and(|limit| patience.since.elapsed() < limit) {
                // Whoever gives a connection back meanwhile may be woken.
                pool.waking = pool.waking.saturating_sub(1);
                drop(pool);
                let readers = Arc::clone(self);
                let delay = patience.backoff.next();
                return runtime::after(delay, move || {
                    readers.pool.lock().waking += 1;
                    let again = Arc::clone(&readers);
                    runtime::spawn(Lane::Read, move || again.drain(None, Some(patience)));
                });
            }
            pool.waking = pool.waking.saturating_sub(1);
            pool.line.pop()
        };
        if let Some(entry) = entry {
            entry.work.fail(error);
        }
        self.discarded();
    }

    /// Runs entry after entry until none waits or the connection is away.
    fn serve(self: &Arc<Self>, mut connection: Box<Connection>, mut woken: bool, mut publish: Option<Publish>) {
        loop {
            if exit::stopping() {
                std::mem::forget(connection);
                return;
            }
            let next = self.next(connection, std::mem::take(&mut woken));
            if let Some(publish) = publish.take() {
                publish();
            }
            let Some((owned, entry)) = next else { return };
            match self.run(owned, entry, None) {
                Ran::Free(owned, owed) if owned.is_clean() => {
                    connection = owned;
                    publish = Some(owed);
                }
                Ran::Free(owned, owed) => {
                    drop(owned);
                    owed();
                    return self.discarded();
                }
                Ran::Away => return,
            }
        }
    }

    fn run(self: &Arc<Self>, connection: Box<Connection>, entry: Entry<Work>, patience: Option<Patience>) -> Ran {
        let Entry { seq, revocations, work } = entry;
        match work {
            Work::Begin { reply } => self.begin(connection, reply, (seq, revocations), patience),
            Work::Run { reply, call } => self.statement(connection, reply, call, (seq, revocations), patience),
        }
    }

    fn begin(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        reply: Reply,
        (seq, revocations): (u64, u32),
        patience: Option<Patience>,
    ) -> Ran {
        if reply.mailbox().is_closed() {
            return Ran::Free(connection, Box::new(move || drop(reply)));
        }
        match connection.begin_pinned() {
            Ok(()) => {
                let readers = Arc::clone(self);
                let release = Box::new(move |connection, publish| readers.released(connection, publish));
                let mailbox = Arc::clone(reply.mailbox());
                let transaction = Arc::new(Transaction::new(connection, reply, release));
                self.remember(&transaction, seq, revocations);
                mailbox.grant(transaction);
                Ran::Away
            }
            Err(error) if error.is_busy() => {
                self.wait(connection, Entry { seq, revocations, work: Work::Begin { reply } }, &error, patience)
            }
            Err(error) => Ran::Free(connection, Box::new(move || reply.fail(&error))),
        }
    }

    fn statement(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        reply: Reply,
        call: OwnedCall,
        (seq, revocations): (u64, u32),
        patience: Option<Patience>,
    ) -> Ran {
        match connection.statement(&call.sql) {
            Ok(statement) if writes(statement) => {
                call.sql.set_route(Route::Writer);
                return Ran::Free(connection, Box::new(move || to_writer(reply, call)));
            }
            Ok(_) => call.sql.set_route(Route::Reader),
            Err(error) if error.is_busy() => {
                return self.wait(
                    connection,
                    Entry { seq, revocations, work: Work::Run { reply, call } },
                    &error,
                    patience,
                );
            }
            Err(error) => return Ran::Free(connection, Box::new(move || reply.fail(&error))),
        }
        if matches!(call.mode, Mode::All | Mode::Query) {
            return match Cursor::open(&mut connection, &call.borrow(), Place::Read) {
                Ok(cursor) => match self.stream(Streaming { connection, cursor, reply, chunks: 0 }, Resume::Continue) {
                    Streamed::Ran(ran) => ran,
                    Streamed::Busy(Streaming { mut connection, cursor, reply, .. }, error) => {
                        cursor.close(&mut connection);
                        self.wait(
                            connection,
                            Entry { seq, revocations, work: Work::Run { reply, call } },
                            &error,
                            patience,
                        )
                    }
                },
                Err(error) => Ran::Free(connection, Box::new(move || reply.fail(&error))),
            };
        }
        let mut record = Vec::new();
        let ran = run_for(&mut connection, &reply, Duration::ZERO, |connection| {
            run_short(connection, &call.borrow(), Place::Read, &mut record)
        });
        match ran {
            Ok(()) => Ran::Free(connection, Box::new(move || reply.send(&record))),
            // Nothing of it was seen yet: the first step takes the snapshot.
            Err(error) if error.is_busy() => {
                self.wait(connection, Entry { seq, revocations, work: Work::Run { reply, call } }, &error, patience)
            }
            Err(error) => Ran::Free(connection, Box::new(move || reply.fail(&error))),
        }
    }

    /// Gives chunks until the rows are at their end or the reader of the chunks is too far behind.
    fn stream(self: &Arc<Self>, mut streaming: Streaming, mut resume: Resume) -> Streamed {
        loop {
            let Streaming { connection, cursor, reply, .. } = &mut streaming;
            let op = reply.op();
            let mut record = Vec::new();
            let filled = match resume {
                Resume::Abandon => Err(crate::error::transaction_closed()),
                Resume::Continue => run_for(connection, reply, Duration::ZERO, |connection| {
                    let filled = cursor.fill(connection, CHUNK_ROWS)?;
                    let chunk = Chunk { op, last: filled == Filled::Exhausted, open: false };
                    cursor.finish(connection, chunk, &mut record)?;
                    Ok(filled)
                }),
            };
            match filled {
                Ok(Filled::More) => {
                    streaming.chunks += 1;
                    streaming.reply.chunk(record);
                }
                Err(error) if error.is_busy() && streaming.chunks == 0 => return Streamed::Busy(streaming, error),
                filled => {
                    let Streaming { mut connection, cursor, reply, chunks } = streaming;
                    cursor.close(&mut connection);
                    let owed: Publish = match filled {
                        Ok(_) if chunks == 0 => Box::new(move || reply.send(&record)),
                        Ok(_) => Box::new(move || reply.finish(record)),
                        Err(error) => Box::new(move || reply.fail(&error)),
                    };
                    return Streamed::Ran(Ran::Free(connection, owed));
                }
            }
            if streaming.reply.is_full() {
                match self.park(streaming) {
                    None => return Streamed::Ran(Ran::Away),
                    Some((back, how)) => {
                        streaming = back;
                        resume = how;
                    }
                }
            }
        }
    }

    /// Leaves the statement, with its connection, to the mailbox until its chunks are delivered.
    fn park(self: &Arc<Self>, streaming: Streaming) -> Option<(Streaming, Resume)> {
        let mailbox = Arc::clone(streaming.reply.mailbox());
        let op = streaming.reply.op();
        let slot = Arc::new(parking_lot::Mutex::new(Some(streaming)));
        let (readers, taken) = (Arc::clone(self), Arc::clone(&slot));
        let parked = mailbox.park(
            op,
            Box::new(move |resume| {
                let Some(streaming) = taken.lock().take() else { return };
                let again = Arc::clone(&readers);
                runtime::spawn(Lane::Read, move || again.resume(streaming, resume));
            }),
        );
        match parked {
            Ok(()) => None,
            Err((_, resume)) => slot.lock().take().map(|streaming| (streaming, resume)),
        }
    }

    fn resume(self: &Arc<Self>, streaming: Streaming, resume: Resume) {
        let Some(_inside) = exit::enter() else {
            std::mem::forget(streaming);
            return;
        };
        self.guarded(|| match self.stream(streaming, resume) {
            Streamed::Ran(Ran::Free(connection, owed)) => self.serve(connection, false, Some(owed)),
            Streamed::Ran(Ran::Away) => {}
            // Busy comes before the first chunk only.
            Streamed::Busy(Streaming { mut connection, cursor, reply, .. }, error) => {
                cursor.close(&mut connection);
                self.serve(connection, false, Some(Box::new(move || reply.fail(&error))));
            }
        });
    }

    /// Another process holds a lock that even reading needs: a timer tries again, on no thread, until `busyTimeoutMs`.
    fn wait(
        self: &Arc<Self>,
        connection: Box<Connection>,
        entry: Entry<Work>,
        error: &Error,
        patience: Option<Patience>,
    ) -> Ran {
        let mut patience = patience.unwrap_or_else(Patience::new);
        if patience.since.elapsed() >= entry.work.busy_timeout() {
            let message =
                "another process holds a lock of the file that reading needs, and held it for all of busyTimeoutMs";
            let error = Error { message: message.to_owned(), ..error.clone() };
            return Ran::Free(connection, Box::new(move || entry.work.fail(&error)));
        }
        let readers = Arc::clone(self);
        let delay = patience.backoff.next();
        runtime::after(delay, move || {
            let again = Arc::clone(&readers);
            runtime::spawn(Lane::Read, move || again.retry(connection, entry, patience));
        });
        Ran::Away
    }

    fn retry(self: &Arc<Self>, connection: Box<Connection>, entry: Entry<Work>, patience: Patience) {
        let Some(_inside) = exit::enter() else {
            std::mem::forget((connection, entry));
            return;
        };
        self.guarded(|| {
            if let Ran::Free(connection, owed) = self.run(connection, entry, Some(patience)) {
                self.serve(connection, false, Some(owed));
            }
        });
    }
}

/// What became of a stream.
enum Streamed {
    Ran(Ran),
    /// The file is busy and no row was given yet.
    Busy(Streaming, Error),
}

impl Patience {
    fn new() -> Self {
        Self { since: Instant::now(), backoff: Backoff::new() }
    }
}

impl Work {
    fn busy_timeout(&self) -> Duration {
        self.reply().lease().map_or(Duration::ZERO, |lease| lease.handle().busy_timeout)
    }
}

/// A statement that turned out to write goes to the write queue by itself.
pub(crate) fn to_writer(reply: Reply, call: OwnedCall) {
    let database = reply.lease().map(|lease| Arc::clone(&lease.handle().database));
    match database.as_ref().and_then(|database| database.writer()) {
        Some(writer) => writer.submit(writer::Work::Run(Member::new(reply, call))),
        None => reply.fail(&Error::new(
            ErrorCode::ReadOnlyDatabase,
            "the database was opened with readOnly: true, and the statement writes",
        )),
    }
}
