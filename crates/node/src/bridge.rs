//! Owns one connection between JavaScript and the engine: its client, its three pinned buffers and its threadsafe function.

#![expect(unsafe_code, reason = "raw Node-API calls; with env.rs the only file that makes them")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::ptr;
use std::sync::Arc;

use napi::sys;
use parking_lot::Mutex;
use sqlflow_core::{Client, Drained};

use crate::env::{AUTO_LENGTH, Bytes, Failure, Scope, Value, catch, check, swallow};

/// What a function answers; `None` is `undefined`.
pub(crate) type Reply<'s> = Result<Option<Value<'s>>, Failure>;

/// A function JavaScript can call, with `N` arguments.
pub(crate) trait Export<const N: usize> {
    /// Its name in JavaScript.
    const NAME: &'static CStr;

    /// Its body; missing arguments are `undefined`.
    fn run<'s>(call: &Call<'s>, arguments: [Value<'s>; N]) -> Reply<'s>;
}

/// One call of a function.
pub(crate) struct Call<'s> {
    /// Where values are read and made.
    pub scope: Scope<'s>,
    /// The bridge the function belongs to.
    pub bridge: &'s Bridge,
}

/// The raw callback of a function.
///
/// # Safety
/// Called by Node, as `Bridge::define` told it to.
unsafe extern "C" fn entry<const N: usize, E: Export<N>>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    // SAFETY: Node calls with its live environment and an open handle scope, both until this returns.
    let scope = unsafe { Scope::from_raw(env) };
    let reply = catch(|| {
        let (mut count, mut arguments, mut data) = (N, [ptr::null_mut(); N], ptr::null_mut());
        // SAFETY: `info` is of this call; at most `count` handles are written, missing ones as `undefined`.
        check(unsafe {
            sys::napi_get_cb_info(env, info, &raw mut count, arguments.as_mut_ptr(), ptr::null_mut(), &raw mut data)
        })?;
        // SAFETY: `define` gave the address of a bridge, which lives as long as its `napi_env`, so longer than its functions can be called.
        let bridge = unsafe { &*data.cast::<Bridge>() };
        // SAFETY: the handles are of this call.
        let arguments = arguments.map(|raw| unsafe { Value::from_raw(raw) });
        E::run(&Call { scope, bridge }, arguments)
    });
    match reply {
        Ok(value) => value.map_or(ptr::null_mut(), Value::raw),
        Err(failure) => {
            scope.throw(E::NAME, &failure);
            ptr::null_mut()
        }
    }
}

/// The raw threadsafe function.
#[derive(Clone, Copy)]
struct ThreadsafeFunction(sys::napi_threadsafe_function);

// SAFETY: Node-API allows `napi_call_threadsafe_function` from every thread while the function exists, which `Signal`
// sees to; the other calls are made on the loop thread only, by `Bridge`, which is not `Send`.
unsafe impl Send for ThreadsafeFunction {}

/// What engine threads may touch: the threadsafe function, until the environment ends.
///
/// A call is made while the mutex is held, so when `take` has returned no thread is inside the function or will enter
/// it. Nobody releases it afterwards: Node frees it with the environment (nodejs/node#55706).
struct Signal(Mutex<Option<ThreadsafeFunction>>);

impl Signal {
    fn send(&self) {
        let mut slot = self.0.lock();
        let Some(function) = *slot else { return };
        // SAFETY: the function exists while it is in the slot, and the slot is locked. The call appends to a queue and wakes the loop; it never waits.
        let status = unsafe {
            sys::napi_call_threadsafe_function(
                function.0,
                ptr::null_mut(),
                sys::ThreadsafeFunctionCallMode::nonblocking,
            )
        };
        if status == sys::Status::napi_closing {
            // Node counts this thread out and forbids any further call.
            *slot = None;
        }
    }

    fn take(&self) {
        *self.0.lock() = None;
    }
}

/// The JavaScript end of a bridge: its three pinned buffers and the function that drains.
#[derive(Clone, Copy)]
struct Connection {
    request: Bytes<'static>,
    response: Bytes<'static>,
    sync: Bytes<'static>,
    wake: sys::napi_ref,
}

impl Connection {
    /// Pins the buffers, and keeps the function the threadsafe function will call.
    fn pin<'s>(scope: Scope<'s>, [request, response, sync, wake]: [Value<'s>; 4]) -> Result<Self, Failure> {
        let mut kind = sys::ValueType::napi_undefined;
        // SAFETY: `wake` is of this scope.
        check(unsafe { sys::napi_typeof(scope.raw(), wake.raw(), &raw mut kind) })?;
        if kind != sys::ValueType::napi_function {
            return Err(Failure::Argument("wake must be a function".to_owned()));
        }
        Ok(Self {
            request: Bytes::pin(scope, request, "request")?,
            response: Bytes::pin(scope, response, "response")?,
            sync: Bytes::pin(scope, sync, "sync")?,
            wake: scope.reference(wake)?,
        })
    }
}

