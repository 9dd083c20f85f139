//! Owns the beginning and the end of a module initialization, and the safe face of raw Node-API values.

#![expect(unsafe_code, reason = "raw Node-API calls; with bridge.rs the only file that makes them")]

use std::any::Any;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use napi::bindgen_prelude::{JsValue, Object, retain_current_module_for_unload_safety};
use napi::sys;
use zeroize::{Zeroize, Zeroizing};

use crate::bridge::Bridge;
use crate::exports;

/// `napi_create_function` and its like take the length of a NUL-terminated string as -1 (`NAPI_AUTO_LENGTH`).
pub(crate) const AUTO_LENGTH: isize = -1;

/// Makes the bridge of a module initialization and defines the functions of `exports`.
///
/// The bridge is the instance data: Node gives every initialization its own `napi_env`, also of the same file in the
/// same thread, and frees the bridge with it, after its last JavaScript has run.
pub(crate) fn load(env: &napi::Env, exports: &Object<'_>) -> napi::Result<()> {
    // Engine threads and exit handlers outlive every environment: the code under them must never be unmapped.
    retain_current_module_for_unload_safety();
    let scope = Scope { env: env.raw(), alive: PhantomData };
    let exports = Value { raw: exports.raw(), alive: PhantomData };
    catch(|| {
        let bridge = install(scope)?;
        bridge.start(scope)?;
        exports::define(scope, exports, bridge)
    })
    .map_err(|failure| napi::Error::from_reason(failure.describe("sqlflow")))
}

fn install(scope: Scope<'_>) -> Result<&Bridge, Failure> {
    let bridge = Box::into_raw(Box::new(Bridge::new()));
    // SAFETY: `env` is the live environment of this call; `finalize` matches how the box was made.
    let status = unsafe { sys::napi_set_instance_data(scope.env, bridge.cast(), Some(finalize), ptr::null_mut()) };
    if status != sys::Status::napi_ok {
        // SAFETY: Node did not take the pointer, so it is still ours alone.
        drop(unsafe { Box::from_raw(bridge) });
        return Err(Failure::Status(status));
    }
    // SAFETY: it lives until `finalize`, so longer than this scope, and is only ever used by shared reference.
    Ok(unsafe { &*bridge })
}

unsafe extern "C" fn finalize(_env: sys::napi_env, bridge: *mut c_void, _hint: *mut c_void) {
    // SAFETY: Node calls this once, with the pointer `install` gave away. All cleanup hooks of the environment have run and
    // no JavaScript of it will, so nothing reaches the bridge any more; the threadsafe function kept the `napi_env`, so it is gone too.
    let bridge = unsafe { Box::from_raw(bridge.cast::<Bridge>()) };
    swallow(catch_unwind(AssertUnwindSafe(|| drop(bridge))));
}

/// One entry into this module from JavaScript: its environment, valid for `'scope`.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'scope> {
    env: sys::napi_env,
    alive: PhantomData<&'scope ()>,
}

/// A JavaScript value, valid for the call it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Value<'scope> {
    raw: sys::napi_value,
    alive: PhantomData<&'scope ()>,
}

/// Why a function did not do what it was called for; the function's name is added when it is thrown.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An argument is of a wrong type: a `TypeError`.
    Argument(String),
    /// A number is outside of what it counts or names: a `RangeError`.
    Range(String),
    /// Not now, or not here: an `Error`.
    State(&'static str),
    /// Node-API refused. It has thrown by itself, or the environment is ending.
    Status(sys::napi_status),
    /// A panic of ours.
    Panic(String),
}

impl Failure {
    fn describe(&self, function: &str) -> String {
        match self {
            Self::Argument(message) | Self::Range(message) => format!("{function}: {message}"),
            Self::State(message) => format!("{function}: {message}"),
            Self::Status(status) => format!("{function}: Node-API answered status {status}"),
            Self::Panic(message) => format!("{function}: panic in the native layer, please report it: {message}"),
        }
    }
}

/// Turns a Node-API status into a failure.
pub(crate) fn check(status: sys::napi_status) -> Result<(), Failure> {
    if status == sys::Status::napi_ok { Ok(()) } else { Err(Failure::Status(status)) }
}

/// One value made by a raw call, whose scope the result is given by the caller.
fn make<'s>(call: impl FnOnce(*mut sys::napi_value) -> sys::napi_status) -> Result<Value<'s>, Failure> {
    let mut raw = ptr::null_mut();
    check(call(&raw mut raw))?;
    Ok(Value { raw, alive: PhantomData })
}

/// Runs the body of a callback so that no panic leaves it.
pub(crate) fn catch<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "of unknown kind".to_owned());
        swallow(Err(panic));
        Err(Failure::Panic(message))
    })
}

