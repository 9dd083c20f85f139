//! Owns who is looked at: grants that lie, reads that last too long, entries that wait too long.

use super::{
    Arc, Askers, CacheFigures, Duration, Entry, Error, ErrorCode, Granted, Instant, Pool, Readers, Reply, State,
    Transaction, WATCH_EVERY, Weak, Work, exit, patience, runtime,
};
use crate::writer::told;

/// How many of those who have all readers a message names.
const MOST_NAMED: usize = 3;

impl Readers {
    /// Remembers a grant until its transaction is over.
    pub(super) fn remember(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        let watch = {
            let mut pool = self.pool.lock();
            // No more than `limit` of them can be open.
            if pool.granted.len() >= 4 * self.limit {
                pool.forget_ended();
            }
            pool.granted.push(Granted { transaction: Arc::downgrade(transaction), seq, revocations });
            !std::mem::replace(&mut pool.watching, true)
        };
        if watch {
            self.watch();
        }
    }

    /// The transactions that are open.
    pub(super) fn transactions(&self) -> Vec<Arc<Transaction>> {
        let mut pool = self.pool.lock();
        pool.forget_ended();
        pool.granted.iter().filter_map(|granted| granted.transaction.upgrade()).collect()
    }

    pub(super) fn watch(self: &Arc<Self>) {
        let readers = Arc::clone(self);
        runtime::after(WATCH_EVERY, move || readers.look());
    }

    fn look(self: &Arc<Self>) {
        if exit::stopping() {
            return;
        }
        let (lying, open, late, error) = {
            let mut pool = self.pool.lock();
            pool.forget_ended();
            pool.known.retain(|known| Arc::strong_count(&known.watch.interrupt) > 1);
            let mut runs = false;
            for known in &mut pool.known {
                runs |= known.watch.look().is_some();
            }
            if pool.granted.is_empty() && pool.line.is_empty() && !runs {
                pool.watching = false;
                return;
            }
            let lying = if pool.line.is_empty() {
                Vec::new()
            } else {
                let (lying, stay) = std::mem::take(&mut pool.granted).into_iter().partition(Granted::is_late);
                pool.granted = stay;
                lying
            };
            let open: Vec<_> = pool.granted.iter().filter_map(|granted| granted.transaction.upgrade()).collect();
            let late = pool.line.remove_late(Instant::now(), |work| work.reply().queue_timeout());
            let error = (!late.is_empty()).then(|| pool.timeout_error(&open));
            (lying, open, late, error)
        };
        if let Some(error) = error {
            for entry in late {
                let waited = entry.work.reply().queue_timeout();
                entry.work.fail(&told(&error, waited));
            }
        }
        for Granted { transaction, seq, revocations } in lying {
            if let Some(transaction) = transaction.upgrade() {
                self.revoke(&transaction, seq, revocations);
            }
        }
        for transaction in open {
            transaction.expire_if_late();
        }
        self.watch();
    }

    fn revoke(self: &Arc<Self>, transaction: &Arc<Transaction>, seq: u64, revocations: u32) {
        let terms = transaction.terms.clone();
        transaction.revoke(|askers| {
            let Askers::One(reply) = askers else { return };
            let mailbox = Arc::clone(reply.mailbox());
            let work = Work::Begin { reply, terms };
            let entry = Entry { seq, revocations: revocations + 1, seen: None, work };
            self.pool.lock().line.stand_aside([entry]);
            let readers = Arc::clone(self);
            let env = mailbox.env;
            mailbox.stand_aside(Box::new(move || readers.readmit(env)));
        });
    }

    fn readmit(self: &Arc<Self>, env: u64) {
        let mut pool = self.pool.lock();
        pool.line.readmit(env);
        self.start(pool);
    }
}

impl Pool {
    fn forget_ended(&mut self) {
        self.granted.retain(|granted| {
            granted.transaction.upgrade().is_some_and(|transaction| transaction.state() != State::Closed)
        });
    }

    /// Who has the readers, for those who have waited for one too long.
    fn timeout_error(&self, open: &[Arc<Transaction>]) -> Error {
        let mut oldest: Vec<(Duration, String)> =
            open.iter().map(|transaction| (transaction.open_for(), transaction.terms.taken_at())).collect();
        oldest.sort_by_key(|(open_for, _)| std::cmp::Reverse(*open_for));
        let named: Vec<String> = oldest
            .iter()
            .take(MOST_NAMED)
            .map(|(open_for, taken)| format!("a db.read that has been open for {} ms{taken}", open_for.as_millis()))
            .collect();
        let others = self.checkouts.len().saturating_sub(named.len());
        let mut holders = named;
        match others {
            0 => {}
            1 => holders.push("another read".to_owned()),
            others => holders.push(format!("{others} other reads")),
        }
        if self.gate.is_closed() {
            holders.push("work that wants no reader beside it".to_owned());
        }
        let message = format!("one of {} readers, which are held by {}", self.open, holders.join(" and "));
        Error::new(ErrorCode::QueueTimeout, message)
    }
}

impl Granted {
    /// How long the grant lies; `None` when it was taken, revoked or ended.
    fn waits(&self) -> Option<Duration> {
        Weak::upgrade(&self.transaction).and_then(|transaction| transaction.unaccepted_for())
    }

    fn is_late(&self) -> bool {
        self.waits().is_some_and(|waited| waited >= patience(self.revocations))
    }
}

impl Reply {
    /// How long a read may take; zero: for ever.
    pub(super) fn read_timeout(&self) -> Duration {
        self.lease().map_or(Duration::ZERO, |lease| lease.handle().timeouts.read)
    }
}

/// What the readers are at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReaderFigures {
    pub(crate) open: usize,
    pub(crate) idle: usize,
    pub(crate) queued: usize,
    pub(crate) oldest: Duration,
    pub(crate) transactions: usize,
    pub(crate) held_back: bool,
    pub(crate) cache: CacheFigures,
}

impl Readers {
    /// What the readers are at. Idle connections are taken out for a moment to be asked, as by any other user of them.
    pub(crate) fn figures(self: &Arc<Self>) -> ReaderFigures {
        let transactions = self.transactions();
        let idle = std::mem::take(&mut self.pool.lock().idle);
        let cache: Vec<_> =
            idle.iter().map(|connection| (Arc::clone(&connection.interrupt), connection.cache_figures())).collect();
        let mut pool = self.pool.lock();
        for (interrupt, figures) in cache {
            if let Some(known) = pool.known.iter_mut().find(|known| Arc::ptr_eq(&known.watch.interrupt, &interrupt)) {
                known.figures = figures;
            }
        }
        let asked = idle.len();
        pool.idle.splice(0..0, idle);
        let mut cache = CacheFigures::default();
        for known in &pool.known {
            cache += known.figures;
        }
        let running = pool.known.iter().map(|known| known.watch.runs_for());
        let open_for = transactions.iter().map(|transaction| transaction.open_for()).chain(running);
        let figures = ReaderFigures {
            open: pool.open,
            idle: pool.idle.len(),
            queued: pool.line.len() + pool.busy.len(),
            oldest: open_for.max().unwrap_or_default(),
            transactions: transactions.len(),
            held_back: pool.gate.is_closed(),
            cache,
        };
        if asked > 0 && figures.held_back {
            self.gate_may_hold(pool);
        } else if asked > 0 {
            self.start(pool);
        }
        figures
    }
}
