//! Owns what user SQL may contain: asked by SQLite while it prepares a statement, answered by one policy.
//!
//! The policy speaks only while a statement of the user is being *prepared*. Statements of the engine are never policed, and
//! neither is anything SQLite prepares inside a step: the silent re-prepare of a statement that was allowed before, or the
//! statements by which FTS5 and R-Tree keep their shadow tables. (A flag that policed steps too would leave a writer that
//! cannot COMMIT after a rolled-back CREATE TABLE.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::connection::Tables;
use crate::error::{Error, ErrorCode, Result};
use crate::execute::Script;
use crate::statement::Traits;

/// Pragmas that only tell something, with or without an argument (a table, an index).
const INTROSPECTION: [&str; 18] = [
    "collation_list",
    "compile_options",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "data_version",
    "page_count",
];

/// Pragmas that may be read, not set.
const READABLE: [&str; 20] = [
    "application_id",
    "auto_vacuum",
    "busy_timeout",
    "cache_size",
    "cipher_version",
    "defer_foreign_keys",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "journal_mode",
    "journal_size_limit",
    "max_page_count",
    "page_size",
    "recursive_triggers",
    "schema_version",
    "secure_delete",
    "synchronous",
    "temp_store",
    "trusted_schema",
    "user_version",
];

/// Pragmas that may be set (or run) inside a write transaction.
const SETTABLE: [&str; 4] = ["application_id", "defer_foreign_keys", "optimize", "user_version"];

/// Pragmas that migrations of other tools have around the rebuilding of a table. The first is off while migrations run anyway.
const OF_MIGRATIONS: [&str; 2] = ["foreign_keys", "legacy_alter_table"];

const DDL: u8 = 1;
const TEMP: u8 = 2;
const SETS_PRAGMA: u8 = 4;
const READS_PRAGMA: u8 = 8;
const INSERTS: u8 = 16;

#[derive(Default)]
struct State {
    policing: AtomicBool,
    /// Whose SQL is policed, a [`Script`].
    script: AtomicU8,
    seen: AtomicU8,
    /// Tables that the statement can change.
    tables: Mutex<Vec<Arc<str>>>,
    refusal: Mutex<Option<String>>,
}

/// What was seen of a statement.
pub(crate) struct Seen {
    pub(crate) traits: Traits,
    pub(crate) tables: Option<Tables>,
}

/// The policy of one connection.
#[derive(Clone)]
pub(crate) struct Authorizer {
    state: Arc<State>,
}

