//! Migrations: their sources, the history of a database, and the way back.

use std::ffi::CStr;

use crate::bridge::{Call, Export, Reply};
use crate::env::{Failure, Value};

/// `defineMigrations(id, names, texts)`: parses the files of a source once; an `ArrayBuffer` with an ERROR record if one is wrong.
pub(super) struct DefineMigrations;

impl Export<3> for DefineMigrations {
    const NAME: &'static CStr = c"defineMigrations";

    fn run<'s>(call: &Call<'s>, [id, names, texts]: [Value<'s>; 3]) -> Reply<'s> {
        let id = call.scope.integer(id, "id")?;
        let names = call.scope.strings(names, "names")?;
        let texts = call.scope.strings(texts, "texts")?;
        if names.len() != texts.len() {
            return Err(Failure::Range(format!("there are {} names and {} texts", names.len(), texts.len())));
        }
        let files: Vec<(String, String)> = names.into_iter().zip(texts).collect();
        match call.bridge.with_client(call.scope, |client| client.define_migrations(id, &files))? {
            Ok(()) => Ok(None),
            Err(error) => call.scope.copied(&error.to_record()).map(Some),
        }
    }
}

/// `migrations(op, handle, generation)`: answered by HISTORY or ERROR.
pub(super) struct History;

impl Export<3> for History {
    const NAME: &'static CStr = c"migrations";

    fn run<'s>(call: &Call<'s>, [op, handle, generation]: [Value<'s>; 3]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        call.bridge.with_client(call.scope, |client| client.history(op, handle, generation))?;
        Ok(None)
    }
}

/// `rollbackMigrations(op, handle, generation, to)`: answered by DONE or ERROR, after a MIGRATED record for each that was taken back.
pub(super) struct RollbackMigrations;

impl Export<4> for RollbackMigrations {
    const NAME: &'static CStr = c"rollbackMigrations";

    fn run<'s>(call: &Call<'s>, [op, handle, generation, to]: [Value<'s>; 4]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let to = call.scope.integer(to, "to")?;
        call.bridge.with_client(call.scope, |client| client.migrate_back(op, handle, generation, to))?;
        Ok(None)
    }
}
