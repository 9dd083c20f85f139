// What the public classes need of an engine; the addon's bridge is one.

import type { Commit } from '../commits.js';
import type { CheckedBackupOptions, VerifyResult } from '../copies.js';
import type { MigrationInfo, MigrationProgress } from '../migration-history.js';
import type { BatchOptions, CallOptions, QueryOptions } from '../options.js';
import type { Sql } from '../sql.js';
import type { QueryResult, RunResult, SqlParameters } from '../values.js';
import type { NativeCipher, NativeOpenOptions, NativePoolOptions } from './binding.js';
import type { Watch } from './copies.js';
import type { Batch } from './decode.js';
import { Outcome } from './operations.js';
import type { Target } from './target.js';
import { Kind } from './wire.js';

export type { Batch } from './decode.js';
export { Target } from './target.js';

/** A database that was opened. */
export interface Opened {
  readonly target: Target;
  /** The canonical path. */
  readonly path: string;
}

/** A form of statement: what is asked of the engine, and what it resolves with. */
export interface Form {
  readonly kind: number;
  readonly outcome: Outcome;
}

export const Form = {
  get: { kind: Kind.get, outcome: Outcome.row },
  one: { kind: Kind.get, outcome: Outcome.one },
  all: { kind: Kind.all, outcome: Outcome.rows },
  query: { kind: Kind.query, outcome: Outcome.query },
  run: { kind: Kind.run, outcome: Outcome.changes },
  exec: { kind: Kind.exec, outcome: Outcome.done },
} as const satisfies Record<string, Form>;

/** How a transaction ends. */
export type Ending = 'commit' | 'rollback';

/** How a savepoint ends; both take it from the engine's stack. */
export type SavepointEnding = 'release' | 'rollback';

/** How a transaction is waited for. */
export interface Wait extends CallOptions {
  /** Where the transaction was taken, for error messages. */
  readonly stack?: string | undefined;
}

/** How a transaction ended. */
export interface Committed {
  /** Frames in the write-ahead log after a commit; 0 for a read, `undefined` for one that was asked for its tables. */
  readonly logFrames: number | undefined;
  /** What it changed, when `Target.wantsTables` was set. */
  readonly commit: Commit | undefined;
}

/** One statement of a batch. */
export interface BatchStatement {
  readonly sql: string | Sql;
  readonly parameters: SqlParameters | undefined;
}

/** The turn of one closure in a group that shares a transaction. */
export interface BatchTurn {
  /** The group's transaction. The closure runs in a savepoint of it. */
  readonly target: Target;
  /** Its signal was aborted after it had been granted: do not run the closure, only `release`. */
  readonly aborted: boolean;
  /**
   * Passes the turn on. To be called once, in the continuation that got the turn, whether the closure succeeded or not.
   * Gives the frames in the log after the commit of the group; rejects with an error of this member's own when that failed.
   */
  release(): Promise<number>;
}

/** How far a checkpoint goes; see https://sqlite.org/pragma.html#pragma_wal_checkpoint. */
export type CheckpointMode = 'passive' | 'full' | 'restart' | 'truncate';

/** What a checkpoint did. */
export interface Checkpoint {
  /** A reader or another process was in the way of a part of it. */
  busy: boolean;
  /** Frames in the log. */
  logFrames: number;
  /** Of these, frames that are in the file as well. */
  checkpointedFrames: number;
}

/** What a handle is told of commits: nothing, tables, tables and row ids. */
export type ListenMode = 0 | 1 | 2;

/** Why the engine has closed a database of a pool by itself. */
export type LetGo = 'room' | 'idle' | 'evict' | 'delete';

/** How a use begins. */
export const Begin = {
  /** By somebody who takes the database for open. */
  open: 0,
  /** By somebody who has waited for its open. */
  opened: 1,
  /** Inside another use of this thread, which does not end before. */
  inside: 2,
} as const;

export type Begin = (typeof Begin)[keyof typeof Begin];