impl Authorizer {
    /// Registers the policy on `connection`, for the connection's lifetime.
    pub(crate) fn register(connection: &mut Connection) -> Result<Self> {
        let state = Arc::new(State::default());
        let asked = Arc::clone(&state);
        connection
            .authorizer(Some(move |context: AuthContext<'_>| asked.authorize(&context)))
            .map_err(|error| Error::new(ErrorCode::Sql, format!("the authorizer was not accepted: {error}")))?;
        Ok(Self { state })
    }

    /// Runs `prepare` on SQL of the user. Gives what was seen of the statement, or the refusal in words.
    pub(crate) fn police<T>(&self, script: Script, prepare: impl FnOnce() -> Result<T>) -> Result<(T, Seen)> {
        self.state.script.store(script as u8, Ordering::Relaxed);
        self.state.seen.store(0, Ordering::Relaxed);
        self.state.tables.lock().clear();
        self.state.policing.store(true, Ordering::Relaxed);
        let prepared = prepare();
        self.state.policing.store(false, Ordering::Relaxed);
        let refusal = self.state.refusal.lock().take();
        let tables = self.take_tables();
        let seen = self.state.seen.load(Ordering::Relaxed);
        let traits = Traits {
            ddl: seen & DDL != 0,
            temp: seen & TEMP != 0,
            sets_pragma: seen & SETS_PRAGMA != 0,
            reads_pragma: seen & READS_PRAGMA != 0,
            inserts: seen & (INSERTS | DDL) == INSERTS,
        };
        match (prepared, refusal) {
            (Ok(prepared), _) => Ok((prepared, Seen { traits, tables })),
            // SQLite reports a refused function as a plain error.
            (Err(error), Some(message)) => Err(Error { code: ErrorCode::StatementNotAllowed, message, ..error }),
            (Err(error), None) => Err(error),
        }
    }
}

impl Authorizer {
    /// The tables of what SQLite has prepared by itself since the last statement of the user was.
    pub(crate) fn take_tables(&self) -> Option<Tables> {
        let tables = std::mem::take(&mut *self.state.tables.lock());
        (!tables.is_empty()).then(|| Tables::from(tables))
    }
}

impl State {
    fn refuse(&self, why: String) -> Authorization {
        *self.refusal.lock() = Some(why);
        Authorization::Deny
    }

    /// Notes a table of the file that the statement can change.
    fn changes(&self, table: &str) {
        if table.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
            return;
        }
        let mut tables = self.tables.lock();
        if !tables.iter().any(|known| **known == *table) {
            tables.push(Arc::from(table));
        }
    }

    fn saw(&self, what: u8) -> Authorization {
        self.seen.fetch_or(what, Ordering::Relaxed);
        Authorization::Allow
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let in_temp = context.database_name.is_some_and(|schema| schema.eq_ignore_ascii_case("temp"));
        // Noted of a silent re-prepare as well: a trigger may have come in the meantime.
        if let AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. } = context.action
            && !in_temp
        {
            self.changes(table_name);
        }
        if !self.policing.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match context.action {
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } if self.is_of(Script::Loose) => {
                Authorization::Allow
            }
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } if self.is_of(Script::Migration) => self.refuse(
                "BEGIN, COMMIT, ROLLBACK and SAVEPOINT are not allowed in a migration, which is one transaction; take them out, or put `-- +goose NO TRANSACTION` at the head of the file".to_owned(),
            ),
            AuthAction::Transaction { .. } => self.refuse(
                "BEGIN, COMMIT and ROLLBACK are not allowed in SQL: the closure of db.read or db.write is the transaction; it commits on return and rolls back on throw".to_owned(),
            ),
            AuthAction::Savepoint { .. } => {
                self.refuse("SAVEPOINT, RELEASE and ROLLBACK TO are not allowed in SQL: use tx.savepoint(fn), or tx.sync.savepoint(fn)".to_owned())
            }
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                self.refuse("ATTACH and DETACH are not allowed: open the other file with Database.open".to_owned())
            }
            AuthAction::Pragma { pragma_name, pragma_value } => self.pragma(pragma_name, pragma_value),
            AuthAction::Function { function_name } if is_refused_function(function_name) => {
                self.refuse(format!("the function {function_name} is not allowed in SQL"))
            }
            // A trigger in the schema "temp" on a table of "main" shows only by the row that its making writes.
            AuthAction::Insert { table_name } if in_temp && table_name.starts_with("sqlite_") => self.saw(TEMP | DDL),
            AuthAction::Insert { .. } if context.accessor.is_none() => self.saw(INSERTS),
            AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::DropTempIndex { .. }
            | AuthAction::DropTempTable { .. }
            | AuthAction::DropTempTrigger { .. }
            | AuthAction::DropTempView { .. } => self.saw(TEMP | DDL),
            AuthAction::AlterTable { .. }
            | AuthAction::Analyze { .. }
            | AuthAction::CreateIndex { .. }
            | AuthAction::CreateTable { .. }
            | AuthAction::CreateTrigger { .. }
            | AuthAction::CreateView { .. }
            | AuthAction::CreateVtable { .. }
            | AuthAction::DropIndex { .. }
            | AuthAction::DropTable { .. }
            | AuthAction::DropTrigger { .. }
            | AuthAction::DropView { .. }
            | AuthAction::DropVtable { .. }
            | AuthAction::Reindex { .. } => {
                // `CREATE TABLE temp.t` is reported as an ordinary CREATE, in the schema "temp".
                self.saw(if in_temp { TEMP | DDL } else { DDL })
            }
            _ => Authorization::Allow,
        }
    }

    fn is_of(&self, script: Script) -> bool {
        self.script.load(Ordering::Relaxed) == script as u8
    }

    fn pragma(&self, name: &str, value: Option<&str>) -> Authorization {
        let name = name.to_ascii_lowercase();
        let listed = |list: &[&str]| list.contains(&name.as_str());
        if listed(&INTROSPECTION) || (value.is_none() && listed(&READABLE)) {
            return self.saw(READS_PRAGMA);
        }
        if listed(&OF_MIGRATIONS) && !self.is_of(Script::User) {
            return self.saw(SETS_PRAGMA);
        }
        if listed(&SETTABLE) {
            return self.saw(SETS_PRAGMA);
        }
        if listed(&READABLE) {
            return self.refuse(format!(
                "PRAGMA {name} can be read but not set in SQL: the engine sets it; look for the option of Database.open"
            ));
        }
        self.refuse(format!(
            "PRAGMA {name} is not allowed in SQL; allowed are those that tell about the schema, and {} in db.write",
            SETTABLE.join(", ")
        ))
    }
}

/// Functions that reach beyond the database: loading code, copying it out, changing how text is cut.
fn is_refused_function(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sqlcipher_") || name == "load_extension" || name == "fts3_tokenizer"
}
