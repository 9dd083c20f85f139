//! Owns the table of the registry: its entries by path, and their paths by the identity of the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::State;
use crate::location::Identity;

/// What is known of a file.
pub(super) struct Entry {
    pub(super) identity: Option<Identity>,
    pub(super) state: State,
}

/// Files by canonical path. There can be thousands: nothing here looks at all of them.
#[derive(Default)]
pub(super) struct Files {
    entries: HashMap<PathBuf, Entry>,
    paths: HashMap<Identity, PathBuf>,
}

impl Files {
    pub(super) fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(super) fn get_mut(&mut self, path: &Path) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    pub(super) fn insert(&mut self, path: &Path, entry: Entry) {
        self.remove(path);
        if let Some(identity) = entry.identity {
            self.paths.insert(identity, path.to_path_buf());
        }
        self.entries.insert(path.to_path_buf(), entry);
    }

    pub(super) fn remove(&mut self, path: &Path) -> Option<Entry> {
        let entry = self.entries.remove(path)?;
        if let Some(identity) = entry.identity
            && self.paths.get(&identity).is_some_and(|known| known == path)
        {
            self.paths.remove(&identity);
        }
        Some(entry)
    }

    /// The file at `path` is about to go: its identity can be that of another file then.
    pub(super) fn forget_identity(&mut self, path: &Path) {
        if let Some(entry) = self.entries.get_mut(path)
            && let Some(identity) = entry.identity.take()
        {
            self.paths.remove(&identity);
        }
    }

    /// The path by which a file is known, by whatever other it is asked for.
    pub(super) fn known_as(&self, path: &Path, identity: Option<Identity>) -> Option<PathBuf> {
        if self.entries.contains_key(path) {
            return Some(path.to_path_buf());
        }
        self.paths.get(&identity?).cloned()
    }
}
