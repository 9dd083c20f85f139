//! Owns the completions on their way from engine threads to one JavaScript environment, and the single wake-up for them.
//!
//! Three lanes: grants, small completions, and the chunks of results that have several. Engine threads append under one
//! lock that is held for a few copies only; whoever appends first after the environment went to sleep wakes it.

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::sync::Mutex;

use crate::handle::Handle;
use crate::pool::{Pool, Reason};
use crate::transaction::Transaction;

/// Chunks of one result that may wait for delivery before its statement pauses.
const CHUNKS_AHEAD: usize = 4;
/// A paused statement goes on when no more than this many of its chunks wait.
const RESUME_AT: usize = 2;

/// What a paused statement is told when it is taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// There is room: produce more.
    Continue,
    /// Nobody waits for the result any more: reset the statement.
    Abandon,
}

/// A paused statement with all it owns (its connection among it). Called once, on any thread, without entering SQLite.
pub(crate) type Parked = Box<dyn FnOnce(Resume) + Send>;

/// What an environment takes into its own tables before any other record.
pub(crate) enum Arrival {
    /// A transaction that was begun for it.
    Granted(Arc<Transaction>),
    /// A transaction that was ended from outside and is rolled back.
    Ended(Arc<Transaction>),
    /// A database that it asked for.
    Opened { op: u32, handle: Arc<Handle> },
    /// A pool that it asked for.
    PoolOpened { op: u32, pool: Pool },
    /// A handle of a pool of its that is closed.
    LetGo { handle: Arc<Handle>, reason: Reason },
}

/// Lets the entries of an environment take their places in a queue again.
pub(crate) type Readmit = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Stream {
    chunks: VecDeque<Vec<u8>>,
    parked: Option<Parked>,
}

#[derive(Default)]
pub(crate) struct Lanes {
    closed: bool,
    arrivals: VecDeque<Arrival>,
    small: VecDeque<u8>,
    small_records: usize,
    streams: HashMap<u32, Stream>,
    /// Operations with waiting chunks, in turn.
    turns: VecDeque<u32>,
    /// Queues where entries of this environment stand aside until it calls in.
    aside: Vec<Readmit>,
}

/// The completions of one environment.
pub(crate) struct Mailbox {
    /// Tells environments apart; never reused.
    pub(crate) env: u64,
    armed: AtomicBool,
    /// The same as in the lanes, for those who only look.
    closed: AtomicBool,
    /// Operations that were cancelled and whose answer has not been taken yet.
    cancelled: Mutex<HashSet<u32>>,
    /// How many those are, for those who only look.
    cancellations: AtomicUsize,
    lanes: Mutex<Lanes>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What one look into the mailbox may carry away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) completions: usize,
    pub(crate) bytes: usize,
}

/// What one look carried away, besides the bytes.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) oversized: Option<Vec<u8>>,
    pub(crate) resumed: Vec<Parked>,
}

