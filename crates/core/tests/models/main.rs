//! The engine under a model checker: its own code, with shuttle's locks, atomics and threads, on real files, in schedules that the
//! checker picks.
//!
//! `cargo test --release -p sqlflow-core --features model --test models`. `SQLFLOW_SCHEDULES`: how many of each scheduler (default 400).
//! `SQLFLOW_SEED`: what the schedules are picked by (default: another each time; printed). A schedule that fails prints itself;
//! `SQLFLOW_REPLAY` takes that text, for the one test that is named.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails by a panic"
)]
#![allow(clippy::allow_attributes, reason = "not every one of them occurs in every version of the file")]

mod cancellation;
mod check;
mod env;
mod grants;
mod interrupts;
mod mailbox;
mod pools;
mod readers;
mod write_queue;
