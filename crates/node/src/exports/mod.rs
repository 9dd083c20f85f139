//! The functions JavaScript sees, one file per noun; each only translates.

mod copies;
mod database;
mod migrations;
mod pools;
mod process;
mod records;
mod statement;

use crate::bridge::Bridge;
use crate::env::{Failure, Scope, Value};

/// Puts every function, bound to `bridge`, on `object`.
pub(crate) fn define(scope: Scope<'_>, object: Value<'_>, bridge: &Bridge) -> Result<(), Failure> {
    bridge.define::<4, records::Setup>(scope, object)?;
    bridge.define::<1, records::Submit>(scope, object)?;
    bridge.define::<2, records::SubmitFrom>(scope, object)?;
    bridge.define::<0, records::Drain>(scope, object)?;
    bridge.define::<1, records::RunSync>(scope, object)?;
    bridge.define::<2, records::RunSyncFrom>(scope, object)?;
    bridge.define::<2, statement::DefineStatement>(scope, object)?;
    bridge.define::<1, statement::ForgetStatement>(scope, object)?;
    bridge.define::<1, statement::ShapeNames>(scope, object)?;
    bridge.define::<3, database::Open>(scope, object)?;
    bridge.define::<4, database::Close>(scope, object)?;
    bridge.define::<4, database::Checkpoint>(scope, object)?;
    bridge.define::<2, database::Stats>(scope, object)?;
    bridge.define::<3, migrations::DefineMigrations>(scope, object)?;
    bridge.define::<3, migrations::History>(scope, object)?;
    bridge.define::<4, migrations::RollbackMigrations>(scope, object)?;
    bridge.define::<3, database::Listen>(scope, object)?;
    bridge.define::<4, copies::Rekey>(scope, object)?;
    bridge.define::<4, copies::Vacuum>(scope, object)?;
    bridge.define::<4, copies::Backup>(scope, object)?;
    bridge.define::<3, copies::Verify>(scope, object)?;
    bridge.define::<4, copies::Convert>(scope, object)?;
    bridge.define::<3, pools::OpenPool>(scope, object)?;
    bridge.define::<3, pools::ClosePool>(scope, object)?;
    bridge.define::<6, pools::OpenPooled>(scope, object)?;
    bridge.define::<3, pools::Acquire>(scope, object)?;
    bridge.define::<2, pools::Release>(scope, object)?;
    bridge.define::<2, pools::Share>(scope, object)?;
    bridge.define::<4, pools::Evict>(scope, object)?;
    bridge.define::<6, pools::Delete>(scope, object)?;
    bridge.define::<2, pools::Relieve>(scope, object)?;
    bridge.define::<2, pools::PoolStats>(scope, object)?;
    bridge.define::<1, process::ProcessExit>(scope, object)?;
    bridge.define::<0, process::Info>(scope, object)
}
