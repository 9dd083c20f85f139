//! Owns the check of a whole database: every page authentic, every tree sound, every reference kept.

use crate::beside::{Answer, Watcher};
use crate::connection::{CheckpointMode, Connection, Profile, Role, from_rusqlite};
use crate::error::{Error, ErrorCode, Result};
use crate::wire::{self, Check, Problem};

/// Most problems of a kind that are listed.
const MOST_PROBLEMS: usize = 100;
/// Looks at the pages of a file that is being checkpointed by others: only what all of them find is a problem.
const LOOKS: usize = 3;

/// Checks the database of `profile`.
pub(crate) fn verify(profile: &Profile, watcher: &Watcher) -> Result<Answer> {
    let mut connection = profile.connect(if profile.read_only { Role::Reader } else { Role::Copier })?;
    if !profile.read_only {
        // The cipher is checked in the file itself: what can go there from the log does.
        let _ = connection.checkpoint(CheckpointMode::Passive);
    }
    connection.begin_pinned()?;
    let mut problems = Vec::new();
    let pages = connection.page_count()?;
    if connection.is_encrypted() {
        watcher.report_now(Check::Cipher as u32, 0, pages);
        problems.extend(cipher_problems(&connection, watcher)?);
        if !problems.is_empty() {
            // What SQLite would say of pages that nobody can read is noise.
            connection.rollback()?;
            return Ok(Answer::Record(Box::new(move |out, op| wire::verified(out, op, &problems))));
        }
    }
    watcher.report_now(Check::Integrity as u32, 0, pages);
    let integrity = format!("PRAGMA integrity_check({MOST_PROBLEMS})");
    connection.run_watched(watcher, Check::Integrity as u32, pages, |connection| {
        rows(connection, &integrity, |row| row.get::<_, String>(0), Check::Integrity, &mut problems)
    })?;
    problems.retain(|problem| problem.check != Check::Integrity || problem.message != "ok");
    watcher.report_now(Check::ForeignKeys as u32, 0, pages);
    connection.run_watched(watcher, Check::ForeignKeys as u32, pages, |connection| {
        rows(connection, "PRAGMA foreign_key_check", violation, Check::ForeignKeys, &mut problems)
    })?;
    watcher.report_now(Check::ForeignKeys as u32, pages, pages);
    connection.rollback()?;
    Ok(Answer::Record(Box::new(move |out, op| wire::verified(out, op, &problems))))
}

/// What SQLCipher finds in every look: a page that is being written is whole in the next one.
fn cipher_problems(connection: &Connection, watcher: &Watcher) -> Result<Vec<Problem>> {
    let mut found = connection.cipher_problems()?;
    for _ in 1..LOOKS {
        watcher.check()?;
        if found.is_empty() {
            break;
        }
        let again = connection.cipher_problems()?;
        found.retain(|problem| again.contains(problem));
    }
    found.truncate(MOST_PROBLEMS);
    Ok(found.into_iter().map(|message| Problem { check: Check::Cipher, message }).collect())
}

/// Adds what a pragma lists; damage under it is a problem as well, and no error.
fn rows(
    connection: &mut Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<String>,
    check: Check,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let mut found = Vec::new();
    let listed = (|| {
        let mut statement = connection.db().prepare(sql)?;
        for message in statement.query_map([], read)?.take(MOST_PROBLEMS) {
            found.push(message?);
        }
        Ok(())
    })();
    problems.extend(found.into_iter().map(|message| Problem { check, message }));
    let damage = match listed {
        Ok(()) => connection.check_pages(),
        Err(error) => Err(connection.explained(from_rusqlite(&error, sql))),
    };
    match damage {
        Err(error) if is_damage(&error) => {
            problems.push(Problem { check, message: error.message });
            Ok(())
        }
        other => other,
    }
}

fn is_damage(error: &Error) -> bool {
    // A collation or a function of another program is no damage, and leaves an index unchecked all the same.
    matches!(error.code, ErrorCode::CorruptDatabase | ErrorCode::NotADatabase | ErrorCode::Sql)
}

fn violation(row: &rusqlite::Row<'_>) -> rusqlite::Result<String> {
    let table: String = row.get(0)?;
    let rowid: Option<i64> = row.get(1)?;
    let parent: String = row.get(2)?;
    Ok(match rowid {
        Some(rowid) => format!("row {rowid} of {table} refers to a row of {parent} that is not there"),
        None => format!("a row of {table} refers to a row of {parent} that is not there"),
    })
}