/** How a database of a pool is opened. */
export interface PooledOpen {
  readonly bigint: boolean;
  /** For one piece of work, after which the handle is closed: with no place in the cache. */
  readonly apart: boolean;
  /** As of `Engine.open`. */
  readonly onMigration: ((progress: MigrationProgress) => void) | undefined;
  /** Told when the engine has closed the handle by itself. */
  readonly onLetGo: (reason: LetGo) => void;
}

/** The pools of an engine, as `pool.ts` sees them. A database of one has a name: that of its file in the folder. */
export interface PoolEngine {
  /** Opens a pool on a folder; its `target` is the pool. */
  open(path: string, options: NativePoolOptions): Promise<Opened>;

  /** Gives a pool back, whose handles were closed; resolves when those that it has closed by itself are as well. */
  close(pool: Target): Promise<void>;

  /** Opens a database; its first use has begun. */
  openDatabase(pool: Target, name: string, options: NativeOpenOptions, how: PooledOpen): Promise<Opened>;

  /** Begins a use of a database, before whose `release` it is not closed. `false`: it is closed already. */
  acquire(handle: Target, how: Begin): boolean;
  release(handle: Target): void;

  /** Another handle on the database of one in use, with a close of its own. */
  share(handle: Target): Target | undefined;

  /** Closes a database once nobody uses it; `false`: somebody has used it again before. */
  evict(pool: Target, name: string): Promise<boolean>;

  /** Deletes a database once nobody uses it; `false`: there was none. */
  remove(pool: Target, name: string, patience: NativeOpenOptions): Promise<boolean>;

  /** A use could not open a file: if there are no descriptors left, idle databases give theirs back. */
  relieve(pool: Target): void;

  /** Counters and states; `sqlflow_core::PoolStats` has their order. Empty once the pool is closed. */
  stats(pool: Target): Float64Array;
}

/**
 * An engine as `database.ts` and `transaction.ts` see it.
 *
 * Promises reject, and synchronous calls throw, with an error of `errors.ts` whose stack names the caller. What has a
 * signal that is aborted already rejects at once, and nothing is sent; an `AbortError` has the signal's reason as cause.
 */
export interface Engine {
  /** Databases by the thousand. */
  readonly pools: PoolEngine;

  /**
   * Opens a database; `bigint`: its results have integers as `bigint` unless a call says otherwise. `onMigration` is
   * called with every migration that was run, in microtasks, before the promise resolves.
   */
  open(
    path: string,
    options: NativeOpenOptions,
    bigint: boolean,
    onMigration?: (progress: MigrationProgress) => void,
  ): Promise<Opened>;

  /** Gives the files of migrations to the engine, and tells the number for `NativeOpenOptions.migrations`. */
  defineMigrations(names: readonly string[], texts: readonly string[]): number;

  /** The migrations of the source a database was opened with, and those that it has, by version. */
  migrations(handle: Target): Promise<MigrationInfo[]>;

  /** Runs the Down parts of what is above version `to`; `onMigration` as of `open`. */
  rollbackMigrations(
    handle: Target,
    to: number,
    onMigration: ((progress: MigrationProgress) => void) | undefined,
  ): Promise<void>;

  /** Closes a handle after the work it has accepted; what is open after `timeoutMs` is ended. `undefined`: waits for ever. */
  close(handle: Target, timeoutMs: number | undefined): Promise<void>;

  /** Waits for a transaction; `wait.signal` counts until it is granted. */
  begin(handle: Target, access: 'read' | 'write', wait: Wait | undefined): Promise<Target>;

