//! Owns a client in a model: what an environment does, on a thread of the model checker. Every operation is answered once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use shuttle::sync::{Condvar, Mutex};
use sqlflow_core::wire::{Body, Cell, Completion, Flags, Kind, NO_REPLY, RequestHead, encode_request};
use sqlflow_core::{Acquire, Client, Drained, ErrorCode, OpenOptions, PoolLimits};

/// What an operation was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// All values of all rows, in their order.
    Rows(Vec<String>),
    Changes(i64),
    Done,
    /// And the engine behind it, of a database.
    Target(Target, u32),
    Error(ErrorCode, String),
}

/// A database handle or a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    index: u32,
    generation: u32,
    transaction: bool,
}

impl Answer {
    pub(crate) fn target(self) -> Target {
        match self {
            Self::Target(target, _) => target,
            other => panic!("a grant or a handle was expected, not {other:?}"),
        }
    }

    /// The error's code, none if it is no error.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Error(code, _) => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn rows(self) -> Vec<String> {
        match self {
            Self::Rows(rows) => rows,
            other => panic!("rows were expected, not {other:?}"),
        }
    }
}

#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    waiting: bool,
    times: usize,
}

/// One environment.
pub(crate) struct Env {
    client: Option<Client>,
    bell: Arc<Bell>,
    /// How often the engine was told that the environment sleeps.
    sleeps: usize,
    statements: HashMap<String, u32>,
    last_op: u32,
    unanswered: HashSet<u32>,
    answers: HashMap<u32, Answer>,
    parts: HashMap<u32, Vec<String>>,
    /// Transactions that were ended from outside.
    ended: HashSet<(u32, u32)>,
    /// Handles that a pool has closed by itself.
    let_go: HashSet<(u32, u32)>,
    buffer: Vec<u8>,
}

impl Env {
    pub(crate) fn new() -> Self {
        let bell = Arc::new(Bell::default());
        let rings = Arc::clone(&bell);
        let client = Client::new(move || {
            let mut rung = rings.rung.lock().unwrap();
            rung.waiting = true;
            rung.times += 1;
            rings.changed.notify_all();
        });
        Self {
            client: Some(client),
            bell,
            sleeps: 0,
            statements: HashMap::new(),
            last_op: 0,
            unanswered: HashSet::new(),
            answers: HashMap::new(),
            parts: HashMap::new(),
            ended: HashSet::new(),
            let_go: HashSet::new(),
            buffer: vec![0; 64 * 1024],
        }
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }

    fn op(&mut self) -> u32 {
        self.last_op += 1;
        self.unanswered.insert(self.last_op);
        self.last_op
    }

    pub(crate) fn open(&mut self, path: &str) -> Target {
        self.open_with(path, OpenOptions::default())
    }

    pub(crate) fn open_with(&mut self, path: &str, options: OpenOptions) -> Target {
        let op = self.op();
        self.client().open(op, path, options);
        self.wait(op).target()
    }

    pub(crate) fn close(&mut self, handle: Target) {
        let op = self.op();
        self.client().close(op, handle.index, handle.generation, None);
        assert_eq!(self.wait(op), Answer::Done);
    }

    pub(crate) fn open_pool(&mut self, folder: &str, limits: PoolLimits) -> Target {
        let op = self.op();
        self.client().open_pool(op, folder, false, limits);
        self.wait(op).target()
    }

    /// Asks for a database of a pool, whose first use begins with the answer.
    pub(crate) fn ask_pooled(&mut self, pool: Target, name: &str) -> u32 {
        let op = self.op();
        self.client().open_pooled(op, (pool.index, pool.generation), name, OpenOptions::default(), false);
        op
    }

    pub(crate) fn acquire(&mut self, handle: Target) -> bool {
        self.client().acquire(handle.index, handle.generation, Acquire::Open)
    }

    pub(crate) fn release(&mut self, handle: Target) {
        self.client().release(handle.index, handle.generation);
    }

    pub(crate) fn ask_evict(&mut self, pool: Target, name: &str) -> u32 {
        let op = self.op();
        self.client().evict(op, (pool.index, pool.generation), name);
        op
    }

    pub(crate) fn ask_delete(&mut self, pool: Target, name: &str, patience: Duration) -> u32 {
        let op = self.op();
        self.client().delete(op, (pool.index, pool.generation), name, (Duration::ZERO, patience));
        op
    }

    /// Asks; the answer comes later.
    pub(crate) fn ask(&mut self, target: Target, kind: Kind, sql: &str) -> u32 {
        let op = self.op();
        let record = self.record(op, target, kind, sql, 0);
        self.client().submit(&record);
        op
    }

    /// Asks for the first rows of a cursor, or with [`Kind::Pull`] for the next.
    pub(crate) fn pull(&mut self, transaction: Target, kind: Kind, sql: &str) -> Vec<String> {
        let op = self.op();
        let record = self.record(op, transaction, kind, sql, 1);
        self.client().submit(&record);
        self.wait(op).rows()
    }

    /// Cancels an operation on `target`, wherever it is.
    pub(crate) fn cancel(&mut self, target: Target, op: u32) {
        let record = self.record(NO_REPLY, target, Kind::Cancel, "", op);
        self.client().submit(&record);
    }

    fn record(&mut self, op: u32, target: Target, kind: Kind, sql: &str, cursor: u32) -> Vec<u8> {
        let statement = if sql.is_empty() { 0 } else { self.statement(sql) };
        let head = RequestHead {
            op,
            kind,
            flags: if target.transaction { Flags::TX } else { Flags::NONE },
            target: target.index,
            generation: target.generation,
            statement,
            cursor,
            limit: 0,
        };
        let mut record = Vec::new();
        encode_request(&mut record, &head, &[]).unwrap();
        record
    }

