//! A client in Rust: what an environment does, on a thread of the test.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::allow_attributes, reason = "which part is used differs from binary to binary")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that meets the unexpected fails by a panic"
)]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use sqlflow_core::wire::{
    Body, Cell, Changed, Checkpointed, Completion, Entry, Flags, Granted, Kind, Migrated, NO_REPLY, Param, Problem,
    RequestHead, Value, encode_request,
};
use sqlflow_core::{CheckpointMode, Client, Drained, ErrorCode, Listening, OpenOptions, Storage};

/// A hang is a failure.
pub const WATCHDOG: Duration = Duration::from_secs(30);

/// What an operation was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Rows { rows: Vec<Vec<Stored>>, open: bool, changes: Option<(i64, i64)> },
    Changes { changes: i64, rowid: i64 },
    Done,
    Grant(Target),
    Opened(Target),
    Group(Target, Vec<u32>),
    Committed(Changed),
    Ended { target: Target, code: ErrorCode, message: String },
    Checkpointed(Checkpointed),
    Migrated(Migrated),
    History(Vec<Entry>),
    Progress,
    Verified(Vec<Problem>),
    LetGo(Target, u32),
    Error { code: ErrorCode, sqlite: i32, message: String },
}

/// A value as it came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    Null,
    Number(f64),
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A database handle or a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub index: u32,
    pub generation: u32,
    pub transaction: bool,
}

impl Target {
    fn granted(granted: Granted) -> Self {
        Self { index: granted.transaction, generation: granted.generation, transaction: true }
    }
}

impl Answer {
    /// The error's code; anything else fails the test.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Error { code, .. } => *code,
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    /// The one number of the one row.
    pub fn number(&self) -> f64 {
        match self {
            Self::Rows { rows, .. } => match rows.first().and_then(|row| row.first()) {
                Some(Stored::Number(number)) => *number,
                other => panic!("a number was expected, not {other:?}"),
            },
            other => panic!("a row was expected, not {other:?}"),
        }
    }