  /** Runs one statement, or with `Form.exec` a script, on the engine's threads. */
  statement(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<unknown>;

  /** The same on this thread; only in a transaction. The stack of an error begins with the caller of `below`. */
  statementSync(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
    below?: CallableFunction,
  ): unknown;

  /** Starts a statement whose rows are taken batch by batch. */
  cursor(target: Target, request: CursorRequest): Cursor;

  /** Runs one statement once per row, all or none of them, on a database or in a transaction. */
  runMany(
    target: Target,
    sql: string | Sql,
    rows: Iterable<SqlParameters>,
    options: CallOptions | undefined,
  ): Promise<RunResult>;

  /** Runs statements in one transaction of their own, which may be shared with neighbours in the queue. */
  batch(
    target: Target,
    statements: readonly BatchStatement[],
    options: CallOptions | undefined,
  ): Promise<QueryResult[]>;

  /** Waits for the turn of a synchronous closure. */
  beginBatch(handle: Target, wait: Wait | undefined): Promise<BatchTurn>;

  /** Opens a savepoint; from the call on only the child may be used. */
  savepoint(parent: Target): Promise<Target>;

  /** Ends a savepoint behind the statements that were sent before; savepoints open inside it are rolled back. */
  endSavepoint(child: Target, how: SavepointEnding): Promise<void>;

  /**
   * The same two on this thread. A closure of a group that breaks a deferred constraint fails to be released with
   * `ConstraintError`, and has been taken back then; the transaction goes on.
   */
  savepointSync(parent: Target): Target;
  endSavepointSync(child: Target, how: SavepointEnding): void;

  /** Ends a transaction whose statements have all been answered or are to be interrupted. */
  end(transaction: Target, ending: Ending): Promise<Committed>;

  /**
   * Commits a transaction that has only read; an unlock, done on this thread. Gives a promise when it has to wait, which
   * it does for a statement that was answered and is not over yet in the engine.
   */
  endRead(transaction: Target): Promise<Committed> | undefined;

  /** Ends a transaction from outside, without waiting; `Target.onEnded` is told. Nothing happens once its end was asked for. */
  expire(transaction: Target): void;

  /** Marks the promises of everything in flight as handled, and sets `disowned`; savepoints open inside it included. */
  disown(transaction: Target): void;

  /** Moves the write-ahead log into the file. */
  checkpoint(handle: Target, mode: CheckpointMode): Promise<Checkpoint>;

  /** Encrypts the file with another key, which is wiped here. */
  rekey(handle: Target, cipher: NativeCipher): Promise<void>;

  /** Makes the file smaller; 0 `pages`: by writing all of it anew. */
  vacuum(handle: Target, pages: number): Promise<void>;

  /** Copies the database to `path`; the steps are told in microtasks. */
  backup(handle: Target, path: string, options: CheckedBackupOptions, watch: Watch): Promise<void>;

  /** Checks the database; the steps are told in microtasks. */
  verify(handle: Target, watch: Watch): Promise<VerifyResult>;

  /** Makes a file of SQLite3 Multiple Ciphers one of SQLCipher 4; the steps are told in microtasks. */
  convert(path: string, cipher: NativeCipher, busyTimeoutMs: number, steps: Watch['steps']): Promise<void>;

  /** Counters and states of the engine; crates/node documents their order. */
  stats(handle: Target): Float64Array;

  /** Has `listener` called for every commit, in their order, in microtasks. It replaces the one before. */
  listen(handle: Target, mode: ListenMode, listener: ((commit: Commit) => void) | undefined): void;
}

/** A statement to be read batch by batch. */
export interface CursorRequest {
  readonly sql: string | Sql;
  readonly parameters: SqlParameters | undefined;
  readonly options: (QueryOptions & BatchOptions) | undefined;
}

/**
 * The rows of a statement, batch by batch; the first call of either form runs the statement.
 *
 * Once the transaction has ended both forms fail with `TransactionClosedError`, after the last batch as well.
 */
export interface Cursor {
  readonly transaction: Target;
  next(): Promise<Batch>;
  /** The stack of an error begins with the caller of `below`. */
  nextSync(below?: CallableFunction): Batch;
  /** Gives up what was not read; nothing happens after the last batch. */
  close(): void;
}