    fn statement(&mut self, sql: &str) -> u32 {
        if let Some(id) = self.statements.get(sql) {
            return *id;
        }
        let id = u32::try_from(self.statements.len()).unwrap() + 1;
        self.client().define_statement(id, sql);
        self.statements.insert(sql.to_owned(), id);
        id
    }

    /// Asks and waits for the answer.
    pub(crate) fn call(&mut self, target: Target, kind: Kind, sql: &str) -> Answer {
        let op = self.ask(target, kind, sql);
        self.wait(op)
    }

    pub(crate) fn exec(&mut self, target: Target, sql: &str) {
        assert_eq!(self.call(target, Kind::Exec, sql), Answer::Done);
    }

    pub(crate) fn values(&mut self, target: Target, sql: &str) -> Vec<String> {
        self.call(target, Kind::All, sql).rows()
    }

    /// Asks on this thread, as `tx.sync` does.
    pub(crate) fn sync(&mut self, transaction: Target, kind: Kind, sql: &str) -> Answer {
        let record = self.record(self.last_op + 1, transaction, kind, sql, 0);
        let answer = self.client().sync(&record).to_vec();
        let (completion, rest) = Completion::parse(&answer).unwrap();
        assert!(rest.is_empty() && completion.last);
        answer_of(&completion.body)
    }

    /// Looks into the mailbox once. `false`: nothing is there, and the next record rings.
    pub(crate) fn look(&mut self) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let sleeps = match self.client().drain(&mut buffer) {
            Drained::Bytes(0) => true,
            Drained::Bytes(bytes) => {
                self.take(&buffer[..bytes]);
                false
            }
            Drained::Oversized(record) => {
                self.take(&record);
                false
            }
            Drained::Nothing => false,
        };
        self.buffer = buffer;
        let times = self.bell.rung.lock().unwrap().times;
        // It rings for the first record after the start, and for the first after each sleep.
        self.sleeps += usize::from(sleeps);
        assert!(times <= self.sleeps + 1, "rung {times} times for {} sleeps", self.sleeps);
        !sleeps
    }

    fn take(&mut self, records: &[u8]) {
        let mut rest = records;
        while !rest.is_empty() {
            let (completion, after) = Completion::parse(rest).unwrap();
            rest = after;
            if let Body::Ended { target, .. } = completion.body {
                assert!(self.ended.insert(target), "the end of {target:?} is told twice");
                continue;
            }
            if let Body::LetGo { handle, generation, .. } = completion.body {
                assert!(self.let_go.insert((handle, generation)), "{handle} is let go twice");
                continue;
            }
            let op = completion.op;
            let mut answer = answer_of(&completion.body);
            assert!(self.unanswered.contains(&op), "{op} is answered twice, now by {answer:?}");
            if let Answer::Rows(rows) = &mut answer {
                let parts = self.parts.entry(op).or_default();
                parts.append(rows);
                if !completion.last {
                    continue;
                }
                *rows = std::mem::take(parts);
            }
            assert!(answer.code() != Some(ErrorCode::EnginePanic), "the engine failed: {answer:?}");
            self.parts.remove(&op);
            self.unanswered.remove(&op);
            self.answers.insert(op, answer);
        }
    }

    /// The answer of `op`, if it is there.
    pub(crate) fn answered(&self, op: u32) -> Option<Answer> {
        self.answers.get(&op).cloned()
    }

    /// Waits for the answer of `op`, asleep when there is nothing.
    pub(crate) fn wait(&mut self, op: u32) -> Answer {
        loop {
            if let Some(answer) = self.answered(op) {
                return answer;
            }
            if self.look() {
                shuttle::thread::yield_now();
                continue;
            }
            let mut rung = self.bell.rung.lock().unwrap();
            while !rung.waiting {
                rung = self.bell.changed.wait(rung).unwrap();
            }
            rung.waiting = false;
        }
    }

    /// Ends as a worker thread does: at once.
    pub(crate) fn shutdown(mut self) {
        if let Some(client) = self.client.take() {
            drop(client);
        }
    }

    /// Every operation was answered.
    pub(crate) fn has_all_answers(&self) -> bool {
        self.unanswered.is_empty()
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The schedule is over; the engine's threads run no more.
            std::mem::forget(self.client.take());
        }
    }
}

fn answer_of(body: &Body<'_>) -> Answer {
    match *body {
        Body::Rows(chunk) => {
            let value = |cell: &Cell<'_>| match *cell {
                Cell::Number(number) => number.to_string(),
                Cell::Text(text) => text.to_owned(),
                ref other => panic!("no model has a value like {other:?}"),
            };
            Answer::Rows(chunk.iter().flat_map(|row| row.iter().map(value).collect::<Vec<_>>()).collect())
        }
        Body::Changes { changes, .. } => Answer::Changes(changes),
        Body::Done { .. } => Answer::Done,
        Body::Grant(granted) => {
            Answer::Target(Target { index: granted.transaction, generation: granted.generation, transaction: true }, 0)
        }
        Body::Opened { handle, generation, engine, .. } => {
            Answer::Target(Target { index: handle, generation, transaction: false }, engine)
        }
        Body::Error(error) => Answer::Error(error.code, error.message.to_owned()),
        ref other => panic!("no model asks for {other:?}"),
    }
}
