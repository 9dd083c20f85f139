//! The Node-API layer of sqlflow: it translates between JavaScript and `sqlflow-core`, and does nothing else.
//!
//! One module initialization makes one [`bridge::Bridge`]; its functions are raw Node-API callbacks that carry the
//! bridge as their data, so that several copies of the addon, or of the JavaScript above it, never meet in one thread.
// napi-rs leaves the module entry out of test builds, which link without Node: nothing is left to test there.
#![cfg(not(test))]
#![deny(unsafe_code)]

mod bridge;
mod env;
mod exports;
mod options;

use napi::bindgen_prelude::Object;
use napi_derive::napi;

/// Called once per module initialization: makes its bridge and defines the functions of `exports`.
#[napi(module_exports)]
fn initialize(exports: Object<'_>, env: napi::Env) -> napi::Result<()> {
    env::load(&env, &exports)
}
