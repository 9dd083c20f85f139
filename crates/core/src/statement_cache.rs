//! Owns the prepared statements that a connection keeps: least recently used leaves.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::statement::Statement;

/// Statements of the user kept prepared per connection.
pub(crate) const STATEMENTS: usize = 128;
/// The same where there are thousands of connections.
pub(crate) const POOLED_STATEMENTS: usize = 16;

/// Hashes consecutive numbers that nobody from outside chooses.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        // Keys are consecutive numbers; Fibonacci hashing spreads them over the table.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

struct Cached {
    statement: Statement,
    used: u64,
}

/// Prepared statements of the user, least recently used leaves.
pub(crate) struct StatementCache {
    most: usize,
    statements: HashMap<u64, Cached, BuildHasherDefault<KeyHasher>>,
    clock: u64,
}

impl StatementCache {
    /// Keeps at most `most` statements.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, statements: HashMap::default(), clock: 0 }
    }

    /// Drops, and so finalizes, all of them, and gives their memory back.
    pub(crate) fn clear(&mut self) {
        self.statements = HashMap::default();
    }

    pub(crate) fn contains(&self, key: u64) -> bool {
        self.statements.contains_key(&key)
    }

    pub(crate) fn get(&mut self, key: u64) -> Option<&mut Statement> {
        self.clock += 1;
        let cached = self.statements.get_mut(&key)?;
        cached.used = self.clock;
        Some(&mut cached.statement)
    }

    /// Takes a statement out, for a run that outlasts its caller's borrow.
    pub(crate) fn take(&mut self, key: u64) -> Option<Statement> {
        self.statements.remove(&key).map(|cached| cached.statement)
    }

    pub(crate) fn insert(&mut self, key: u64, statement: Statement) {
        self.clock += 1;
        if self.statements.len() >= self.most
            && !self.statements.contains_key(&key)
            && let Some(oldest) = self.statements.iter().min_by_key(|(_, cached)| cached.used).map(|(key, _)| *key)
        {
            self.statements.remove(&oldest);
        }
        self.statements.insert(key, Cached { statement, used: self.clock });
    }
}
