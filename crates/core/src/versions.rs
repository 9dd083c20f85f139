//! Owns the answer to which SQLite, SQLCipher and build flags are inside.

/// What the engine was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versions {
    /// Version of SQLite, such as `3.53.4`.
    pub sqlite: String,
    /// Version of SQLCipher, such as `4.19.0 community`; empty if it does not tell.
    pub cipher: String,
    /// SQLite's compile-time options.
    pub compile_options: Vec<String>,
}

/// Asks the library itself.
#[must_use]
pub fn versions() -> Versions {
    let ask = || -> rusqlite::Result<(String, Vec<String>)> {
        // Kept for its length: the stop waits for it.
        let _inside = crate::exit::enter();
        crate::connection::initialize();
        let db = rusqlite::Connection::open_in_memory()?;
        let cipher = db.query_row("PRAGMA cipher_version", [], |row| row.get(0)).unwrap_or_default();
        let mut statement = db.prepare("PRAGMA compile_options")?;
        let options = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok((cipher, options))
    };
    let (cipher, compile_options) = ask().unwrap_or_default();
    Versions { sqlite: rusqlite::version().to_owned(), cipher, compile_options }
}