/// Ends a panic where there is nobody to tell it to; the panic hook has printed it. The payload is leaked: its drop could panic again.
pub(crate) fn swallow(outcome: Result<(), Box<dyn Any + Send>>) {
    if let Err(panic) = outcome {
        std::mem::forget(panic);
    }
}

impl Value<'_> {
    /// # Safety
    /// `raw` is a handle of the scope `'s`.
    pub(crate) unsafe fn from_raw(raw: sys::napi_value) -> Self {
        Self { raw, alive: PhantomData }
    }

    /// The handle, for a raw call within its scope.
    pub(crate) fn raw(self) -> sys::napi_value {
        self.raw
    }
}

impl<'s> Scope<'s> {
    /// # Safety
    /// `env` is the environment this thread was entered with, a handle scope is open, and both last for `'s`.
    pub(crate) unsafe fn from_raw(env: sys::napi_env) -> Self {
        Self { env, alive: PhantomData }
    }

    /// The environment, for a raw call within its scope.
    pub(crate) fn raw(self) -> sys::napi_env {
        self.env
    }

    /// Throws `failure`; nothing more can be done if that fails too (the environment is ending).
    pub(crate) fn throw(self, function: &CStr, failure: &Failure) {
        let make_error = match failure {
            Failure::Argument(_) => sys::napi_create_type_error,
            Failure::Range(_) => sys::napi_create_range_error,
            Failure::State(_) | Failure::Status(_) | Failure::Panic(_) => sys::napi_create_error,
        };
        if self.has_pending() {
            return;
        }
        let Ok(message) = self.string(&failure.describe(&function.to_string_lossy())) else { return };
        let mut error = ptr::null_mut();
        // SAFETY: `env` and `message` are of this scope, `error` is an out-parameter; a null code means none.
        if unsafe { make_error(self.env, ptr::null_mut(), message.raw, &raw mut error) } == sys::Status::napi_ok {
            // SAFETY: `error` was just made in this scope.
            unsafe { sys::napi_throw(self.env, error) };
        }
    }

    /// Hands a pending exception to the process as an uncaught one: thrown out of a threadsafe callback it would be lost.
    pub(crate) fn report_pending(self) {
        if self.has_pending() {
            let mut error = ptr::null_mut();
            // SAFETY: `env` is live, `error` an out-parameter.
            if unsafe { sys::napi_get_and_clear_last_exception(self.env, &raw mut error) } == sys::Status::napi_ok {
                // SAFETY: `error` is of this scope. A refusal means that the environment is ending.
                unsafe { sys::napi_fatal_exception(self.env, error) };
            }
        }
    }

    fn has_pending(self) -> bool {
        let mut pending = false;
        // SAFETY: `env` is live; allowed while an exception is pending.
        unsafe { sys::napi_is_exception_pending(self.env, &raw mut pending) == sys::Status::napi_ok && pending }
    }

