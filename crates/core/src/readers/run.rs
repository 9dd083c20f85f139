//! Owns what one read connection does with the entries it takes: single statements, begun transactions, retries and pauses.

use super::{
    Arc, Askers, AssertUnwindSafe, Backoff, Busy, Connection, Duration, Entry, Error, ErrorCode, Instant, Known, Lane,
    OwnedCall, Publish, Readers, Reply, Resume, Role, Terms, Transaction, Work, catch_unwind, error, exit, runtime,
};
use crate::execute::{CHUNK_ROWS, Chunk, Cursor, Filled, Mode, Place, run_for, run_short, writes};
use crate::group::{Member, Task};
use crate::sql::Route;
use crate::transaction::{Begun, Released};
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
    /// When it began, if it may not last for ever.
    since: Option<Instant>,
}

impl Streaming {
    fn new(connection: Box<Connection>, cursor: Cursor, reply: Reply) -> Self {
        let since = (!reply.read_timeout().is_zero()).then(Instant::now);
        Self { cursor, connection, reply, chunks: 0, since }
    }

    /// What is left of its time; zero: it has no end.
    fn time_left(&self) -> Duration {
        let limit = self.reply.read_timeout();
        // Never zero, which would mean for ever.
        self.since.map_or(Duration::ZERO, |since| limit.saturating_sub(since.elapsed()).max(Duration::from_millis(1)))
    }
}

/// How long an entry waits for a foreign lock, and how often it has tried.
pub(super) struct Patience {
    since: Instant,
    backoff: Backoff,
}

