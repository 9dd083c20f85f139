//! Owns SQL texts: each distinct text exists once per process, with a number that connections key their statement caches by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use crate::text::seems_to_write;

/// Where a statement runs. A guess until a connection has prepared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Route {
    Reader = 0,
    Writer = 1,
}

/// The queue for a text that nobody has prepared yet. Statements that write must not take the way round by a reader, on which
/// they would overtake each other.
fn guess(text: &str) -> Route {
    if seems_to_write(text) { Route::Writer } else { Route::Reader }
}

/// One SQL text.
#[derive(Debug)]
pub(crate) struct Sql {
    /// Unique in the process, never reused.
    pub(crate) key: u64,
    pub(crate) text: Box<str>,
    route: AtomicU8,
}

struct Table {
    texts: HashMap<Box<str>, Weak<Sql>>,
    /// Dead entries are swept when the table has grown to this size.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 1_024;

static TABLE: LazyLock<Mutex<Table>> =
    LazyLock::new(|| Mutex::new(Table { texts: HashMap::new(), sweep_at: FIRST_SWEEP }));
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Sql {
    /// The one `Sql` of this text.
    pub(crate) fn intern(text: &str) -> Arc<Self> {
        let mut table = TABLE.lock();
        if let Some(sql) = table.texts.get(text).and_then(Weak::upgrade) {
            return sql;
        }
        let sql = Arc::new(Self {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            text: text.into(),
            route: AtomicU8::new(guess(text) as u8),
        });
        table.texts.insert(text.into(), Arc::downgrade(&sql));
        if table.texts.len() >= table.sweep_at {
            table.texts.retain(|_, sql| sql.strong_count() > 0);
            table.sweep_at = (table.texts.len() * 2).max(FIRST_SWEEP);
        }
        sql
    }

    /// Where statements of this text run: a hint, the connection that prepares one has the last word.
    pub(crate) fn route(&self) -> Route {
        if self.route.load(Ordering::Relaxed) == Route::Writer as u8 { Route::Writer } else { Route::Reader }
    }

    pub(crate) fn set_route(&self, route: Route) {
        self.route.store(route as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_key_while_somebody_holds_it() {
        let first = Sql::intern("SELECT 'one key'");
        assert_eq!(first.key, Sql::intern("SELECT 'one key'").key);
        assert_ne!(first.key, Sql::intern("SELECT 'another key'").key);
    }

    #[test]
    fn dead_texts_are_swept() {
        for n in 0..5_000 {
            Sql::intern(&format!("SELECT {n} /* swept */"));
        }
        assert!(TABLE.lock().texts.len() < 5_000);
    }
}
