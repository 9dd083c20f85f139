// One open database: managed transactions, and statements that are a transaction each.

import { resolve } from 'node:path';
import { OptionError, UnfinishedQueryError } from './errors.js';
import { ManagedCursor } from './managed-cursor.js';
import { engine } from './native/addon.js';
import { type Engine, Form, type Target } from './native/engine.js';
import {
  type ArrayRowOptions,
  type BatchOptions,
  batchMode,
  batchRows,
  checkOpenOptions,
  checkPath,
  type ObjectRowOptions,
  type OpenOptions,
  type Querier,
  type QueryOptions,
  type SplitQuerier,
} from './options.js';
import { endByRollback } from './rollback.js';
import { type AsyncRows, RowIterator } from './rows.js';
import type { Sql } from './sql.js';
import { ReadTransaction, WriteTransaction } from './transaction.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';

/** How transactions and what closures get of them are made. */
interface Queriers {
  readTransaction(engine: Engine, target: Target): ReadTransaction;
  read(tx: ReadTransaction): unknown;
  write(tx: WriteTransaction): unknown;
}

/**
 * An open database.
 *
 * There is one writer per file, served first come, first served; readers run beside it, each on a snapshot. Every
 * statement runs in a managed transaction: that of `read` or `write`, or one of its own for `get`, `run` and the others.
 *
 * A statement rejects with `SqlError` or `ConstraintError` for what SQLite says about it, `StatementError` when it is
 * empty or two, `StatementNotAllowedError` when it is none for user SQL (BEGIN, ATTACH, ...), `ParameterError` for its
 * values, `IntegerOutOfRangeError` for a result that needs `bigint: true`, `BusyError` when another process held the
 * file for `busyTimeoutMs`, `QueueFullError` when more than `maxQueued` wait, `CorruptDatabaseError`, `IoError`, and
 * `DatabaseClosedError` after `close`.
 *
 * `R` and `W` are what closures of `read` and `write` get: the transaction, or what the `querier` option makes of it.
 */
