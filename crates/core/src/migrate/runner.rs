//! Owns the running of migrations: which are pending, each in its transaction with its checks, and back again.

use std::collections::HashMap;
use std::time::Instant;

use rusqlite::ffi;

use super::history::{self, Applied, Enter, Failure, History, Table, Unfinished};
use super::{Known, Source, fields};
use crate::connection::{Connection, from_rusqlite};
use crate::error::{Error, ErrorCode, Result};
use crate::execute::{Place, Script, run_script_in};
use crate::exit;
use crate::sync::Mutex;
use crate::wire::{self, Migrated};

/// When migrations are run at an open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Whenever some are pending.
    #[default]
    Always,
    /// Only while the database is being made: an open of an existing one does not look at its history.
    Create,
}

/// Told of each migration after its COMMIT.
pub(crate) type Told = Box<dyn Fn(&Migrated) + Send>;

/// The migrations that an open, or a rollback, asks for.
pub(crate) struct Plan {
    source: Source,
    table: Table,
    aim: Aim,
    told: Told,
    /// Those that were run, and are to be run in all; kept over tries that found the file busy.
    progress: Mutex<(u32, u32)>,
}

enum Aim {
    Latest(When),
    /// Back to a version.
    Back(i64),
}

impl Plan {
    pub(crate) fn to_latest(source: Source, table: Table, when: When, told: Told) -> Self {
        Self { source, table, aim: Aim::Latest(when), told, progress: Mutex::new((0, 0)) }
    }

    pub(crate) fn back_to(source: Source, table: Table, version: i64, told: Told) -> Self {
        Self { source, table, aim: Aim::Back(version), told, progress: Mutex::new((0, 0)) }
    }

    /// Whether anything is to be run, found by reading only.
    pub(crate) fn is_needed(&self, connection: &Connection) -> Result<bool> {
        let history = history::read(connection, self.table)?;
        Ok(match self.aim {
            Aim::Latest(When::Create) if history.is_made() => false,
            Aim::Latest(when) => !self.pending(&history, when)?.is_empty() || history.adopts || history.in_the_making,
            Aim::Back(version) => !self.to_leave(&history, version)?.is_empty(),
        })
    }

    /// Runs what is to be run. Can be busy; may then be called again.
    pub(crate) fn run(&self, connection: &mut Connection) -> Result<()> {
        foreign_keys(connection, false)?;
        let ran = match self.aim {
            Aim::Latest(when) => self.run_up(connection, when),
            Aim::Back(version) => self.run_down(connection, version),
        };
        // On every way out, also out of a migration that has ended its transaction.
        let _ = connection.rollback();
        let restored = foreign_keys(connection, true);
        ran.and(restored)
    }

    fn run_up(&self, connection: &mut Connection, when: When) -> Result<()> {
        let first = history::read(connection, self.table)?;
        if first.adopts {
            self.adopt(connection)?;
        }
        let making = first.is_empty || first.in_the_making;
        loop {
            let pending = self.pending(&history::read(connection, self.table)?, when_making(when, making))?;
            let Some(index) = pending.first().copied() else { break };
            self.expect(pending.len());
            let started = Instant::now();
            let last = pending.len() == 1;
            let ran = match self.source.list().get(index) {
                Some(known) if known.migration.transaction => self.in_transaction(connection, index, making, last)?,
                Some(_) => self.without_transaction(connection, index, making)?,
                None => false,
            };
            if ran {
                self.tell(index, started);
            }
        }
        if making {
            self.made(connection)?;
        }
        Ok(())
    }

    /// The indexes of those that are not in the history, in order; an error if the two do not fit together.
    fn pending(&self, history: &History, when: When) -> Result<Vec<usize>> {
        if let Some(unfinished) = &history.unfinished {
            return Err(is_unfinished(unfinished));
        }
        if when == When::Create && history.is_made() {
            return Ok(Vec::new());
        }
        let known: HashMap<i64, &Known> =
            self.source.list().iter().map(|known| (known.migration.version, known)).collect();
        let newest = self.source.list().last().map_or(0, |known| known.migration.version);
        for applied in &history.applied {
            match known.get(&applied.version) {
                Some(known) => must_agree(known, applied)?,
                None if applied.version > newest => return Err(newer(applied, newest)),
                None => return Err(missing(applied)),
            }
        }
        let last = history.applied.last().map_or(0, |applied| applied.version);
        let is_applied = |version: i64| history.applied.iter().any(|applied| applied.version == version);
        let mut pending = Vec::new();
        for (index, known) in self.source.list().iter().enumerate() {
            let version = known.migration.version;
            if is_applied(version) {
                continue;
            }
            if version < last {
                return Err(out_of_order(known, last));
            }
            pending.push(index);
        }
        Ok(pending)
    }

