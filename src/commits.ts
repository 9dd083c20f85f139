// What a commit changed, and how it is read from the record that tells of it.

import type { Reader } from './native/reader.js';
import { HEADER_BYTES } from './native/wire.js';

/** A row that was changed. */
export interface RowChange {
  /** The table it is in. */
  readonly table: string;
  /** What was done to it. */
  readonly kind: 'insert' | 'update' | 'delete';
  /** Its row id, before the change when it was deleted; a `bigint` beyond the safe integers. */
  readonly rowid: number | bigint;
}

/** What a transaction changed. */
export interface Commit {
  /** The tables, those that triggers and foreign keys reached included; now and then one that was not changed. */
  readonly tables: ReadonlySet<string>;
  /** The rows, in the order of the changes; only where row ids were asked for, and only of tables that have them. */
  readonly changes?: readonly RowChange[] | undefined;
  /** There were more changes than are listed. */
  readonly truncated: boolean;
}

const KINDS = ['insert', 'update', 'delete'] as const;

/** The commit that the COMMITTED record at `base` tells of; `rowIds`: they were asked for. */
export function readCommit(reader: Reader, base: number, rowIds: boolean): Commit {
  const tables: string[] = [];
  let at = base + HEADER_BYTES;
  for (let left = reader.field(base, 20); left > 0; left--) {
    const length = reader.unalignedField(at);
    tables.push(reader.utf8(at + 4, length));
    at += 4 + length;
  }
  if (!rowIds) return { tables: new Set(tables), truncated: false };
  const changes: RowChange[] = [];
  at = (at + 7) & ~7;
  for (let left = reader.field(base, 24); left > 0; left--) {
    changes.push({
      table: tables[reader.field(at, 0)] ?? '',
      kind: KINDS[reader.field(at, 4) - 1] ?? 'update',
      rowid: reader.integer(at + 8),
    });
    at += 16;
  }
  return { tables: new Set(tables), changes, truncated: reader.field(base, 28) !== 0 };
}
