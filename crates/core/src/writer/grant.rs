//! Owns who holds the writer: the grant of a transaction, its return, what happens to one that lies, and who waits for it too
//! long.

use super::{
    Arc, Askers, Connection, Duration, Entry, Error, ErrorCode, Instant, Publish, Queue, State, Terms, Transaction,
    Waiting, Work, Writer, exit, fail_entries, runtime,
};
use crate::mailbox::Mailbox;
use crate::transaction::{Begun, GroupPlace, Released};

/// An environment that has not taken a grant for this long loses it and stands aside.
pub(crate) const ACCEPT_WITHIN: Duration =
    if cfg!(feature = "model") { Duration::ZERO } else { Duration::from_millis(50) };
/// How often a holder is looked at.
pub(crate) const WATCH_EVERY: Duration = Duration::from_millis(25);

/// What a grant is made of.
pub(super) struct Granted {
    pub(super) seq: u64,
    pub(super) revocations: u32,
    pub(super) terms: Terms,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) askers: Askers,
}

impl Writer {
    /// Hands the begun transaction to the environment that asked.
    pub(super) fn grant(self: &Arc<Self>, connection: Box<Connection>, granted: Granted) {
        let Granted { seq, revocations, terms, mailbox, askers } = granted;
        let writer = Arc::clone(self);
        let release = Box::new(move |released| writer.released(released));
        let (watch, transaction) = {
            let mut queue = self.queue.lock();
            let lock_wait = queue.busy_since.map_or(Duration::ZERO, |since| since.elapsed());
            queue.calm();
            let behind = queue.line.len();
            let listeners = Some(Arc::clone(&self.listeners));
            let begun = Begun { connection, terms, listeners, lock_wait, behind };
            let transaction = Arc::new(Transaction::new(begun, askers, Arc::clone(&mailbox), release));
            queue.state = State::Held { transaction: Arc::clone(&transaction), seq, revocations };
            (!std::mem::replace(&mut queue.watching, true), transaction)
        };
        if transaction.still_wanted() {
            mailbox.grant(transaction);
        }
        if watch {
            self.watch();
        }
    }

    /// Begins a transaction for synchronous closures of one environment, which run in it one after the other.
    pub(super) fn begin_group(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        closures: Vec<Entry<Waiting>>,
    ) -> Option<(Box<Connection>, Publish)> {
        // Aborted, or closed with no more patience, since they were queued or granted before.
        let (given_up, closures): (Vec<_>, Vec<_>) =
            closures.into_iter().partition(|entry| entry.work.reply().is_some_and(|reply| reply.given_up().is_some()));
        for entry in given_up {
            let error = entry.work.reply().and_then(super::Reply::given_up);
            entry.work.fail(&error.unwrap_or_else(crate::error::transaction_closed));
        }
        if closures.is_empty() {
            return Some((connection, Box::new(|| {})));
        }
        let begun = connection.begin_immediate();
        if let Err(error) = begun {
            if error.is_busy() {
                let mut queue = self.queue.lock();
                for entry in closures.into_iter().rev() {
                    queue.line.put_back(entry);
                }
                drop(queue);
                self.wait(connection, &error);
                return None;
            }
            return Some((connection, Box::new(move || fail_entries(closures, &error))));
        }
        let mut places = Vec::with_capacity(closures.len());
        let (mut seq, mut patience) = (None, 0);
        for Entry { seq: place, revocations, seen, work } in closures {
            if let Waiting { since, work: Work::Closure { reply, terms }, .. } = work {
                seq.get_or_insert(place);
                patience = patience.max(revocations);
                places.push(GroupPlace { seq: place, seen, since, terms, reply });
            }
        }
        let first = places.first().map(|place| (place.terms.clone(), Arc::clone(place.reply.mailbox())));
        let Some((terms, mailbox)) = first else { return Some((connection, Box::new(|| {}))) };
        let (seq, revocations, askers) = (seq.unwrap_or_default(), patience, Askers::Group(places));
        self.grant(connection, Granted { seq, revocations, terms, mailbox, askers });
        None
    }

    /// A transaction is over and gives its connection back; none if it could not be brought to a clean state.
    fn released(self: &Arc<Self>, released: Released) {
        let Released { connection, committed, calls, unstarted, publish } = released;
        {
            let mut queue = self.queue.lock();
            queue.state = State::Draining;
            if committed {
                queue.figures.commits += 1;
                queue.figures.shared(calls);
            } else {
                queue.figures.rollbacks += 1;
            }
            for place in unstarted.into_iter().rev() {
                queue.line.put_back(entry_of(place, 0));
            }
        }
        if let Some(connection) = connection {
            self.drain(connection, Some(publish));
        } else {
            publish();
            self.reopen();
        }
    }