    /// Takes over what goose's table says.
    fn adopt(&self, connection: &mut Connection) -> Result<()> {
        connection.begin_immediate()?;
        let history = history::read(connection, self.table)?;
        self.pending(&history, When::Always)?;
        let last = history.applied.last().map(|applied| applied.version);
        let index = self.source.list().iter().position(|known| Some(known.migration.version) == last);
        if let (true, Some(index)) = (history.adopts, index) {
            history::enter(connection, &self.source, index, self.table, Enter::WasRun)
                .map_err(|failure| failure.error)?;
        }
        connection.commit()
    }

    /// One migration in one transaction. `false`: another process has run it meanwhile.
    fn in_transaction(&self, connection: &mut Connection, index: usize, making: bool, last: bool) -> Result<bool> {
        connection.begin_immediate()?;
        let history = history::read(connection, self.table)?;
        if self.pending(&history, When::Always)?.first() != Some(&index) {
            connection.rollback()?;
            return Ok(false);
        }
        let Some(known) = self.source.list().get(index) else { return Ok(false) };
        if making && !last && !history.in_the_making {
            history::mark(connection, 0, "the making of the database")?;
        }
        // One that the migration before has set is not meant for this one.
        foreign_keys(connection, false)?;
        let before = violations(connection)?;
        history::enter(connection, &self.source, index, self.table, Enter::Run)
            .map_err(|failure| failed(known, failure, Half::Up))?;
        Self::check(connection, known, &before)?;
        if last && history.in_the_making {
            history::unmark(connection, 0)?;
        }
        connection.drop_temp_objects()?;
        connection.commit().map_err(|error| failed(known, error.into(), Half::Up))?;
        connection.forget_statements();
        Ok(true)
    }

    /// One migration that cannot run in a transaction: marked before, and entered into the history after it.
    fn without_transaction(&self, connection: &mut Connection, index: usize, making: bool) -> Result<bool> {
        let Some(known) = self.source.list().get(index) else { return Ok(false) };
        connection.begin_immediate()?;
        let history = history::read(connection, self.table)?;
        if self.pending(&history, When::Always)?.first() != Some(&index) {
            connection.rollback()?;
            return Ok(false);
        }
        if making && !history.in_the_making {
            history::mark(connection, 0, "the making of the database")?;
        }
        history::mark(connection, known.migration.version, &known.migration.name)?;
        connection.commit()?;
        Self::loose(connection, known, &known.migration.up, Half::Up)?;
        connection.begin_immediate()?;
        history::enter(connection, &self.source, index, self.table, Enter::WasRun).map_err(|failure| failure.error)?;
        history::unmark(connection, known.migration.version)?;
        connection.commit()?;
        Ok(true)
    }

    /// Runs a script outside of any transaction of ours.
    fn loose(connection: &mut Connection, known: &Known, script: &super::source::Script, half: Half) -> Result<()> {
        // VACUUM attaches a database.
        let ran = connection
            .with_attached(|connection| Ok(run_script_in(connection, &script.text, Place::Write, Script::Loose)))?;
        // What a first statement that failed has left: nothing, unless it keeps its rows by OR FAIL.
        let nothing = ran.as_ref().is_err_and(|failed| failed.ran == 0 && connection.was_undone(&failed.error));
        connection.forget_statements();
        let left_open = !connection.is_autocommit();
        let dropped = if left_open { Ok(()) } else { connection.drop_temp_objects() };
        connection.rollback()?;
        foreign_keys(connection, false)?;
        let failure = match ran {
            Ok(()) if left_open => Failure {
                error: Error::new(ErrorCode::Sql, "the migration leaves a transaction open that it has begun"),
                at: None,
            },
            Ok(()) => return dropped,
            Err(error) => error.into(),
        };
        if nothing {
            // It can be run again.
            connection.begin_immediate()?;
            history::unmark(connection, known.migration.version)?;
            connection.commit()?;
        }
        Err(failed(known, failure, half))
    }

    /// The database is made.
    fn made(&self, connection: &mut Connection) -> Result<()> {
        if !history::read(connection, self.table)?.in_the_making {
            return Ok(());
        }
        connection.begin_immediate()?;
        if history::read(connection, self.table)?.in_the_making {
            history::unmark(connection, 0)?;
        }
        connection.commit()
    }

