//! Owns the tables that say which migrations a database has: refinery's, through refinery's own runner, and goose's.

use refinery_core::Migration as Refinery;
use refinery_core::traits::sync::{Migrate, Query, Transaction};
use refinery_core::{Runner, Target};
use rusqlite::OptionalExtension;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Known, Source};
use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::execute::{Place, Script, ScriptError, run_script_in};

/// Which table keeps the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// Ours, which is refinery's: `refinery_schema_history`.
    #[default]
    Sqlflow,
    /// goose's: `goose_db_version`, shared with programs that use goose.
    Goose,
}

const REFINERY: &str = "refinery_schema_history";
const GOOSE: &str = "goose_db_version";
/// A row of it stands for a migration that runs without a transaction, from before it until after it; version 0 for the making
/// of a database.
const UNFINISHED: &str = "sqlflow_unfinished_migration";

/// One migration that a database has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) version: i64,
    /// Not in goose's table.
    pub(super) name: Option<String>,
    pub(super) checksum: Option<u64>,
    /// In milliseconds since 1970; 0: not known.
    pub(super) at: i64,
}

/// A migration that runs without a transaction, or did when its process ended.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) version: i64,
    pub(super) name: String,
    /// The process that has begun it.
    pub(super) pid: u32,
}

/// What a database says of its migrations.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) applied: Vec<Applied>,
    /// The history is to be taken over from goose's table.
    pub(super) adopts: bool,
    pub(super) unfinished: Option<Unfinished>,
    /// The making of the database was not finished.
    pub(super) in_the_making: bool,
    /// Nothing is in the database.
    pub(super) is_empty: bool,
}

impl History {
    /// Somebody has made the database, with whatever migrations.
    pub(super) fn is_made(&self) -> bool {
        !self.is_empty && !self.in_the_making
    }
}

fn sql_error(error: &rusqlite::Error) -> Error {
    crate::connection::from_rusqlite(error, "the history of migrations cannot be read")
}

/// Reads the history on one snapshot.
pub(super) fn read(connection: &Connection, table: Table) -> Result<History> {
    let db = connection.db();
    if !connection.is_autocommit() {
        return read_tables(connection, table).map_err(|error| sql_error(&error));
    }
    // Several statements, and another process may make or drop a table between two of them.
    let read = db.execute_batch("BEGIN").and_then(|()| read_tables(connection, table));
    let ended = db.execute_batch("ROLLBACK");
    read.and_then(|history| ended.map(|()| history)).map_err(|error| sql_error(&error))
}

fn read_tables(connection: &Connection, table: Table) -> rusqlite::Result<History> {
    let db = connection.db();
    let mut history = History { is_empty: true, ..History::default() };
    let (mut refinery, mut goose, mut unfinished) = (false, false, false);
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let mut rows = tables.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        history.is_empty &= name.starts_with("sqlite_");
        refinery |= name == REFINERY;
        goose |= name == GOOSE;
        unfinished |= name == UNFINISHED;
    }
    if unfinished {
        let row =
            |row: &rusqlite::Row<'_>| Ok(Unfinished { version: row.get(0)?, name: row.get(1)?, pid: row.get(2)? });
        let query = format!("SELECT version, name, pid FROM {UNFINISHED} WHERE version <> 0 LIMIT 1");
        history.unfinished = db.query_row(&query, [], row).optional()?;
        let query = format!("SELECT 1 FROM {UNFINISHED} WHERE version = 0");
        history.in_the_making = db.query_row(&query, [], |_| Ok(())).optional()?.is_some();
    }
    match table {
        Table::Sqlflow if refinery => history.applied = read_refinery(connection)?,
        Table::Sqlflow if goose => {
            history.applied = read_goose(connection)?;
            history.adopts = !history.applied.is_empty();
        }
        Table::Goose if goose => history.applied = read_goose(connection)?,
        Table::Sqlflow | Table::Goose => {}
    }
    Ok(history)
}

fn read_refinery(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let query = format!("SELECT version, name, applied_on, checksum FROM {REFINERY} ORDER BY version");
    let mut statement = connection.db().prepare(&query)?;
    let row = |row: &rusqlite::Row<'_>| {
        let (at, checksum): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        let at = at.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok());
        let at = at.map_or(0, |at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default());
        let checksum = checksum.and_then(|checksum| checksum.parse().ok());
        Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum, at })
    };
    statement.query_map([], row)?.collect()
}

/// The last row of a version counts; version 0 is goose's own.
fn read_goose(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let query = format!(
        "SELECT version_id, CAST(strftime('%s', tstamp) AS INTEGER) * 1000 FROM {GOOSE} AS newest
         WHERE id = (SELECT max(id) FROM {GOOSE} WHERE version_id = newest.version_id) AND is_applied AND version_id > 0
         ORDER BY version_id"
    );
    let mut statement = connection.db().prepare(&query)?;
    let row = |row: &rusqlite::Row<'_>| {
        let at: Option<i64> = row.get(1)?;
        Ok(Applied { version: row.get(0)?, name: None, checksum: None, at: at.unwrap_or_default() })
    };
    statement.query_map([], row)?.collect()
}

/// Marks a migration, or with version 0 the making of the database, as begun. In a transaction.
pub(super) fn mark(connection: &Connection, version: i64, name: &str) -> Result<()> {
    let db = connection.db();
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {UNFINISHED}(version INTEGER PRIMARY KEY, name TEXT NOT NULL, pid INTEGER NOT NULL, since TEXT NOT NULL DEFAULT (datetime('now')))"
    ))
    .and_then(|()| {
        db.execute(&format!("INSERT OR REPLACE INTO {UNFINISHED}(version, name, pid) VALUES (?, ?, ?)"), (version, name, std::process::id()))
    })
    .map(drop)
    .map_err(|error| sql_error(&error))
}

