// The synchronous surface of a transaction: the same statements, run on this thread.

import type { Target } from './native/engine.js';
import { Form } from './native/engine.js';
import {
  type BatchOptions,
  checkNoOptions,
  checkSyncOptions,
  type ResultOptions,
  type SyncArrayRowOptions,
  type SyncObjectRowOptions,
} from './options.js';
import { rowsSync } from './rows.js';
import { runSavepointSync } from './savepoint.js';
import type { Session } from './session.js';
import type { Sql } from './sql.js';
import { statements } from './trace.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';

/**
 * Statements of a transaction, run on this thread while it waits. They never wait for a lock or for another thread.
 *
 * They throw what the asynchronous ones reject with, and `StatementInFlightError` until those have been answered. No
 * `signal` can reach them, since nothing else runs on this thread; the deadline of the transaction does.
 */
export class SyncRead {
  /** @internal */
  protected readonly session: Session;
  /** @internal */
  protected readonly target: Target;
  /** Decided once: a statement on this thread costs as much as twenty such questions. */
  readonly #traced = statements.hasSubscribers;

  /** Made by `tx.sync`. */
  protected constructor(session: never, target: never);
  /** @internal */
  protected constructor(session: Session, target: Target);
  protected constructor(session: Session, target: Target) {
    this.session = session;
    this.target = target;
  }

  /** @internal */
  static of(session: Session, target: Target): SyncRead {
    return new SyncRead(session, target);
  }

  /** The first row, or `undefined` when there is none. */
  get<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: SyncObjectRowOptions): R | undefined;
  /** The first row as an array, or `undefined` when there is none. */
  get<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: SyncArrayRowOptions,
  ): R | undefined;
  get<R>(sql: string | Sql, parameters?: SqlParameters, options?: ResultOptions): R | undefined {
    return this.statement(Form.get, sql, parameters, options, this.get) as R | undefined;
  }

  /** The first row; throws `NoRowsError` when there is none. */
  one<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: SyncObjectRowOptions): R;
  /** The first row as an array; throws `NoRowsError` when there is none. */
  one<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: SyncArrayRowOptions): R;
  one<R>(sql: string | Sql, parameters?: SqlParameters, options?: ResultOptions): R {
    return this.statement(Form.one, sql, parameters, options, this.one) as R;
  }

  /** All rows. */
  all<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: SyncObjectRowOptions): R[];
  /** All rows as arrays. */
  all<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: SyncArrayRowOptions): R[];
  all<R>(sql: string | Sql, parameters?: SqlParameters, options?: ResultOptions): R[] {
    return this.statement(Form.all, sql, parameters, options, this.all) as R[];
  }

  /** All there is to know about a statement of any kind: columns, rows, changes and row id. */
  query<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: SyncObjectRowOptions): QueryResult<R>;
  /** The same, with rows as arrays. */
  query<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: SyncArrayRowOptions,
  ): QueryResult<R>;
  query<R>(sql: string | Sql, parameters?: SqlParameters, options?: ResultOptions): QueryResult<R> {
    return this.statement(Form.query, sql, parameters, options, this.query) as QueryResult<R>;
  }

  /**
   * The rows one by one. Other statements may run between two rows. A statement that writes is refused with
   * `StatementError`; use `all`. Ends with an error when a savepoint that has changed the schema is taken back meanwhile.
   */
  iterate<R = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: SyncObjectRowOptions & BatchOptions,
  ): Generator<R, undefined, undefined>;
  /** The rows one by one as arrays. */
  iterate<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: SyncArrayRowOptions & BatchOptions,
  ): Generator<R, undefined, undefined>;
  iterate<R>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ResultOptions & BatchOptions,
  ): Generator<R, undefined, undefined> {
    if (options !== undefined) checkSyncOptions(options);
    return rowsSync<R>(this.session.cursor(this.target, { sql, parameters, options }));
  }

  /** @internal The stack of an error begins with the caller of `below`. */
  protected statement(
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ResultOptions | undefined,
    below: CallableFunction,
  ): unknown {
    if (options !== undefined) checkSyncOptions(options);
    const { session, target } = this;
    if (this.#traced) return session.tracedSync(target, form, sql, parameters, options, below);
    return session.engine.statementSync(target, form, sql, parameters, options, below);
  }
}

/** Statements of a write transaction, run on this thread. */
export class SyncWrite extends SyncRead {
  /** @internal */
  static override of(session: Session, target: Target): SyncWrite {
    return new SyncWrite(session, target);
  }

  /** Runs a statement for what it changes; rows it gives are dropped. */
  run(sql: string | Sql, parameters?: SqlParameters): RunResult;
  run(sql: string | Sql, parameters?: SqlParameters, options?: unknown): RunResult {
    if (options !== undefined) checkNoOptions(options, 'run');
    return this.statement(Form.run, sql, parameters, undefined, this.run) as RunResult;
  }

  /** Runs a script of any number of statements without parameters, in order, until one fails. */
  exec(sql: string | Sql): void;
  exec(sql: string | Sql, options?: unknown): void {
    if (options !== undefined) checkNoOptions(options, 'exec');
    this.statement(Form.exec, sql, undefined, undefined, this.exec);
  }

  /**
   * Runs `fn` in a transaction within this one, at once: kept when `fn` returns, and taken back alone when it throws.
   *
   * `fn` gets a surface of its own, which may have savepoints in turn; until it has returned everything else of the
   * transaction fails with `SavepointOpenError`. Gives what `fn` gives; what it throws is thrown again, unchanged.
   *
   * @throws AsyncClosureError when `fn` gives a promise, after its work was taken back; its promise counts as handled
   */
  savepoint<T>(fn: (tx: SyncWrite) => T): T {
    return runSavepointSync(this.session, this.target, 'tx.sync.savepoint', fn);
  }
}
