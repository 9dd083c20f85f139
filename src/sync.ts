// The synchronous surface of a transaction: the same statements, run on this thread.

import type { Engine, Target } from './native/engine.js';
import { Form } from './native/engine.js';
import type { ArrayRowOptions, BatchOptions, ObjectRowOptions, QueryOptions } from './options.js';
import { rowsSync } from './rows.js';
import type { Sql } from './sql.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';

/**
 * Statements of a transaction, run on this thread while it waits. They never wait for a lock or for another thread.
 *
 * They throw what the asynchronous ones reject with, and `StatementInFlightError` until those have been answered.
 */
export class SyncRead {
  /** @internal */
  protected readonly engine: Engine;
  /** @internal */
  protected readonly target: Target;

  /** Made by `tx.sync`. */
  protected constructor(engine: never, target: never);
  /** @internal */
  protected constructor(engine: Engine, target: Target);
  protected constructor(engine: Engine, target: Target) {
    this.engine = engine;
    this.target = target;
  }

  /** @internal */
  static of(engine: Engine, target: Target): SyncRead {
    return new SyncRead(engine, target);
  }

  /** The first row, or `undefined` when there is none. */
  get<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): R | undefined;
  /** The first row as an array, or `undefined` when there is none. */
  get<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): R | undefined;
  get<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): R | undefined {
    return this.engine.statementSync(this.target, Form.get, sql, parameters, options) as R | undefined;
  }

  /** The first row; throws `NoRowsError` when there is none. */
  one<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): R;
  /** The first row as an array; throws `NoRowsError` when there is none. */
  one<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): R;
  one<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): R {
    return this.engine.statementSync(this.target, Form.one, sql, parameters, options) as R;
  }

  /** All rows. */
  all<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): R[];
  /** All rows as arrays. */
  all<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): R[];
  all<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): R[] {
    return this.engine.statementSync(this.target, Form.all, sql, parameters, options) as R[];
  }

  /** All there is to know about a statement of any kind: columns, rows, changes and row id. */
  query<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): QueryResult<R>;
  /** The same, with rows as arrays. */
  query<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): QueryResult<R>;
  query<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): QueryResult<R> {
    return this.engine.statementSync(this.target, Form.query, sql, parameters, options) as QueryResult<R>;
  }

  /**
   * The rows one by one. Other statements may run between two rows. A statement that writes is refused with
   * `StatementError`; use `all`.
   */
  iterate<R = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & BatchOptions,
  ): Generator<R, undefined, undefined>;
  /** The rows one by one as arrays. */
  iterate<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & BatchOptions,
  ): Generator<R, undefined, undefined>;
  iterate<R>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: QueryOptions & BatchOptions,
  ): Generator<R, undefined, undefined> {
    return rowsSync<R>(this.engine.cursor(this.target, { sql, parameters, options }));
  }
}

/** Statements of a write transaction, run on this thread. */
export class SyncWrite extends SyncRead {
  /** @internal */
  static override of(engine: Engine, target: Target): SyncWrite {
    return new SyncWrite(engine, target);
  }

  /** Runs a statement for what it changes; rows it gives are dropped. */
  run(sql: string | Sql, parameters?: SqlParameters): RunResult {
    return this.engine.statementSync(this.target, Form.run, sql, parameters, undefined) as RunResult;
  }

  /** Runs a script of any number of statements without parameters, in order, until one fails. */
  exec(sql: string | Sql): void {
    this.engine.statementSync(this.target, Form.exec, sql, undefined, undefined);
  }
}