    /// `undefined`.
    pub(crate) fn undefined(self) -> Result<Value<'s>, Failure> {
        // SAFETY: `env` is live, the pointer an out-parameter.
        make(|value| unsafe { sys::napi_get_undefined(self.env, value) })
    }

    /// A number of bytes.
    pub(crate) fn number(self, number: usize) -> Result<Value<'s>, Failure> {
        let number = u32::try_from(number).map_err(|_| Failure::Range(format!("{number} bytes are too many")))?;
        // SAFETY: as above.
        make(|value| unsafe { sys::napi_create_uint32(self.env, number, value) })
    }

    /// A string.
    pub(crate) fn string(self, text: &str) -> Result<Value<'s>, Failure> {
        let length = isize::try_from(text.len()).map_err(|_| Failure::Status(sys::Status::napi_invalid_arg))?;
        // SAFETY: as above; `text` is read up to `length`, before the call returns.
        make(|value| unsafe { sys::napi_create_string_utf8(self.env, text.as_ptr().cast(), length, value) })
    }

    /// An array of strings.
    pub(crate) fn texts<'t>(self, texts: impl ExactSizeIterator<Item = &'t str>) -> Result<Value<'s>, Failure> {
        // SAFETY: as above.
        let array = make(|value| unsafe { sys::napi_create_array_with_length(self.env, texts.len(), value) })?;
        for (text, index) in texts.zip(0..) {
            let text = self.string(text)?;
            // SAFETY: both handles are of this scope.
            check(unsafe { sys::napi_set_element(self.env, array.raw, index, text.raw) })?;
        }
        Ok(array)
    }

    /// Reads an array of strings.
    pub(crate) fn strings(self, array: Value<'_>, name: &str) -> Result<Vec<String>, Failure> {
        let mut length = 0;
        // SAFETY: `env` is live and `array` of a scope that encloses this call.
        if unsafe { sys::napi_get_array_length(self.env, array.raw, &raw mut length) } != sys::Status::napi_ok {
            return Err(Failure::Argument(format!("{name} must be an array")));
        }
        let element = |index| {
            // SAFETY: as above.
            make(|value| unsafe { sys::napi_get_element(self.env, array.raw, index, value) })
        };
        (0..length).map(|index| self.text(element(index)?, name)).collect()
    }

    /// A fresh `ArrayBuffer` with a copy of `bytes`.
    pub(crate) fn copied(self, bytes: &[u8]) -> Result<Value<'s>, Failure> {
        let mut data = ptr::null_mut();
        // SAFETY: as above.
        let buffer =
            make(|value| unsafe { sys::napi_create_arraybuffer(self.env, bytes.len(), &raw mut data, value) })?;
        if !bytes.is_empty() {
            // SAFETY: the new buffer has `bytes.len()` bytes at `data`, which nobody else has seen.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast(), bytes.len()) };
        }
        Ok(buffer)
    }

    /// An empty object.
    pub(crate) fn object(self) -> Result<Value<'s>, Failure> {
        // SAFETY: as above.
        make(|value| unsafe { sys::napi_create_object(self.env, value) })
    }

    /// Sets a property of an object.
    pub(crate) fn set(self, object: Value<'_>, name: &CStr, value: Value<'_>) -> Result<(), Failure> {
        // SAFETY: `env` is live, both handles are of scopes that enclose this call, `name` ends with NUL.
        check(unsafe { sys::napi_set_named_property(self.env, object.raw, name.as_ptr(), value.raw) })
    }

    /// Reads a property of an object; a getter may run.
    pub(crate) fn property(self, object: Value<'_>, name: &str) -> Result<Value<'s>, Failure> {
        let mut kind = sys::ValueType::napi_undefined;
        // SAFETY: `env` is live, `object` is of a scope that encloses this call.
        check(unsafe { sys::napi_typeof(self.env, object.raw, &raw mut kind) })?;
        if kind != sys::ValueType::napi_object {
            return Err(Failure::Argument("options must be an object".to_owned()));
        }
        let name = self.string(name)?;
        // SAFETY: as above.
        make(|value| unsafe { sys::napi_get_property(self.env, object.raw, name.raw, value) })
    }

    /// Reads an integer that fits into `T`.
    pub(crate) fn integer<T: TryFrom<i64>>(self, value: Value<'_>, name: &str) -> Result<T, Failure> {
        let mut number = f64::NAN;
        // SAFETY: `env` is live, `value` is of a scope that encloses this call.
        let status = unsafe { sys::napi_get_value_double(self.env, value.raw, &raw mut number) };
        #[expect(clippy::cast_possible_truncation, reason = "compared with the number right after")]
        let whole = number as i64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::float_cmp,
            reason = "every number that differs, NaN too, is no integer; `trunc` is a library call, and this is on the hot path"
        )]
        let exact = whole as f64 == number;
        if status != sys::Status::napi_ok || !exact {
            return Err(Failure::Argument(format!("{name} must be an integer")));
        }
        T::try_from(whole).map_err(|_| Failure::Range(format!("{name} is {number}, out of range")))
    }

    /// Reads a boolean.
    pub(crate) fn boolean(self, value: Value<'_>, name: &str) -> Result<bool, Failure> {
        let mut answer = false;
        // SAFETY: as above.
        match unsafe { sys::napi_get_value_bool(self.env, value.raw, &raw mut answer) } {
            sys::Status::napi_ok => Ok(answer),
            _ => Err(Failure::Argument(format!("{name} must be a boolean"))),
        }
    }

    /// Reads a string; NUL characters are kept, lone surrogates become U+FFFD.
    pub(crate) fn text(self, value: Value<'_>, name: &str) -> Result<String, Failure> {
        let wrong = || Failure::Argument(format!("{name} must be a string"));
        let mut length = 0;
        // SAFETY: as above; without a buffer only the length is written.
        if unsafe { sys::napi_get_value_string_utf8(self.env, value.raw, ptr::null_mut(), 0, &raw mut length) }
            != sys::Status::napi_ok
        {
            return Err(wrong());
        }
        let mut bytes = vec![0_u8; length + 1];
        // SAFETY: as above; at most `bytes.len()` bytes are written, the final NUL included.
        check(unsafe {
            sys::napi_get_value_string_utf8(
                self.env,
                value.raw,
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                &raw mut length,
            )
        })?;
        bytes.truncate(length);
        String::from_utf8(bytes).map_err(|_| wrong())
    }

    /// Whether a value is `undefined`.
    pub(crate) fn is_undefined(self, value: Value<'_>) -> Result<bool, Failure> {
        let mut kind = sys::ValueType::napi_undefined;
        // SAFETY: `env` is live, `value` is of a scope that encloses this call.
        check(unsafe { sys::napi_typeof(self.env, value.raw, &raw mut kind) })?;
        Ok(kind == sys::ValueType::napi_undefined)
    }

    /// Takes the bytes out of an `ArrayBuffer` that our own JavaScript has made for this call, and wipes it.
    pub(crate) fn take_secret(self, value: Value<'s>, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Bytes { data, length, .. } = Bytes::of(self, value, name)?;
        if length == 0 {
            return Ok(Zeroizing::new(Vec::new()));
        }
        // SAFETY: the buffer has `length` bytes at `data`; JavaScript, which alone knows it, does not run until we return.
        let bytes = unsafe { slice::from_raw_parts_mut(data, length) };
        let secret = Zeroizing::new(bytes.to_vec());
        bytes.zeroize();
        Ok(secret)
    }

    /// A strong reference that lives as long as the environment, which frees it.
    pub(crate) fn reference(self, value: Value<'_>) -> Result<sys::napi_ref, Failure> {
        let mut reference = ptr::null_mut();
        // SAFETY: `env` is live, `value` is of a scope that encloses this call.
        check(unsafe { sys::napi_create_reference(self.env, value.raw, 1, &raw mut reference) })?;
        Ok(reference)
    }
}