static NEXT_ENV: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl Mailbox {
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            env: NEXT_ENV.fetch_add(1, Ordering::Relaxed),
            armed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            cancelled: Mutex::new(HashSet::new()),
            cancellations: AtomicUsize::new(0),
            lanes: Mutex::new(Lanes::default()),
            wake: Box::new(wake),
        }
    }

    fn signal(&self) {
        if !self.armed.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    /// Delivers one complete small record.
    pub(crate) fn post(&self, record: &[u8]) {
        {
            let mut lanes = self.lanes.lock();
            if lanes.closed {
                return;
            }
            lanes.small.extend(record);
            lanes.small_records += 1;
        }
        self.signal();
    }

    /// Delivers a grant or a handle; gives it back when the environment is gone.
    pub(crate) fn arrive(&self, arrival: Arrival) -> Result<(), Arrival> {
        {
            let mut lanes = self.lanes.lock();
            if lanes.closed {
                return Err(arrival);
            }
            lanes.arrivals.push_back(arrival);
        }
        self.signal();
        Ok(())
    }

    /// Delivers a grant; takes it back when the environment is gone.
    pub(crate) fn grant(&self, transaction: Arc<Transaction>) {
        if let Err(Arrival::Granted(transaction)) = self.arrive(Arrival::Granted(transaction)) {
            transaction.revoke(drop);
        }
    }

    /// Tells that a transaction was ended from outside.
    pub(crate) fn ended(&self, transaction: Arc<Transaction>) {
        // An environment that is gone need not know.
        drop(self.arrive(Arrival::Ended(transaction)));
    }

    /// Delivers one chunk of a result. Later chunks of the same operation stay behind it.
    pub(crate) fn chunk(&self, op: u32, record: Vec<u8>) {
        {
            let mut lanes = self.lanes.lock();
            if lanes.closed {
                return;
            }
            let stream = lanes.streams.entry(op).or_default();
            let first = stream.chunks.is_empty();
            stream.chunks.push_back(record);
            if first {
                lanes.turns.push_back(op);
            }
        }
        self.signal();
    }

    /// Parks the statement of `op` until its chunks are delivered; gives it back when it may go on at once.
    pub(crate) fn park(&self, op: u32, parked: Parked) -> Result<(), (Parked, Resume)> {
        let mut lanes = self.lanes.lock();
        if lanes.closed {
            return Err((parked, Resume::Abandon));
        }
        match lanes.streams.get_mut(&op) {
            Some(stream) if stream.chunks.len() >= CHUNKS_AHEAD => {
                stream.parked = Some(parked);
                Ok(())
            }
            _ => Err((parked, Resume::Continue)),
        }
    }

    /// Whether the next chunk of `op` has to wait.
    pub(crate) fn is_full(&self, op: u32) -> bool {
        let lanes = self.lanes.lock();
        !lanes.closed && lanes.streams.get(&op).is_some_and(|stream| stream.chunks.len() >= CHUNKS_AHEAD)
    }

    /// Whether chunks of `op` are on their way, behind which its last record has to go.
    pub(crate) fn has_stream(&self, op: u32) -> bool {
        self.lanes.lock().streams.contains_key(&op)
    }

    /// Whether the environment is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Marks an operation as cancelled: it is not begun any more, and if it is interrupted that is why. Called by the
    /// environment, before it looks for the operation; forgotten when the environment takes the answer.
    pub(crate) fn cancel(&self, op: u32) {
        let mut cancelled = self.cancelled.lock();
        cancelled.insert(op);
        self.cancellations.store(cancelled.len(), Ordering::SeqCst);
    }

    /// Whether `op` was cancelled. To be asked after the run of the operation was announced.
    pub(crate) fn is_cancelled(&self, op: u32) -> bool {
        self.cancellations.load(Ordering::SeqCst) > 0 && self.cancelled.lock().contains(&op)
    }

    /// The answer of `op` is taken: its number can be used again.
    pub(crate) fn taken(&self, op: u32) {
        if self.cancellations.load(Ordering::Relaxed) > 0 {
            let mut cancelled = self.cancelled.lock();
            cancelled.remove(&op);
            self.cancellations.store(cancelled.len(), Ordering::SeqCst);
        }
    }

    /// Takes the paused statement of `op` up again, to be abandoned.
    pub(crate) fn abandon(&self, op: u32) {
        let parked = self.lanes.lock().streams.get_mut(&op).and_then(|stream| stream.parked.take());
        if let Some(parked) = parked {
            parked(Resume::Abandon);
        }
    }

    /// Remembers that entries of this environment stand aside in a queue until it looks into its mailbox.
    pub(crate) fn stand_aside(&self, readmit: Readmit) {
        {
            let mut lanes = self.lanes.lock();
            if lanes.closed {
                // It will not call in: back into the queue, which drops what belongs to an environment that is gone.
                drop(lanes);
                return readmit();
            }
            lanes.aside.push(readmit);
        }
        self.signal();
    }

    /// The environment calls in: at most `most` of the arrivals that wait for it, and the queues that let its entries stand aside.
    pub(crate) fn call_in(&self, most: usize) -> (Vec<Arrival>, Vec<Readmit>) {
        let mut lanes = self.lanes.lock();
        if lanes.arrivals.is_empty() && lanes.aside.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut taken = Vec::new();
        // A database comes behind what was told of its migrations.
        let waits = |arrival: &Arrival, small: usize| small > 0 && matches!(arrival, Arrival::Opened { .. });
        let mut stay = VecDeque::new();
        while let Some(arrival) = lanes.arrivals.pop_front() {
            if taken.len() >= most || waits(&arrival, lanes.small_records) {
                stay.push_back(arrival);
            } else {
                taken.push(arrival);
            }
        }
        lanes.arrivals = stay;
        (taken, std::mem::take(&mut lanes.aside))
    }

    /// Moves finished records into `out` from `at`, small ones first, then chunks in turn, at least one of each kind that waits.
    /// Returns the new end.
    /// `finished` is told of each operation whose last record is carried away.
    pub(crate) fn take(
        &self,
        out: &mut [u8],
        at: usize,
        budget: Budget,
        taken: &mut Taken,
        finished: &mut dyn FnMut(u32),
    ) -> usize {
        let mut lanes = self.lanes.lock();
        let mut end = at;
        let mut completions = 0;
        let limit = budget.bytes.min(out.len());
        // A chunk that waits gets its share however many small completions there are.
        let small_limit = if lanes.turns.is_empty() { limit } else { limit / 2 };
        while lanes.small_records > 0 && completions < budget.completions {
            let size = small_size(&lanes.small);
            if end + size > small_limit && end > at {
                break;
            }
            if size > out.len() {
                // Handed over by itself, once it is the only thing taken: what was changed by a commit can be of any length.
                if end == 0 {
                    let mut record = vec![0; size];
                    copy_front(&mut lanes.small, &mut record);
                    lanes.small_records -= 1;
                    if let Some(op) = crate::wire::finished_op(&record) {
                        finished(op);
                        self.taken(op);
                    }
                    taken.oversized = Some(record);
                }
                return end;
            }
            let Some(target) = out.get_mut(end..end + size) else { break };
            copy_front(&mut lanes.small, target);
            lanes.small_records -= 1;
            completions += 1;
            if let Some(op) = crate::wire::finished_op(target) {
                finished(op);
                self.taken(op);
            }
            end += size;
        }
        let mut chunks = 0;
        while let Some(op) = lanes.turns.pop_front() {
            if chunks > 0 && completions >= budget.completions {
                lanes.turns.push_front(op);
                break;
            }
            let Some(stream) = lanes.streams.get_mut(&op) else { continue };
            let Some(size) = stream.chunks.front().map(Vec::len) else { continue };
            let fits = end + size <= limit || (chunks == 0 && end + size <= out.len());
            // Larger than the whole buffer: handed over by itself, once it is the only thing taken.
            let oversized = size > out.len();
            if (!fits && !oversized) || (oversized && end > 0) {
                lanes.turns.push_front(op);
                break;
            }
            let Some(record) = stream.chunks.pop_front() else { continue };
            chunks += 1;
            let last = crate::wire::is_last(&record);
            if stream.chunks.len() <= RESUME_AT {
                taken.resumed.extend(stream.parked.take());
            }
            let more = !stream.chunks.is_empty();
            if more {
                lanes.turns.push_back(op);
            } else if last {
                lanes.streams.remove(&op);
            }
            if last {
                completions += 1;
                finished(op);
                self.taken(op);
            }
            if oversized {
                taken.oversized = Some(record);
                break;
            }
            if let Some(target) = out.get_mut(end..end + size) {
                target.copy_from_slice(&record);
                end += size;
            }
        }
        end
    }

    /// Goes to sleep unless something has come in the meantime. `true`: asleep, the next record wakes the environment.
    pub(crate) fn disarm(&self) -> bool {
        self.armed.store(false, Ordering::SeqCst);
        let something = {
            let lanes = self.lanes.lock();
            lanes.small_records > 0 || !lanes.arrivals.is_empty() || !lanes.turns.is_empty() || !lanes.aside.is_empty()
        };
        // If another thread armed it in between, its wake-up is on the way.
        !something || self.armed.swap(true, Ordering::SeqCst)
    }

    /// The environment is gone: drops what waits, refuses what comes, and gives back what must be settled by the caller.
    pub(crate) fn close(&self) -> VecDeque<Arrival> {
        self.closed.store(true, Ordering::SeqCst);
        let lanes = {
            let mut lanes = self.lanes.lock();
            std::mem::replace(&mut *lanes, Lanes { closed: true, ..Lanes::default() })
        };
        for stream in lanes.streams.into_values() {
            if let Some(parked) = stream.parked {
                parked(Resume::Abandon);
            }
        }
        lanes.arrivals
    }
}

/// The size field of the first record.
fn small_size(small: &VecDeque<u8>) -> usize {
    let mut size = [0_u8; 4];
    for (target, byte) in size.iter_mut().zip(small) {
        *target = *byte;
    }
    usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX)
}

fn copy_front(from: &mut VecDeque<u8>, target: &mut [u8]) {
    let size = target.len();
    let (first, second) = from.as_slices();
    if let Some(first) = first.get(..size) {
        target.copy_from_slice(first);
    } else {
        let (start, rest) = target.split_at_mut(first.len());
        start.copy_from_slice(first);
        if let Some(second) = second.get(..rest.len()) {
            rest.copy_from_slice(second);
        }
    }
    from.drain(..size);
}
