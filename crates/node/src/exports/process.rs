//! What concerns the whole process: its end, and what it was built from.

use std::ffi::CStr;

use crate::bridge::{Call, Export, Reply};
use crate::env::Value;

/// `processExit(code)`: the process stop, for the main thread's `process.on('exit')`.
pub(super) struct ProcessExit;

impl Export<1> for ProcessExit {
    const NAME: &'static CStr = c"processExit";

    fn run<'s>(call: &Call<'s>, [code]: [Value<'s>; 1]) -> Reply<'s> {
        sqlflow_core::process_exit(call.scope.integer(code, "code")?);
        Ok(None)
    }
}

/// `info()`: `{ sqlite, cipher }`, the versions the addon was built with.
pub(super) struct Info;

impl Export<0> for Info {
    const NAME: &'static CStr = c"info";

    fn run<'s>(call: &Call<'s>, []: [Value<'s>; 0]) -> Reply<'s> {
        let versions = sqlflow_core::versions();
        let info = call.scope.object()?;
        call.scope.set(info, c"sqlite", call.scope.string(&versions.sqlite)?)?;
        call.scope.set(info, c"cipher", call.scope.string(&versions.cipher)?)?;
        Ok(Some(info))
    }
}
