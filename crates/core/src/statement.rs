//! Owns one prepared SQLite statement: prepare, bind from the wire, step into the wire.
//!
//! This is the hot path of the engine and speaks to SQLite's C interface directly; everything else goes through rusqlite.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use rusqlite::ffi;

use crate::connection::Tables;
use crate::error::{Error, ErrorCode, Result};
use crate::exit;
use crate::wire::{Param, Params, RowsWriter, Shape, Value};

/// What the authorizer saw while a statement was prepared.
#[expect(clippy::struct_excessive_bools, reason = "a set of independent observations")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Changes the schema.
    pub(crate) ddl: bool,
    /// Creates or drops TEMP objects, which outlive the transaction.
    pub(crate) temp: bool,
    /// A pragma that sets something.
    pub(crate) sets_pragma: bool,
    /// A pragma that only tells something.
    pub(crate) reads_pragma: bool,
    /// Inserts rows itself, not by a trigger.
    pub(crate) inserts: bool,
}

impl Traits {
    /// Whether the statement may run in one SQLite transaction with its neighbours in the write queue.
    pub(crate) fn shareable(self) -> bool {
        !self.ddl && !self.temp && !self.sets_pragma
    }
}

/// What a step gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Row,
    Done,
}

/// How long the bytes of bound parameters live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the statement is reset by the same call: SQLite borrows them.
    Call,
    /// The statement outlives them: SQLite copies.
    Copied,
}

/// A prepared statement. Belongs to the connection that prepared it and must be dropped before it.
pub(crate) struct Statement {
    raw: NonNull<ffi::sqlite3_stmt>,
    pub(crate) traits: Traits,
    /// The tables it can change, triggers and cascades included.
    pub(crate) tables: Option<Tables>,
    /// `sqlite3_stmt_readonly`: makes no direct change to the file.
    pub(crate) readonly: bool,
    parameters: c_int,
    named: bool,
    columns: c_int,
    shape: Option<Arc<Shape>>,
    /// SQLite's count of silent re-prepares at the time `columns` and `shape` were read.
    reprepares: c_int,
    /// Text and blobs are borrowed from the caller's parameters.
    borrows: bool,
    _not_sync: PhantomData<*mut ()>,
}

// SAFETY: a statement is used by the thread that owns its connection only; the connection moves between threads as a whole
// and is opened NOMUTEX, for which SQLite asks just that no two threads use it at the same time (sqlite.org/threadsafe.html).
unsafe impl Send for Statement {}

impl Drop for Statement {
    fn drop(&mut self) {
        // As with its connection: once the process is stopping, it is left as it is.
        let Some(_inside) = exit::enter() else { return };
        // SAFETY: `raw` came from sqlite3_prepare_v3, is finalized once, here, and its connection is still open.
        unsafe { ffi::sqlite3_finalize(self.raw.as_ptr()) };
    }
}

/// The error SQLite has recorded on a connection for the last call, which returned `code`.
pub(crate) fn sqlite_error(db: *mut ffi::sqlite3, code: c_int) -> Error {
    // SAFETY: `db` is an open connection used by this thread alone; errmsg is a NUL-terminated text valid until the next call.
    let (extended, offset, message) = unsafe {
        let extended = ffi::sqlite3_extended_errcode(db);
        let message = ffi::sqlite3_errmsg(db);
        let message =
            if message.is_null() { String::new() } else { CStr::from_ptr(message).to_string_lossy().into_owned() };
        (extended, ffi::sqlite3_error_offset(db), message)
    };
    let sqlite = if extended & 0xff == code & 0xff { extended } else { code };
    Error { offset, ..Error::sqlite(error_code(sqlite), message, sqlite) }
}

/// The class of a SQLite result code.
pub(crate) fn error_code(sqlite: c_int) -> ErrorCode {
    match sqlite & 0xff {
        ffi::SQLITE_CONSTRAINT => ErrorCode::Constraint,
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => ErrorCode::Busy,
        ffi::SQLITE_READONLY => ErrorCode::ReadOnlyDatabase,
        ffi::SQLITE_INTERRUPT => ErrorCode::Interrupted,
        ffi::SQLITE_CORRUPT => ErrorCode::CorruptDatabase,
        ffi::SQLITE_NOTADB => ErrorCode::NotADatabase,
        ffi::SQLITE_FULL | ffi::SQLITE_IOERR => ErrorCode::Io,
        ffi::SQLITE_CANTOPEN => ErrorCode::CannotOpen,
        ffi::SQLITE_TOOBIG => ErrorCode::TooLarge,
        ffi::SQLITE_AUTH => ErrorCode::StatementNotAllowed,
        _ => ErrorCode::Sql,
    }
}

