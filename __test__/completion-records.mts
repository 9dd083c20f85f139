// Completion records as the engine writes them, for specs of the decoding side.

import { CellTag, HEADER_BYTES, NO_REPLY, Reply, ReplyFlag } from '../dist/native/wire.js';

/** A cell of a row; `{ int64 }` is an integer that travels as 64 bits. */
export type Cell = null | number | string | Uint8Array | { int64: bigint };

export interface RowsRecord {
  op?: number;
  rows: readonly (readonly Cell[])[];
  columns?: number;
  /** 0: the names travel inline. */
  shape?: number;
  names?: readonly string[];
  last?: boolean;
  open?: boolean;
  changes?: { changes: bigint; lastInsertRowid: bigint };
}

const TEXT = new TextEncoder();

/** A record of rows. */
export function rows(record: RowsRecord): Uint8Array {
  const { shape = 0, names = [], last = true, open = false, changes } = record;
  const columns = record.columns ?? record.rows[0]?.length ?? names.length;
  const cells = record.rows.flat();
  const texts = cells.filter((cell) => typeof cell === 'string').join('');
  const ascii = /^[\0-\x7f]*$/.test(texts);
  const text = TEXT.encode(texts);
  const blobs = cells.filter((cell) => cell instanceof Uint8Array);
  const blob = concatenated(blobs);
  const inline = shape === 0 ? concatenated(names.map(nameBytes)) : new Uint8Array();

  const tags = new Uint8Array(padded(cells.length));
  const slots = new DataView(new ArrayBuffer(cells.length * 8));
  for (const [index, cell] of cells.entries()) {
    const at = index * 8;
    if (cell === null) tags[index] = CellTag.null;
    else if (typeof cell === 'number') {
      tags[index] = CellTag.number;
      slots.setFloat64(at, cell, true);
    } else if (typeof cell === 'string') {
      tags[index] = CellTag.text;
      slots.setBigUint64(at, BigInt(cell.length), true);
    } else if (cell instanceof Uint8Array) {
      tags[index] = CellTag.blob;
      slots.setBigUint64(at, BigInt(cell.length), true);
    } else {
      tags[index] = CellTag.int64;
      slots.setBigInt64(at, cell.int64, true);
    }
  }
  const flags =
    (last ? ReplyFlag.last : 0) |
    (ascii ? 0 : ReplyFlag.utf8) |
    (changes === undefined ? 0 : ReplyFlag.changes) |
    (open ? ReplyFlag.open : 0);
  const trailer = changes === undefined ? new Uint8Array() : counts(changes);
  const body = concatenated([
    tags,
    new Uint8Array(slots.buffer),
    paddedBytes(text),
    paddedBytes(blob),
    trailer,
    paddedBytes(inline),
  ]);
  return withHeader(Reply.rows, flags, body, {
    op: record.op ?? 0,
    half: columns,
    words: [record.rows.length, shape, text.length, blob.length, inline.length],
  });
}

/** A record of counts. */
export function changes(result: { changes: bigint; lastInsertRowid: bigint }, op = 0): Uint8Array {
  return withHeader(Reply.changes, ReplyFlag.last, counts(result), { op });
}

/** A record that says an operation is done; of a COMMIT: with that many frames in the log. */
export function done(op = 0, frames = 0): Uint8Array {
  return withHeader(Reply.done, ReplyFlag.last, new Uint8Array(), { op, words: [frames] });
}

/** A record of a granted transaction. */
export function grant(index: number, generation: number, op = 0, lockWaitMs = 0, behind = 0): Uint8Array {
  const words = [index, generation, lockWaitMs, behind];
  return withHeader(Reply.grant, ReplyFlag.last, new Uint8Array(), { op, words });
}

/** A record of a transaction that was granted to several closures. */
export function grantGroup(index: number, generation: number, ops: readonly number[]): Uint8Array {
  const body = paddedBytes(new Uint8Array(Uint32Array.from(ops).buffer));
  const words = [index, generation, 0, 0, ops.length];
  return withHeader(Reply.grantGroup, ReplyFlag.last, body, { op: ops[0] ?? 0, words });
}

/** What a record of a commit tells. */
export interface CommittedRecord {
  tables: readonly string[];
  changes?: readonly { table: number; kind: 1 | 2 | 3; rowid: bigint }[];
  truncated?: boolean;
}

