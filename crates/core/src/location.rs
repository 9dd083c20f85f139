//! Owns where a database file is: from the path a caller gives to the canonical path and identity that the registry knows it by.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{OpenOptions, Storage};
use crate::error::{Error, ErrorCode, Result};

/// Tells files apart whatever their path: device and inode. Systems without them know files by their path alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// The identity of the file at `path`, without opening it: closing any descriptor of an open database would drop its locks.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let file = fs::symlink_metadata(path).ok()?;
        Some(Identity { device: file.dev(), inode: file.ino() })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Whether this process has no file descriptors left for a database, which needs three.
pub(crate) fn is_out_of_descriptors() -> bool {
    #[cfg(unix)]
    {
        const EMFILE: i32 = 24;
        const ENFILE: i32 = 23;
        let taken: Vec<_> = (0..4).map(|_| fs::File::open("/dev/null")).collect();
        let is_out = |error: &std::io::Error| matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
        taken.iter().any(|file| file.as_ref().is_err_and(is_out))
    }
    #[cfg(not(unix))]
    {
        false
    }
}

/// Says so in an error that it may be the reason of.
pub(crate) fn explain_descriptors(error: Error) -> Error {
    if !matches!(error.code, ErrorCode::CannotOpen | ErrorCode::Io) || !is_out_of_descriptors() {
        return error;
    }
    let message = format!(
        "{}; this process has too many files open: raise its limit (ulimit -n), or have fewer databases open (maxOpen of a pool; each takes 3 file descriptors, and 2 more for each of its readers)",
        error.message
    );
    Error { message, ..error }
}

/// The canonical path of the file, with its folders made if they are missing and may be.
pub(crate) fn resolve(path: &str, options: &OpenOptions) -> Result<PathBuf> {
    if options.storage == Storage::Temporary {
        return temporary();
    }
    if path.is_empty() {
        return Err(Error::new(
            ErrorCode::Option,
            "the path of the database is empty; use ':memory:' for a temporary one",
        ));
    }
    if path.contains('\0') {
        return Err(Error::new(ErrorCode::Option, format!("the path {path:?} holds a NUL character")));
    }
    let cannot = |why: &str| Error::new(ErrorCode::CannotOpen, format!("{path} cannot be opened: {why}"));
    let missing = |why: &str| {
        if options.is_pooled() {
            return Error::new(ErrorCode::NoSuchDatabase, format!("there is no database {path}: {why}"));
        }
        cannot(why)
    };
    let absolute = std::path::absolute(path).map_err(|error| cannot(&error.to_string()))?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(cannot("it is a folder"));
    };
    let creates = options.create && !options.read_only;
    if let Some(pool) = &options.pool {
        stays_within(pool, &absolute).map_err(|why| cannot(&why))?;
    }
    if !folder.exists() {
        if !creates {
            return Err(missing("its folder does not exist"));
        }
        make_folder(folder).map_err(|error| cannot(&format!("its folder cannot be created: {error}")))?;
    }
    let canonical = folder.canonicalize().map_err(|error| cannot(&error.to_string()))?.join(name);
    if options.pool.as_ref().is_some_and(|pool| !canonical.starts_with(pool)) {
        return Err(cannot("it is not in the folder of the pool"));
    }
    match fs::symlink_metadata(&canonical) {
        Ok(file) if file.is_dir() => Err(cannot("it is a folder")),
        Ok(file) if file.is_symlink() => Err(cannot("it is a symbolic link; give the path it points to")),
        Ok(file) if !file.is_file() => Err(cannot("it is not a regular file")),
        Ok(_) => Ok(canonical),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && creates => Ok(canonical),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing("the file does not exist")),
        Err(error) => Err(cannot(&error.to_string())),
    }
}

/// Fails if the way from the folder of a pool to one of its files, which need not be there, leads elsewhere.
pub(crate) fn check_within(pool: &Path, path: &Path) -> Result<()> {
    stays_within(pool, path).map_err(|why| Error::new(ErrorCode::CannotOpen, format!("{}: {why}", path.display())))
}

/// Fails if the way from the folder of a pool to one of its files leads elsewhere.
fn stays_within(pool: &Path, path: &Path) -> std::result::Result<(), String> {
    let outside = || format!("it is not in the folder of the pool, {}", pool.display());
    let inner = path.strip_prefix(pool).map_err(|_| outside())?;
    let mut at = pool.to_path_buf();
    for part in inner.components() {
        let std::path::Component::Normal(name) = part else { return Err(outside()) };
        at.push(name);
        if fs::symlink_metadata(&at).is_ok_and(|file| file.is_symlink()) {
            return Err(format!("{} is a symbolic link, and the files of a pool are in its folder", at.display()));
        }
    }
    Ok(())
}

/// `path` with something behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a folder for its owner alone, and those on the way to it.
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A file in a new private folder.
fn temporary() -> Result<PathBuf> {
    let cannot = |why: String| Error::new(ErrorCode::CannotOpen, format!("no temporary folder can be made: {why}"));
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| cannot(error.to_string()))?;
    let name = u128::from_le_bytes(random);
    let base = std::env::temp_dir().canonicalize().map_err(|error| cannot(error.to_string()))?;
    let folder = base.join(format!("sqlflow-{name:032x}"));
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder).map_err(|error| cannot(error.to_string()))?;
    crate::exit::remember_folder(folder.clone());
    Ok(folder.join("temporary.db"))
}
