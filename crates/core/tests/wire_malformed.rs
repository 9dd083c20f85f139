//! Bytes that nobody wrote, or that changed on the way, give an error or a valid reading, never a panic.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that meets the unexpected fails by a panic")]

use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::Arc;

use sqlflow_core::wire::completion::{
    changes, checkpointed, committed, done, ended, error, grant, grant_group, history, migrated, opened,
};
use sqlflow_core::wire::{
    Applied, Body, Cell, Changed, Check, Checkpointed, Completion, Entry, ErrorCode, ErrorRecord, Flags, Granted, Kind,
    Migrated, Param, Problem, RequestHead, Requests, RowChange, RowsHead, RowsWriter, Shape, Value, encode_request,
    is_last, progress, verified,
};

/// Reads all requests, and asserts of each that comes out valid what its type promises.
fn read_requests(bytes: &[u8]) {
    for request in Requests::new(bytes).flatten() {
        let params: Vec<Param<'_>> = request.params.iter().collect();
        assert_eq!(params.len(), request.params.len());
        for param in &params {
            assert_eq!(param.name.is_some(), request.flags.named());
            match param.value {
                Value::Text(text) => assert!(std::str::from_utf8(text).is_ok()),
                Value::Real(real) => assert!(!real.is_nan()),
                Value::Null | Value::Int(_) | Value::Blob(_) => {}
            }
        }
        assert!(request.params.to_owned().borrow().iter().eq(params));
    }
}

/// Reads all completions up to the first error, and asserts of each what its type promises.
fn read_completions(mut bytes: &[u8]) {
    while let Ok((completion, rest)) = Completion::parse(bytes) {
        assert!(rest.len() < bytes.len());
        assert_eq!(is_last(bytes), completion.last);
        if let Body::Rows(chunk) = completion.body {
            let rows = chunk.iter();
            let expected = rows.len();
            let rows: Vec<Vec<Cell<'_>>> = rows.collect();
            assert_eq!(rows.len(), expected);
            assert!(rows.iter().all(|row| row.len() == chunk.columns()));
            assert!(chunk.names().is_none_or(|names| names.len() == chunk.columns()));
        }
        bytes = rest;
    }
}

fn valid_requests() -> Vec<u8> {
    let head = RequestHead {
        op: 1,
        kind: Kind::All,
        flags: Flags::TX,
        target: 2,
        generation: 3,
        statement: 4,
        cursor: 5,
        limit: 6,
    };
    let values = [
        Value::Null,
        Value::Int(1),
        Value::Int(1 << 40),
        Value::Int(i64::MIN),
        Value::Real(-0.5),
        Value::Text("é😀".as_bytes()),
        Value::Blob(&[0, 255]),
    ];
    let mut bytes = Vec::new();
    for name in [None, Some("näme")] {
        let params = values.map(|value| Param { name, value });
        encode_request(&mut bytes, &head, &params).unwrap();
    }
    bytes
}

fn valid_completions() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = RowsWriter::new();
    for (text, changes) in [("plain", None), ("é😀", Some((1, 2)))] {
        writer.begin(5, false, 0);
        for _ in 0..3 {
            writer.text(text.as_bytes());
            writer.null();
            writer.int(i64::MAX);
            writer.real(1.5);
            writer.blob(b"blob");
            writer.end_row();
        }
        let shape = Shape::inline(&["a", "b", "ç", "", "a"]);
        writer.finish(&RowsHead { op: 1, shape: &shape, last: false, open: true, changes }, &mut bytes).unwrap();
    }
    changes(&mut bytes, 1, 2, 3);
    done(&mut bytes, 2);
    let granted = Granted { transaction: 4, generation: 5, lock_wait_ms: 6, behind: 7 };
    grant(&mut bytes, 3, granted);
    grant_group(&mut bytes, &[8, 9, 10], granted);
    let failed = ErrorRecord { code: ErrorCode::Io, sqlite: 10, offset: 3, statement: 2, message: "disk I/O error" };
    error(&mut bytes, 4, &failed);
    opened(&mut bytes, 5, 6, 7, 8, "/tmp/é.db");
    ended(&mut bytes, 4, 5, ErrorCode::Abort, "aborted");
    checkpointed(&mut bytes, 6, Checkpointed { busy: true, log_frames: 7, checkpointed_frames: 6 });
    let rows = vec![RowChange { table: 1, kind: 3, rowid: -1 }];
    let changed = Changed { tables: vec![Arc::from("t"), Arc::from("é")], rows, truncated: false };
    committed(&mut bytes, 7, (4, 5), &changed);
    let one = Migrated { version: 3, name: "é".to_owned(), index: 1, total: 2, ms: 4 };
    migrated(&mut bytes, 8, &one);
    let entry = Entry { version: 3, name: "é".to_owned(), applied: Applied::Unknown, applied_at: 5 };
    history(&mut bytes, 8, &[entry.clone(), entry]);
    progress(&mut bytes, 9, 1, 2, 3);
    let problem = |check| Problem { check, message: "é is wrong".to_owned() };
    verified(&mut bytes, 9, &[problem(Check::Cipher), problem(Check::Integrity), problem(Check::ForeignKeys)]);
    bytes
}