/// The bytes of an `ArrayBuffer`, for as long as `'s`.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'s> {
    data: *mut u8,
    length: usize,
    alive: PhantomData<&'s ()>,
}

impl<'s> Bytes<'s> {
    /// The bytes of the `ArrayBuffer` that an argument is, for the rest of the call.
    pub(crate) fn of(scope: Scope<'s>, value: Value<'s>, name: &str) -> Result<Self, Failure> {
        let mut is_array_buffer = false;
        // SAFETY: `env` is live and `value` of its scope.
        check(unsafe { sys::napi_is_arraybuffer(scope.env, value.raw, &raw mut is_array_buffer) })?;
        if !is_array_buffer {
            // Asked first: newer Node also gives the memory of a SharedArrayBuffer, which other threads may write to.
            return Err(Failure::Argument(format!("{name} must be an ArrayBuffer")));
        }
        let (mut data, mut length) = (ptr::null_mut(), 0);
        // SAFETY: as above.
        check(unsafe { sys::napi_get_arraybuffer_info(scope.env, value.raw, &raw mut data, &raw mut length) })?;
        Ok(Self { data: data.cast(), length, alive: PhantomData })
    }

    /// The first `length` bytes.
    ///
    /// # Safety
    /// Nobody writes to the buffer while the slice is used.
    pub(crate) unsafe fn first(self, length: usize) -> Result<&'s [u8], Failure> {
        if length > self.length {
            return Err(Failure::Range(format!("byteLength is {length}, the buffer has {} bytes", self.length)));
        }
        if length == 0 {
            return Ok(&[]);
        }
        // SAFETY: the buffer has at least `length` bytes (so `data` is not null) for `'s`; the caller vouches for the rest.
        Ok(unsafe { slice::from_raw_parts(self.data, length) })
    }
}

/// A pinned buffer.
impl Bytes<'static> {
    /// Keeps the `ArrayBuffer` for as long as the environment. Only our own JavaScript knows it, which neither detaches nor resizes it.
    pub(crate) fn pin(scope: Scope<'_>, value: Value<'_>, name: &str) -> Result<Self, Failure> {
        let Bytes { data, length, .. } = Bytes::of(scope, value, name)?;
        if length == 0 || !length.is_multiple_of(8) || !data.addr().is_multiple_of(8) || u32::try_from(length).is_err()
        {
            return Err(Failure::Range(format!(
                "{name} has {length} bytes; it must have a multiple of 8, at least 8 and less than 4 GiB"
            )));
        }
        scope.reference(value)?;
        Ok(Self { data, length, alive: PhantomData })
    }

    /// All its bytes.
    ///
    /// # Safety
    /// Nobody else reads or writes the buffer while the slice is used.
    pub(crate) unsafe fn whole(&mut self) -> &mut [u8] {
        // SAFETY: `pin` found `data` not null and `length` right; the caller vouches for the rest.
        unsafe { slice::from_raw_parts_mut(self.data, self.length) }
    }
}