export class Database<R = ReadTransaction, W = ReadTransaction extends R ? WriteTransaction : R>
  implements AsyncDisposable
{
  readonly #engine: Engine;
  readonly #target: Target;
  readonly #path: string;
  readonly #queriers: Queriers;
  /** Iterators that hold a transaction; ended when the database is closed. */
  readonly #cursors = new Set<ManagedCursor>();
  #closing: Promise<void> | undefined = undefined;

  private constructor(target: Target, path: string, queriers: Queriers) {
    this.#engine = engine;
    this.#target = target;
    this.#path = path;
    this.#queriers = queriers;
  }

  /**
   * Opens a database file, made when it is missing, or with `':memory:'` a private temporary one that ends with its close.
   *
   * A second open of the same file in this process, worker threads included, shares its engine; it is closed with the
   * last handle.
   *
   * @param path the file, relative to the working directory
   * @throws OptionError for an option that is unknown or not accepted; CannotOpenError, NotADatabaseError,
   *   CorruptDatabaseError or IoError for the file; BusyError when another process held it for `busyTimeoutMs`;
   *   OptionsConflictError when it is open in this process with other options
   */
  static open<R, W>(path: string, options: OpenOptions & { querier: SplitQuerier<R, W> }): Promise<Database<R, W>>;
  /**
   * Opens a database whose closures, of `read` and `write` alike, get what `querier` makes of their transaction. Its
   * statements that write fail in `read` with `ReadOnlyTransactionError`.
   */
  static open<Q>(
    path: string,
    options: OpenOptions & { querier: (tx: WriteTransaction) => Q },
  ): Promise<Database<Q, Q>>;
  /** Opens a database whose closures get their transaction. */
  static open(path: string, options?: OpenOptions): Promise<Database>;
  static async open(path: string, options?: OpenOptions): Promise<Database<unknown, unknown>> {
    const memory = checkPath(path) === ':memory:';
    const { native, bigint, querier } = checkOpenOptions(options, memory);
    const opened = await engine.open(memory ? path : resolve(path), native, bigint);
    return new Database<unknown, unknown>(opened.target, memory ? path : opened.path, queriersOf(querier));
  }

  /** The canonical path of the file; `':memory:'` for a temporary database. */
  get path(): string {
    return this.#path;
  }

  /**
   * Runs `fn` in a transaction that reads: one snapshot, from before `fn` starts until it settles.
   *
   * It sees every `write` that had resolved when `read` was called. Resolves with what `fn` gives; what `fn` throws is
   * thrown again, unchanged.
   *
   * @throws UnfinishedQueryError when `fn` settles while one of its statements runs; BusyError, QueueFullError,
   *   DatabaseClosedError when no transaction could be begun
   */
  async read<T>(fn: (q: R, tx: ReadTransaction) => T | PromiseLike<T>): Promise<T> {
    checkClosure(fn);
    const target = await this.#engine.begin(this.#target, 'read');
    let value: T;
    try {
      const tx = this.#queriers.readTransaction(this.#engine, target);
      value = await fn(this.#queriers.read(tx) as R, tx);
    } catch (error) {
      await endByRollback(this.#engine, target);
      throw error;
    }
    if (target.inFlight > 0) await this.#refuseUnfinished(target);
    const ending = this.#engine.endRead(target);
    if (ending !== undefined) await ending;
    return value;
  }

  /**
   * Runs `fn` in a transaction that writes: committed when `fn` returns, rolled back when it throws.
   *
   * Resolves with what `fn` gives, after the commit; what `fn` throws is thrown again, unchanged, after the rollback.
   * Writers are served in the order of their calls; `fn` is never run twice.
   *
   * @throws UnfinishedQueryError when `fn` settles while one of its statements runs; ConstraintError when a deferred
   *   constraint fails at commit; TransactionTimeoutError when it was open for longer than `transactionTimeoutMs`;
   *   CommitOutcomeUnknownError when COMMIT met an I/O error; BusyError, QueueFullError, ReadOnlyDatabaseError,
   *   DatabaseClosedError when no transaction could be begun
   */
  async write<T>(fn: (q: W, tx: WriteTransaction) => T | PromiseLike<T>): Promise<T> {
    checkClosure(fn);
    const target = await this.#engine.begin(this.#target, 'write');
    let value: T;
    try {
      const tx = WriteTransaction.of(this.#engine, target);
      value = await fn(this.#queriers.write(tx) as W, tx);
    } catch (error) {
      await endByRollback(this.#engine, target);
      throw error;
    }
    if (target.inFlight > 0) await this.#refuseUnfinished(target);
    await this.#engine.end(target, 'commit');
    return value;
  }

  /** The first row, or `undefined` when there is none, in a transaction of its own. */
  get<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw | undefined>;
  /** The first row as an array, or `undefined` when there is none. */
  get<Rw = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<Rw | undefined>;
  get<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw | undefined> {
    return this.#engine.statement(this.#target, Form.get, sql, parameters, options) as Promise<Rw | undefined>;
  }

  /** The first row, in a transaction of its own; rejects with `NoRowsError` when there is none. */
  one<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw>;
  /** The first row as an array; rejects with `NoRowsError` when there is none. */
  one<Rw = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<Rw>;
  one<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw> {
    return this.#engine.statement(this.#target, Form.one, sql, parameters, options) as Promise<Rw>;
  }

  /** All rows, in a transaction of its own. A statement that writes (`RETURNING`) goes to the writer by itself. */
  all<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw[]>;
  /** All rows as arrays. */
  all<Rw = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<Rw[]>;
  all<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw[]> {
    return this.#engine.statement(this.#target, Form.all, sql, parameters, options) as Promise<Rw[]>;
  }

  /** All there is to know about a statement of any kind, in a transaction of its own. */
  query<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<QueryResult<Rw>>;
  /** The same, with rows as arrays. */
  query<Rw = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<QueryResult<Rw>>;
  query<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<QueryResult<Rw>> {
    return this.#engine.statement(this.#target, Form.query, sql, parameters, options) as Promise<QueryResult<Rw>>;
  }

  /**
   * The rows one by one, on one snapshot, fetched in batches while they are consumed.
   *
   * The transaction begins with the first row that is asked for and ends with the last one, or when the loop is left.
   * A statement that writes is refused with `ReadOnlyTransactionError`; use `all`.
   */
  iterate<Rw = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & BatchOptions,
  ): AsyncRows<Rw>;
  /** The rows one by one as arrays. */
  iterate<Rw = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & BatchOptions,
  ): AsyncRows<Rw>;
  iterate<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions & BatchOptions): AsyncRows<Rw> {
    batchMode(options, 0);
    batchRows(options);
    const cursor = new ManagedCursor(this.#engine, this.#target, this.#cursors, { sql, parameters, options });
    const rows = new RowIterator<Rw>(cursor);
    ManagedCursor.endWith(rows, cursor);
    return rows;
  }

  /**
   * Runs a statement for what it changes, in a transaction of its own; rows it gives are dropped.
   *
   * Calls that wait for the writer together share one commit, and each resolves after it. One that fails, fails alone.
   */
  run(sql: string | Sql, parameters?: SqlParameters): Promise<RunResult> {
    return this.#engine.statement(this.#target, Form.run, sql, parameters, undefined) as Promise<RunResult>;
  }

  /** Runs a script of any number of statements without parameters, in one transaction. */
  exec(sql: string | Sql): Promise<void> {
    return this.#engine.statement(this.#target, Form.exec, sql, undefined, undefined) as Promise<void>;
  }

  /**
   * Closes the database: refuses new work, lets accepted work finish, then closes the file when no other handle has it.
   *
   * Idle iterators are ended at once; they throw `DatabaseClosedError` at their next fetch. Closing again gives the
   * same promise.
   */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      for (const cursor of this.#cursors) cursor.databaseClosed();
      this.#closing = this.#engine.close(this.#target);
    }
    return this.#closing;
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #refuseUnfinished(target: Target): Promise<never> {
    await endByRollback(this.#engine, target);
    throw new UnfinishedQueryError(
      'the closure settled while one of its statements was still running, so the transaction was rolled back; ' +
        'await every statement inside the closure',
    );
  }
}

function checkClosure(fn: unknown): void {
  if (typeof fn !== 'function') throw new OptionError(`read and write need a function, got ${typeof fn}`);
}

/** With one querier for both, closures of `read` get a transaction that has the methods that write; the engine refuses them. */
function queriersOf(querier: Querier<unknown, unknown> | undefined): Queriers {
  const reading = (ofEngine: Engine, target: Target) => ReadTransaction.of(ofEngine, target);
  if (querier === undefined) return { readTransaction: reading, read: (tx) => tx, write: (tx) => tx };
  if (typeof querier !== 'function') return { readTransaction: reading, read: querier.read, write: querier.write };
  return {
    readTransaction: (ofEngine, target) => WriteTransaction.of(ofEngine, target),
    read: (tx) => querier(tx as WriteTransaction),
    write: querier,
  };
}