/// Sets some bytes of `record`, often to the small numbers that tags, kinds and counts are, and cuts it.
fn mutate(record: &mut Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>) {
    for (index, byte) in changes {
        let at = index.index(record.len());
        record[at] = *byte;
    }
    if let Some(cut) = cut {
        record.truncate(cut.index(record.len()));
    }
}

fn mutations() -> impl Strategy<Value = (Vec<(Index, u8)>, Option<Index>)> {
    let byte = prop_oneof![0..16_u8, any::<u8>()];
    (proptest::collection::vec((any::<Index>(), byte), 0..6), proptest::option::weighted(0.2, any::<Index>()))
}

/// Any bytes behind a header whose size is right, so that the content is looked at.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0..8_u8, 1 => any::<u8>()];
    (proptest::collection::vec(byte, 24..200), 0..20_u8, any::<[bool; 2]>()).prop_map(|(mut bytes, kind, sparse)| {
        bytes.resize((bytes.len() + 8).next_multiple_of(8) - 8, 0);
        let size = u32::try_from(bytes.len() + 8).unwrap();
        let mut record = [size.to_le_bytes(), [0; 4]].concat();
        record.extend_from_slice(&bytes);
        record[8] = kind;
        if sparse[0] {
            // Counts that can be met: at most 8 columns, parameters, rows, bytes of each block.
            record[11] = 0;
            for at in (12..32).filter(|at| at % 4 != 0) {
                record[at] = 0;
            }
        }
        if sparse[1] {
            record[32..].iter_mut().skip(1).step_by(2).for_each(|byte| *byte = 0);
        }
        record
    })
}

#[test]
fn the_records_that_are_mutated_here_are_valid() {
    let requests = valid_requests();
    assert_eq!(Requests::new(&requests).flatten().count(), 2);
    let completions = valid_completions();
    let mut rest = &completions[..];
    let mut count = 0;
    while !rest.is_empty() {
        rest = Completion::parse(rest).unwrap().1;
        count += 1;
    }
    assert_eq!(count, 15);
}

#[test]
fn a_record_cut_anywhere_is_an_error() {
    let requests = valid_requests();
    let completions = valid_completions();
    for end in 0..requests.len() {
        read_requests(&requests[..end]);
    }
    for end in 0..completions.len() {
        read_completions(&completions[..end]);
    }
    let (_, rest) = Completion::parse(&completions).unwrap();
    for end in 0..completions.len() - rest.len() {
        assert!(Completion::parse(&completions[..end]).is_err());
    }
}

#[test]
fn every_single_changed_byte_is_an_error_or_another_valid_record() {
    for at in 0..valid_requests().len() {
        for byte in 0..=u8::MAX {
            let mut requests = valid_requests();
            requests[at] = byte;
            read_requests(&requests);
        }
    }
    let valid = valid_completions();
    for at in 0..valid.len() {
        for byte in 0..=u8::MAX {
            let mut completions = valid.clone();
            completions[at] = byte;
            read_completions(&completions);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_requests(&bytes);
        read_completions(&bytes);
    }

    #[test]
    fn arbitrary_content_in_a_valid_frame(record in framed()) {
        read_requests(&record);
        read_completions(&record);
    }

    #[test]
    fn mutated_requests((changes, cut) in mutations()) {
        let mut bytes = valid_requests();
        mutate(&mut bytes, &changes, cut);
        read_requests(&bytes);
    }

    #[test]
    fn mutated_completions((changes, cut) in mutations()) {
        let mut bytes = valid_completions();
        mutate(&mut bytes, &changes, cut);
        read_completions(&bytes);
    }
}
