// Databases for tests: what `require('sqlflow/testing')` gives; testing.mts names the same for `import`.

import { constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Database,
  type OpenOptions,
  OptionError,
  Pool,
  type PoolOptions,
  type SplitQuerier,
  type WriteTransaction,
} from './index.js';
import { sources } from './open.js';
import { checkOpenOptions } from './options.js';

/** Options of `testDatabase`: those of `Database.open`, but that `synchronous` is `'normal'` by default. */
export interface TestDatabaseOptions extends Omit<OpenOptions, 'create' | 'readOnly'> {}

/** Options of `testPool`: those of `Pool.open`, but that `synchronous` is `'normal'` by default. */
export interface TestPoolOptions extends Omit<PoolOptions, 'readOnly'> {}

/** Windows keeps a file for a moment after it was closed. */
const REMOVAL = { recursive: true, force: true, maxRetries: 5 } as const;

/** Folders that are removed when the process or the worker ends at the latest. */
const folders = new Set<string>();

/** Files with migrations applied, closed, by source and kind of history. */
const templates = new Map<string, Promise<string>>();

/**
 * Opens a fresh database in a private temporary folder, which is removed with it: `await using db = await testDatabase()`,
 * or `db.close()`, or the end of the process at the latest.
 *
 * No two calls share anything, in whatever test file or process, so tests may run at the same time. It is a file as any
 * other, and `db.path` may be opened again while it exists, by other processes as well.
 *
 * Costs a few milliseconds at most with its close. `migrations` are run once per thread and source; every further
 * database begins as a copy of that file, so that what a migration has made of `random()` or the time is the same in all
 * of them. With `onMigration`, a key or `autoVacuum` they are run each time. Nothing has to survive a power cut here, so `synchronous` is
 * `'normal'` unless it is given.
 *
 * @throws what `Database.open` rejects with
 */
export function testDatabase<R, W>(
  options: TestDatabaseOptions & { querier: SplitQuerier<R, W> },
): Promise<Database<R, W>>;
/** Opens a fresh database whose closures get what `querier` makes of their transaction. */
export function testDatabase<Q>(
  options: TestDatabaseOptions & { querier: (tx: WriteTransaction) => Q },
): Promise<Database<Q, Q>>;
/** Opens a fresh database whose closures get their transaction. */
export function testDatabase(options?: TestDatabaseOptions): Promise<Database>;
export async function testDatabase(options?: TestDatabaseOptions): Promise<Database> {
  checkOpenOptions(options, false);
  for (const name of ['create', 'readOnly']) {
    if (options !== undefined && name in options) throw new OptionError(`${name} makes no sense: the database is new`);
  }
  const given: TestDatabaseOptions = { ...options, synchronous: options?.synchronous ?? 'normal' };
  const template = await templateFor(given);
  const folder = newFolder();
  try {
    const file = join(folder, 'test.db');
    if (template !== undefined) copyFileSync(template, file, constants.COPYFILE_FICLONE);
    const db = await Database.open(file, given);
    Database.afterClose(db, () => remove(folder));
    return db;
  } catch (error) {
    await remove(folder);
    throw error;
  }
}

/**
 * Opens a pool on a fresh private temporary folder, which is removed with it: `await using pool = await testPool()`, or
 * `pool.close()`, or the end of the process at the latest. Nothing has to survive a power cut here, so `synchronous` is
 * `'normal'` unless it is given.
 *
 * @throws what `Pool.open` rejects with
 */
export function testPool<R, W>(options: TestPoolOptions & { querier: SplitQuerier<R, W> }): Promise<Pool<R, W>>;
/** Opens a pool whose closures get what `querier` makes of their transaction. */
export function testPool<Q>(options: TestPoolOptions & { querier: (tx: WriteTransaction) => Q }): Promise<Pool<Q, Q>>;
/** Opens a pool whose closures get their transaction. */
export function testPool(options?: TestPoolOptions): Promise<Pool>;
export async function testPool(options?: TestPoolOptions): Promise<Pool> {
  if (options !== undefined && 'readOnly' in options) throw new OptionError('readOnly makes no sense: the pool is new');
  const folder = newFolder();
  try {
    const pool = await Pool.open(folder, { ...options, synchronous: options?.synchronous ?? 'normal' });
    Pool.afterClose(pool, () => remove(folder));
    return pool;
  } catch (error) {
    await remove(folder);
    throw error;
  }
}

/** A file with the migrations of these options; none when there are none, or when somebody wants to be told of them. */
async function templateFor(options: TestDatabaseOptions): Promise<string | undefined> {
  const { migrations, migrationHistory = 'sqlflow', onMigration } = options;
  if (migrations === undefined || onMigration !== undefined) return undefined;
  // A template is a plain file, as most are.
  const { key: secret = options.passphrase, autoVacuum } = options;
  if (secret !== undefined || autoVacuum !== undefined) return undefined;
  const key = `${migrationHistory} ${await sources.idOf(migrations)}`;
  let template = templates.get(key);
  if (template === undefined) {
    template = makeTemplate({ migrations, migrationHistory, synchronous: 'normal', readers: 1 });
    templates.set(key, template);
    template.catch(() => templates.delete(key));
  }
  return await template;
}

async function makeTemplate(options: OpenOptions): Promise<string> {
  const folder = newFolder();
  try {
    const file = join(folder, 'template.db');
    const db = await Database.open(file, options);
    await db.close();
    return file;
  } catch (error) {
    await remove(folder);
    throw error;
  }
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sqlflow-test-'));
  if (folders.size === 0) process.on('exit', removeAll);
  folders.add(folder);
  return folder;
}

async function remove(folder: string): Promise<void> {
  await rm(folder, REMOVAL);
  folders.delete(folder);
  if (folders.size === 0) process.off('exit', removeAll);
}

/** What is left was not closed; a file that the system does not give back now stays. */
function removeAll(): void {
  for (const folder of folders) {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {}
  }
}
