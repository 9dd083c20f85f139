// The options a caller can give, checked first and completely.

import {
  boolean,
  checkNames,
  checkSignal,
  type Given,
  integer,
  isRecord,
  kindOf,
  MAX_MS,
  oneOf,
  record,
  shown,
} from './checks.js';
import { OptionError } from './errors.js';
import { checkKeyOptions, type KeyProvider, type KeySource } from './keys.js';
import type { MigrationProgress } from './migration-history.js';
import { checkMigrations, type MigrationSource } from './migrations.js';
import type { NativeOpenOptions } from './native/binding.js';
import { Flag } from './native/wire.js';
import type { ReadTransaction, WriteTransaction } from './transaction.js';

/** Options of `Database.open`. */
export interface OpenOptions {
  /** Make the file, and folders on the way to it, when they are missing. Default `true`; `false`: `CannotOpenError`. */
  create?: boolean | undefined;
  /** Open without a writer: `write`, `run` and `exec` fail with `ReadOnlyDatabaseError`. Default `false`. */
  readOnly?: boolean | undefined;
  /**
   * `'full'` (default): a commit survives a power cut. `'normal'`: it survives a crash of the process, but a power cut may
   * take back the last commits; the file stays sound. Must agree with other opens of the same file in this process.
   */
  synchronous?: 'full' | 'normal' | undefined;
  /** Most read transactions at the same time, 1 to 256. Default 4. Must agree with other opens of the same file. */
  readers?: number | undefined;
  /** How long to wait while another process holds the file, in milliseconds. Default 5000; 0: not at all. */
  busyTimeoutMs?: number | undefined;
  /**
   * How long a transaction that writes may stay open, in milliseconds from when it got its turn: a `write` or `batch`, and
   * a `run`, `runMany`, `exec` or another statement that writes. Default 30000, then it is rolled back with
   * `TransactionTimeoutError`; 0: for ever. `timeoutMs` of a call overrides it for `write` and `batch` of a closure; for the
   * others it is a limit beside this one, which a longer one does not extend.
   *
   * It is looked at every 25 ms: an end never comes early, and up to about 50 ms late.
   */
  transactionTimeoutMs?: number | undefined;
  /**
   * How long a `read` or an `iterate` may stay open, and a `get` or another statement that reads may run, in milliseconds
   * from when it got its turn; then it ends with `TransactionTimeoutError`. Default 0: for ever. `timeoutMs` of a call
   * overrides it for `read` and `iterate`; for a statement it is a limit beside this one. Looked at as
   * `transactionTimeoutMs`.
   */
  readTimeoutMs?: number | undefined;
  /**
   * How long a call may wait for the writer or a reader, in milliseconds. Default 30000, then `QueueTimeoutError`, which
   * names who holds it; 0: for ever. `queueTimeoutMs` of a call overrides it.
   *
   * It is looked at every 25 ms: an end never comes early, and up to about 50 ms late. A call whose turn has come while the
   * event loop of its thread is blocked is not timed any more until that thread calls in.
   */
  queueTimeoutMs?: number | undefined;
  /** Most operations that may wait, from 1. Default 10000; beyond it `QueueFullError`. Must agree with other opens. */
  maxQueued?: number | undefined;
  /** Give integers as `bigint`, unless a call says otherwise. Default `false`: an unsafe one is an error. */
  bigint?: boolean | undefined;
  /**
   * Remember where each transaction was taken, so that `QueueTimeoutError` and `TransactionTimeoutError` can say it.
   * Default `false`: it costs a stack trace per transaction, 5 to 50 microseconds.
   */
  captureStacks?: boolean | undefined;
  /**
   * What becomes of a call on the database from inside a closure of one of its own transactions. It would wait for what
   * its own caller holds, so `'refuse'` answers it with `ReentrantAccessError` at once; `'allow'` lets it wait until
   * `queueTimeoutMs`. Default `'auto'`: `'refuse'` from Node 24; on Node 20 and 22, where following the closures costs every
   * `await` of the process about 0.2 microseconds, `'allow'` when NODE_ENV is `production` and `'refuse'` otherwise.
   */
  reentrancy?: 'auto' | 'refuse' | 'allow' | undefined;
  /**
   * From this size on, the log (the `-wal` file) is emptied and cut back as soon as no reader is in the way, in bytes,
   * 65536 to 2^40. Default 67108864 (64 MiB). Must agree with other opens of the same file in this process.
   */
  logLimitBytes?: number | undefined;
  /**
   * The migrations that make the schema: the path of a folder (relative to the working directory, its `*.sql` files), a
   * list of `{ name, sql }`, or an object of file names to SQL. Default: none.
   *
   * Those that the file does not have yet are run before `open` resolves, in the order of their versions, each in a
   * transaction of its own with its row in the history, so that a crash at any instant, or another process that opens the
   * file at the same time, leaves whole migrations only. When one fails, `open` rejects, and the file is as after the one
   * before. Foreign keys are not enforced while a migration runs (so nothing cascades) and are checked at its end; what was
   * broken before is not held against it. With `readOnly` nothing is run.
   *
   * Files are called `001_init.sql`, with goose's annotations (`-- +goose Up`, `Down`, `StatementBegin`, `StatementEnd`,
   * `NO TRANSACTION`) or without, or `V1__init.sql`. A source is read once per thread: a folder by its path, a list or an
   * object by its identity. Later changes of it are not noticed, and any number of databases is opened at the price of one
   * look into each file's history.
   */
  migrations?: MigrationSource | undefined;
  /**
   * When migrations are run: `'always'` (default), or `'create'`, only when the open makes the file, which spares others
   * the look into the history.
   */
  migrate?: 'always' | 'create' | undefined;
  /**
   * Where the history of migrations is kept: `'sqlflow'` (default) in a table of its own; what goose has applied to the
   * file before is taken over then, and its table stays as it is. `'goose'` in goose's table `goose_db_version`, for as
   * long as programs that use goose open the file as well; it has no checksums, so changed migrations are not noticed.
   */
  migrationHistory?: 'sqlflow' | 'goose' | undefined;
  /**
   * Called after each migration that `open` has run, in their order and before `open` resolves, in the async context of
   * that call. When it throws, migrations go on, and the process emits a warning with the code `SQLFLOW_LISTENER_FAILED`.
   */
  onMigration?: ((progress: MigrationProgress) => void) | undefined;
  /**
   * The key of an encrypted file (SQLCipher 4, AES-256): 32 bytes, which are copied, or a function that gives them, now or
   * later, and is asked once by this open. A file that is made gets it. Default: the file is not encrypted.
   *
   * Whoever opens a file that is open already proves the same key. A key that does not fit is `WrongKeyError` and leaves
   * the file untouched; a provider that has none, `KeyNotAvailableError`.
   */
  key?: Uint8Array | KeyProvider | undefined;
  /**
   * A passphrase instead of a `key`. The key is derived from it once per file and process (256,000 rounds of PBKDF2, about
   * 100 ms), on a thread of the engine; prefer 32 random bytes from a key store where there is one.
   */
  passphrase?: string | undefined;
  /**
   * The major version of SQLCipher that made the encrypted file, 1 to 4; with `create` a new file gets the settings of it.
   * Default 4. Files of 1 carry no authentication, so that damage of them is not noticed; `db.backup` makes files of 4 from
   * all of them. Must agree with other opens of the same file in this process.
   */
  cipherCompatibility?: 1 | 2 | 3 | 4 | undefined;
  /**
   * Overwrite what is deleted with zeros. Default `false`; an encrypted file always does. Must agree with other opens of
   * the same file in this process.
   */
  secureDelete?: boolean | undefined;
  /**
   * What becomes of pages that hold nothing any more, for a file that this open makes: `'none'` (default), they are used
   * again; `'full'`, the file shrinks at every commit; `'incremental'`, it shrinks by `db.vacuum({ incrementalPages })`.
   * Not for an encrypted file: of one with `auto_vacuum` SQLCipher takes a page of zeros for a page that was written.
   */
  autoVacuum?: 'none' | 'full' | 'incremental' | undefined;
}

