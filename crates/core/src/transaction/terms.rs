//! Owns on what terms a transaction is asked for, by whom, and why it can be ended from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{self, Error, ErrorCode};
use crate::reply::Reply;

/// Why a transaction was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The environment did not take the grant in time.
    Revoked,
    /// The closure settled while a statement was under way.
    Unfinished,
    /// It was open for longer than it may be.
    TimedOut,
    /// Its signal was aborted.
    Aborted,
    /// Its database is being closed, and had no more patience.
    Closed,
    /// The environment is gone.
    Abandoned,
}

impl Expiry {
    /// Whether the environment has to be told: its closure knows nothing of it.
    pub(super) fn is_news(self) -> bool {
        match self {
            Self::TimedOut | Self::Aborted | Self::Closed => true,
            Self::Revoked | Self::Unfinished | Self::Abandoned => false,
        }
    }

    pub(super) fn error(self, terms: &Terms) -> Error {
        match self {
            Self::Unfinished => Error::new(
                ErrorCode::UnfinishedQuery,
                "the closure settled while this statement was under way, so the transaction was rolled back; await every statement inside the closure",
            ),
            Self::TimedOut => Error::new(
                ErrorCode::TransactionTimeout,
                format!(
                    "the transaction was open for longer than {} ({} ms) and was rolled back{}",
                    terms.option,
                    terms.limit.as_millis(),
                    terms.taken_at()
                ),
            ),
            Self::Aborted => {
                Error::new(ErrorCode::Abort, "the transaction was aborted by its signal and was rolled back")
            }
            Self::Closed => error::closed_by_timeout(),
            Self::Revoked | Self::Abandoned => error::transaction_closed(),
        }
    }
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Synchronous closures that share it.
    Batch,
}

impl Access {
    /// How it is begun in JavaScript.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Read => "db.read",
            Self::Write => "db.write",
            Self::Batch => "db.batch",
        }
    }

    pub(crate) fn timeout_option(self) -> &'static str {
        match self {
            Self::Read => "readTimeoutMs",
            Self::Write | Self::Batch => "transactionTimeoutMs",
        }
    }
}

/// On what terms a transaction was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) access: Access,
    /// How long it may be open; zero: for ever.
    pub(crate) limit: Duration,
    /// The option that says so.
    pub(crate) option: &'static str,
    /// The handle it came by.
    pub(crate) handle: u64,
    /// Where it was asked for, if stacks are captured.
    pub(crate) taken: Option<Arc<str>>,
}

impl Terms {
    /// Where it was taken, as the end of a message.
    pub(crate) fn taken_at(&self) -> String {
        self.taken.as_ref().map_or_else(String::new, |stack| format!("; it was taken\n{stack}"))
    }
}

/// The place that one closure of a group had in the queue, and has again if it was not started.
pub(crate) struct GroupPlace {
    pub(crate) seq: u64,
    pub(crate) seen: Option<Instant>,
    pub(crate) since: Option<Instant>,
    pub(crate) terms: Terms,
    pub(crate) reply: Reply,
}

/// Those who asked for a transaction.
pub(crate) enum Askers {
    One(Reply),
    /// Synchronous closures of one environment, at least one.
    Group(Vec<GroupPlace>),
}

impl Askers {
    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::One(reply) => reply.fail(error),
            Self::Group(places) => places.into_iter().for_each(|place| place.reply.fail(error)),
        }
    }
}
