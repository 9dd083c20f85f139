//! Owns what can be asked of an open transaction.

use std::sync::Arc;

use super::Opening;
use crate::error::Error;
use crate::execute::{Batch, OwnedCall};
use crate::reply::Reply;
use crate::sql::Sql;

/// What is asked of an open transaction.
pub(crate) enum Request {
    Statement {
        reply: Reply,
        call: OwnedCall,
    },
    Script {
        reply: Reply,
        sql: Arc<Sql>,
    },
    OpenCursor {
        reply: Reply,
        call: OwnedCall,
        opening: Opening,
    },
    Pull {
        reply: Reply,
        cursor: u32,
        limit: usize,
    },
    CloseCursor {
        cursor: u32,
    },
    Savepoint {
        reply: Reply,
        step: SavepointStep,
    },
    Batch {
        reply: Reply,
        batch: Batch,
    },
    Commit {
        ending: Ending,
    },
    /// `ending`: who asked; nobody after an expiry.
    Rollback {
        ending: Option<Ending>,
    },
}

/// A step of a savepoint. The cursors with a larger number than `above` were opened in it, and end with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SavepointStep {
    Open,
    Release { above: u32 },
    RollBack { above: u32 },
}

/// Who ends a transaction, and what they want to know.
pub(crate) struct Ending {
    pub(crate) reply: Reply,
    /// What was changed.
    pub(crate) wants_changed: bool,
    /// Of a group: how many of its closures were started.
    pub(crate) started: usize,
}

impl Request {
    /// Whether a statement somebody waits for is behind it; the end of the transaction does not wait for others.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Statement { .. }
            | Self::Script { .. }
            | Self::OpenCursor { .. }
            | Self::Pull { .. }
            | Self::Savepoint { .. }
            | Self::Batch { .. } => true,
            Self::CloseCursor { .. } | Self::Commit { .. } | Self::Rollback { .. } => false,
        }
    }

    pub(super) fn op(&self) -> Option<u32> {
        match self {
            Self::Statement { reply, .. }
            | Self::Script { reply, .. }
            | Self::OpenCursor { reply, .. }
            | Self::Pull { reply, .. }
            | Self::Savepoint { reply, .. }
            | Self::Batch { reply, .. }
            | Self::Commit { ending: Ending { reply, .. } }
            | Self::Rollback { ending: Some(Ending { reply, .. }) } => Some(reply.op()),
            Self::CloseCursor { .. } | Self::Rollback { ending: None } => None,
        }
    }

    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::Statement { reply, .. }
            | Self::Script { reply, .. }
            | Self::OpenCursor { reply, .. }
            | Self::Pull { reply, .. }
            | Self::Savepoint { reply, .. }
            | Self::Batch { reply, .. }
            | Self::Commit { ending: Ending { reply, .. } }
            | Self::Rollback { ending: Some(Ending { reply, .. }) } => reply.fail(error),
            Self::CloseCursor { .. } | Self::Rollback { ending: None } => {}
        }
    }
}
