// What a database tells of its migrations, and how it is read from the records that tell it.

import type { Reader } from './native/reader.js';
import { HEADER_BYTES } from './native/wire.js';

/** A migration that has just been run. */
export interface MigrationProgress {
  /** Its version; a `bigint` beyond the safe integers. */
  readonly version: number | bigint;
  /** Its name: that of the file, without version and extension. */
  readonly name: string;
  /** Which one it was of those that are run, from 1. */
  readonly index: number;
  /** How many are run. */
  readonly total: number;
  /** How long it took, in milliseconds. */
  readonly ms: number;
}

/** A migration, and whether the database has it. */
export interface MigrationInfo {
  /** Its version; a `bigint` beyond the safe integers. */
  readonly version: number | bigint;
  /** Its name: that of the file, without version and extension. */
  readonly name: string;
  /** `'pending'`: not applied; `'applied'`; `'unknown'`: applied, and not among the `migrations` of this open. */
  readonly state: 'pending' | 'applied' | 'unknown';
  /** When it was applied, where the database knows. */
  readonly appliedAt?: Date | undefined;
}

const STATES = ['pending', 'applied', 'unknown'] as const;

/** The migration that the MIGRATED record at `base` tells of. */
export function readProgress(reader: Reader, base: number): MigrationProgress {
  const body = base + HEADER_BYTES;
  return {
    version: reader.integer(body),
    name: reader.utf8(body + 8, reader.field(base, 24)),
    index: reader.field(base, 12),
    total: reader.field(base, 16),
    ms: reader.field(base, 20),
  };
}

/** The migrations that the HISTORY record at `base` lists. */
export function readHistory(reader: Reader, base: number): MigrationInfo[] {
  const history: MigrationInfo[] = [];
  let at = base + HEADER_BYTES;
  for (let left = reader.field(base, 12); left > 0; left--) {
    const nameBytes = reader.unalignedField(at + 12);
    const appliedAt = Number(reader.unalignedInteger(at + 16));
    const info = {
      version: reader.unalignedInteger(at),
      name: reader.utf8(at + 24, nameBytes),
      state: STATES[reader.unalignedField(at + 8)] ?? 'unknown',
    };
    history.push(appliedAt === 0 ? info : { ...info, appliedAt: new Date(appliedAt) });
    at += 24 + nameBytes;
  }
  return history;
}
