//! Owns one open database: its writer and its readers, in what order they open and close, and the file under them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::{OpenOptions, Storage};
use crate::connection::{Connection, Profile, Role};
use crate::error::{Error, ErrorCode, Result};
use crate::exit;
use crate::key::Keyspec;
use crate::listeners::Listening;
use crate::location;
use crate::mailbox::Mailbox;
use crate::migrate::{self, MigrationOptions, Plan};
use crate::place;
use crate::readers::Readers;
use crate::runtime::{self, Lane};
use crate::stats::Stats;
use crate::wire;
use crate::writer::{Work, Writer, WriterFigures};

static NEXT_ENGINE: AtomicU32 = AtomicU32::new(1);

/// An open database. Shared by all handles of the process on the same file.
pub(crate) struct Database {
    /// Unique in the process, from 1: tells JavaScript which handles share an engine.
    pub(crate) engine: u32,
    pub(crate) profile: Arc<Profile>,
    /// Those it was opened with, without the key.
    pub(crate) options: OpenOptions,
    writer: Option<Arc<Writer>>,
    readers: Arc<Readers>,
}

/// A file on its way to being an open database: what one try has reached is kept for the next when the file is busy.
pub(crate) struct Opening {
    profile: Arc<Profile>,
    options: OpenOptions,
    connection: Option<Box<Connection>>,
    /// Run before anybody else has the database.
    plan: Option<Plan>,
    /// We have made the file, and remove it if it comes to nothing.
    created: bool,
    /// There was nothing in the file when the connection was opened.
    was_empty: bool,
}

impl Opening {
    pub(crate) fn new(path: PathBuf, options: OpenOptions, plan: Option<Plan>) -> Self {
        let plan = plan.filter(|_| !options.read_only);
        let profile = Arc::new(Profile::new(path, &options));
        Self { profile, options, connection: None, plan, created: false, was_empty: false }
    }

    /// One try. A busy error may be followed by another; any other leaves nothing behind.
    pub(crate) fn attempt(&mut self) -> Result<Database> {
        match self.try_open() {
            Err(error) if !error.is_busy() => {
                let error = location::explain_descriptors(error);
                self.give_up();
                Err(error)
            }
            tried => tried,
        }
    }

    /// Closes what is open and removes what was made.
    pub(crate) fn give_up(&mut self) {
        self.connection = None;
        let path = &self.profile.path;
        if self.created && is_empty(path) {
            // Failing to remove an empty file is no reason to hide why it could not be opened.
            let _ = fs::remove_file(path);
        }
        if self.options.storage == Storage::Temporary {
            remove_folder(path);
        }
    }

    /// A file that was there, or was made, a moment ago and is not: another process deletes it at this very time.
    fn or_deleted(&self, error: Error) -> Error {
        let creates = self.options.create && !self.options.read_only;
        if creates && error.code == ErrorCode::CannotOpen && !self.profile.path.exists() {
            return Error::sqlite(ErrorCode::Busy, error.message, rusqlite::ffi::SQLITE_BUSY);
        }
        error
    }

    fn try_open(&mut self) -> Result<Database> {
        let profile = Arc::clone(&self.profile);
        let role = if self.options.read_only { Role::Reader } else { Role::Writer };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                if !self.options.read_only && self.options.create {
                    self.created |= create_file(&profile.path)?;
                }
                self.was_empty = is_empty(&profile.path);
                Box::new(Connection::open(&profile, role).map_err(|error| self.or_deleted(error))?)
            }
        };
        let set_up = connection.take_place().and_then(|()| connection.set_up(&profile));
        // From here on it is in WAL mode, and nobody can delete it any more.
        let ready = set_up.and_then(|()| connection.check_place()).and_then(|()| match &self.plan {
            Some(plan) if plan.is_needed(&connection)? => plan.run(&mut connection),
            _ => Ok(()),
        });
        if let Err(error) = ready.and_then(|()| connection.check_pages()) {
            // Whatever came of it, it was not this file.
            connection.check_place()?;
            if error.code == ErrorCode::WrongKey && self.was_empty && !is_empty(&profile.path) {
                // Another process has made the file between our two looks, with a salt of its own.
                drop(connection);
                return self.try_open();
            }
            self.connection = Some(connection);
            return Err(error);
        }
        if let Some(cipher) = &self.options.cipher
            && let Some(keyspec) = connection.derived(&Keyspec::of(cipher))
        {
            // From here on nothing is derived from a passphrase any more.
            profile.keys.set(cipher.key(), keyspec);
        }
        profile.keys.proved();
        let OpenOptions { readers, max_queued, .. } = self.options;
        let readers = Arc::new(Readers::new(Arc::clone(&profile), readers, max_queued));
        let writer = match role {
            Role::Writer => {
                let shared = Arc::clone(&readers);
                Some(Arc::new(Writer::new(connection, Arc::clone(&profile), &self.options, shared)))
            }
            Role::Reader | Role::Copier => {
                readers.adopt(connection);
                None
            }
        };
        let engine = NEXT_ENGINE.fetch_add(1, Ordering::Relaxed);
        // The ring has the key from now on.
        let options = OpenOptions { cipher: None, ..self.options.clone() };
        Ok(Database { engine, profile, options, writer, readers })
    }
}

