//! Opening a database and closing a handle; both are answered by completions.

use std::ffi::CStr;

use crate::bridge::{Call, Export, Reply};
use crate::env::Value;
use crate::options::open_options;

/// `open(op, path, options)`: answered by OPENED or ERROR.
pub(super) struct Open;

impl Export<3> for Open {
    const NAME: &'static CStr = c"open";

    fn run<'s>(call: &Call<'s>, [op, path, options]: [Value<'s>; 3]) -> Reply<'s> {
        call.bridge.refuse_after_fork()?;
        let op = call.scope.integer(op, "op")?;
        let path = call.scope.text(path, "path")?;
        let options = open_options(call.scope, options)?;
        call.bridge.with_client(call.scope, |client| client.open(op, &path, options))?;
        Ok(None)
    }
}

/// `close(op, handle, generation)`: answered by DONE or ERROR.
pub(super) struct Close;

impl Export<3> for Close {
    const NAME: &'static CStr = c"close";

    fn run<'s>(call: &Call<'s>, [op, handle, generation]: [Value<'s>; 3]) -> Reply<'s> {
        let op = call.scope.integer(op, "op")?;
        let handle = call.scope.integer(handle, "handle")?;
        let generation = call.scope.integer(generation, "generation")?;
        call.bridge.with_client(call.scope, |client| client.close(op, handle, generation))?;
        Ok(None)
    }
}