/// A statement and what follows it in the text it was prepared from.
pub(crate) struct Prepared<'s> {
    /// `None`: nothing but white space and comments.
    pub(crate) statement: Option<Statement>,
    pub(crate) tail: &'s str,
}

/// Prepares the first statement of `text`. `persistent`: it is going to a cache.
pub(crate) fn prepare(db: *mut ffi::sqlite3, text: &str, persistent: bool) -> Result<Prepared<'_>> {
    let length = c_int::try_from(text.len())
        .map_err(|_| Error::new(ErrorCode::TooLarge, "the SQL text is larger than 2 GiB"))?;
    let flags = if persistent { ffi::SQLITE_PREPARE_PERSISTENT } else { 0 };
    let mut raw = std::ptr::null_mut();
    let mut tail = std::ptr::null();
    // SAFETY: `db` is an open connection used by this thread alone; `text` is `length` readable bytes; both out pointers
    // are written before the call returns.
    let code = unsafe { ffi::sqlite3_prepare_v3(db, text.as_ptr().cast(), length, flags, &raw mut raw, &raw mut tail) };
    if code != ffi::SQLITE_OK {
        return Err(sqlite_error(db, code));
    }
    let used = (tail as usize).saturating_sub(text.as_ptr() as usize);
    let tail = text.get(used..).unwrap_or_default();
    let statement = NonNull::new(raw).map(Statement::new);
    Ok(Prepared { statement, tail })
}

impl Statement {
    fn new(raw: NonNull<ffi::sqlite3_stmt>) -> Self {
        // SAFETY: `raw` is a live statement of a connection used by this thread alone; parameter names are NUL-terminated
        // texts or null and live as long as the statement.
        let (readonly, parameters, named) = unsafe {
            let parameters = ffi::sqlite3_bind_parameter_count(raw.as_ptr());
            let named = (1..=parameters).any(|index| {
                let name = ffi::sqlite3_bind_parameter_name(raw.as_ptr(), index);
                !name.is_null() && *name.cast::<u8>() != b'?'
            });
            (ffi::sqlite3_stmt_readonly(raw.as_ptr()) != 0, parameters, named)
        };
        let mut statement = Self {
            raw,
            traits: Traits::default(),
            tables: None,
            readonly,
            parameters,
            named,
            columns: 0,
            shape: None,
            reprepares: 0,
            borrows: false,
            _not_sync: PhantomData,
        };
        statement.read_columns();
        statement
    }

    fn db(&self) -> *mut ffi::sqlite3 {
        // SAFETY: `raw` is a live statement.
        unsafe { ffi::sqlite3_db_handle(self.raw.as_ptr()) }
    }

    fn read_columns(&mut self) {
        // SAFETY: `raw` is a live statement.
        self.columns = unsafe { ffi::sqlite3_column_count(self.raw.as_ptr()) };
        self.shape = None;
        self.reprepares = self.count_reprepares();
    }

    fn count_reprepares(&self) -> c_int {
        // SAFETY: `raw` is a live statement; the counter is read, not reset.
        unsafe { ffi::sqlite3_stmt_status(self.raw.as_ptr(), ffi::SQLITE_STMTSTATUS_REPREPARE, 0) }
    }

    /// The column names, as of the last step.
    pub(crate) fn shape(&mut self) -> &Shape {
        let (raw, columns) = (self.raw.as_ptr(), self.columns);
        self.shape.get_or_insert_with(|| {
            let names = (0..columns).map(|column| {
                // SAFETY: `raw` is a live statement and `column` below its count; the name is NUL-terminated or null (out of
                // memory).
                unsafe {
                    let name = ffi::sqlite3_column_name(raw, column);
                    if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
                }
            });
            crate::wire::intern(&names.collect::<Vec<_>>())
        })
    }

    pub(crate) fn columns(&self) -> usize {
        usize::try_from(self.columns).unwrap_or_default()
    }

    fn parameter_name(&self, index: c_int) -> Option<&str> {
        // SAFETY: `raw` is a live statement; the name is null or a NUL-terminated UTF-8 text that lives as long as the statement.
        unsafe {
            let name = ffi::sqlite3_bind_parameter_name(self.raw.as_ptr(), index);
            if name.is_null() { None } else { CStr::from_ptr(name).to_str().ok() }
        }
    }

