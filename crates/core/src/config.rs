//! Owns the options of an open database, and which of them two users of one file must agree on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorCode, Result};
use crate::key::Cipher;
use crate::migrate::MigrationOptions;

/// What a COMMIT waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Until the log is on the disk: a commit survives a power cut. The default.
    Full,
    /// Until the operating system has the log: a commit survives a crash of the process; the last commits may be lost in a power cut, the file stays intact.
    Normal,
    /// Nothing at all: private temporary databases only.
    Off,
}

impl Synchronous {
    /// The word SQLite and the options use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::Off => "off",
        }
    }
}

/// What becomes of pages that hold nothing any more (<https://sqlite.org/pragma.html#pragma_auto_vacuum>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoVacuum {
    /// They stay in the file and are used again. The default.
    #[default]
    None,
    /// They leave the file with every COMMIT.
    Full,
    /// They leave it when that is asked for.
    Incremental,
}

impl AutoVacuum {
    /// The word SQLite and the options use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// Where a database lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the file at the given path.
    File,
    /// In a private temporary folder, removed at close; the path is ignored.
    Temporary,
}

/// The options of [`crate::Client::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Make the file (and its folders) when it is missing. Default `true`.
    pub create: bool,
    /// Open without a writer: every write fails. Default `false`.
    pub read_only: bool,
    /// File or private temporary database. Default [`Storage::File`].
    pub storage: Storage,
    /// Durability of a COMMIT. Default [`Synchronous::Full`].
    pub synchronous: Synchronous,
    /// Most read connections at a time. Default 4.
    pub readers: u32,
    /// How long a step that needs a foreign lock is retried. Default 5 s. Belongs to the handle.
    pub busy_timeout: Duration,
    /// How long a write transaction may stay open, from the acceptance of its grant; zero: for ever. Default 30 s. Belongs to the handle.
    pub transaction_timeout: Duration,
    /// How long a read may last, statements by themselves included; zero: for ever, the default. Belongs to the handle.
    pub read_timeout: Duration,
    /// How long an operation waits for the writer or a reader; zero: for ever. Default 30 s. Belongs to the handle.
    pub queue_timeout: Duration,
    /// Most entries that wait for the writer, and for a reader. Default 10,000.
    pub max_queued: u32,
    /// Migrations that are run before the database is there for anybody. None when `read_only`. Belongs to the handle.
    pub migrations: Option<MigrationOptions>,
    /// Bytes of the log beyond which reads are held back for a moment so that it can be emptied. Default 64 MiB.
    pub log_limit: u64,
    /// What the file is encrypted with. Default: it is not. Every handle proves the same key.
    pub cipher: Option<Cipher>,
    /// Overwrite what is deleted with zeros. Default `false`; encrypted files always do.
    pub secure_delete: bool,
    /// Pages that hold nothing any more; counts for a file that the open makes.
    pub auto_vacuum: AutoVacuum,
    /// The canonical folder of the pool it is opened for, which its path must not leave. Such a database is one of many: its
    /// caches are small.
    pub pool: Option<Arc<Path>>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            storage: Storage::File,
            synchronous: Synchronous::Full,
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            transaction_timeout: Duration::from_secs(30),
            read_timeout: Duration::ZERO,
            queue_timeout: Duration::from_secs(30),
            max_queued: 10_000,
            migrations: None,
            log_limit: 64 * 1024 * 1024,
            cipher: None,
            secure_delete: false,
            auto_vacuum: AutoVacuum::None,
            pool: None,
        }
    }
}

impl OpenOptions {
    /// Whether a pool opens it.
    pub(crate) fn is_pooled(&self) -> bool {
        self.pool.is_some()
    }

    /// Fails when a second open of a file asks its engine for something else than the first did. The key is not looked at.
    pub(crate) fn must_agree_with(&self, open: &Self, path: &str) -> Result<()> {
        let differs = |option: &str, asked: String, has: String| {
            if asked == has {
                return Ok(());
            }
            Err(Error::new(
                ErrorCode::OptionsConflict,
                format!(
                    "{path} is already open in this process with {option} {has}, and is now opened with {option} {asked}; all users of one file share one engine, so use the same value or close the other first"
                ),
            ))
        };
        differs("readOnly", self.read_only.to_string(), open.read_only.to_string())?;
        if self.read_only {
            return differs("readers", self.readers.to_string(), open.readers.to_string());
        }
        differs("synchronous", format!("'{}'", self.synchronous.as_str()), format!("'{}'", open.synchronous.as_str()))?;
        differs("readers", self.readers.to_string(), open.readers.to_string())?;
        differs("maxQueued", self.max_queued.to_string(), open.max_queued.to_string())?;
        differs("logLimitBytes", self.log_limit.to_string(), open.log_limit.to_string())?;
        differs("secureDelete", self.secure_delete.to_string(), open.secure_delete.to_string())
    }
}