    /// Whether the migration has kept to its transaction and broken no foreign key that held before.
    fn check(connection: &Connection, known: &Known, before: &Violations) -> Result<()> {
        if connection.is_autocommit() {
            let error = Error::new(ErrorCode::Sql, "SQLite has rolled the transaction of the migration back");
            return Err(failed(known, error.into(), Half::Up));
        }
        for (tables, count) in violations(connection)? {
            let had = before.get(&tables).copied().unwrap_or_default();
            if count > had {
                let (table, parent) = tables;
                let message = format!(
                    "it leaves {} more rows of {table} that refer to no row of {parent} (PRAGMA foreign_key_check)",
                    count - had
                );
                return Err(failed(known, Error::new(ErrorCode::Constraint, message).into(), Half::Up));
            }
        }
        Ok(())
    }

    /// The indexes of those to be taken back, newest first; an error if one has no way back.
    fn to_leave(&self, history: &History, version: i64) -> Result<Vec<usize>> {
        self.pending(history, When::Always)?;
        let mut leave = Vec::new();
        for (index, known) in self.source.list().iter().enumerate().rev() {
            let migration = &known.migration;
            if migration.version <= version
                || !history.applied.iter().any(|applied| applied.version == migration.version)
            {
                continue;
            }
            if migration.down.is_none() {
                let message = format!(
                    "migration {} ({}) cannot be taken back: its file has no `-- +goose Down`; nothing was taken back",
                    migration.version, migration.name
                );
                let version = Some(migration.version);
                return Err(fields(ErrorCode::MigrationFailed, &message, &migration.file, None, version));
            }
            leave.push(index);
        }
        Ok(leave)
    }

    fn run_down(&self, connection: &mut Connection, version: i64) -> Result<()> {
        loop {
            let leave = self.to_leave(&history::read(connection, self.table)?, version)?;
            let Some(index) = leave.first().copied() else { return Ok(()) };
            self.expect(leave.len());
            let started = Instant::now();
            let Some(known) = self.source.list().get(index) else { return Ok(()) };
            let Some(down) = &known.migration.down else { return Ok(()) };
            connection.begin_immediate()?;
            if history::read(connection, self.table)?.applied.last().map(|applied| applied.version)
                != Some(known.migration.version)
            {
                connection.rollback()?;
                continue;
            }
            if known.migration.transaction {
                let before = violations(connection)?;
                run_script_in(connection, &down.text, Place::Write, Script::Migration)
                    .map_err(|error| failed(known, error.into(), Half::Down))?;
                Self::check(connection, known, &before)?;
            } else {
                history::mark(connection, known.migration.version, &known.migration.name)?;
                connection.commit()?;
                Self::loose(connection, known, down, Half::Down)?;
                connection.begin_immediate()?;
                history::unmark(connection, known.migration.version)?;
            }
            history::leave(connection, known.migration.version, self.table)?;
            connection.drop_temp_objects()?;
            connection.commit()?;
            connection.forget_statements();
            self.tell(index, started);
        }
    }

    /// So many are still to be run.
    fn expect(&self, pending: usize) {
        let mut progress = self.progress.lock();
        let pending = u32::try_from(pending).unwrap_or(u32::MAX);
        progress.1 = progress.1.max(progress.0.saturating_add(pending));
    }

    fn tell(&self, index: usize, started: Instant) {
        let Some(known) = self.source.list().get(index) else { return };
        let (index, total) = {
            let mut progress = self.progress.lock();
            progress.0 += 1;
            *progress
        };
        let ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let name = known.migration.name.clone();
        (self.told)(&Migrated { version: known.migration.version, name, index, total, ms });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Up,
    Down,
}

/// The error of a migration that failed; a busy file is no failure of it.
fn failed(known: &Known, failure: Failure, half: Half) -> Error {
    let Failure { error, at } = failure;
    if error.is_busy() {
        return error;
    }
    let migration = &known.migration;
    let script = if half == Half::Up { Some(&migration.up) } else { migration.down.as_ref() };
    let line = at.zip(script).map(|(at, script)| {
        let before = script.text.get(..at.min(script.text.len())).unwrap_or_default();
        let lines = before.bytes().filter(|byte| *byte == b'\n').count();
        script.first_line.saturating_add(u32::try_from(lines).unwrap_or_default())
    });
    let place = line.map_or_else(String::new, |line| format!(" in line {line}"));
    let outcome = if migration.transaction {
        "; the database is as it was before it"
    } else {
        "; it runs without a transaction, so that what it has done until then stays"
    };
    let message =
        format!("migration {} ({}) failed{place}: {}{outcome}", migration.version, migration.name, error.message);
    let fields = fields(ErrorCode::MigrationFailed, &message, &migration.file, line, Some(migration.version));
    Error { sqlite: error.sqlite, ..fields }
}

fn when_making(when: When, making: bool) -> When {
    if making { When::Always } else { when }
}

/// Rows that refer to nothing, by table and parent.
type Violations = HashMap<(String, String), u64>;

fn violations(connection: &Connection) -> Result<Violations> {
    let read = || {
        let mut violations = Violations::new();
        let mut statement = connection.db().prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            *violations.entry((row.get(0)?, row.get(2)?)).or_default() += 1;
        }
        Ok(violations)
    };
    read().map_err(|error: rusqlite::Error| from_rusqlite(&error, "foreign keys cannot be checked"))
}