/** Makes what closures get from a transaction: one function for both, or one for each. */
export type Querier<R, W> = ((tx: WriteTransaction) => W) | SplitQuerier<R, W>;

/** Two queriers: `read` closures get `R`, `write` closures get `W`. */
export interface SplitQuerier<R, W> {
  /** Makes what a `read` closure gets. */
  read: (tx: ReadTransaction) => R;
  /** Makes what a `write` closure gets. */
  write: (tx: WriteTransaction) => W;
}

/** How one call may be ended before its time. */
export interface CallOptions {
  /**
   * Aborts the call, which then rejects with `AbortError`; the signal's reason is its `cause`. One that waits is taken
   * out of the queue and never starts; a transaction is rolled back; a statement that runs is interrupted, and when it
   * writes, the transaction is rolled back with it. Once COMMIT was sent the real outcome is given. Default: none.
   */
  signal?: AbortSignal | undefined;
  /**
   * How long it may take, in milliseconds, from 0 to 2147483647; then `TransactionTimeoutError`. 0: for ever.
   *
   * Of `read`, `write`, `batch` of a closure and `iterate` it counts from the turn, and overrides `transactionTimeoutMs` or
   * `readTimeoutMs` of the database, which is the default. Of every statement, `runMany`, `exec` and `batch` of statements
   * it counts from the call and is an additional limit, by default none: what bounds the transaction goes on to do so.
   */
  timeoutMs?: number | undefined;
  /**
   * How long to wait for the writer or a reader, in milliseconds, from 0 to 2147483647; then `QueueTimeoutError`. 0: for
   * ever. Default: `queueTimeoutMs` of the database. Means nothing to a statement of a transaction, which has its turn.
   */
  queueTimeoutMs?: number | undefined;
}

