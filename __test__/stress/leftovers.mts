// What a process that was killed has left beside its database, and what that says of where it was.

import { readdirSync, readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { basename, dirname } from 'node:path';

/** A journal whose first byte is not zero is rolled back by the next one to open the file (https://sqlite.org/fileformat2.html#the_rollback_journal). */
export type Journal = 'none' | 'empty' | 'begun' | 'hot';

/** The state of the rollback journal. */
export function journalOf(path: string): Journal {
  const bytes = read(`${path}-journal`);
  if (bytes === undefined) return 'none';
  if (bytes.length === 0) return 'empty';
  return bytes[0] === 0 ? 'begun' : 'hot';
}

/** Whether the file is in WAL mode by its log: that is there while anybody has it open so. */
export function hasLog(path: string): boolean {
  return read(`${path}-wal`) !== undefined;
}

/**
 * Whether the process was killed while it copied frames of the log into the file, by the index it left behind:
 * `nBackfillAttempted` is set before, `nBackfill` after (https://sqlite.org/walformat.html#the_wal_index_file_format).
 */
export function isInCheckpoint(path: string): boolean {
  try {
    const index = readFileSync(`${path}-shm`);
    const word = (at: number) => (endianness() === 'LE' ? index.readUInt32LE(at) : index.readUInt32BE(at));
    return word(128) > word(96);
  } catch {
    return false;
  }
}

/** The files of its folder that are neither a database of `paths` nor what SQLite has beside one. */
export function strangers(...paths: readonly string[]): string[] {
  const own = paths.flatMap((path) => ['', '-wal', '-shm', '-journal'].map((suffix) => basename(path) + suffix));
  return readdirSync(dirname(paths[0] ?? '')).filter((name) => !own.includes(name));
}

/** The temporary files that copies into the folder of `path` have left, those beside them included. */
export function temporaries(path: string): string[] {
  return readdirSync(dirname(path)).filter((name) => /^sqlflow-[0-9a-f]{16}\.tmp(?:-wal|-shm|-journal)?$/.test(name));
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