/** A record of a commit: the answer of `op`, or one for the handle that listens. */
export function committed(index: number, generation: number, record: CommittedRecord, op = NO_REPLY): Uint8Array {
  const { tables, changes: changed = [], truncated = false } = record;
  const body = changed.map(({ table, kind, rowid }) => {
    const view = new DataView(new ArrayBuffer(16));
    view.setUint32(0, table, true);
    view.setUint32(4, kind, true);
    view.setBigInt64(8, rowid, true);
    return new Uint8Array(view.buffer);
  });
  const names = paddedBytes(concatenated(tables.map(nameBytes)));
  return withHeader(Reply.committed, op === NO_REPLY ? 0 : ReplyFlag.last, concatenated([names, ...body]), {
    op,
    words: [index, generation, tables.length, changed.length, truncated ? 1 : 0],
  });
}

/** A record of a transaction that was ended from outside. */
export function ended(index: number, generation: number, code: number, message: string): Uint8Array {
  const bytes = TEXT.encode(message);
  const words = [index, generation, bytes.length];
  return withHeader(Reply.ended, 0, paddedBytes(bytes), { op: NO_REPLY, half: code, words });
}

/** A record of what a checkpoint did. */
export function checkpointed(busy: boolean, logFrames: number, checkpointedFrames: number, op = 0): Uint8Array {
  const words = [busy ? 1 : 0, logFrames, checkpointedFrames];
  return withHeader(Reply.checkpointed, ReplyFlag.last, new Uint8Array(), { op, words });
}

/** A record of a migration that was run; not the last one of its operation. */
export function migrated(
  progress: { version: bigint; name: string; index: number; total: number; ms: number },
  op = 0,
): Uint8Array {
  const name = TEXT.encode(progress.name);
  const body = paddedBytes(concatenated([int64(progress.version), name]));
  return withHeader(Reply.migrated, 0, body, {
    op,
    words: [progress.index, progress.total, progress.ms, name.length],
  });
}

/** One migration of a history. */
export interface HistoryEntry {
  version: bigint;
  state: number;
  name: string;
  /** Milliseconds since 1970; 0: unknown. */
  appliedAt: bigint;
}

/** A record of the migrations of a database. */
export function history(entries: readonly HistoryEntry[], op = 0): Uint8Array {
  const parts = entries.map(({ version, state, name, appliedAt }) => {
    const text = TEXT.encode(name);
    const words = new Uint8Array(Uint32Array.of(state, text.length).buffer);
    return concatenated([int64(version), words, int64(appliedAt), text]);
  });
  return withHeader(Reply.history, ReplyFlag.last, paddedBytes(concatenated(parts)), { op, words: [entries.length] });
}

/** A record of an opened database. */
export function opened(index: number, generation: number, path: string, engine: number, op = 0): Uint8Array {
  const bytes = TEXT.encode(path);
  const words = [index, generation, bytes.length, engine];
  return withHeader(Reply.opened, ReplyFlag.last, paddedBytes(bytes), { op, words });
}

/** A record of an error. */
export function error(code: number, message: string, sqliteCode = 0, offset = -1, op = 0, statement = 0): Uint8Array {
  const bytes = TEXT.encode(message);
  return withHeader(Reply.error, ReplyFlag.last, paddedBytes(bytes), {
    op,
    half: code,
    words: [sqliteCode, offset, bytes.length, statement],
  });
}

/** A buffer with the records one after the other, as large as the caller wants it. */
export function buffer(records: readonly Uint8Array[], byteLength?: number): ArrayBuffer {
  const bytes = concatenated(records);
  const result = new ArrayBuffer(byteLength ?? bytes.length);
  new Uint8Array(result).set(bytes);
  return result;
}

function withHeader(
  kind: number,
  flags: number,
  body: Uint8Array,
  head: { op: number; half?: number; words?: readonly number[] },
): Uint8Array {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + body.length));
  view.setUint32(0, HEADER_BYTES + body.length, true);
  view.setUint32(4, head.op, true);
  view.setUint8(8, kind);
  view.setUint8(9, flags);
  view.setUint16(10, head.half ?? 0, true);
  for (const [index, word] of (head.words ?? []).entries()) view.setInt32(12 + index * 4, word, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

function counts({ changes: changed, lastInsertRowid }: { changes: bigint; lastInsertRowid: bigint }): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigInt64(0, changed, true);
  view.setBigInt64(8, lastInsertRowid, true);
  return new Uint8Array(view.buffer);
}

function int64(value: bigint): Uint8Array {
  return new Uint8Array(BigInt64Array.of(value).buffer);
}

function nameBytes(name: string): Uint8Array {
  const bytes = TEXT.encode(name);
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bytes.length, true);
  return concatenated([new Uint8Array(view.buffer), bytes]);
}

function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function paddedBytes(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(padded(bytes.length));
  result.set(bytes);
  return result;
}

/** The parts one after the other. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
