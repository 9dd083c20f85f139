//! Owns the engine's own statements: the words that begin and end transactions and savepoints.

use super::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::statement::{Statement, prepare};

/// The engine's own statements. They never meet the user's cache.
#[derive(Default)]
pub(super) struct EngineStatements {
    begin: Option<Statement>,
    begin_immediate: Option<Statement>,
    pin: Option<Statement>,
    commit: Option<Statement>,
    rollback: Option<Statement>,
    savepoint: Option<Statement>,
    release: Option<Statement>,
    rollback_to: Option<Statement>,
}

impl Connection {
    /// Runs one of the engine's own statements.
    fn engine(&mut self, pick: fn(&mut EngineStatements) -> &mut Option<Statement>, text: &str) -> Result<()> {
        let db = self.raw();
        let slot = pick(&mut self.engine);
        let statement = match slot {
            Some(statement) => statement,
            None => match prepare(db, text, true)?.statement {
                Some(statement) => slot.insert(statement),
                None => return Err(Error::new(ErrorCode::Sql, "an engine statement is empty")),
            },
        };
        let stepped = statement.step();
        statement.reset();
        stepped.map(drop).map_err(|error| self.explained(error))
    }

    /// Begins a write transaction. Can be busy.
    pub(crate) fn begin_immediate(&mut self) -> Result<()> {
        self.engine(|engine| &mut engine.begin_immediate, "BEGIN IMMEDIATE")
    }

    /// Begins a read transaction and pins its snapshot by a first read. Can be busy; nothing is open then.
    pub(crate) fn begin_pinned(&mut self) -> Result<()> {
        self.engine(|engine| &mut engine.begin, "BEGIN")?;
        let pinned = self.engine(|engine| &mut engine.pin, "SELECT 1 FROM sqlite_schema LIMIT 1");
        if pinned.is_err() {
            self.rollback()?;
        }
        pinned
    }

    /// Forgets an interrupt that has ended its statement: SQLite keeps it until the next one, and a close would leave the log behind.
    pub(crate) fn forget_interrupt(&mut self) {
        // What fails here is told by nobody: the connection is on its way out.
        let _ = self.engine(|engine| &mut engine.pin, "SELECT 1 FROM sqlite_schema LIMIT 1");
    }

    /// Commits, unless something that was read may not have been what was written. On an error the transaction may still be
    /// open; the caller rolls back.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.check_pages()?;
        self.engine(|engine| &mut engine.commit, "COMMIT")
    }

    /// Resets every statement, then rolls back if a transaction is open. With a cursor open one interrupt would make every
    /// later statement fail, ROLLBACK included.
    pub(crate) fn rollback(&mut self) -> Result<()> {
        self.reset_all();
        // What was made in the transaction goes with it.
        self.temp_objects = false;
        self.changes.clear();
        if self.is_autocommit() {
            return Ok(());
        }
        self.engine(|engine| &mut engine.rollback, "ROLLBACK")
    }

    /// Opens a savepoint. They nest, so that all of them can have one name.
    pub(crate) fn savepoint(&mut self) -> Result<()> {
        self.engine(|engine| &mut engine.savepoint, "SAVEPOINT sqlflow")
    }

    /// Makes what came after the innermost savepoint a part of what came before it.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.engine(|engine| &mut engine.release, "RELEASE sqlflow")
    }

    /// Undoes what came after the innermost savepoint, and ends it.
    pub(crate) fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.engine(|engine| &mut engine.rollback_to, "ROLLBACK TO sqlflow")?;
        self.release()
    }
}