/** What the results of one statement look like. */
export interface ResultOptions {
  /** Give every INTEGER as `bigint`. Default: as the database was opened. */
  bigint?: boolean | undefined;
  /** Rows as objects or as arrays. Default `'object'`. */
  rowMode?: 'object' | 'array' | undefined;
}

/** Options of one statement that gives rows. */
export interface QueryOptions extends ResultOptions, CallOptions {}

/** Options of a statement whose rows are objects. */
export interface ObjectRowOptions extends QueryOptions {
  rowMode?: 'object' | undefined;
}

/** Options of a statement whose rows are arrays. */
export interface ArrayRowOptions extends QueryOptions {
  rowMode: 'array';
}

/** Options of a statement on this thread, whose rows are objects. Nothing can end it from outside. */
export interface SyncObjectRowOptions extends ResultOptions {
  rowMode?: 'object' | undefined;
}

/** Options of a statement on this thread, whose rows are arrays. */
export interface SyncArrayRowOptions extends ResultOptions {
  rowMode: 'array';
}

/** Options of a statement whose rows are taken batch by batch. */
export interface BatchOptions {
  /** Rows fetched at a time, 1 to 10000. Default 1000. */
  batchRows?: number | undefined;
}

/** Options of `db.iterate`, which holds a transaction of its own. */
export interface IterateOptions extends BatchOptions {
  /**
   * How long the loop may take between two fetches, in milliseconds; then the transaction ends, and the next fetch
   * rejects with `TransactionTimeoutError`. Default 60000; 0: for ever.
   */
  idleTimeoutMs?: number | undefined;
}

/** Options of `db.close`. */
export interface CloseOptions {
  /**
   * How long accepted work may still take, in milliseconds, from 0 (it is ended at once) to 2147483647. Default: for ever.
   */
  timeoutMs?: number | undefined;
}

/** Options of `db.rollback`. */
export interface RollbackOptions {
  /** The version to go back to, from 0 (before the first migration); it stays applied, all above are undone. */
  to: number;
  /** Called after each Down part, as `onMigration` of `Database.open` after each migration. */
  onMigration?: ((progress: MigrationProgress) => void) | undefined;
}

/** Options of `db.onCommit`. */
export interface CommitListenerOptions {
  /** Tell which rows were changed as well; it makes every commit of the file dearer. Default `false`. */
  rowIds?: boolean | undefined;
}

/** Options of `open`, complete. */
export interface CheckedOpenOptions {
  native: NativeOpenOptions;
  bigint: boolean;
  querier: Querier<unknown, unknown> | undefined;
  captureStacks: boolean;
  reentrancy: 'auto' | 'refuse' | 'allow';
  /** `native.migrations` is its number, once there is one. */
  migrations: MigrationSource | undefined;
  onMigration: ((progress: MigrationProgress) => void) | undefined;
  /** `native.cipher` is what it gives. */
  keys: KeySource | undefined;
}

const OPEN_NAMES = [
  'create',
  'readOnly',
  'synchronous',
  'readers',
  'busyTimeoutMs',
  'transactionTimeoutMs',
  'readTimeoutMs',
  'queueTimeoutMs',
  'maxQueued',
  'bigint',
  'captureStacks',
  'reentrancy',
  'logLimitBytes',
  'querier',
  'migrations',
  'migrate',
  'migrationHistory',
  'onMigration',
  'key',
  'passphrase',
  'cipherCompatibility',
  'secureDelete',
  'autoVacuum',
] as const;
const CALL_NAMES = ['signal', 'timeoutMs', 'queueTimeoutMs'] as const;
const RESULT_NAMES = ['bigint', 'rowMode'] as const;
const QUERY_NAMES = [...RESULT_NAMES, ...CALL_NAMES];
const BATCH_NAMES = [...QUERY_NAMES, 'batchRows'];
const ITERATE_NAMES = [...BATCH_NAMES, 'idleTimeoutMs'];
/** `idleTimeoutMs` of `db.iterate`. */
const IDLE_MS = 60_000;