/// Takes a mark away, and the table with the last. In a transaction.
pub(super) fn unmark(connection: &Connection, version: i64) -> Result<()> {
    let db = connection.db();
    let unmark = || {
        db.execute(&format!("DELETE FROM {UNFINISHED} WHERE version = ?"), [version])?;
        let others: i64 = db.query_row(&format!("SELECT count(*) FROM {UNFINISHED}"), [], |row| row.get(0))?;
        if others == 0 { db.execute_batch(&format!("DROP TABLE {UNFINISHED}")) } else { Ok(()) }
    };
    unmark().map_err(|error| sql_error(&error))
}

/// How an unfinished migration is named in words, and how its mark is taken away by hand.
pub(super) fn unfinished_table() -> &'static str {
    UNFINISHED
}

/// What is done with the SQL of a migration when it enters the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enter {
    /// It is run, in the same transaction.
    Run,
    /// It was run before.
    WasRun,
}

/// A migration that failed, and where in its script.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Byte of the script; none if the script was not what failed.
    pub(super) at: Option<usize>,
}

impl From<ScriptError> for Failure {
    fn from(ScriptError { error, at, .. }: ScriptError) -> Self {
        Self { error, at: Some(at) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, at: None }
    }
}

/// Runs (or only notes) the migration at `index` of `source` and enters it into the history. In a transaction.
pub(super) fn enter(
    connection: &mut Connection,
    source: &Source,
    index: usize,
    table: Table,
    enter: Enter,
) -> Result<(), Failure> {
    let Some(known) = source.list().get(index) else { return Ok(()) };
    if table == Table::Goose {
        ensure_goose(connection)?;
        if enter == Enter::Run {
            run_up(connection, known)?;
        }
        let insert = format!("INSERT INTO {GOOSE}(version_id, is_applied) VALUES (?, 1)");
        connection.db().execute(&insert, [known.migration.version]).map_err(|error| sql_error(&error))?;
        return Ok(());
    }
    let version = known.migration.version;
    let target = if enter == Enter::Run { Target::Version(version) } else { Target::FakeVersion(version) };
    let upto: Vec<Refinery> = source.list().iter().take(index + 1).map(|known| known.refinery.clone()).collect();
    let mut driver = Driver { connection, known, failure: None };
    let ran = Runner::new(&upto).set_grouped(true).set_target(target).run(&mut driver);
    match (ran, driver.failure) {
        (Ok(_), _) => Ok(()),
        (Err(_), Some(failure)) => Err(failure),
        (Err(error), None) => Err(Error::new(ErrorCode::MigrationFailed, error.to_string()).into()),
    }
}

/// Takes a migration out of the history. In a transaction.
pub(super) fn leave(connection: &Connection, version: i64, table: Table) -> Result<()> {
    let (table, column) = match table {
        Table::Sqlflow => (REFINERY, "version"),
        Table::Goose => (GOOSE, "version_id"),
    };
    connection
        .db()
        .execute(&format!("DELETE FROM {table} WHERE {column} = ?"), [version])
        .map(drop)
        .map_err(|error| sql_error(&error))
}

fn ensure_goose(connection: &Connection) -> Result<()> {
    let db = connection.db();
    let there = || {
        let query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?";
        let there: i64 = db.query_row(query, [GOOSE], |row| row.get(0))?;
        if there > 0 {
            return Ok(());
        }
        // As goose makes it for SQLite, its first row included.
        db.execute_batch(&format!(
            "CREATE TABLE {GOOSE} (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                version_id INTEGER NOT NULL,
                is_applied INTEGER NOT NULL,
                tstamp TIMESTAMP DEFAULT (datetime('now'))
             );
             INSERT INTO {GOOSE}(version_id, is_applied) VALUES (0, 1);"
        ))
    };
    there().map_err(|error| sql_error(&error))
}

fn run_up(connection: &mut Connection, known: &Known) -> Result<(), Failure> {
    Ok(run_script_in(connection, &known.migration.up.text, Place::Write, Script::Migration)?)
}

/// Our connection as refinery sees it: it reads and writes its table through it, and hands us the texts to run.
struct Driver<'c> {
    connection: &'c mut Connection,
    known: &'c Known,
    failure: Option<Failure>,
}

impl Transaction for Driver<'_> {
    type Error = Error;

    fn execute<'a, T: Iterator<Item = &'a str>>(&mut self, queries: T) -> Result<usize> {
        let mut count = 0;
        for query in queries {
            // refinery has the normalized text, for its checksum; what is run is the file's, whose lines are known.
            let ran = if query == self.known.migration.checked {
                run_up(self.connection, self.known)
            } else {
                self.connection.db().execute_batch(query).map_err(|error| sql_error(&error).into())
            };
            if let Err(failure) = ran {
                let error = failure.error.clone();
                self.failure = Some(failure);
                return Err(error);
            }
            count += 1;
        }
        Ok(count)
    }
}

impl Query<Vec<Refinery>> for Driver<'_> {
    fn query(&mut self, query: &str) -> Result<Vec<Refinery>> {
        let read = || {
            let mut statement = self.connection.db().prepare(query)?;
            let row = |row: &rusqlite::Row<'_>| {
                let (at, checksum): (String, String) = (row.get(2)?, row.get(3)?);
                let at = OffsetDateTime::parse(&at, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                Ok(Refinery::applied(row.get(0)?, row.get(1)?, at, checksum.parse().unwrap_or_default()))
            };
            statement.query_map([], row)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| sql_error(&error))
    }
}

impl Migrate for Driver<'_> {}
