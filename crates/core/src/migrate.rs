//! Owns migrations: where they come from, what of them a database has, and how the rest is run.
//!
//! Up to date is found by one read. Otherwise each version has a transaction of its own that holds the second look at the
//! history, the SQL, the row of the history and the check of foreign keys, so that neither another process nor a kill at any
//! instant comes in between.

use std::sync::Arc;

use crate::error::{Error, ErrorCode, Result};
use crate::wire::FIELD;

mod annotations;
mod file_name;
mod goose;
mod history;
mod runner;
mod source;

pub use history::Table;
pub use runner::When;
pub(crate) use runner::{Plan, Told, history};
use source::{Migration, Migrations, SourceError};

/// The migrations of one source, parsed, checked and hashed once.
#[derive(Clone, Debug)]
pub struct Source(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    list: Vec<Known>,
}

/// One migration of the code.
#[derive(Debug)]
struct Known {
    migration: Migration,
    /// The same for refinery, which keeps the history and the checksum of the normalized text.
    refinery: refinery_core::Migration,
}

/// What an open wants of migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationOptions {
    /// The migrations of the code.
    pub source: Source,
    /// Where the history is kept.
    pub table: Table,
    /// When they are run.
    pub when: When,
}

impl MigrationOptions {
    /// The plan of an open.
    pub(crate) fn plan(&self, told: Told) -> Plan {
        Plan::to_latest(self.source.clone(), self.table, self.when, told)
    }
}

/// Two sources are one if they were parsed together.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Source {}

impl Source {
    /// Parses files by their names and texts.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::MigrationSource`], naming the file and the line, for the first that is wrong.
    pub fn parse(files: &[(String, String)]) -> Result<Self> {
        let Migrations { list } = source::parse(files).map_err(|error| source_error(&error))?;
        let known = |migration: Migration| {
            let name = format!("V{}__{}", migration.version, migration.checked_name);
            let refinery = refinery_core::Migration::unapplied(&name, &migration.checked).map_err(|error| {
                source_error(&SourceError { file: migration.file.clone(), line: None, message: error.to_string() })
            })?;
            Ok(Known { migration, refinery })
        };
        Ok(Self(Arc::new(Parsed { list: list.into_iter().map(known).collect::<Result<_>>()? })))
    }

    fn list(&self) -> &[Known] {
        &self.0.list
    }
}

fn source_error(SourceError { file, line, message }: &SourceError) -> Error {
    fields(ErrorCode::MigrationSource, message, file, *line, None)
}

/// An error with the fields of a migration.
fn fields(code: ErrorCode, message: &str, file: &str, line: Option<u32>, version: Option<i64>) -> Error {
    let text = |number: Option<String>| number.unwrap_or_default();
    let (line, version) = (text(line.map(|line| line.to_string())), text(version.map(|version| version.to_string())));
    Error::new(code, format!("{message}{FIELD}{file}{FIELD}{line}{FIELD}{version}"))
}