/** Checks the path of `Database.open`; `':memory:'` is left to the caller. */
export function checkPath(path: unknown): string {
  if (typeof path !== 'string') throw new OptionError(`path must be a string, got ${kindOf(path)}`);
  if (path === '') throw new OptionError("path must not be empty; ':memory:' opens a private temporary database");
  if (path.includes('\0')) throw new OptionError(`path must not contain NUL, got ${JSON.stringify(path)}`);
  if (!path.isWellFormed()) throw new OptionError('path must be valid Unicode, but holds a lone surrogate');
  return path;
}

/** Checks the options of `Database.open` and adds the defaults. `others`: names that are somebody else's to check. */
export function checkOpenOptions(
  options: unknown,
  memory: boolean,
  others: readonly string[] = [],
): CheckedOpenOptions {
  const given = record(options, 'options');
  checkNames(given, [...OPEN_NAMES, ...others], 'option');
  const readOnly = boolean(given, 'readOnly', false);
  const autoVacuum = oneOf(given, 'autoVacuum', ['none', 'full', 'incremental'], 'none');
  if ((given['key'] ?? given['passphrase']) !== undefined && autoVacuum !== 'none') {
    throw new OptionError(
      `autoVacuum: '${autoVacuum}' cannot be had with a key: SQLCipher would take a damaged page of zeros for data; use db.vacuum()`,
    );
  }
  if (memory && readOnly) throw new OptionError("readOnly: true makes no sense for ':memory:', which is always empty");
  return {
    native: {
      create: boolean(given, 'create', true),
      readOnly,
      memory,
      synchronous: oneOf(given, 'synchronous', ['full', 'normal'], 'full'),
      readers: integer(given, 'readers', 1, 256, 4),
      busyTimeoutMs: integer(given, 'busyTimeoutMs', 0, MAX_MS, 5_000),
      transactionTimeoutMs: integer(given, 'transactionTimeoutMs', 0, MAX_MS, 30_000),
      readTimeoutMs: integer(given, 'readTimeoutMs', 0, MAX_MS, 0),
      queueTimeoutMs: integer(given, 'queueTimeoutMs', 0, MAX_MS, 30_000),
      maxQueued: integer(given, 'maxQueued', 1, 10_000_000, 10_000),
      logLimitBytes: integer(given, 'logLimitBytes', 65_536, 2 ** 40, 64 * 1024 * 1024),
      migrations: 0,
      migrate: oneOf(given, 'migrate', ['always', 'create'], 'always'),
      migrationHistory: oneOf(given, 'migrationHistory', ['sqlflow', 'goose'], 'sqlflow'),
      cipher: undefined,
      secureDelete: boolean(given, 'secureDelete', false),
      autoVacuum,
    },
    bigint: boolean(given, 'bigint', false),
    captureStacks: boolean(given, 'captureStacks', false),
    reentrancy: oneOf(given, 'reentrancy', ['auto', 'refuse', 'allow'], 'auto'),
    querier: querier(given['querier']),
    migrations: checkMigrations(given['migrations']),
    onMigration: onMigration(given),
    // Last: a copy of a key is made, and wiped by who gets it.
    keys: checkKeyOptions(given),
  };
}

/** Checks the options of a call that gives no rows: of `run`, `exec`, `runMany`, `read`, `write` and `batch`. */
export function checkCallOptions(options: unknown): void {
  if (options === undefined) return;
  const given = record(options, 'options');
  checkNames(given, CALL_NAMES, 'option');
  checkCall(given);
}

/** `Flag.bigint` and `Flag.arrays` of one call, given those of its target. */
export function queryMode(options: QueryOptions | undefined, mode: number): number {
  if (options === undefined) return mode;
  return checkedMode(options, mode, QUERY_NAMES);
}

/** The same for a call that fetches batch by batch. */
export function batchMode(options: (QueryOptions & BatchOptions) | undefined, mode: number): number {
  if (options === undefined) return mode;
  return checkedMode(options, mode, BATCH_NAMES);
}

/** Rows per batch as asked for; 0 leaves it to the engine. */
export function batchRows(options: BatchOptions | undefined): number {
  if (options?.batchRows === undefined) return 0;
  return integer(record(options, 'options'), 'batchRows', 1, 10_000, 0);
}

