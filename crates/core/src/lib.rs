//! The engine of sqlflow: SQLite with one writer and many readers per database, a queue instead of locks, threads that never
//! wait for JavaScript. Pure Rust; the Node-API layer in `crates/node` translates and nothing else.
//!
//! One operation goes [`Client::submit`] -> `readers` or `writer` (or a `transaction`) -> `execute` -> `statement` -> `mailbox`
//! -> [`Client::drain`].

mod authorizer;
mod backoff;
mod backup;
mod beside;
mod client;
mod config;
mod connection;
mod convert;
mod database;
mod error;
mod execute;
mod exit;
mod group;
mod handle;
mod interrupt;
mod key;
mod line;
mod listeners;
mod location;
mod mailbox;
mod maintenance;
mod migrate;
mod place;
mod pool;
mod readers;
mod registry;
mod reply;
mod runtime;
mod slab;
mod sql;
mod statement;
mod statement_cache;
mod stats;
mod sync;
mod text;
mod transaction;
mod verify;
mod versions;
pub mod wire;
mod writer;

pub use backup::{BackupOptions, CopyKey};
pub use client::{Client, Drained};
pub use config::{AutoVacuum, OpenOptions, Storage, Synchronous};
pub use connection::CheckpointMode;
pub use error::{Error, ErrorCode, Result};
pub use exit::process_exit;
pub use key::{Cipher, Key};
pub use listeners::Listening;
pub use maintenance::Vacuuming;
pub use migrate::{MigrationOptions, Source, Table, When};
pub use pool::{Acquire, PoolLimits, PoolStats};
pub use stats::Stats;
pub use versions::{Versions, versions};