impl Readers {
    /// Serves the queue with `connection`, or with one it opens.
    pub(super) fn drain(self: &Arc<Self>, connection: Option<Box<Connection>>, opening: Option<Patience>) {
        let Some(_inside) = exit::enter() else { return };
        let checkout = connection.as_ref().map_or(0, |connection| connection.checkout);
        self.guarded(checkout, || {
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
    fn guarded(self: &Arc<Self>, checkout: u64, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.pool.lock().waking = 0;
            self.discarded(checkout);
        }
    }

    fn open(&self) -> Result<Box<Connection>, Error> {
        let mut connection = self.profile.connect(Role::Reader)?;
        let mut pool = self.pool.lock();
        pool.known.push(Known::new(&connection));
        pool.check_out(&mut connection);
        drop(pool);
        Ok(Box::new(connection))
    }

    /// No connection could be opened: tried again while the file is busy, else the first in the queue is told.
    fn not_opened(self: &Arc<Self>, error: &Error, opening: Option<Patience>) {
        let mut patience = opening.unwrap_or_else(Patience::new);
        let entry = {
            let mut pool = self.pool.lock();
            let limit = pool.line.front().map(|work| work.reply().busy_timeout());
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
        self.discarded(0);
    }

    /// Runs entry after entry until none waits or the connection is away.
    fn serve(self: &Arc<Self>, mut connection: Box<Connection>, mut woken: bool, mut publish: Option<Publish>) {
        loop {
            if exit::stopping() {
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
                    let checkout = owned.checkout;
                    drop(owned);
                    owed();
                    return self.discarded(checkout);
                }
                Ran::Away => return,
            }
        }
    }

    fn run(self: &Arc<Self>, connection: Box<Connection>, entry: Entry<Work>, patience: Option<Patience>) -> Ran {
        let Entry { seq, revocations, work, .. } = entry;
        match work {
            Work::Begin { reply, terms } => self.begin(connection, reply, terms, (seq, revocations), patience),
            Work::Run { reply, call } => self.statement(connection, reply, call, (seq, revocations), patience),
        }
    }

    fn begin(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        reply: Reply,
        terms: Terms,
        (seq, revocations): (u64, u32),
        patience: Option<Patience>,
    ) -> Ran {
        if let Some(error) = reply.given_up() {
            return Ran::Free(connection, Box::new(move || reply.fail(&error)));
        }
        match connection.begin_pinned() {
            Ok(()) => {
                let (readers, checkout) = (Arc::clone(self), connection.checkout);
                let release = Box::new(move |released: Released| {
                    readers.released(checkout, released.connection, released.publish);
                });
                let mailbox = Arc::clone(reply.mailbox());
                let lock_wait = patience.map_or(Duration::ZERO, |patience| patience.since.elapsed());
                let behind = self.pool.lock().line.len();
                let begun = Begun { connection, terms, listeners: None, lock_wait, behind };
                let transaction = Arc::new(Transaction::new(begun, Askers::One(reply), Arc::clone(&mailbox), release));
                self.remember(&transaction, seq, revocations);
                if transaction.still_wanted() {
                    mailbox.grant(transaction);
                }
                Ran::Away
            }
            Err(error) if error.is_busy() => {
                let entry = Entry { seq, revocations, seen: None, work: Work::Begin { reply, terms } };
                self.wait(connection, entry, &error, patience)
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
                    Entry { seq, revocations, seen: None, work: Work::Run { reply, call } },
                    &error,
                    patience,
                );
            }
            Err(error) => return Ran::Free(connection, Box::new(move || reply.fail(&error))),
        }
        if matches!(call.mode, Mode::All | Mode::Query) {
            return match Cursor::open(&mut connection, &call.borrow(), Place::Read) {
                Ok(cursor) => match self.stream(Streaming::new(connection, cursor, reply), Resume::Continue) {
                    Streamed::Ran(ran) => ran,
                    Streamed::Busy(streaming, error) => {
                        let Streaming { mut connection, cursor, reply, .. } = *streaming;
                        cursor.close(&mut connection);
                        self.wait(
                            connection,
                            Entry { seq, revocations, seen: None, work: Work::Run { reply, call } },
                            &error,
                            patience,
                        )
                    }
                },
                Err(error) => Ran::Free(connection, Box::new(move || reply.fail(&error))),
            };
        }
        let mut record = Vec::new();
        let limit = reply.read_timeout();
        let ran = run_for(&mut connection, &reply, limit, |connection| {
            run_short(connection, &call.borrow(), Place::Read, &mut record)
        });
        match ran {
            Ok(()) => Ran::Free(connection, Box::new(move || reply.send(&record))),
            // Nothing of it was seen yet: the first step takes the snapshot.
            Err(error) if error.is_busy() => self.wait(
                connection,
                Entry { seq, revocations, seen: None, work: Work::Run { reply, call } },
                &error,
                patience,
            ),
            Err(error) => Ran::Free(connection, Box::new(move || reply.fail(&error))),
        }
    }

    /// Gives chunks until the rows are at their end or the reader of the chunks is too far behind.
    fn stream(self: &Arc<Self>, mut streaming: Streaming, mut resume: Resume) -> Streamed {
        loop {
            let time_left = streaming.time_left();
            let Streaming { connection, cursor, reply, .. } = &mut streaming;
            let op = reply.op();
            let mut record = Vec::new();
            let filled = match resume {
                Resume::Abandon => Err(reply.given_up().unwrap_or_else(error::transaction_closed)),
                Resume::Continue => run_for(connection, reply, time_left, |connection| {
                    let filled = cursor.fill(connection, CHUNK_ROWS)?;
                    cursor.finish(connection, Chunk::streamed(op, filled), &mut record)?;
                    Ok(filled)
                }),
            };
            match filled {
                Ok(Filled::More) => {
                    streaming.chunks += 1;
                    streaming.reply.chunk(record);
                }
                Err(error) if error.is_busy() && streaming.chunks == 0 => {
                    return Streamed::Busy(Box::new(streaming), error);
                }
                filled => {
                    let Streaming { mut connection, cursor, reply, chunks, .. } = streaming;
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
        let slot = Arc::new(crate::sync::Mutex::new(Some(streaming)));
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
            Ok(()) => {
                // A cancellation between the two steps above found nothing to abandon.
                if mailbox.is_cancelled(op) {
                    mailbox.abandon(op);
                }
                None
            }
            Err((_, resume)) => slot.lock().take().map(|streaming| (streaming, resume)),
        }
    }

    fn resume(self: &Arc<Self>, streaming: Streaming, resume: Resume) {
        let Some(_inside) = exit::enter() else { return };
        let checkout = streaming.connection.checkout;
        self.guarded(checkout, || match self.stream(streaming, resume) {
            Streamed::Ran(Ran::Free(connection, owed)) => self.serve(connection, false, Some(owed)),
            Streamed::Ran(Ran::Away) => {}
            // Busy comes before the first chunk only.
            Streamed::Busy(streaming, error) => {
                let Streaming { mut connection, cursor, reply, .. } = *streaming;
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
        if patience.since.elapsed() >= entry.work.reply().busy_timeout() {
            let message =
                "another process holds a lock of the file that reading needs, and held it for all of busyTimeoutMs";
            let error = Error { message: message.to_owned(), ..error.clone() };
            return Ran::Free(connection, Box::new(move || entry.work.fail(&error)));
        }
        let (readers, delay, key) = (Arc::clone(self), patience.backoff.next(), connection.checkout);
        let given_up = {
            let mut pool = self.pool.lock();
            // A cancellation looks for it here; one that came before has left its mark.
            pool.busy.insert(key, Busy { connection, entry, patience });
            pool.busy.get(&key).is_some_and(|busy| busy.entry.work.reply().given_up().is_some())
        };
        let delay = if given_up { Duration::ZERO } else { delay };
        runtime::after(delay, move || {
            let Some(busy) = readers.pool.lock().busy.remove(&key) else { return };
            let again = Arc::clone(&readers);
            runtime::spawn(Lane::Read, move || again.retry(busy));
        });
        Ran::Away
    }

    fn retry(self: &Arc<Self>, busy: Busy) {
        let Some(_inside) = exit::enter() else { return };
        let Busy { connection, entry, patience } = busy;
        self.guarded(connection.checkout, || {
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
    Busy(Box<Streaming>, Error),
}

impl Patience {
    fn new() -> Self {
        Self { since: Instant::now(), backoff: Backoff::new() }
    }
}

/// A statement that turned out to write goes to the write queue by itself.
pub(crate) fn to_writer(reply: Reply, call: OwnedCall) {
    let database = reply.lease().map(|lease| Arc::clone(&lease.handle().database));
    match database.as_ref().and_then(|database| database.writer()) {
        Some(writer) => writer.submit(writer::Work::Run(Member::new(reply, Task::One(call)))),
        None => reply.fail(&Error::new(
            ErrorCode::ReadOnlyDatabase,
            "the database was opened with readOnly: true, and the statement writes",
        )),
    }
}