/// Outside of a transaction, inside which SQLite ignores it.
fn foreign_keys(connection: &Connection, on: bool) -> Result<()> {
    let on = if on { "ON" } else { "OFF" };
    connection
        .db()
        .execute_batch(&format!("PRAGMA foreign_keys = {on}; PRAGMA legacy_alter_table = OFF"))
        .map_err(|error| from_rusqlite(&error, "foreign keys cannot be switched"))
}

fn must_agree(known: &Known, applied: &Applied) -> Result<()> {
    let migration = &known.migration;
    let same_name = applied.name.as_ref().is_none_or(|name| *name == migration.checked_name);
    let same_text = applied.checksum.is_none_or(|checksum| checksum == known.refinery.checksum());
    if same_name && same_text {
        return Ok(());
    }
    // The checksum is one of the name as well.
    let what = if same_name {
        "its text has changed since it was applied".to_owned()
    } else {
        format!("it was applied under the name {}", applied.name.as_deref().unwrap_or_default())
    };
    let message = format!(
        "migration {} ({}) differs from what the database has: {what}; migrations that are applied must not be changed, add a new one",
        migration.version, migration.name
    );
    Err(fields(ErrorCode::MigrationDivergent, &message, &migration.file, None, Some(migration.version)))
}

fn named(applied: &Applied) -> String {
    applied.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"))
}

fn newer(applied: &Applied, newest: i64) -> Error {
    let message = format!(
        "the database has migration {}{}, the code knows none beyond {newest}: an older program opens it; deploy the newer one",
        applied.version,
        named(applied)
    );
    fields(ErrorCode::DatabaseNewer, &message, "", None, Some(applied.version))
}

fn missing(applied: &Applied) -> Error {
    let message = format!(
        "migration {}{} is applied, but the code has it no more; put its file back",
        applied.version,
        named(applied)
    );
    fields(ErrorCode::MigrationMissing, &message, "", None, Some(applied.version))
}

fn out_of_order(known: &Known, last: i64) -> Error {
    let migration = &known.migration;
    let message = format!(
        "migration {} ({}) was never applied, but {last}, which comes after it, was; give it a version above {last}",
        migration.version, migration.name
    );
    fields(ErrorCode::MigrationMissing, &message, &migration.file, None, Some(migration.version))
}

fn is_unfinished(Unfinished { version, name, pid }: &Unfinished) -> Error {
    if *pid != std::process::id() && exit::is_alive(*pid) {
        // Tried again until busyTimeoutMs, as for any other lock of another process.
        let table = history::unfinished_table();
        let message = format!(
            "process {pid} runs migration {version} ({name}), which has no transaction; if that process is another program by now, see what the migration has done, put that right, and DELETE FROM {table} WHERE version = {version}"
        );
        return Error::sqlite(ErrorCode::Busy, message, ffi::SQLITE_BUSY);
    }
    let table = history::unfinished_table();
    let message = format!(
        "migration {version} ({name}), which runs without a transaction, was not finished: the process ended in it or a statement of it failed; open the database without migrations, see what it has done, put that right, and DELETE FROM {table} WHERE version = {version} to have it run again"
    );
    fields(ErrorCode::MigrationFailed, &message, "", None, Some(*version))
}

/// The history of a database beside the code's migrations.
pub(crate) fn history(connection: &Connection, source: Option<&Source>, table: Table) -> Result<Vec<wire::Entry>> {
    let applied = history::read(connection, table)?.applied;
    let list = source.map(Source::list).unwrap_or_default();
    let mut entries: Vec<wire::Entry> = list
        .iter()
        .map(|Known { migration, .. }| {
            let row = applied.iter().find(|row| row.version == migration.version);
            wire::Entry {
                version: migration.version,
                name: migration.name.clone(),
                applied: if row.is_some() { wire::Applied::Yes } else { wire::Applied::Pending },
                applied_at: row.map_or(0, |row| row.at),
            }
        })
        .collect();
    let unknown = applied.iter().filter(|row| !list.iter().any(|known| known.migration.version == row.version));
    entries.extend(unknown.map(|row| wire::Entry {
        version: row.version,
        name: row.name.clone().unwrap_or_default(),
        applied: wire::Applied::Unknown,
        applied_at: row.at,
    }));
    entries.sort_by_key(|entry| entry.version);
    Ok(entries)
}
