//! Completion records about whole databases: how far a copy or a check is, and what a check has found.

use super::completion::{HEADER_AND_CHANGES, cut, header, kind};
use super::header::pad;

/// Appends a PROGRESS record, which is not the final one of `op`: how far it is in a phase.
pub fn progress(out: &mut Vec<u8>, op: u32, phase: u32, done: u64, total: u64) {
    let mut head = header(HEADER_AND_CHANGES, op, kind::PROGRESS, 0, [phase, 0, 0, 0, 0]);
    head.flags = 0;
    head.append(out);
    out.extend_from_slice(&done.to_le_bytes());
    out.extend_from_slice(&total.to_le_bytes());
}

/// What is checked of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Check {
    /// Every page of an encrypted file is what was written with its key.
    Cipher = 0,
    /// Every tree, index and constraint is sound.
    Integrity = 1,
    /// What rows refer to is there.
    ForeignKeys = 2,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The check that has found it.
    pub check: Check,
    /// What it is.
    pub message: String,
}

/// Appends a VERIFIED record, the final one of `op`.
pub fn verified(out: &mut Vec<u8>, op: u32, problems: &[Problem]) {
    let start = out.len();
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    header(0, op, kind::VERIFIED, 0, [count(problems.len()), 0, 0, 0, 0]).append(out);
    for Problem { check, message } in problems {
        let message = cut(message);
        out.extend_from_slice(&(*check as u32).to_le_bytes());
        out.extend_from_slice(&count(message.len()).to_le_bytes());
        out.extend_from_slice(message.as_bytes());
    }
    pad(out, start);
    let size = count(out.len().saturating_sub(start));
    if let Some(field) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *field = size.to_le_bytes();
    }
}
