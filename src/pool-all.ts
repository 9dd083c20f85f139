// What is done to every database of a pool, one result each: one that fails does not stop the others.

import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { boolean, callable, checkNames, checkSignal, type Given, integer, record } from './checks.js';
import { AbortError, OptionError } from './errors.js';
import { guardedListener } from './listener.js';
import type { MigrationProgress } from './migration-history.js';

/** How far `migrateAll` or `backupAll` is. */
export interface PoolProgress<R> {
  /** Databases that are done. */
  readonly done: number;
  /** Databases in all. */
  readonly total: number;
  /** What became of the last one. */
  readonly result: R;
}

/** What became of one database. */
export interface MigrateResult {
  readonly key: string;
  /** The migrations that were run, in their order; with an `error` those before it. */
  readonly migrations: readonly MigrationProgress[];
  /** Why it was not brought up to date; `undefined`: it is. */
  readonly error: unknown;
}

/** What became of the copy of one database. */
export interface BackupResult {
  readonly key: string;
  /** Where the copy is, or would have been. */
  readonly path: string;
  /** Why there is none; `undefined`: there is. */
  readonly error: unknown;
}

/** Options of `pool.migrateAll`. */
export interface MigrateAllOptions {
  /** Databases at a time, 1 to 64. Default 4. */
  concurrency?: number | undefined;
  /** Told after each database, in the async context of the call. */
  onProgress?: ((progress: PoolProgress<MigrateResult>) => void) | undefined;
  /** Begins no more: `AbortError`, once those that were begun are done. */
  signal?: AbortSignal | undefined;
}

/** Options of `pool.backupAll`. */
export interface BackupAllOptions {
  /** Databases at a time, 1 to 64. Default 4. */
  concurrency?: number | undefined;
  /** Replace files that exist. Default `false`: `FileExistsError` in the result. */
  overwrite?: boolean | undefined;
  /** Told after each database, in the async context of the call. */
  onProgress?: ((progress: PoolProgress<BackupResult>) => void) | undefined;
  /** Ends it: `AbortError`, and nothing is left of the copies that were being made. */
  signal?: AbortSignal | undefined;
}

/** Options of either, complete. */
export interface CheckedAllOptions<R> {
  readonly concurrency: number;
  readonly overwrite: boolean;
  readonly onProgress: ((progress: PoolProgress<R>) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Checks the options of `migrateAll` or `backupAll`; `more`: names that only that one has. */
export function checkAllOptions<R>(options: unknown, method: string, more: readonly string[]): CheckedAllOptions<R> {
  const given: Given = record(options, 'options');
  checkNames(given, ['concurrency', 'onProgress', 'signal', ...more], 'option');
  checkSignal(given);
  const { onProgress, signal } = given;
  if (onProgress !== undefined) callable(onProgress, 'onProgress');
  const listener = onProgress as ((progress: PoolProgress<R>) => void) | undefined;
  return {
    concurrency: integer(given, 'concurrency', 1, 64, 4),
    overwrite: boolean(given, 'overwrite', false),
    onProgress: listener && guardedListener(listener, 'onProgress', `${method} goes on`),
    signal: signal as AbortSignal | undefined,
  };
}

/** Runs `work` for every key, so many at a time; results in the order of the keys. */
export async function forAll<R>(
  keys: AsyncIterable<string>,
  { concurrency, onProgress, signal }: CheckedAllOptions<R>,
  work: (key: string) => Promise<R>,
): Promise<R[]> {
  refuseAborted(signal);
  const all: string[] = [];
  for await (const key of keys) all.push(key);
  all.sort();
  const results: R[] = [];
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (next < all.length && signal?.aborted !== true) {
      const at = next++;
      const result = await work(all[at] as string);
      results[at] = result;
      done++;
      onProgress?.({ done, total: all.length, result });
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  refuseAborted(signal);
  return results;
}

/** The folder that copies go to, made if it is missing; it must not be the pool's own. */
export async function targetFolder(path: unknown, pool: string): Promise<string> {
  if (typeof path !== 'string' || path === '') throw new OptionError('backupAll needs the path of a folder');
  const folder = resolve(path);
  if (folder === pool) throw new OptionError(`backupAll needs another folder than that of the pool, ${pool}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return folder;
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new AbortError('the operation was ended by its signal', { cause: signal.reason });
}
