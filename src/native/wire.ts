// The numbers of the wire format; the format itself is described byte by byte in crates/core/src/wire.

/** What a request record asks for. */
export const Kind = {
  get: 1,
  all: 2,
  run: 3,
  exec: 4,
  query: 5,
  beginRead: 6,
  beginWrite: 7,
  commit: 8,
  rollback: 9,
  cursor: 10,
  pull: 11,
  closeCursor: 12,
  savepoint: 13,
  release: 14,
  rollbackTo: 15,
  batch: 16,
  cancel: 17,
  beginBatch: 18,
  expire: 19,
} as const;

/** Flags of a request record. The bits above 0xff stay on this side. */
export const Flag = {
  bigint: 1,
  named: 2,
  /** Of a batch: its first statement. */
  first: 4,
  /** Of COMMIT: the changed tables are wanted. */
  tables: 4,
  /** Of a batch: its last statement. */
  final: 8,
  /** Of a batch, on its last statement: sums are wanted instead of rows. */
  totals: 16,
  transaction: 128,
  /** Not on the wire: rows are wanted as arrays. */
  arrays: 256,
} as const;

/** The flags that a mode may bring to the wire. */
export const WIRE_FLAGS = Flag.bigint | Flag.first | Flag.final | Flag.totals;

/** Tags of a bound value in a request record. */
export const ValueTag = { null: 0, int32: 1, int: 2, int64: 3, real: 4, text: 5, blob: 6 } as const;

/** What a completion record says. */
export const Reply = {
  rows: 1,
  changes: 2,
  done: 3,
  grant: 4,
  error: 5,
  opened: 6,
  committed: 7,
  grantGroup: 8,
  ended: 9,
  checkpointed: 10,
  migrated: 11,
  history: 12,
  progress: 13,
  verified: 14,
  letGo: 15,
} as const;

/** Flags of a completion record. */
export const ReplyFlag = { last: 1, utf8: 2, changes: 4, open: 8 } as const;

/** Tags of a cell in a completion record. */
export const CellTag = { null: 0, number: 1, int64: 2, text: 3, blob: 4 } as const;

/** Between the fields of the message of a migration error: what happened, the file, the line and the version. */
export const MESSAGE_FIELD = '\u001f';

/** The op of a record that wants no answer, or is none. */
export const NO_REPLY = 0xffff_ffff;

/** Bytes before the parameters of a request record and before the body of a completion record. */
export const HEADER_BYTES = 32;

/** Request buffer; a larger record travels in a buffer of its own. */
export const REQUEST_BYTES = 64 * 1024;

/** Response and sync buffer: a budget of 1 MiB, and room for one chunk beyond it. */
export const RESPONSE_BYTES = (1024 + 64) * 1024;
