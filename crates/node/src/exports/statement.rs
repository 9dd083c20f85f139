//! The SQL texts of an environment and the column lists of their results.

use std::ffi::CStr;

use crate::bridge::{Call, Export, Reply};
use crate::env::{Failure, Value};

/// `defineStatement(id, text)`: the text of a statement id; an id is never used for two texts.
pub(super) struct DefineStatement;

impl Export<2> for DefineStatement {
    const NAME: &'static CStr = c"defineStatement";

    fn run<'s>(call: &Call<'s>, [id, text]: [Value<'s>; 2]) -> Reply<'s> {
        let id = call.scope.integer(id, "id")?;
        let text = call.scope.text(text, "text")?;
        call.bridge.with_client(call.scope, |client| client.define_statement(id, &text))?;
        Ok(None)
    }
}

/// `forgetStatement(id)`: the id will not be used again.
pub(super) struct ForgetStatement;

impl Export<1> for ForgetStatement {
    const NAME: &'static CStr = c"forgetStatement";

    fn run<'s>(call: &Call<'s>, [id]: [Value<'s>; 1]) -> Reply<'s> {
        let id = call.scope.integer(id, "id")?;
        call.bridge.with_client(call.scope, |client| client.forget_statement(id))?;
        Ok(None)
    }
}

/// `shape(id)`: the column names of an interned shape; a `RangeError` for an id the engine never gave.
pub(super) struct ShapeNames;

impl Export<1> for ShapeNames {
    const NAME: &'static CStr = c"shape";

    fn run<'s>(call: &Call<'s>, [id]: [Value<'s>; 1]) -> Reply<'s> {
        let id = call.scope.integer(id, "id")?;
        let shape = call
            .bridge
            .with_client(call.scope, |client| client.shape(id))?
            .ok_or_else(|| Failure::Range(format!("there is no shape {id}")))?;
        call.scope.texts(shape.names().iter().map(|name| -> &str { name })).map(Some)
    }
}
