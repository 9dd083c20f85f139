//! The hot functions: request records in, completion records out.

use std::ffi::CStr;

use crate::bridge::{Call, Export, Reply};
use crate::env::{Bytes, Value};

/// `setup(request, response, sync, wake)`: pins the three buffers and keeps `wake`, which is called when there is
/// something to drain. Once per module initialization: another copy of the JavaScript loads the addon again.
pub(super) struct Setup;

impl Export<4> for Setup {
    const NAME: &'static CStr = c"setup";

    fn run<'s>(call: &Call<'s>, arguments: [Value<'s>; 4]) -> Reply<'s> {
        call.bridge.connect(call.scope, arguments)?;
        Ok(None)
    }
}

/// `submit(byteLength)`: takes the records at the start of the request buffer.
pub(super) struct Submit;

impl Export<1> for Submit {
    const NAME: &'static CStr = c"submit";

    fn run<'s>(call: &Call<'s>, [length]: [Value<'s>; 1]) -> Reply<'s> {
        let length = call.scope.integer(length, "byteLength")?;
        call.bridge.submit(call.scope, call.bridge.request()?, length)
    }
}

/// `submitFrom(buffer, byteLength)`: the same for records that do not fit into the request buffer.
pub(super) struct SubmitFrom;

impl Export<2> for SubmitFrom {
    const NAME: &'static CStr = c"submitFrom";

    fn run<'s>(call: &Call<'s>, [buffer, length]: [Value<'s>; 2]) -> Reply<'s> {
        let length = call.scope.integer(length, "byteLength")?;
        call.bridge.submit(call.scope, Bytes::of(call.scope, buffer, "buffer")?, length)
    }
}

/// `drain()`: the bytes put into the response buffer, 0 when there is nothing, or an `ArrayBuffer` with one record that is larger.
pub(super) struct Drain;

impl Export<0> for Drain {
    const NAME: &'static CStr = c"drain";

    fn run<'s>(call: &Call<'s>, []: [Value<'s>; 0]) -> Reply<'s> {
        call.bridge.drain(call.scope)
    }
}

/// `sync(byteLength)`: runs the record in the request buffer on this thread; the bytes of the answer in the sync buffer, or an `ArrayBuffer` with a larger one.
pub(super) struct RunSync;

impl Export<1> for RunSync {
    const NAME: &'static CStr = c"sync";

    fn run<'s>(call: &Call<'s>, [length]: [Value<'s>; 1]) -> Reply<'s> {
        let length = call.scope.integer(length, "byteLength")?;
        call.bridge.sync(call.scope, call.bridge.request()?, length)
    }
}

/// `syncFrom(buffer, byteLength)`: the same for a record that does not fit into the request buffer.
pub(super) struct RunSyncFrom;

impl Export<2> for RunSyncFrom {
    const NAME: &'static CStr = c"syncFrom";

    fn run<'s>(call: &Call<'s>, [buffer, length]: [Value<'s>; 2]) -> Reply<'s> {
        let length = call.scope.integer(length, "byteLength")?;
        call.bridge.sync(call.scope, Bytes::of(call.scope, buffer, "buffer")?, length)
    }
}
