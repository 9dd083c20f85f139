//! Reads the options of `open` from their JavaScript object.

use std::time::Duration;

use sqlflow_core::{AutoVacuum, Cipher, Key, OpenOptions, Storage, Synchronous, Table, When};
use zeroize::Zeroizing;

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
        pool: None,
        log_limit: scope.integer::<u64>(scope.property(object, "logLimitBytes")?, "logLimitBytes")?,
        cipher: cipher(scope, scope.property(object, "cipher")?)?,
        secure_delete: boolean("secureDelete")?,
        auto_vacuum: auto_vacuum(&scope.text(scope.property(object, "autoVacuum")?, "autoVacuum")?)?,
    })
}

/// `undefined`, or `{ kind: 'raw' | 'passphrase', bytes: ArrayBuffer, compatibility }`; the buffer is wiped.
pub(crate) fn cipher(scope: Scope<'_>, object: Value<'_>) -> Result<Option<Cipher>, Failure> {
    if scope.is_undefined(object)? {
        return Ok(None);
    }
    let refused = |error: sqlflow_core::Error| Failure::Range(error.message);
    let bytes = scope.take_secret(scope.property(object, "bytes")?, "bytes")?;
    let key = match scope.text(scope.property(object, "kind")?, "kind")?.as_str() {
        "raw" => Key::raw(&bytes),
        "passphrase" => match str::from_utf8(&bytes) {
            Ok(text) => Key::passphrase(Zeroizing::new(text.to_owned())),
            Err(_) => return Err(Failure::Argument("a passphrase must be UTF-8".to_owned())),
        },
        _ => return Err(Failure::Argument("kind must be 'raw' or 'passphrase'".to_owned())),
    };
    let compatibility = scope.integer(scope.property(object, "compatibility")?, "compatibility")?;
    key.and_then(|key| Cipher::new(key, compatibility)).map(Some).map_err(refused)
}

fn auto_vacuum(word: &str) -> Result<AutoVacuum, Failure> {
    match word {
        "none" => Ok(AutoVacuum::None),
        "full" => Ok(AutoVacuum::Full),
        "incremental" => Ok(AutoVacuum::Incremental),
        _ => Err(Failure::Argument("autoVacuum must be 'none', 'full' or 'incremental'".to_owned())),
    }
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
