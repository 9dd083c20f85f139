//! Keys, copies and checks of whole databases.

use std::ffi::CStr;
use std::time::Duration;

use sqlflow_core::{BackupOptions, Cipher, CopyKey, Vacuuming};

use crate::bridge::{Call, Export, Reply};
use crate::env::{Failure, Value};
use crate::options::cipher;

fn wanted(call: &Call<'_>, value: Value<'_>) -> Result<Cipher, Failure> {
    cipher(call.scope, value)?.ok_or_else(|| Failure::Argument("cipher must be given".to_owned()))
}

/// `rekey(op, handle, generation, cipher)`: answered by DONE or ERROR.
pub(super) struct Rekey;

impl Export<4> for Rekey {
    const NAME: &'static CStr = c"rekey";

    fn run<'s>(call: &Call<'s>, [op, handle, generation, key]: [Value<'s>; 4]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let cipher = wanted(call, key)?;
        call.bridge.with_client(call.scope, |client| client.rekey(op, handle, generation, cipher.into_key()))?;
        Ok(None)
    }
}

/// `vacuum(op, handle, generation, pages)`: 0 writes the whole file anew, else so many free pages are given back at most.
pub(super) struct Vacuum;

impl Export<4> for Vacuum {
    const NAME: &'static CStr = c"vacuum";

    fn run<'s>(call: &Call<'s>, [op, handle, generation, pages]: [Value<'s>; 4]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let how = match call.scope.integer(pages, "pages")? {
            0 => Vacuuming::Whole,
            pages => Vacuuming::Pages(pages),
        };
        call.bridge.with_client(call.scope, |client| client.vacuum(op, handle, generation, how))?;
        Ok(None)
    }
}

/// `backup(op, handle, generation, options)`: `{ path, overwrite, plain, cipher }`; answered by DONE or ERROR, after PROGRESS.
pub(super) struct Backup;

impl Export<4> for Backup {
    const NAME: &'static CStr = c"backup";

    fn run<'s>(call: &Call<'s>, [op, handle, generation, options]: [Value<'s>; 4]) -> Reply<'s> {
        let scope = call.scope;
        let op = scope.integer(op, "op")?;
        let handle = scope.integer(handle, "handle")?;
        let generation = scope.integer(generation, "generation")?;
        let is_plain = scope.boolean(scope.property(options, "plain")?, "plain")?;
        let key = match cipher(scope, scope.property(options, "cipher")?)? {
            Some(cipher) => CopyKey::Other(cipher),
            None if is_plain => CopyKey::None,
            None => CopyKey::Same,
        };
        let path = scope.text(scope.property(options, "path")?, "path")?;
        let overwrite = scope.boolean(scope.property(options, "overwrite")?, "overwrite")?;
        let options = BackupOptions { path, key, overwrite };
        call.bridge.with_client(scope, |client| client.backup(op, handle, generation, options))?;
        Ok(None)
    }
}

/// `verify(op, handle, generation)`: answered by VERIFIED or ERROR, after PROGRESS.
pub(super) struct Verify;

impl Export<3> for Verify {
    const NAME: &'static CStr = c"verify";

    fn run<'s>(call: &Call<'s>, [op, handle, generation]: [Value<'s>; 3]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        call.bridge.with_client(call.scope, |client| client.verify(op, handle, generation))?;
        Ok(None)
    }
}

/// `convert(op, path, cipher, busyTimeoutMs)`: answered by DONE or ERROR, after PROGRESS.
pub(super) struct Convert;

impl Export<4> for Convert {
    const NAME: &'static CStr = c"convert";

    fn run<'s>(call: &Call<'s>, [op, path, key, busy_timeout]: [Value<'s>; 4]) -> Reply<'s> {
        call.bridge.refuse_after_fork()?;
        let op = call.scope.integer(op, "op")?;
        let path = call.scope.text(path, "path")?;
        let cipher = wanted(call, key)?;
        let busy_timeout = Duration::from_millis(call.scope.integer(busy_timeout, "busyTimeoutMs")?);
        call.bridge.with_client(call.scope, |client| client.convert(op, &path, cipher, busy_timeout))?;
        Ok(None)
    }
}
