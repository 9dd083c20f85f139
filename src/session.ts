// One open database as its own parts see it: the engine, and what happens around each call to it.

import { kindOf as kindOfValue } from './checks.js';
import { OptionError } from './errors.js';
import type { ManagedCursor } from './managed-cursor.js';
import type { Cursor, CursorRequest, Engine, Form, Target, Wait } from './native/engine.js';
import { type CallOptions, checkCallOptions, type QueryOptions, type ResultOptions } from './options.js';
import { reentrance } from './reentrancy.js';
import type { Sql } from './sql.js';
import { stackOf } from './stack.js';
import { asked } from './thenable.js';
import { kindOf, statements, TracedCursor, traceStatement, traceStatementSync } from './trace.js';
import type { RunResult, SqlParameters } from './values.js';

/** How a database was opened, as far as this side cares. */
export interface SessionOptions {
  readonly captureStacks: boolean;
  /** Calls from inside an own closure are refused. */
  readonly detects: boolean;
}

/** A database and everything its transactions share with it. */
export class Session {
  readonly engine: Engine;
  readonly handle: Target;
  readonly path: string;
  readonly detects: boolean;
  /** Iterators that hold a transaction; ended when the database is closed. */
  readonly cursors = new Set<ManagedCursor>();
  readonly #captureStacks: boolean;

  constructor(engine: Engine, handle: Target, path: string, options: SessionOptions) {
    this.engine = engine;
    this.handle = handle;
    this.path = path;
    this.detects = options.detects;
    this.#captureStacks = options.captureStacks;
  }

  /** A statement that is a transaction of its own. */
  own(
    method: string,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<unknown> {
    if (this.detects) {
      const refusal = reentrance(this.handle.engineId, method);
      if (refusal !== undefined) return Promise.reject(refusal);
    }
    return this.statement(this.handle, form, sql, parameters, options);
  }

  /** A statement of a transaction, or of the database. */
  statement(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<unknown> {
    if (!statements.hasSubscribers) return this.engine.statement(target, form, sql, parameters, options);
    const work = () => this.engine.statement(target, form, sql, parameters, options);
    return asked(target, () => traceStatement(this.path, sql, kindOf(form), target !== this.handle, work));
  }

  /** A statement of a transaction on this thread, with its events. */
  tracedSync(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ResultOptions | undefined,
    below: CallableFunction,
  ): unknown {
    return traceStatementSync(this.path, sql, kindOf(form), () =>
      this.engine.statementSync(target, form, sql, parameters, options, below),
    );
  }

  /** One statement for many rows of values, of a transaction or of the database. */
  runMany(
    target: Target,
    sql: string | Sql,
    rows: Iterable<SqlParameters>,
    options: CallOptions | undefined,
  ): Promise<RunResult> {
    try {
      checkCallOptions(options);
      if (target === this.handle) this.refuseReentrance('runMany');
      checkRows(rows);
    } catch (error) {
      return Promise.reject(error);
    }
    const work = () => this.engine.runMany(target, sql, rows, options);
    if (!statements.hasSubscribers) return work();
    const traced = () => traceStatement(this.path, sql, 'runMany', target !== this.handle, work);
    return asked(target, traced) as Promise<RunResult>;
  }

  /** A cursor of the closure of a transaction. */
  cursor(target: Target, request: CursorRequest): Cursor {
    const cursor = this.engine.cursor(target, request);
    if (!statements.hasSubscribers) return cursor;
    return new TracedCursor(cursor, { database: this.path, sql: request.sql, transaction: true });
  }

  /** A cursor that has its transaction to itself. */
  ownCursor(target: Target, request: CursorRequest): Cursor {
    const cursor = this.engine.cursor(target, request);
    if (!statements.hasSubscribers) return cursor;
    return new TracedCursor(cursor, { database: this.path, sql: request.sql, transaction: false });
  }

  /** Throws when the running code is inside an open transaction of the same engine. */
  refuseReentrance(method: string): void {
    if (!this.detects) return;
    const refusal = reentrance(this.handle.engineId, method);
    if (refusal !== undefined) throw refusal;
  }

  /**
   * What a call that waits for its turn tells the engine, for the caller of `below`; nothing in the usual case. A copy: a
   * caller may use its options again while this call waits.
   */
  wait(options: CallOptions | undefined, below: CallableFunction): Wait | undefined {
    const stack = this.#captureStacks ? stackOf(below) : undefined;
    if (options === undefined) return stack === undefined ? undefined : { stack };
    const { signal, timeoutMs, queueTimeoutMs } = options;
    return { signal, timeoutMs, queueTimeoutMs, stack };
  }
}

function checkRows(rows: unknown): void {
  if (typeof rows === 'object' && rows !== null && Symbol.iterator in rows) return;
  throw new OptionError(`runMany needs an iterable of parameters, one per row, got ${kindOfValue(rows)}`);
}
