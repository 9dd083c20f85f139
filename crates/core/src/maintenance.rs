//! Owns what is done to a database while it is open and nobody else works on it: another key, and a file without holes.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::{CheckpointMode, Connection, Profile, Role, from_rusqlite, step_to_end};
use crate::error::{Error, ErrorCode, Result};
use crate::execute::run_for;
use crate::key::{Cipher, Key, Keyspec};
use crate::readers::Readers;
use crate::reply::Reply;
use crate::statement::{prepare, sqlite_error};
use crate::writer::Job;
use rusqlite::ffi;

/// Encrypts the file with another key.
///
/// In WAL mode the log would keep pages of both keys, so the file leaves it for the time: the rollback journal has the pages as
/// they were, under the old key, and either all of it is undone or all of it is done, whenever the process ends.
pub(crate) struct Rekey {
    reply: Reply,
    profile: Arc<Profile>,
    key: Key,
}

impl Rekey {
    pub(crate) fn new(reply: Reply, profile: Arc<Profile>, key: Key) -> Self {
        Self { reply, profile, key }
    }

    /// Brings the file into the state in which its key can be changed: all of it in one file that nobody else has open.
    fn prepare(connection: &mut Connection) -> Result<()> {
        let busy = |what: &str| {
            let why = format!("rekey wants the file for itself, and {what}");
            Err(Error::sqlite(ErrorCode::Busy, why, ffi::SQLITE_BUSY))
        };
        if connection.checkpoint(CheckpointMode::Truncate)?.busy {
            return busy("a reader of it holds the log: another process, or a backup or verify of this one");
        }
        connection.cipher_check()?;
        connection.forget_all_statements();
        let failed = |error: rusqlite::Error| from_rusqlite(&error, "the file cannot be had for rekey alone");
        let mode: String =
            connection.db().query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).map_err(failed)?;
        if !mode.eq_ignore_ascii_case("delete") {
            return busy("another connection has it open: another process, or a backup or verify of this one");
        }
        // The lock that is had once stays: SQLCipher does not look whether its COMMIT could have it.
        connection
            .db()
            .execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = EXTRA; BEGIN EXCLUSIVE; COMMIT;")
            .map_err(failed)
    }

    /// Puts the new key on the file. On an error the old one is valid.
    fn change(connection: &Connection, keyspec: &Keyspec) -> Result<()> {
        let kept = |error: Error| {
            let why = format!("the key was not changed, the old one is valid: {}", error.message);
            Error { message: why, ..error }
        };
        // SAFETY: the handle is open, in no transaction, and used by this thread alone.
        let code = unsafe { keyspec.rekey(connection.raw()) };
        if code != ffi::SQLITE_OK {
            // SQLCipher leaves no words of its own.
            let error = sqlite_error(connection.raw(), code);
            let message = ffi::code_to_str(code).to_owned();
            return Err(kept(Error { message, ..error }));
        }
        // SQLCipher does not look at the outcome of its COMMIT; the file does. Without a lock, and no other descriptor.
        connection.cipher_check().map_err(kept)
    }

    /// A connection that knows the new key only has it proved. `None`: it cannot be had for a reason of its own.
    fn prove(&self, keyspec: &Keyspec) -> Result<Option<Connection>> {
        let Ok(fresh) = Connection::open_with(&self.profile, Role::Writer, Some(keyspec)) else { return Ok(None) };
        fresh.cipher_check().map(|()| Some(fresh))
    }
}