/// One connection between JavaScript and the engine; used on the loop thread only.
pub(crate) struct Bridge {
    signal: Arc<Signal>,
    /// The loop thread's own copy, so that it does not wait for an engine thread that signals.
    function: Cell<Option<ThreadsafeFunction>>,
    /// Whether the threadsafe function keeps the loop alive.
    held: Cell<bool>,
    client: RefCell<Option<Client>>,
    connection: Cell<Option<Connection>>,
    process: u32,
}

impl Bridge {
    /// A bridge that does nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            signal: Arc::new(Signal(Mutex::new(None))),
            function: Cell::new(None),
            held: Cell::new(false),
            client: RefCell::new(None),
            connection: Cell::new(None),
            process: process::id(),
        }
    }

    /// Makes the threadsafe function, the cleanup hook and the client, in this order: hooks run last in, first out, so
    /// ours takes the function away before Node's own closes it.
    pub(crate) fn start(&self, scope: Scope<'_>) -> Result<(), Failure> {
        let (name, mut function) = (scope.string("sqlflow")?, ptr::null_mut());
        // SAFETY: `env` and `name` are of this scope. The context outlives the function, which keeps the `napi_env`, whose end frees the bridge.
        check(unsafe {
            sys::napi_create_threadsafe_function(
                scope.raw(),
                ptr::null_mut(),
                ptr::null_mut(),
                name.raw(),
                0,
                1,
                ptr::null_mut(),
                None,
                self.address(),
                Some(wake),
                &raw mut function,
            )
        })?;
        // SAFETY: just made, on this thread.
        check(unsafe { sys::napi_unref_threadsafe_function(scope.raw(), function) })?;
        // SAFETY: the pair of function and address is unique, as Node demands, and the bridge outlives the hooks.
        check(unsafe { sys::napi_add_env_cleanup_hook(scope.raw(), Some(end), self.address()) })?;
        self.function.set(Some(ThreadsafeFunction(function)));
        *self.signal.0.lock() = Some(ThreadsafeFunction(function));
        let signal = Arc::clone(&self.signal);
        *self.client.borrow_mut() = Some(Client::new(move || signal.send()));
        Ok(())
    }

    fn address(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Puts the function `E`, bound to this bridge, on `object`.
    pub(crate) fn define<const N: usize, E: Export<N>>(
        &self,
        scope: Scope<'_>,
        object: Value<'_>,
    ) -> Result<(), Failure> {
        let mut function = ptr::null_mut();
        // SAFETY: the name ends with NUL; `entry` takes the address of a bridge as its data, which lives as long as its `napi_env`.
        check(unsafe {
            sys::napi_create_function(
                scope.raw(),
                E::NAME.as_ptr(),
                AUTO_LENGTH,
                Some(entry::<N, E>),
                self.address(),
                &raw mut function,
            )
        })?;
        // SAFETY: just made in this scope.
        scope.set(object, E::NAME, unsafe { Value::from_raw(function) })
    }

    /// Pins the buffers and keeps the function the threadsafe function will call.
    pub(crate) fn connect<'s>(&self, scope: Scope<'s>, arguments: [Value<'s>; 4]) -> Result<(), Failure> {
        if self.connection.get().is_some() {
            return Err(Failure::State(
                "called a second time; every copy of the JavaScript must load the addon itself",
            ));
        }
        self.connection.set(Some(Connection::pin(scope, arguments)?));
        Ok(())
    }

    fn connected(&self) -> Result<Connection, Failure> {
        self.connection.get().ok_or(Failure::State("called before setup, or after the end of this environment"))
    }

    /// The request buffer.
    pub(crate) fn request(&self) -> Result<Bytes<'static>, Failure> {
        self.connected().map(|connection| connection.request)
    }

    /// Fails in a child made by `fork`, which has the memory and the locks of the engine but none of its threads.
    ///
    /// Asked where something is opened only, because it is a system call. It is for platforms where such a child gets
    /// that far: on Linux V8 keeps its code from the child (`MADV_DONTFORK`), which dies of SIGSEGV at its first JavaScript.
    pub(crate) fn refuse_after_fork(&self) -> Result<(), Failure> {
        if process::id() == self.process {
            return Ok(());
        }
        Err(Failure::State(
            "this process is a fork of the one that loaded sqlflow; use child_process or worker_threads",
        ))
    }

    /// Runs `work` on the client, and keeps the loop alive if operations are outstanding then.
    pub(crate) fn with_client<T>(&self, scope: Scope<'_>, work: impl FnOnce(&mut Client) -> T) -> Result<T, Failure> {
        // No JavaScript runs while the client is borrowed, so this is never met; a thrown error is the safe answer if it is.
        let mut client = self
            .client
            .try_borrow_mut()
            .map_err(|_| Failure::State("called from inside another call of the same bridge"))?;
        let client = client.as_mut().ok_or(Failure::State("this environment has ended"))?;
        let answer = work(client);
        if !self.held.get() && client.outstanding() > 0 {
            self.hold(scope);
        }
        Ok(answer)
    }

    /// Submits the records in the first `length` bytes of `buffer`.
    pub(crate) fn submit<'s>(&self, scope: Scope<'s>, buffer: Bytes<'s>, length: usize) -> Reply<'s> {
        self.connected()?;
        // SAFETY: JavaScript does not run until this returns, so nobody writes to the buffer.
        let records = unsafe { buffer.first(length)? };
        self.with_client(scope, |client| client.submit(records))?;
        Ok(None)
    }

    /// Moves finished records into the response buffer.
    pub(crate) fn drain<'s>(&self, scope: Scope<'s>) -> Reply<'s> {
        let mut response = self.connected()?.response;
        // SAFETY: JavaScript does not run until this returns, and no other slice of the buffer exists.
        let out = unsafe { response.whole() };
        let (drained, outstanding) = self.with_client(scope, |client| (client.drain(out), client.outstanding()))?;
        match drained {
            Drained::Bytes(bytes) => {
                if bytes == 0 && outstanding == 0 {
                    self.release(scope);
                }
                scope.number(bytes)
            }
            Drained::Oversized(record) => scope.copied(&record),
            Drained::Nothing => return Ok(None),
        }
        .map(Some)
    }

    /// Runs the record in the first `length` bytes of `buffer` on this thread.
    pub(crate) fn sync<'s>(&self, scope: Scope<'s>, buffer: Bytes<'s>, length: usize) -> Reply<'s> {
        let mut answers = self.connected()?.sync;
        // SAFETY: as in `submit`.
        let record = unsafe { buffer.first(length)? };
        self.with_client(scope, |client| {
            let answer = client.sync(record);
            // SAFETY: as in `drain`; `record`, which could be the same buffer, is not used again.
            match unsafe { answers.whole() }.get_mut(..answer.len()) {
                Some(out) => {
                    out.copy_from_slice(answer);
                    scope.number(answer.len())
                }
                None => scope.copied(answer),
            }
        })?
        .map(Some)
    }

    /// Keeps the loop alive: something only the engine can settle is outstanding.
    fn hold(&self, scope: Scope<'_>) {
        if let Some(function) = self.function.get() {
            // SAFETY: loop thread; the function exists until `end` cleared the cell.
            self.held
                .set(unsafe { sys::napi_ref_threadsafe_function(scope.raw(), function.0) } == sys::Status::napi_ok);
        }
    }

    /// Lets the loop end: everything is settled and taken.
    fn release(&self, scope: Scope<'_>) {
        if let (true, Some(function)) = (self.held.get(), self.function.get()) {
            // SAFETY: as in `hold`.
            self.held
                .set(unsafe { sys::napi_unref_threadsafe_function(scope.raw(), function.0) } != sys::Status::napi_ok);
        }
    }

    /// Calls the function given to `setup`.
    fn wake(&self, scope: Scope<'_>) -> Result<(), Failure> {
        let Some(connection) = self.connection.get() else { return Ok(()) };
        let (receiver, mut function, mut result) = (scope.undefined()?, ptr::null_mut(), ptr::null_mut());
        // SAFETY: the reference is strong and lives as long as the environment.
        check(unsafe { sys::napi_get_reference_value(scope.raw(), connection.wake, &raw mut function) })?;
        // SAFETY: both handles are of this scope.
        check(unsafe {
            sys::napi_call_function(scope.raw(), receiver.raw(), function, 0, ptr::null(), &raw mut result)
        })
    }

    /// The end of the environment: from here on no engine thread calls into it, and its operations are given up.
    fn end(&self) {
        self.signal.take();
        self.function.set(None);
        self.connection.set(None);
        let client = self.client.try_borrow_mut().ok().and_then(|mut client| client.take());
        if let Some(mut client) = client {
            client.shutdown();
        }
    }
}

/// The callback of the threadsafe function, on the loop thread.
unsafe extern "C" fn wake(env: sys::napi_env, _function: sys::napi_value, context: *mut c_void, _data: *mut c_void) {
    if env.is_null() {
        return; // the environment is ending; the bridge may be gone
    }
    // SAFETY: Node calls with its live environment and an open handle scope.
    let scope = unsafe { Scope::from_raw(env) };
    let called = catch(|| {
        // SAFETY: the environment lives, so its bridge does.
        let bridge = unsafe { &*context.cast::<Bridge>() };
        bridge.wake(scope)
    });
    if let Err(failure @ Failure::Panic(_)) = called {
        scope.throw(c"wake", &failure);
    }
    scope.report_pending();
}

/// The cleanup hook of a bridge.
unsafe extern "C" fn end(bridge: *mut c_void) {
    // SAFETY: registered with the address of a bridge, which outlives the hooks of its environment.
    let bridge = unsafe { &*bridge.cast::<Bridge>() };
    swallow(catch_unwind(AssertUnwindSafe(|| bridge.end())));
}