    /// Binds all parameters. With [`Lifetime::Call`] the caller must [`Statement::reset`] before `params` goes away.
    pub(crate) fn bind(&mut self, params: &Params<'_>, lifetime: Lifetime) -> Result<()> {
        if params.named() {
            return self.bind_named(params, lifetime);
        }
        let given = params.len();
        if given != usize::try_from(self.parameters).unwrap_or_default() {
            return Err(self.wrong_count(given));
        }
        if self.named && self.names().len() < usize::try_from(self.parameters).unwrap_or_default() {
            return Err(self.mixed_parameters());
        }
        if self.named {
            return Err(parameter_error(format!(
                "the statement names its parameters ({}); pass an object of values instead of an array",
                self.names().join(", ")
            )));
        }
        let mut index = 0;
        for Param { value, .. } in params {
            index += 1;
            self.bind_value(index, &value, lifetime)?;
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        (1..=self.parameters)
            .filter_map(|index| self.parameter_name(index))
            .filter(|name| !name.starts_with('?'))
            .collect()
    }

    fn wrong_count(&self, given: usize) -> Error {
        if self.named && given == 0 {
            return parameter_error(format!(
                "no value for parameter {}; pass an object of values",
                self.names().join(", ")
            ));
        }
        let wanted = self.parameters;
        let plural = if wanted == 1 { "" } else { "s" };
        parameter_error(format!(
            "the statement has {wanted} parameter{plural}, but {given} value{} given",
            if given == 1 { " was" } else { "s were" }
        ))
    }

    fn bind_named(&mut self, given: &Params<'_>, lifetime: Lifetime) -> Result<()> {
        let given: HashMap<&str, Value<'_>> =
            given.iter().filter_map(|param| param.name.map(|name| (name, param.value))).collect();
        let mut used = HashSet::with_capacity(given.len());
        for index in 1..=self.parameters {
            let (bare, value) = {
                let name = self.parameter_name(index);
                let Some((name, bare)) = name.and_then(|name| Some((name, name.strip_prefix([':', '@', '$'])?))) else {
                    return Err(self.not_named(index));
                };
                match given.get_key_value(bare) {
                    Some((bare, value)) => (*bare, *value),
                    None => return Err(parameter_error(format!("no value for parameter {name}"))),
                }
            };
            // :a and @a are two parameters that take one value.
            used.insert(bare);
            self.bind_value(index, &value, lifetime)?;
        }
        match given.keys().find(|name| !used.contains(*name)) {
            None => Ok(()),
            Some(unknown) if self.parameters == 0 => Err(parameter_error(format!(
                "the statement has no parameters, but a value named \"{unknown}\" was given"
            ))),
            Some(unknown) => Err(parameter_error(format!(
                "the statement has no parameter named \"{unknown}\"; it has {}",
                self.names().join(", ")
            ))),
        }
    }

    /// The error of a parameter without a name where an object of values was given.
    fn not_named(&self, index: c_int) -> Error {
        if self.named {
            return self.mixed_parameters();
        }
        match self.parameter_name(index) {
            Some(name) => {
                parameter_error(format!("parameter {name} is positional; pass an array of values instead of an object"))
            }
            None => {
                parameter_error(format!("parameter {index} has no name; pass an array of values instead of an object"))
            }
        }
    }

    fn mixed_parameters(&self) -> Error {
        parameter_error(format!(
            "the statement mixes parameters without a name (?) and with one ({}), which no one set of values fits; name all of them, or none",
            self.names().join(", ")
        ))
    }

    fn bind_value(&mut self, index: c_int, value: &Value<'_>, lifetime: Lifetime) -> Result<()> {
        let raw = self.raw.as_ptr();
        let destructor = match lifetime {
            Lifetime::Call => ffi::SQLITE_STATIC(),
            Lifetime::Copied => ffi::SQLITE_TRANSIENT(),
        };
        // SAFETY: `raw` is a live, reset statement; text and blob pointers cover the given lengths. With SQLITE_STATIC they
        // stay valid until `reset` clears the bindings, which the contract of `bind` asks of the caller before `params` goes.
        let code = unsafe {
            match *value {
                Value::Null => ffi::sqlite3_bind_null(raw, index),
                Value::Int(value) => ffi::sqlite3_bind_int64(raw, index, value),
                Value::Real(value) => ffi::sqlite3_bind_double(raw, index, value),
                Value::Text(text) => {
                    self.borrows = true;
                    ffi::sqlite3_bind_text64(raw, index, text.as_ptr().cast(), text.len() as u64, destructor, UTF8)
                }
                Value::Blob([]) => ffi::sqlite3_bind_zeroblob(raw, index, 0),
                Value::Blob(blob) => {
                    self.borrows = true;
                    ffi::sqlite3_bind_blob64(raw, index, blob.as_ptr().cast(), blob.len() as u64, destructor)
                }
            }
        };
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        Err(sqlite_error(self.db(), code))
    }

    /// Steps once.
    pub(crate) fn step(&mut self) -> Result<Step> {
        crate::sync::point();
        // SAFETY: `raw` is a live statement of a connection used by this thread alone.
        let code = unsafe { ffi::sqlite3_step(self.raw.as_ptr()) };
        match code {
            ffi::SQLITE_ROW => Ok(Step::Row),
            ffi::SQLITE_DONE => Ok(Step::Done),
            code => Err(sqlite_error(self.db(), code)),
        }
    }

    /// Whether the first column of the current row is this text.
    pub(crate) fn text_is(&self, expected: &str) -> bool {
        // SAFETY: the statement stands on a row; the text is null or ends with NUL, and is valid until the next step.
        unsafe {
            let text = ffi::sqlite3_column_text(self.raw.as_ptr(), 0);
            !text.is_null() && CStr::from_ptr(text.cast()).to_bytes() == expected.as_bytes()
        }
    }

    /// Whether a silent re-prepare (the schema changed) may have given the statement other columns; then they are read anew.
    /// To be asked after the first step.
    pub(crate) fn refresh_columns(&mut self) {
        if self.count_reprepares() != self.reprepares {
            self.read_columns();
        }
    }

    /// Whether it can change tables that `tables` does not name: SQLite has prepared it anew by itself.
    pub(crate) fn is_out_of_date(&self) -> bool {
        self.tables.is_some() && self.count_reprepares() > 0
    }

    /// Appends the current row to `rows`.
    pub(crate) fn write_row(&mut self, rows: &mut RowsWriter, encoding: Encoding) -> Result<()> {
        for column in 0..self.columns {
            // SAFETY: the statement stands on a row and `column` is below its count. The unprotected value is used by this
            // thread only and not beyond this block; blob and text pointers are valid until the next step, and are copied here.
            unsafe {
                let value = ffi::sqlite3_column_value(self.raw.as_ptr(), column);
                match ffi::sqlite3_value_type(value) {
                    ffi::SQLITE_INTEGER => rows.int(ffi::sqlite3_value_int64(value)),
                    ffi::SQLITE_FLOAT => rows.real(ffi::sqlite3_value_double(value)),
                    ffi::SQLITE_TEXT => {
                        // As a blob the text needs no terminating NUL, for which SQLite would copy it.
                        let start: *const u8 = match encoding {
                            Encoding::Utf8 => ffi::sqlite3_value_blob(value).cast(),
                            Encoding::Utf16 => ffi::sqlite3_value_text(value).cast(),
                        };
                        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or_default();
                        if start.is_null() && length > 0 {
                            return Err(out_of_memory());
                        }
                        rows.text(bytes(start, length));
                    }
                    ffi::SQLITE_BLOB => {
                        let start: *const u8 = ffi::sqlite3_value_blob(value).cast();
                        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or_default();
                        if start.is_null() && length > 0 {
                            return Err(out_of_memory());
                        }
                        rows.blob(bytes(start, length));
                    }
                    _ => rows.null(),
                }
            }
        }
        rows.end_row();
        Ok(())
    }

    /// Ends the run: releases the snapshot and the borrowed parameters. The statement can be bound and run again.
    pub(crate) fn reset(&mut self) {
        // SAFETY: `raw` is a live statement. The result repeats the error of the last step, which was reported there.
        unsafe {
            ffi::sqlite3_reset(self.raw.as_ptr());
            if self.borrows {
                ffi::sqlite3_clear_bindings(self.raw.as_ptr());
            }
        }
        self.borrows = false;
    }
}

/// How the file stores text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    /// Either byte order; SQLite converts on reading.
    Utf16,
}