impl Job for Rekey {
    fn name(&self) -> &'static str {
        "rekey"
    }

    fn reply(&self) -> Option<&Reply> {
        Some(&self.reply)
    }

    fn busy_timeout(&self) -> Duration {
        self.reply.busy_timeout()
    }

    fn run(&mut self, mut connection: Box<Connection>, readers: &Readers) -> (Option<Box<Connection>>, Result<()>) {
        let Some(old) = self.profile.keys.keyspec() else {
            let why = format!(
                "{} is not encrypted, and has no key to be changed; db.backup(path, {{ key }}) makes an encrypted copy",
                self.profile.path.display()
            );
            return (Some(connection), Err(Error::new(ErrorCode::NotEncrypted, why)));
        };
        let cipher = match Cipher::new(self.key.clone(), old.version()) {
            Ok(cipher) => cipher,
            Err(error) => return (Some(connection), Err(error)),
        };
        // Idle or not, a connection in WAL mode holds a lock, and has the old key.
        readers.close_idle();
        if let Err(error) = Self::prepare(&mut connection) {
            if connection.is_wal() {
                return (Some(connection), Err(error));
            }
            // Somebody has come in between. A new connection brings the file back into WAL mode, and is there for the next try.
            drop(connection);
            return match self.profile.connect(Role::Writer) {
                Ok(again) => (Some(Box::new(again)), Err(error)),
                // The connection that the writer opens waits for the file.
                Err(_) => (None, Err(error)),
            };
        }
        if let Some(error) = self.reply.given_up() {
            return (None, Err(error));
        }
        let keyspec = Keyspec::of(&cipher);
        if let Err(error) = Self::change(&connection, &keyspec) {
            // Its close rolls back what is not complete.
            return (None, Err(Error { sqlite: 0, ..error }));
        }
        // Known to those who open a connection before the lock is given back.
        let keyspec = connection.derived(&keyspec).unwrap_or(keyspec);
        let proved = self.prove(&keyspec);
        self.profile.keys.set(cipher.key(), keyspec);
        drop(connection);
        match proved {
            // Another process has come in between: the connection that the writer opens waits for it.
            Ok(fresh) => {
                (fresh.and_then(|mut fresh| fresh.set_up(&self.profile).ok().map(|()| Box::new(fresh))), Ok(()))
            }
            // Done it is: not to be done again, whatever SQLite's code says.
            Err(error) => (None, Err(Error { sqlite: 0, ..error })),
        }
    }

    fn done(self: Box<Self>, outcome: Result<()>) {
        answer(self.reply, outcome);
    }
}

/// Writes the file anew without its holes, or gives some of its free pages back.
pub(crate) struct Vacuum {
    reply: Reply,
    how: Vacuuming,
}

/// How a file is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacuuming {
    /// By writing all of it anew.
    Whole,
    /// By giving back at most so many pages; for files made with [`crate::AutoVacuum::Incremental`].
    Pages(u32),
}

impl Vacuum {
    pub(crate) fn new(reply: Reply, how: Vacuuming) -> Self {
        Self { reply, how }
    }

    fn vacuum(&self, connection: &mut Connection) -> Result<()> {
        let sql = match self.how {
            Vacuuming::Whole => "VACUUM".to_owned(),
            Vacuuming::Pages(pages) => format!("PRAGMA incremental_vacuum({pages})"),
        };
        connection.forget_all_statements();
        run_for(connection, &self.reply, Duration::ZERO, |connection| {
            let Some(mut statement) = prepare(connection.raw(), &sql, false)?.statement else { return Ok(()) };
            let ran = step_to_end(&mut statement);
            drop(statement);
            ran.map_err(|error| connection.explained(error)).and_then(|()| connection.check_pages())
        })
    }
}

impl Job for Vacuum {
    fn name(&self) -> &'static str {
        "vacuum"
    }

    fn reply(&self) -> Option<&Reply> {
        Some(&self.reply)
    }

    fn busy_timeout(&self) -> Duration {
        self.reply.busy_timeout()
    }

    fn run(&mut self, mut connection: Box<Connection>, _readers: &Readers) -> (Option<Box<Connection>>, Result<()>) {
        let ran = connection.with_attached(|connection| self.vacuum(connection));
        if ran.is_ok() {
            // The file itself shrinks with the log's way into it. Busy: with a later checkpoint.
            let _ = connection.checkpoint(CheckpointMode::Truncate);
        }
        (Some(connection), ran)
    }

    fn done(self: Box<Self>, outcome: Result<()>) {
        answer(self.reply, outcome);
    }
}

fn answer(reply: Reply, outcome: Result<()>) {
    match outcome {
        Ok(()) => reply.done(),
        Err(error) => reply.fail(&error),
    }
}
