// What the public classes need of an engine; the addon's bridge is one.

import type { BatchOptions, QueryOptions } from '../options.js';
import type { Sql } from '../sql.js';
import type { SqlParameters } from '../values.js';
import type { NativeOpenOptions } from './binding.js';
import type { Batch } from './decode.js';
import { Outcome } from './operations.js';
import { Kind } from './wire.js';

export type { Batch } from './decode.js';

/** A database handle or a transaction in the engine, and what this side knows of it. */
export class Target {
  readonly index: number;
  readonly generation: number;
  /** `Flag.transaction` or 0. */
  readonly flag: number;
  /** Results as the database was opened for: `Flag.bigint` or 0. */
  readonly mode: number;
  /** Operations that have not been answered. */
  inFlight = 0;
  /** Set when the closure of a transaction has settled: nothing may be started any more. */
  ended = false;
  /** Set when it ended with statements in flight: nobody is left to wait for them. */
  disowned = false;
  #cursors = 0;

  constructor(index: number, generation: number, flag: number, mode: number) {
    this.index = index;
    this.generation = generation;
    this.flag = flag;
    this.mode = mode;
  }

  /** A cursor number that was not used in this transaction. */
  newCursor(): number {
    this.#cursors += 1;
    return this.#cursors;
  }
}

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

/**
 * An engine as `database.ts` and `transaction.ts` see it.
 *
 * Promises reject, and synchronous calls throw, with an error of `errors.ts` whose stack names the caller.
 */
export interface Engine {
  /** Opens a database; `bigint`: its results have integers as `bigint` unless a call says otherwise. */
  open(path: string, options: NativeOpenOptions, bigint: boolean): Promise<Opened>;

  /** Closes a handle after the work it has accepted. */
  close(handle: Target): Promise<void>;

  /** Waits for a transaction. */
  begin(handle: Target, access: 'read' | 'write'): Promise<Target>;

  /** Runs one statement, or with `Form.exec` a script, on the engine's threads. */
  statement(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<unknown>;

  /** The same on this thread; only in a transaction. */
  statementSync(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): unknown;

  /** Starts a statement whose rows are taken batch by batch. */
  cursor(target: Target, request: CursorRequest): Cursor;

  /** Ends a transaction whose statements have all been answered or are to be interrupted. */
  end(transaction: Target, ending: Ending): Promise<void>;

  /**
   * Commits a transaction that has only read; an unlock, done on this thread. Gives a promise when it has to wait, which
   * it does for a statement that was answered and is not over yet in the engine.
   */
  endRead(transaction: Target): Promise<void> | undefined;

  /** Marks the promises of everything in flight as handled, and sets `disowned`. */
  disown(transaction: Target): void;
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
  nextSync(): Batch;
  /** Gives up what was not read; nothing happens after the last batch. */
  close(): void;
}
