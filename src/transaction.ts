// What a closure of `read` or `write` gets: statements bound to one open transaction.

import type { Cursor, Engine, Target } from './native/engine.js';
import { Form } from './native/engine.js';
import type { ArrayRowOptions, BatchOptions, ObjectRowOptions, QueryOptions } from './options.js';
import { type AsyncRows, batches, RowIterator } from './rows.js';
import type { Sql } from './sql.js';
import { Statement, WriteStatement } from './statement.js';
import { SyncRead, SyncWrite } from './sync.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';

/**
 * A transaction that reads: one snapshot, from before the closure starts until it settles.
 *
 * Statements run in call order. After the closure has settled, everything here fails with `TransactionClosedError`.
 *
 * A statement rejects with `SqlError` or `ConstraintError` for what SQLite says about it, `StatementError` when it is
 * empty or two, `StatementNotAllowedError` when it is none for user SQL (BEGIN, ATTACH, ...), `ParameterError` for its
 * values, `ReadOnlyTransactionError` when it writes in `read`, `IntegerOutOfRangeError` for a result that needs
 * `bigint: true`, `TransactionAbortedError` and `TransactionTimeoutError` when the transaction is already rolled back.
 */
export class ReadTransaction {
  /** @internal */
  protected readonly engine: Engine;
  /** @internal */
  protected readonly target: Target;
  #sync: SyncRead | undefined = undefined;

  /** Made by `db.read` and `db.write`. */
  protected constructor(engine: never, target: never);
  /** @internal */
  protected constructor(engine: Engine, target: Target);
  protected constructor(engine: Engine, target: Target) {
    this.engine = engine;
    this.target = target;
  }

  /** @internal */
  static of(engine: Engine, target: Target): ReadTransaction {
    return new ReadTransaction(engine, target);
  }

  /**
   * The same statements on this thread, without waiting for the engine's: for many short statements in a row.
   *
   * Throws `StatementInFlightError` until every asynchronous statement of this transaction has been answered.
   */
  get sync(): SyncRead {
    this.#sync ??= SyncRead.of(this.engine, this.target);
    return this.#sync;
  }

  /** The first row, or `undefined` when there is none. */
  get<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<R | undefined>;
  /** The first row as an array, or `undefined` when there is none. */
  get<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<R | undefined>;
  get<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<R | undefined> {
    return this.engine.statement(this.target, Form.get, sql, parameters, options) as Promise<R | undefined>;
  }

  /** The first row; rejects with `NoRowsError` when there is none. */
  one<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<R>;
  /** The first row as an array; rejects with `NoRowsError` when there is none. */
  one<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<R>;
  one<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<R> {
    return this.engine.statement(this.target, Form.one, sql, parameters, options) as Promise<R>;
  }

  /** All rows. */
  all<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<R[]>;
  /** All rows as arrays. */
  all<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<R[]>;
  all<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<R[]> {
    return this.engine.statement(this.target, Form.all, sql, parameters, options) as Promise<R[]>;
  }

  /** All there is to know about a statement of any kind: columns, rows, changes and row id. */
  query<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<QueryResult<R>>;
  /** The same, with rows as arrays. */
  query<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<QueryResult<R>>;
  query<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<QueryResult<R>> {
    return this.engine.statement(this.target, Form.query, sql, parameters, options) as Promise<QueryResult<R>>;
  }

  /**
   * The rows one by one, fetched in batches while they are consumed.
   *
   * Other statements may run between two rows. The values are read when the first row is asked for. A statement that
   * writes is refused with `StatementError`; use `all`.
   */
  iterate<R = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & BatchOptions,
  ): AsyncRows<R>;
  /** The rows one by one as arrays. */
  iterate<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & BatchOptions,
  ): AsyncRows<R>;
  iterate<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions & BatchOptions): AsyncRows<R> {
    return new RowIterator<R>(this.#cursor(sql, parameters, options));
  }

  /** The rows in batches of `batchRows`, as they are fetched; otherwise as `iterate`. */
  batches<R = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & BatchOptions,
  ): AsyncGenerator<R[], undefined, undefined>;
  /** The rows in batches, each row as an array. */
  batches<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & BatchOptions,
  ): AsyncGenerator<R[], undefined, undefined>;
  batches<R>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: QueryOptions & BatchOptions,
  ): AsyncGenerator<R[], undefined, undefined> {
    return batches<R>(this.#cursor(sql, parameters, options));
  }

  /**
   * A statement to be run several times with different values.
   *
   * Synchronous and lazy: nothing is sent, and nothing can fail but the options, before it is run.
   */
  prepare<R = Row>(sql: string | Sql, options?: ObjectRowOptions): Statement<R>;
  /** The same, with rows as arrays. */
  prepare<R = ArrayRow>(sql: string | Sql, options: ArrayRowOptions): Statement<R>;
  prepare<R>(sql: string | Sql, options?: QueryOptions): Statement<R> {
    return Statement.of<R>(this.engine, this.target, sql, options);
  }

  #cursor(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: (QueryOptions & BatchOptions) | undefined,
  ): Cursor {
    return this.engine.cursor(this.target, { sql, parameters, options });
  }
}

/**
 * A transaction that writes: BEGIN IMMEDIATE before the closure starts, COMMIT after it returned, ROLLBACK after it threw.
 *
 * It is the only writer of its file in this process while it is open.
 */
export class WriteTransaction extends ReadTransaction {
  #syncWrite: SyncWrite | undefined = undefined;

  /** @internal */
  static override of(engine: Engine, target: Target): WriteTransaction {
    return new WriteTransaction(engine, target);
  }

  /** The same statements on this thread: see `ReadTransaction.sync`. */
  override get sync(): SyncWrite {
    this.#syncWrite ??= SyncWrite.of(this.engine, this.target);
    return this.#syncWrite;
  }

  /** Runs a statement for what it changes; rows it gives are dropped. */
  run(sql: string | Sql, parameters?: SqlParameters): Promise<RunResult> {
    return this.engine.statement(this.target, Form.run, sql, parameters, undefined) as Promise<RunResult>;
  }

  /** Runs a script of any number of statements without parameters, in order, until one fails. */
  exec(sql: string | Sql): Promise<void> {
    return this.engine.statement(this.target, Form.exec, sql, undefined, undefined) as Promise<void>;
  }

  /** As `ReadTransaction.prepare`, for statements that write as well. */
  override prepare<R = Row>(sql: string | Sql, options?: ObjectRowOptions): WriteStatement<R>;
  /** The same, with rows as arrays. */
  override prepare<R = ArrayRow>(sql: string | Sql, options: ArrayRowOptions): WriteStatement<R>;
  override prepare<R>(sql: string | Sql, options?: QueryOptions): WriteStatement<R> {
    return WriteStatement.of<R>(this.engine, this.target, sql, options);
  }
}
