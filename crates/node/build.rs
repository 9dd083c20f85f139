//! Sets what the link of a Node-API module needs; see the exported symbols below.

fn main() {
    // Symbols of Node itself stay undefined, and on Linux the module is never unmapped (`-z nodelete`).
    //
    // Nothing is needed to hide OpenSSL and SQLite: for a cdylib rustc gives the linker the list of what is exported
    // (a version script, on macOS an `-exported_symbols_list`), which is `napi_register_module_v1` alone. `--exclude-libs ALL`
    // must not be added: that function comes out of an archive too, the one of napi-rs, and the addon would export nothing.
    napi_build::setup();
}