    pub fn message(&self) -> &str {
        match self {
            Self::Error { message, .. } | Self::Ended { message, .. } => message,
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    /// What a commit has changed.
    pub fn changed(self) -> Changed {
        match self {
            Self::Committed(changed) => changed,
            other => panic!("a commit was expected, not {other:?}"),
        }
    }

    pub fn checkpointed(&self) -> Checkpointed {
        match self {
            Self::Checkpointed(done) => *done,
            other => panic!("a checkpoint was expected, not {other:?}"),
        }
    }

    /// The transaction of a group of closures, and their operations.
    pub fn group(self) -> (Target, Vec<u32>) {
        match self {
            Self::Group(transaction, ops) => (transaction, ops),
            other => panic!("a group was expected, not {other:?}"),
        }
    }

    /// The transaction that was ended from outside, and why.
    pub fn ended(&self) -> (Target, ErrorCode) {
        match self {
            Self::Ended { target, code, .. } => (*target, *code),
            other => panic!("the end of a transaction was expected, not {other:?}"),
        }
    }

    pub fn target(&self) -> Target {
        match self {
            Self::Grant(target) | Self::Opened(target) => *target,
            other => panic!("a grant or a handle was expected, not {other:?}"),
        }
    }
}

/// One environment.
pub struct Env {
    client: Client,
    woken: Arc<(Mutex<bool>, Condvar)>,
    statements: HashMap<String, u32>,
    next_op: u32,
    answers: VecDeque<(u32, Answer)>,
    parts: HashMap<u32, Vec<Vec<Stored>>>,
    news: VecDeque<Answer>,
    buffer: Vec<u8>,
    /// Records of each look into the mailbox.
    pub drained: Vec<usize>,
}

impl Env {
    pub fn new() -> Self {
        let woken = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = Arc::clone(&woken);
        let client = Client::new(move || {
            *signal.0.lock().unwrap() = true;
            signal.1.notify_all();
        });
        Self {
            client,
            woken,
            statements: HashMap::new(),
            next_op: 0,
            answers: VecDeque::new(),
            parts: HashMap::new(),
            news: VecDeque::new(),
            buffer: vec![0; 1024 * 1024 + 64 * 1024],
            drained: Vec::new(),
        }
    }

    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn op(&mut self) -> u32 {
        self.next_op += 1;
        self.next_op
    }

    /// Asks for a database; the answer comes later.
    pub fn ask_open(&mut self, path: &str, options: OpenOptions) -> u32 {
        let op = self.op();
        self.client.open(op, path, options);
        op
    }

    pub fn open(&mut self, path: &str) -> Target {
        self.open_with(path, OpenOptions::default())
    }

    pub fn open_with(&mut self, path: &str, options: OpenOptions) -> Target {
        let op = self.ask_open(path, options);
        self.wait(op).target()
    }

    pub fn temporary(&mut self) -> Target {
        self.open_with("", OpenOptions { storage: Storage::Temporary, ..OpenOptions::default() })
    }

    pub fn ask_close(&mut self, handle: Target) -> u32 {
        let op = self.op();
        self.client.close(op, handle.index, handle.generation, None);
        op
    }

    /// Asks for a close that ends what is not over after `patience`.
    pub fn ask_close_within(&mut self, handle: Target, patience: Duration) -> u32 {
        let op = self.op();
        self.client.close(op, handle.index, handle.generation, Some(patience));
        op
    }

    pub fn checkpoint(&mut self, handle: Target, mode: CheckpointMode) -> Answer {
        let op = self.op();
        self.client.checkpoint(op, handle.index, handle.generation, mode);
        self.wait(op)
    }

    /// Takes migrations back to `version`.
    pub fn back(&mut self, handle: Target, version: i64) -> Answer {
        let op = self.op();
        self.client.migrate_back(op, handle.index, handle.generation, version);
        self.wait(op)
    }

    pub fn history(&mut self, handle: Target) -> Answer {
        let op = self.op();
        self.client.history(op, handle.index, handle.generation);
        self.wait(op)
    }

    /// One figure of the database, by its place.
    pub fn stat(&mut self, handle: Target, at: usize) -> f64 {
        self.client.stats(handle.index, handle.generation).unwrap().values().get(at).copied().unwrap()
    }

    pub fn listen(&mut self, handle: Target, listening: Listening) {
        self.client.listen(handle.index, handle.generation, listening);
    }

    /// Cancels an operation of `target`.
    pub fn cancel(&mut self, target: Target, op: u32) {
        self.send(target, Kind::Cancel, op);
    }

    /// Ends a transaction from outside.
    pub fn expire(&mut self, transaction: Target) {
        self.send(transaction, Kind::Expire, 0);
    }

    fn send(&mut self, target: Target, kind: Kind, cursor: u32) {
        let head = RequestHead { op: NO_REPLY, cursor, ..Self::head(target, kind) };
        let mut record = Vec::new();
        encode_request(&mut record, &head, &[]).unwrap();
        self.client.submit(&record);
    }

    fn head(target: Target, kind: Kind) -> RequestHead {
        RequestHead {
            op: NO_REPLY,
            kind,
            flags: if target.transaction { Flags::TX } else { Flags::NONE },
            target: target.index,
            generation: target.generation,
            statement: 0,
            cursor: 0,
            limit: 0,
        }
    }

    /// Asks for a batch of statements without parameters.
    pub fn ask_batch(&mut self, target: Target, statements: &[&str]) -> u32 {
        let op = self.op();
        for (at, sql) in statements.iter().enumerate() {
            let mut head = RequestHead { op, statement: self.statement(sql), ..Self::head(target, Kind::Batch) };
            if at == 0 {
                head.flags = head.flags | Flags::FIRST;
            }
            if at + 1 == statements.len() {
                head.flags = head.flags | Flags::FINAL;
            }
            let mut record = Vec::new();
            encode_request(&mut record, &head, &[]).unwrap();
            self.client.submit(&record);
        }
        op
    }

    /// Commits, and asks what was changed.
    pub fn commit_changed(&mut self, transaction: Target) -> Answer {
        let op = self.op();
        let mut head = RequestHead { op, ..Self::head(transaction, Kind::Commit) };
        head.flags = head.flags | Flags::TABLES;
        let mut record = Vec::new();
        encode_request(&mut record, &head, &[]).unwrap();
        self.client.submit(&record);
        self.wait(op)
    }

    /// Ends a group of closures of which `started` were started.
    pub fn commit_group(&mut self, transaction: Target, started: u32) -> Answer {
        let op = self.op();
        let head = RequestHead { op, limit: started, ..Self::head(transaction, Kind::Commit) };
        let mut record = Vec::new();
        encode_request(&mut record, &head, &[]).unwrap();
        self.client.submit(&record);
        self.wait(op)
    }

    /// Waits for the next record that answers no operation.
    pub fn news(&mut self) -> Answer {
        let deadline = Instant::now() + WATCHDOG;
        loop {
            self.poll();
            if let Some(answer) = self.news.pop_front() {
                return answer;
            }
            self.sleep_until_woken(deadline);
        }
    }

    pub fn close(&mut self, handle: Target) -> Answer {
        let op = self.ask_close(handle);
        self.wait(op)
    }

    fn record(
        &mut self,
        target: Target,
        kind: Kind,
        sql: &str,
        params: &[Value<'_>],
        cursor: u32,
        limit: u32,
    ) -> (u32, Vec<u8>) {
        let op = self.op();
        let statement = if sql.is_empty() { 0 } else { self.statement(sql) };
        let flags = if target.transaction { Flags::TX } else { Flags::NONE };
        let head = RequestHead {
            op,
            kind,
            flags,
            target: target.index,
            generation: target.generation,
            statement,
            cursor,
            limit,
        };
        let params: Vec<Param<'_>> = params.iter().map(|value| Param { name: None, value: *value }).collect();
        let mut record = Vec::new();
        encode_request(&mut record, &head, &params).unwrap();
        (op, record)
    }

    fn statement(&mut self, sql: &str) -> u32 {
        if let Some(id) = self.statements.get(sql) {
            return *id;
        }
        let id = u32::try_from(self.statements.len()).unwrap() + 1;
        self.client.define_statement(id, sql);
        self.statements.insert(sql.to_owned(), id);
        id
    }

    /// Asks; the answer comes later.
    pub fn ask(&mut self, target: Target, kind: Kind, sql: &str, params: &[Value<'_>]) -> u32 {
        self.ask_cursor(target, kind, sql, params, 0, 0)
    }

    pub fn ask_cursor(
        &mut self,
        target: Target,
        kind: Kind,
        sql: &str,
        params: &[Value<'_>],
        cursor: u32,
        limit: u32,
    ) -> u32 {
        let (op, record) = self.record(target, kind, sql, params, cursor, limit);
        self.client.submit(&record);
        op
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, target: Target, kind: Kind, sql: &str, params: &[Value<'_>]) -> Answer {
        let op = self.ask(target, kind, sql, params);
        self.wait(op)
    }

    pub fn run(&mut self, target: Target, sql: &str, params: &[Value<'_>]) -> Answer {
        self.call(target, Kind::Run, sql, params)
    }

    pub fn exec(&mut self, target: Target, sql: &str) {
        assert_eq!(self.call(target, Kind::Exec, sql, &[]), Answer::Done);
    }

    pub fn number(&mut self, target: Target, sql: &str) -> f64 {
        self.call(target, Kind::Get, sql, &[]).number()
    }

    /// The numbers in the first column of all rows.
    pub fn numbers(&mut self, target: Target, sql: &str) -> Vec<f64> {
        let Answer::Rows { rows, .. } = self.call(target, Kind::All, sql, &[]) else { panic!("rows were expected") };
        let number = |row: &Vec<Stored>| match row.first() {
            Some(Stored::Number(number)) => *number,
            other => panic!("a number was expected, not {other:?}"),
        };
        rows.iter().map(number).collect()
    }

    pub fn begin_read(&mut self, handle: Target) -> Target {
        self.call(handle, Kind::BeginRead, "", &[]).target()
    }

    pub fn begin_write(&mut self, handle: Target) -> Target {
        self.call(handle, Kind::BeginWrite, "", &[]).target()
    }

    pub fn commit(&mut self, transaction: Target) -> Answer {
        self.call(transaction, Kind::Commit, "", &[])
    }

    pub fn rollback(&mut self, transaction: Target) -> Answer {
        self.call(transaction, Kind::Rollback, "", &[])
    }

    /// A request of `tx.sync`.
    pub fn sync(&mut self, target: Target, kind: Kind, sql: &str, params: &[Value<'_>]) -> Answer {
        let (_, record) = self.record(target, kind, sql, params, 1, 0);
        let answer = self.client.sync(&record).to_vec();
        let (completion, rest) = Completion::parse(&answer).unwrap();
        assert!(rest.is_empty() && completion.last);
        answer_of(&completion.body)
    }

    /// Takes what is there without waiting.
    pub fn poll(&mut self) {
        *self.woken.0.lock().unwrap() = false;
        loop {
            match self.client.drain(&mut self.buffer) {
                Drained::Bytes(0) => return,
                Drained::Bytes(bytes) => {
                    let records = self.buffer.get(..bytes).unwrap().to_vec();
                    self.take(&records);
                }
                Drained::Oversized(record) => self.take(&record),
                Drained::Nothing => {}
            }
        }
    }

    fn take(&mut self, records: &[u8]) {
        let mut rest = records;
        let mut count = 0;
        while !rest.is_empty() {
            let (completion, after) = Completion::parse(rest).unwrap();
            count += 1;
            rest = after;
            let op = completion.op;
            let mut answer = answer_of(&completion.body);
            if let Answer::Rows { rows, .. } = &mut answer {
                let parts = self.parts.entry(op).or_default();
                parts.append(rows);
                if !completion.last {
                    continue;
                }
                *rows = std::mem::take(parts);
            }
            if op == NO_REPLY || matches!(answer, Answer::Migrated(_) | Answer::Progress) {
                self.news.push_back(answer);
                continue;
            }
            assert!(completion.last);
            self.parts.remove(&op);
            self.answers.push_back((op, answer));
        }
        self.drained.push(count);
    }

    /// The answer of `op`, if it is there.
    pub fn answered(&mut self, op: u32) -> Option<Answer> {
        let at = self.answers.iter().position(|(answered, _)| *answered == op)?;
        self.answers.remove(at).map(|(_, answer)| answer)
    }

    /// The operations answered so far, in order.
    pub fn order(&self) -> Vec<u32> {
        self.answers.iter().map(|(op, _)| *op).collect()
    }

    /// Waits for the answer of `op`.
    pub fn wait(&mut self, op: u32) -> Answer {
        let deadline = Instant::now() + WATCHDOG;
        loop {
            self.poll();
            if let Some(answer) = self.answered(op) {
                return answer;
            }
            self.sleep_until_woken(deadline);
        }
    }

    /// Waits until the engine has something, without taking it.
    pub fn wait_for_wake(&self) {
        self.sleep_until_woken(Instant::now() + WATCHDOG);
    }

    fn sleep_until_woken(&self, deadline: Instant) {
        let mut woken = self.woken.0.lock().unwrap();
        while !*woken {
            let left = deadline.checked_duration_since(Instant::now()).expect("no answer within 30 s");
            woken = self.woken.1.wait_timeout(woken, left).unwrap().0;
        }
    }
}

fn answer_of(body: &Body<'_>) -> Answer {
    match *body {
        Body::Rows(chunk) => {
            let cell = |cell: &Cell<'_>| match *cell {
                Cell::Null => Stored::Null,
                Cell::Number(number) => Stored::Number(number),
                Cell::Int(int) => Stored::Int(int),
                Cell::Text(text) => Stored::Text(text.to_owned()),
                Cell::Blob(blob) => Stored::Blob(blob.to_vec()),
            };
            let rows = chunk.iter().map(|row| row.iter().map(cell).collect()).collect();
            Answer::Rows { rows, open: chunk.open(), changes: chunk.changes() }
        }
        Body::Changes { changes, last_insert_rowid } => Answer::Changes { changes, rowid: last_insert_rowid },
        Body::Done { .. } => Answer::Done,
        Body::Grant(granted) => Answer::Grant(Target::granted(granted)),
        Body::GrantGroup { granted, ref ops } => Answer::Group(Target::granted(granted), ops.clone()),
        Body::Committed { ref changed, .. } => Answer::Committed(changed.clone()),
        Body::Ended { target: (index, generation), code, message } => {
            Answer::Ended { target: Target { index, generation, transaction: true }, code, message: message.to_owned() }
        }
        Body::LetGo { handle, generation, reason } => {
            Answer::LetGo(Target { index: handle, generation, transaction: false }, reason)
        }
        Body::Checkpointed(checkpoint) => Answer::Checkpointed(checkpoint),
        Body::Migrated(ref migrated) => Answer::Migrated(migrated.clone()),
        Body::History(ref entries) => Answer::History(entries.clone()),
        Body::Progress { .. } => Answer::Progress,
        Body::Verified(ref problems) => Answer::Verified(problems.clone()),
        Body::Opened { handle, generation, .. } => {
            Answer::Opened(Target { index: handle, generation, transaction: false })
        }
        Body::Error(error) => {
            Answer::Error { code: error.code, sqlite: error.sqlite, message: error.message.to_owned() }
        }
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}
