//! What concerns an open database as a whole; what takes time is answered by completions.

use std::ffi::CStr;
use std::time::Duration;

use sqlflow_core::{CheckpointMode, Listening, MigrationOptions, OpenOptions};

use crate::bridge::{Call, Export, Reply};
use crate::env::{Failure, Value};
use crate::options::{migration_options, open_options};

/// `open(op, path, options)`: answered by OPENED or ERROR.
pub(super) struct Open;

impl Export<3> for Open {
    const NAME: &'static CStr = c"open";

    fn run<'s>(call: &Call<'s>, [op, path, options]: [Value<'s>; 3]) -> Reply<'s> {
        call.bridge.refuse_after_fork()?;
        let op = call.scope.integer(op, "op")?;
        let path = call.scope.text(path, "path")?;
        let opens = opens(call, options)?;
        call.bridge.with_client(call.scope, |client| client.open(op, &path, opens))?;
        Ok(None)
    }
}

/// The options of an open, its migrations among them.
pub(super) fn opens<'s>(call: &Call<'s>, options: Value<'s>) -> Result<OpenOptions, Failure> {
    let mut opens = open_options(call.scope, options)?;
    let Some((id, table, when)) = migration_options(call.scope, options)? else { return Ok(opens) };
    let source = call.bridge.with_client(call.scope, |client| client.migrations(id).cloned())?;
    let Some(source) = source else {
        return Err(Failure::Range("migrations is no id that defineMigrations was given".to_owned()));
    };
    opens.migrations = Some(MigrationOptions { source, table, when });
    Ok(opens)
}

/// What `close` takes for "wait for ever".
const NO_TIMEOUT: u32 = u32::MAX;

/// `close(op, handle, generation, timeoutMs)`: answered by DONE or ERROR.
pub(super) struct Close;

impl Export<4> for Close {
    const NAME: &'static CStr = c"close";

    fn run<'s>(call: &Call<'s>, [op, handle, generation, timeout]: [Value<'s>; 4]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let timeout: u32 = call.scope.integer(timeout, "timeoutMs")?;
        let patience = (timeout != NO_TIMEOUT).then(|| Duration::from_millis(u64::from(timeout)));
        call.bridge.with_client(call.scope, |client| client.close(op, handle, generation, patience))?;
        Ok(None)
    }
}

/// `checkpoint(op, handle, generation, mode)`: 0 passive, 1 full, 2 restart, 3 truncate; answered by CHECKPOINTED or ERROR.
pub(super) struct Checkpoint;

impl Export<4> for Checkpoint {
    const NAME: &'static CStr = c"checkpoint";

    fn run<'s>(call: &Call<'s>, [op, handle, generation, mode]: [Value<'s>; 4]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let mode = match call.scope.integer::<u32>(mode, "mode")? {
            0 => CheckpointMode::Passive,
            1 => CheckpointMode::Full,
            2 => CheckpointMode::Restart,
            3 => CheckpointMode::Truncate,
            other => return Err(Failure::Range(format!("mode is {other}, out of range"))),
        };
        call.bridge.with_client(call.scope, |client| client.checkpoint(op, handle, generation, mode))?;
        Ok(None)
    }
}

/// `stats(handle, generation)`: an `ArrayBuffer` of float64 in the order of `sqlflow_core::Stats`; `undefined` once the handle is closed.
pub(super) struct Stats;

impl Export<2> for Stats {
    const NAME: &'static CStr = c"stats";

    fn run<'s>(call: &Call<'s>, [handle, generation]: [Value<'s>; 2]) -> Reply<'s> {
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let Some(stats) = call.bridge.with_client(call.scope, |client| client.stats(handle, generation))? else {
            return Ok(None);
        };
        let bytes: Vec<u8> = stats.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        call.scope.copied(&bytes).map(Some)
    }
}

/// `listen(handle, generation, mode)`: 0 off, 1 tables, 2 tables and row ids of each commit.
pub(super) struct Listen;

impl Export<3> for Listen {
    const NAME: &'static CStr = c"listen";

    fn run<'s>(call: &Call<'s>, [handle, generation, mode]: [Value<'s>; 3]) -> Reply<'s> {
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        let listening = match call.scope.integer::<u32>(mode, "mode")? {
            0 => Listening::Off,
            1 => Listening::Tables,
            2 => Listening::Rows,
            other => return Err(Failure::Range(format!("mode is {other}, out of range"))),
        };
        call.bridge.with_client(call.scope, |client| client.listen(handle, generation, listening))?;
        Ok(None)
    }
}