impl Database {
    /// Canonical path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.profile.path
    }

    /// The write queue; none if the database was opened `readOnly`.
    pub(crate) fn writer(&self) -> Option<&Arc<Writer>> {
        self.writer.as_ref()
    }

    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Cancels an operation of an environment, which has marked it as cancelled in its mailbox.
    pub(crate) fn cancel(&self, op: u32, mailbox: &Mailbox) {
        if let Some(writer) = &self.writer {
            writer.cancel(mailbox.env, op);
        }
        self.readers.cancel(mailbox.env, op, mailbox);
    }

    /// Ends what came by a handle that is closing and has no more patience.
    pub(crate) fn end_all(&self, handle: u64) {
        if let Some(writer) = &self.writer {
            writer.end_all(handle);
        }
        self.readers.end_all(handle);
    }

    /// Sets what a handle wants to know of commits.
    pub(crate) fn listen(&self, handle: u64, slot: (u32, u32), listening: Listening, mailbox: &Arc<Mailbox>) {
        if let Some(writer) = &self.writer {
            writer.listeners.set(handle, slot, listening, mailbox);
        }
    }

    /// A handle is closed: it is not told of commits any more.
    pub(crate) fn unlisten(&self, handle: u64) {
        if let Some(writer) = &self.writer {
            writer.listeners.remove(handle);
        }
    }

    /// The history of migrations beside those of a handle, read by a connection of its own.
    pub(crate) fn history(&self, migrations: Option<&MigrationOptions>) -> Result<Vec<wire::Entry>> {
        let mut connection = self.profile.connect(Role::Reader)?;
        let table = migrations.map_or_else(Default::default, |migrations| migrations.table);
        let entries = migrate::history(&connection, migrations.map(|migrations| &migrations.source), table)?;
        connection.check_pages().map(|()| entries)
    }

    /// Nobody uses it: it gives back the memory that it can do without. On an engine thread.
    pub(crate) fn rest(&self) {
        self.readers.close_idle();
        if let Some(writer) = &self.writer {
            writer.rest();
        }
    }

    /// What its page caches hold, as of the last time that each connection was at hand.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.readers.cache_bytes() + self.writer.as_ref().map_or(0, |writer| writer.cache_bytes())
    }

    /// Figures of this moment.
    pub(crate) fn stats(&self) -> Stats {
        let writer = self.writer.as_ref().map(|writer| writer.stats());
        Stats::new(writer.unwrap_or_else(WriterFigures::none), self.readers.figures())
    }

    /// Removes what an environment that is gone has queued.
    pub(crate) fn forget(&self, env: u64) {
        self.readers.forget(env);
        if let Some(writer) = &self.writer {
            writer.forget(env);
        }
    }

    /// Closes readers first, the writer last: it then checkpoints and removes the log. Nothing may be under way. `done` is called
    /// on an engine thread when no connection is left.
    pub(crate) fn close(self: &Arc<Self>, done: impl FnOnce() + Send + 'static) {
        let database = Arc::clone(self);
        runtime::spawn(Lane::Open, move || {
            let Some(_inside) = exit::enter() else { return };
            let closing = Arc::clone(&database);
            database.readers.close(Box::new(move || {
                let path = closing.path().to_path_buf();
                let storage = closing.options.storage;
                let done: Box<dyn FnOnce() + Send> = Box::new(move || {
                    if storage == Storage::Temporary {
                        remove_folder(&path);
                    }
                    done();
                });
                match &closing.writer {
                    Some(writer) => writer.submit(Work::Close { done }),
                    None => done(),
                }
            }));
        });
    }
}

fn is_empty(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() == 0)
}

/// Makes the file, for its owner only, if there is none; says whether it did.
fn create_file(path: &Path) -> Result<bool> {
    match place::create_new(path) {
        Ok(()) => {
            // The name survives a power cut as the first commit does.
            place::sync_folder(path);
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::new(ErrorCode::CannotOpen, format!("{} cannot be created: {error}", path.display()))),
    }
}

/// Removes the private folder that the file of a temporary database is alone in.
fn remove_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        exit::remove_folder(folder);
    }
}