    /// Closures that were granted and not started take their places again.
    pub(crate) fn put_closures_back(self: &Arc<Self>, unstarted: Vec<GroupPlace>) {
        let mut queue = self.queue.lock();
        for place in unstarted.into_iter().rev() {
            queue.line.put_back(entry_of(place, 0));
        }
        self.start(queue);
    }

    pub(super) fn watch(self: &Arc<Self>) {
        let writer = Arc::clone(self);
        runtime::after(WATCH_EVERY, move || writer.look());
    }

    /// Looks at who has the connection and who waits for it. Rests when nobody does.
    fn look(self: &Arc<Self>) {
        if exit::stopping() {
            return;
        }
        let (held, late, error) = {
            let mut queue = self.queue.lock();
            let held = match &queue.state {
                State::Held { transaction, seq, revocations } => Some((Arc::clone(transaction), *seq, *revocations)),
                State::Draining => {
                    queue.watch.look();
                    None
                }
                State::Waiting => None,
                State::Idle | State::Gone => {
                    queue.watching = false;
                    return;
                }
            };
            let patience = |waiting: &Waiting| waiting.reply().map_or(Duration::ZERO, super::Reply::queue_timeout);
            let late = queue.line.remove_late(Instant::now(), patience);
            let error = (!late.is_empty()).then(|| queue.timeout_error());
            (held, late, error)
        };
        if let Some(error) = error {
            for entry in late {
                let waited = entry.work.reply().map_or(Duration::ZERO, super::Reply::queue_timeout);
                entry.work.fail(&told(&error, waited));
            }
        }
        if let Some((transaction, seq, revocations)) = held {
            if transaction.unaccepted_for().is_some_and(|lies| lies >= patience(revocations)) {
                self.revoke(&transaction, seq, revocations);
            } else {
                transaction.expire_if_late();
            }
        }
        self.watch();
    }

    /// Takes a grant back; its environment's entries stand aside, in order, until it calls in.
    fn revoke(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        let terms = transaction.terms.clone();
        transaction.revoke(|askers| {
            let entries = match askers {
                Askers::One(reply) => {
                    let work = Waiting::new(Work::Begin { reply, terms });
                    vec![Entry { seq, revocations: revocations + 1, seen: None, work }]
                }
                Askers::Group(places) => places.into_iter().map(|place| entry_of(place, revocations + 1)).collect(),
            };
            let Some(mailbox) =
                entries.first().and_then(|entry| entry.work.reply()).map(|reply| Arc::clone(reply.mailbox()))
            else {
                return;
            };
            self.queue.lock().line.stand_aside(entries);
            let writer = Arc::clone(self);
            let env = mailbox.env;
            mailbox.stand_aside(Box::new(move || writer.readmit(env)));
        });
    }

    fn readmit(self: &Arc<Self>, env: u64) {
        let mut queue = self.queue.lock();
        queue.line.readmit(env);
        self.start(queue);
    }
}

impl Queue {
    /// Who holds the writer, for those who have waited for it too long.
    fn timeout_error(&self) -> Error {
        let holder = match &self.state {
            State::Held { transaction, .. } => {
                let Terms { access, .. } = transaction.terms;
                let open_for = transaction.open_for().as_millis();
                format!("a {} that has been open for {open_for} ms{}", access.method(), transaction.terms.taken_at())
            }
            State::Waiting => {
                let waits = self.busy_since.map_or(0, |since| since.elapsed().as_millis());
                format!("the first in the queue, which has waited {waits} ms for the lock of another process")
            }
            State::Draining => {
                let runs = self.watch.seen_for().as_millis();
                format!("db.run or another call with a transaction of its own, the present one for {runs} ms")
            }
            State::Idle | State::Gone => "nobody any more".to_owned(),
        };
        Error::new(ErrorCode::QueueTimeout, format!("the writer, which is held by {holder}"))
    }
}

/// The error of one who has waited for so long.
pub(crate) fn told(error: &Error, waited: Duration) -> Error {
    let message = format!("waited for queueTimeoutMs ({} ms) for {}", waited.as_millis(), error.message);
    Error { message, ..error.clone() }
}

fn entry_of(place: GroupPlace, revocations: u32) -> Entry<Waiting> {
    let GroupPlace { seq, seen, since, terms, reply } = place;
    Entry { seq, revocations, seen, work: Waiting { since, alone: false, work: Work::Closure { reply, terms } } }
}

/// How long a grant may lie that was revoked so many times: a slow loop gets its turn.
pub(crate) fn patience(revocations: u32) -> Duration {
    ACCEPT_WITHIN.saturating_mul(1 << revocations.min(16))
}