#[expect(clippy::cast_possible_truncation, reason = "SQLITE_UTF8 is 1")]
const UTF8: u8 = ffi::SQLITE_UTF8 as u8;

/// # Safety
/// `start` must be valid for `length` bytes, unless `length` is 0.
unsafe fn bytes<'v>(start: *const u8, length: usize) -> &'v [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start, length) }
}

fn parameter_error(message: String) -> Error {
    Error::new(ErrorCode::Parameter, message)
}

/// `error`, met while a statement of this text ran, without what SQLite's message repeats of values: a JSON path, a term of a
/// full-text query, bound, computed or read from a row. What the text itself says stays.
pub(crate) fn without_values(mut error: Error, sql: &str) -> Error {
    // In quotes, or behind a label, which has several words: `fts5: ` names the module and is none.
    for (opening, closing) in [("'", "'"), ("\"", "\""), (": ", "")] {
        let split =
            if closing.is_empty() { error.message.rsplit_once(opening) } else { error.message.split_once(opening) };
        let Some((before, rest)) = split else { continue };
        if closing.is_empty() && !before.contains(' ') {
            continue;
        }
        let end = if closing.is_empty() { rest.len() } else { rest.rfind(closing).unwrap_or(rest.len()) };
        let (part, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !part.is_empty() && part != "?" && part != "'?'" && !sql.contains(part.replace("''", "'").as_str()) {
            error.message = format!("{before}{opening}?{after}");
        }
    }
    error
}

fn out_of_memory() -> Error {
    Error::sqlite(ErrorCode::Sql, "out of memory while a value was read", ffi::SQLITE_NOMEM)
}
