//! What concerns a pool; what takes time is answered by completions.

use std::ffi::CStr;
use std::time::Duration;

use sqlflow_core::PoolLimits;

use super::database::opens;
use crate::bridge::{Call, Export, Reply};
use crate::env::{Failure, Value};

/// `openPool(op, path, { create, maxOpen, maxOpenBytes, inactivityTimeoutMs })`: answered by OPENED or ERROR.
pub(super) struct OpenPool;

impl Export<3> for OpenPool {
    const NAME: &'static CStr = c"openPool";

    fn run<'s>(call: &Call<'s>, [op, path, options]: [Value<'s>; 3]) -> Reply<'s> {
        call.bridge.refuse_after_fork()?;
        let op = call.scope.integer(op, "op")?;
        let path = call.scope.text(path, "path")?;
        let property = |name| call.scope.property(options, name);
        let create = call.scope.boolean(property("create")?, "create")?;
        let inactivity: u32 = call.scope.integer(property("inactivityTimeoutMs")?, "inactivityTimeoutMs")?;
        let limits = PoolLimits {
            max_open: call.scope.integer(property("maxOpen")?, "maxOpen")?,
            max_open_bytes: call.scope.integer(property("maxOpenBytes")?, "maxOpenBytes")?,
            inactivity: Duration::from_millis(u64::from(inactivity)),
        };
        call.bridge.with_client(call.scope, |client| client.open_pool(op, &path, create, limits))?;
        Ok(None)
    }
}

/// `closePool(op, pool, generation)`: answered by DONE.
pub(super) struct ClosePool;

impl Export<3> for ClosePool {
    const NAME: &'static CStr = c"closePool";

    fn run<'s>(call: &Call<'s>, [op, pool, generation]: [Value<'s>; 3]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let (pool, generation) = slot(call, [pool, generation])?;
        call.bridge.with_client(call.scope, |client| client.close_pool(op, pool, generation))?;
        Ok(None)
    }
}

/// `openPooled(op, pool, generation, name, options, apart)`: answered by OPENED or ERROR; its first use has begun.
pub(super) struct OpenPooled;

impl Export<6> for OpenPooled {
    const NAME: &'static CStr = c"openPooled";

    fn run<'s>(call: &Call<'s>, [op, pool, generation, name, options, apart]: [Value<'s>; 6]) -> Reply<'s> {
        call.bridge.refuse_after_fork()?;
        let op = call.scope.integer(op, "op")?;
        let pool = slot(call, [pool, generation])?;
        let name = call.scope.text(name, "name")?;
        let opens = opens(call, options)?;
        let apart = call.scope.boolean(apart, "apart")?;
        call.bridge.with_client(call.scope, |client| client.open_pooled(op, pool, &name, opens, apart))?;
        Ok(None)
    }
}

/// `acquire(handle, generation, how)`: 1, or 0 when it is closed. `how`: 0 taken for open, 1 opened before, 2 inside a use.
pub(super) struct Acquire;

impl Export<3> for Acquire {
    const NAME: &'static CStr = c"acquire";

    fn run<'s>(call: &Call<'s>, [handle, generation, how]: [Value<'s>; 3]) -> Reply<'s> {
        let (handle, generation) = slot(call, [handle, generation])?;
        let how = match call.scope.integer::<u32>(how, "how")? {
            0 => sqlflow_core::Acquire::Open,
            1 => sqlflow_core::Acquire::Opened,
            2 => sqlflow_core::Acquire::Inside,
            other => return Err(Failure::Range(format!("how is {other}, out of range"))),
        };
        let acquired = call.bridge.with_client(call.scope, |client| client.acquire(handle, generation, how))?;
        call.scope.number(acquired.into()).map(Some)
    }
}

/// `release(handle, generation)`.
pub(super) struct Release;

impl Export<2> for Release {
    const NAME: &'static CStr = c"release";

    fn run<'s>(call: &Call<'s>, handle: [Value<'s>; 2]) -> Reply<'s> {
        let (handle, generation) = slot(call, handle)?;
        call.bridge.with_client(call.scope, |client| client.release(handle, generation))?;
        Ok(None)
    }
}

/// `share(handle, generation)`: index and generation of another handle, two u32; `undefined` when it is closed.
pub(super) struct Share;

impl Export<2> for Share {
    const NAME: &'static CStr = c"share";

    fn run<'s>(call: &Call<'s>, handle: [Value<'s>; 2]) -> Reply<'s> {
        let (handle, generation) = slot(call, handle)?;
        let shared = call.bridge.with_client(call.scope, |client| client.share(handle, generation))?;
        let Some((index, generation)) = shared else { return Ok(None) };
        let words: Vec<u8> = [index, generation].iter().flat_map(|word| word.to_le_bytes()).collect();
        call.scope.copied(&words).map(Some)
    }
}

/// `evict(op, pool, generation, name)`: answered by CHANGES or ERROR.
pub(super) struct Evict;

impl Export<4> for Evict {
    const NAME: &'static CStr = c"evict";

    fn run<'s>(call: &Call<'s>, [op, pool, generation, name]: [Value<'s>; 4]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let pool = slot(call, [pool, generation])?;
        let name = call.scope.text(name, "name")?;
        call.bridge.with_client(call.scope, |client| client.evict(op, pool, &name))?;
        Ok(None)
    }
}

/// `deletePooled(op, pool, generation, name, busyTimeoutMs, queueTimeoutMs)`: answered by CHANGES or ERROR.
pub(super) struct Delete;

impl Export<6> for Delete {
    const NAME: &'static CStr = c"deletePooled";

    fn run<'s>(call: &Call<'s>, [op, pool, generation, name, busy, queue]: [Value<'s>; 6]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let pool = slot(call, [pool, generation])?;
        let name = call.scope.text(name, "name")?;
        let milliseconds =
            |value, name| call.scope.integer::<u32>(value, name).map(|value| Duration::from_millis(u64::from(value)));
        let patience = (milliseconds(busy, "busyTimeoutMs")?, milliseconds(queue, "queueTimeoutMs")?);
        call.bridge.with_client(call.scope, |client| client.delete(op, pool, &name, patience))?;
        Ok(None)
    }
}

/// `relievePool(pool, generation)`: has idle databases give back file descriptors if there are none left.
pub(super) struct Relieve;

impl Export<2> for Relieve {
    const NAME: &'static CStr = c"relievePool";

    fn run<'s>(call: &Call<'s>, pool: [Value<'s>; 2]) -> Reply<'s> {
        let (pool, generation) = slot(call, pool)?;
        call.bridge.with_client(call.scope, |client| client.relieve_pool(pool, generation))?;
        Ok(None)
    }
}

/// `poolStats(pool, generation)`: an `ArrayBuffer` of float64 in the order of `sqlflow_core::PoolStats`; `undefined` once it is closed.
pub(super) struct PoolStats;

impl Export<2> for PoolStats {
    const NAME: &'static CStr = c"poolStats";

    fn run<'s>(call: &Call<'s>, pool: [Value<'s>; 2]) -> Reply<'s> {
        let (pool, generation) = slot(call, pool)?;
        let Some(stats) = call.bridge.with_client(call.scope, |client| client.pool_stats(pool, generation))? else {
            return Ok(None);
        };
        let bytes: Vec<u8> = stats.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        call.scope.copied(&bytes).map(Some)
    }
}

fn slot<'s>(call: &Call<'s>, [index, generation]: [Value<'s>; 2]) -> Result<(u32, u32), Failure> {
    Ok((call.scope.integer(index, "index")?, call.scope.integer(generation, "generation")?))
}
