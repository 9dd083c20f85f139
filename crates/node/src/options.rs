//! Reads the options of `open` from their JavaScript object.

use std::time::Duration;

use sqlflow_core::{OpenOptions, Storage, Synchronous, Table, When};

use crate::env::{Failure, Scope, Value};

/// Every property is required and of its exact type: defaults and friendly messages belong to the TypeScript side.
pub(crate) fn open_options(scope: Scope<'_>, object: Value<'_>) -> Result<OpenOptions, Failure> {
    let boolean = |name| scope.boolean(scope.property(object, name)?, name);
    let number = |name| scope.integer::<u32>(scope.property(object, name)?, name);
    let milliseconds = |name| Ok(Duration::from_millis(u64::from(number(name)?)));
    Ok(OpenOptions {
        create: boolean("create")?,
        read_only: boolean("readOnly")?,
        storage: if boolean("memory")? { Storage::Temporary } else { Storage::File },
        synchronous: synchronous(&scope.text(scope.property(object, "synchronous")?, "synchronous")?)?,
        readers: number("readers")?,
        busy_timeout: milliseconds("busyTimeoutMs")?,
        transaction_timeout: milliseconds("transactionTimeoutMs")?,
        read_timeout: milliseconds("readTimeoutMs")?,
        queue_timeout: milliseconds("queueTimeoutMs")?,
        max_queued: number("maxQueued")?,
        migrations: None,
        log_limit: scope.integer::<u64>(scope.property(object, "logLimitBytes")?, "logLimitBytes")?,
    })
}

/// The id of the source of migrations, where their history is kept, and when they are run; `None` without any.
pub(crate) fn migration_options(scope: Scope<'_>, object: Value<'_>) -> Result<Option<(u32, Table, When)>, Failure> {
    let id = scope.integer(scope.property(object, "migrations")?, "migrations")?;
    if id == 0 {
        return Ok(None);
    }
    let word = |name| scope.text(scope.property(object, name)?, name);
    let table = match word("migrationHistory")?.as_str() {
        "sqlflow" => Table::Sqlflow,
        "goose" => Table::Goose,
        _ => return Err(Failure::Argument("migrationHistory must be 'sqlflow' or 'goose'".to_owned())),
    };
    let when = match word("migrate")?.as_str() {
        "always" => When::Always,
        "create" => When::Create,
        _ => return Err(Failure::Argument("migrate must be 'always' or 'create'".to_owned())),
    };
    Ok(Some((id, table, when)))
}

fn synchronous(word: &str) -> Result<Synchronous, Failure> {
    match word {
        "full" => Ok(Synchronous::Full),
        "normal" => Ok(Synchronous::Normal),
        _ => Err(Failure::Argument("synchronous must be 'full' or 'normal'".to_owned())),
    }
}
