//! Owns scripts: statement by statement, and where one has failed.

use super::{Place, check_place, explained};
use crate::connection::{Connection, step_to_end};
use crate::error::{Error, Result};
use crate::sql::Sql;
use crate::statement::Lifetime;
use crate::text::skip_blank;
use crate::wire::Params;

/// Whose script it is, which decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Script {
    User = 0,
    /// A migration in its transaction: pragmas that other tools' migrations have are accepted too.
    Migration = 1,
    /// A migration without a transaction: it may begin and end some, and VACUUM.
    Loose = 2,
}

/// Runs a script, statement by statement.
pub(crate) fn run_script(connection: &mut Connection, sql: &Sql, place: Place) -> Result<()> {
    run_script_in(connection, &sql.text, place, Script::User).map_err(|failed| failed.error)
}

/// Where a script has failed.
#[derive(Debug)]
pub(crate) struct ScriptError {
    pub(crate) error: Error,
    /// The byte of the script that it is about: the token SQLite named, else its statement.
    pub(crate) at: usize,
    /// Statements that have run before.
    pub(crate) ran: usize,
}

/// The same, and tells where it failed.
pub(crate) fn run_script_in(
    connection: &mut Connection,
    text: &str,
    place: Place,
    script: Script,
) -> Result<(), ScriptError> {
    let mut rest: &str = text;
    let mut ran = 0;
    loop {
        let at = text.len() - rest.len();
        let begins = text.len() - skip_blank(rest).len();
        // An offset that SQLite names counts from the statement; the caller's from the script.
        let in_script = |mut error: Error| {
            if error.offset < 0 {
                return ScriptError { error, at: begins, ran };
            }
            error.offset = error.offset.saturating_add(i32::try_from(at).unwrap_or(i32::MAX));
            let at = usize::try_from(error.offset).unwrap_or(begins);
            ScriptError { error, at, ran }
        };
        let Some((mut statement, tail)) = connection.prepare_next(rest, script).map_err(in_script)? else {
            return Ok(());
        };
        check_place(&statement, place).map_err(in_script)?;
        connection.note(statement.traits);
        let mark = connection.changes.mark();
        connection.changes.note(statement.tables.as_ref());
        statement.bind(&Params::default(), Lifetime::Call).map_err(in_script)?;
        if let Err(error) = step_to_end(&mut statement) {
            if connection.was_undone(&error) {
                connection.changes.back_to(mark);
            }
            return Err(in_script(explained(connection.explained(error), text)));
        }
        rest = tail;
        ran += 1;
    }
}
