//! Owns results of many rows: given chunk by chunk, paused when their reader is too far behind, holding no thread while paused.

use std::sync::Arc;

use super::Transaction;
use super::drain::{Beside, Outcome};
use crate::execute::{CHUNK_ROWS, Chunk, Cursor, Filled};
use crate::mailbox::Resume;
use crate::reply::Reply;
use crate::{exit, runtime};

/// A statement that gives all its rows, chunk by chunk.
pub(super) struct Streaming {
    cursor: Cursor,
    reply: Reply,
    chunks: usize,
}

impl Streaming {
    pub(super) fn new(cursor: Cursor, reply: Reply) -> Self {
        Self { cursor, reply, chunks: 0 }
    }
}

impl Transaction {
    /// Goes on with a statement whose chunks were delivered, then with what waits.
    fn resume(self: &Arc<Self>, streaming: Streaming, resume: Resume) {
        let Some(_inside) = exit::enter() else { return };
        self.guarded(|| {
            self.turn.lock().parked = None;
            let outcome = self.stream(streaming, resume);
            if let Some(request) = self.pass_on(outcome) {
                self.drain_from(request);
            }
        });
    }

    /// Gives chunks until the rows are at their end or the reader of the chunks is too far behind.
    pub(super) fn stream(self: &Arc<Self>, mut streaming: Streaming, mut resume: Resume) -> Outcome {
        loop {
            let mut record = Vec::new();
            let op = streaming.reply.op();
            let Streaming { cursor, .. } = &mut streaming;
            let filled = match resume {
                Resume::Abandon => Err(self.given_up(op).unwrap_or_else(|| self.closed_error())),
                Resume::Continue => self.guarded_run(Beside::Others, op, |core, _| {
                    let filled = cursor.fill(&mut core.connection, CHUNK_ROWS)?;
                    cursor.finish(&mut core.connection, Chunk::streamed(op, filled), &mut record)?;
                    Ok(filled)
                }),
            };
            match filled {
                Ok(Filled::More) => {
                    streaming.chunks += 1;
                    streaming.reply.chunk(record);
                }
                Ok(Filled::Exhausted) => {
                    self.with_core(|core| streaming.cursor.close(&mut core.connection));
                    return if streaming.chunks == 0 {
                        Outcome::Record(streaming.reply, record)
                    } else {
                        Outcome::LastChunk(streaming.reply, record)
                    };
                }
                Err(error) => {
                    self.with_core(|core| streaming.cursor.close(&mut core.connection));
                    return Outcome::Failed(streaming.reply, error);
                }
            }
            if streaming.reply.is_full() {
                match self.park(streaming) {
                    None => return Outcome::Parked,
                    Some((back, how)) => {
                        streaming = back;
                        resume = how;
                    }
                }
            }
        }
    }

    /// Leaves the statement to the mailbox until its chunks are delivered; gives it back when it may go on at once. The turn stays
    /// taken.
    pub(super) fn park(self: &Arc<Self>, streaming: Streaming) -> Option<(Streaming, Resume)> {
        let op = streaming.reply.op();
        self.turn.lock().parked = Some(op);
        let slot = Arc::new(crate::sync::Mutex::new(Some(streaming)));
        let (transaction, taken) = (Arc::clone(self), Arc::clone(&slot));
        let parked = self.mailbox.park(
            op,
            Box::new(move |resume| {
                let Some(streaming) = taken.lock().take() else { return };
                runtime::spawn(transaction.lane(), {
                    let transaction = Arc::clone(&transaction);
                    move || transaction.resume(streaming, resume)
                });
            }),
        );
        match parked {
            Ok(()) => {
                // An expiry or a cancellation between the two steps above found nothing to abandon.
                if self.given_up(op).is_some() {
                    self.mailbox.abandon(op);
                }
                None
            }
            Err((_, resume)) => {
                self.turn.lock().parked = None;
                slot.lock().take().map(|streaming| (streaming, resume))
            }
        }
    }
}