/** Checks the options of a statement on this thread, which nothing can end from outside. */
export function checkSyncOptions(options: unknown): void {
  const given = record(options, 'options');
  for (const name of CALL_NAMES) {
    if (given[name] !== undefined) throw new OptionError(`${name} has no effect on this thread; leave it out`);
  }
}

/** Checks what was given as the options of `method` on this thread, which takes none. */
export function checkNoOptions(options: unknown, method: 'run' | 'exec'): void {
  checkSyncOptions(options);
  for (const [name, value] of Object.entries(record(options, 'options'))) {
    if (value === undefined) continue;
    throw new OptionError(`${method} of tx.sync takes no options, got "${name}"; leave it out`);
  }
}

/** Options of `db.iterate`, complete; `request` is what the cursor itself takes. */
export interface CheckedIterateOptions {
  readonly request: (ResultOptions & BatchOptions) | undefined;
  readonly call: CallOptions | undefined;
  readonly idleTimeoutMs: number;
}

/** Checks the options of `db.iterate`. */
export function checkIterateOptions(options: unknown): CheckedIterateOptions {
  if (options === undefined) return { request: undefined, call: undefined, idleTimeoutMs: IDLE_MS };
  const given = record(options, 'options');
  checkedMode(given, 0, ITERATE_NAMES);
  batchRows(given);
  const { signal, timeoutMs, queueTimeoutMs, idleTimeoutMs: _, ...request } = given as QueryOptions & IterateOptions;
  return {
    request,
    call: { signal, timeoutMs, queueTimeoutMs },
    idleTimeoutMs: integer(given, 'idleTimeoutMs', 0, MAX_MS, IDLE_MS),
  };
}

/** Checks the options of `db.close`: its `timeoutMs`. */
export function checkCloseOptions(options: unknown): number | undefined {
  if (options === undefined) return undefined;
  const given = record(options, 'options');
  checkNames(given, ['timeoutMs'], 'option');
  return given['timeoutMs'] === undefined ? undefined : integer(given, 'timeoutMs', 0, MAX_MS, 0);
}

/** Checks the options of `db.rollback`. */
export function checkRollbackOptions(options: unknown): RollbackOptions {
  if (!isRecord(options)) throw new OptionError(`rollback needs { to: version }, got ${kindOf(options)}`);
  checkNames(options, ['to', 'onMigration'], 'option');
  if (options['to'] === undefined) throw new OptionError('rollback needs { to: version }; 0 undoes all migrations');
  return { to: integer(options, 'to', 0, Number.MAX_SAFE_INTEGER, 0), onMigration: onMigration(options) };
}

/** Checks the options of `db.onCommit`: its `rowIds`. */
export function checkListenerOptions(options: unknown): boolean {
  const given = record(options, 'options');
  checkNames(given, ['rowIds'], 'option');
  return boolean(given, 'rowIds', false);
}

/** Checks the mode of `db.checkpoint`. */
export function checkCheckpointMode(mode: unknown): void {
  oneOf({ mode }, 'mode', ['passive', 'full', 'restart', 'truncate'], 'passive');
}

function checkedMode(options: unknown, mode: number, names: readonly string[]): number {
  const given = record(options, 'options');
  checkNames(given, names, 'option');
  const bigint = boolean(given, 'bigint', (mode & Flag.bigint) !== 0);
  const rowMode = oneOf(given, 'rowMode', ['object', 'array'], 'object');
  checkCall(given);
  return (bigint ? Flag.bigint : 0) | (rowMode === 'array' ? Flag.arrays : 0);
}

function checkCall(given: Given): void {
  checkSignal(given);
  integer(given, 'timeoutMs', 0, MAX_MS, 0);
  integer(given, 'queueTimeoutMs', 0, MAX_MS, 0);
}

function onMigration(given: Given): ((progress: MigrationProgress) => void) | undefined {
  const { onMigration: listener } = given;
  if (listener === undefined) return undefined;
  if (typeof listener === 'function') return listener as (progress: MigrationProgress) => void;
  throw new OptionError(`onMigration must be a function, got ${shown(listener)}`);
}

function querier(value: unknown): Querier<unknown, unknown> | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'function') return value as (tx: WriteTransaction) => unknown;
  const pair = isRecord(value) ? value : {};
  const { read, write } = pair;
  if (typeof read !== 'function' || typeof write !== 'function') {
    throw new OptionError(`querier must be a function or { read, write } of two functions, got ${kindOf(value)}`);
  }
  checkNames(pair, ['read', 'write'], 'part of querier');
  return {
    read: read as SplitQuerier<unknown, unknown>['read'],
    write: write as SplitQuerier<unknown, unknown>['write'],
  };
}
