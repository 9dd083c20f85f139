//! Owns what an environment asks of whole databases: their keys, copies and checks.

use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::dispatch::read_only;
use crate::backup::{self, BackupOptions};
use crate::beside::{self, Watcher};
use crate::connection::Profile;
use crate::convert;
use crate::database::Database;
use crate::error::Result;
use crate::key::{Cipher, Key};
use crate::maintenance::{Rekey, Vacuum, Vacuuming};
use crate::reply::Reply;
use crate::runtime::Lane;
use crate::verify;
use crate::writer::Job;

impl Client {
    /// Encrypts the file with another key; answered by a DONE record.
    pub fn rekey(&mut self, op: u32, handle: u32, generation: u32, key: Key) {
        self.submit_job(op, handle, generation, |reply, database| {
            Box::new(Rekey::new(reply, Arc::clone(&database.profile), key))
        });
    }

    /// Makes the file smaller; answered by a DONE record.
    pub fn vacuum(&mut self, op: u32, handle: u32, generation: u32, how: Vacuuming) {
        self.submit_job(op, handle, generation, |reply, _| Box::new(Vacuum::new(reply, how)));
    }

    fn submit_job(
        &mut self,
        op: u32,
        handle: u32,
        generation: u32,
        job: impl FnOnce(Reply, &Database) -> Box<dyn Job>,
    ) {
        let Some(reply) = self.enter_for(op, handle, generation) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        match handle.database.writer() {
            Some(writer) => writer.submit_exclusive(job(reply, &handle.database)),
            None => reply.fail(&read_only()),
        }
    }

    /// Copies the database into another file; answered by a DONE record, after PROGRESS records.
    pub fn backup(&mut self, op: u32, handle: u32, generation: u32, options: BackupOptions) {
        self.work_beside(op, handle, generation, move |profile, watcher| backup::backup(profile, &options, watcher));
    }

    /// Checks the database; answered by a VERIFIED record, after PROGRESS records.
    pub fn verify(&mut self, op: u32, handle: u32, generation: u32) {
        self.work_beside(op, handle, generation, verify::verify);
    }

    fn work_beside(
        &mut self,
        op: u32,
        handle: u32,
        generation: u32,
        work: impl Fn(&Profile, &Watcher) -> Result<beside::Answer> + Send + 'static,
    ) {
        let Some(reply) = self.enter_for(op, handle, generation) else { return };
        let Some(handle) = reply.lease().map(|lease| Arc::clone(lease.handle())) else { return };
        let profile = Arc::clone(&handle.database.profile);
        beside::run(Lane::Copy, reply, handle.timeouts.busy, Box::new(move |watcher| work(&profile, watcher)));
    }

    /// Makes a file of `SQLite3` Multiple Ciphers one of SQLCipher 4; answered by a DONE record, after PROGRESS records.
    pub fn convert(&mut self, op: u32, path: &str, cipher: Cipher, busy_timeout: Duration) {
        let reply = self.reply(op, None);
        let path = path.to_owned();
        beside::run(
            Lane::Copy,
            reply,
            busy_timeout,
            Box::new(move |watcher| convert::convert(&path, &cipher, watcher)),
        );
    }
}
