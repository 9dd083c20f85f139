// A statement with its values left open, to be run several times in one transaction.

import { types } from 'node:util';
import type { Target } from './native/engine.js';
import { Form } from './native/engine.js';
import { type CallOptions, type QueryOptions, queryMode } from './options.js';
import { type AsyncRows, RowIterator } from './rows.js';
import type { Session } from './session.js';
import type { Sql } from './sql.js';
import type { RunResult, SqlParameter, SqlParameters } from './values.js';

/** The values of one run: spread out, as one array, or as one object of named values. */
export type StatementValues = readonly SqlParameter[] | readonly [SqlParameters];

/**
 * A statement that reads, made by `tx.prepare`. It ends with its transaction.
 *
 * Each run rejects with what the methods of the transaction reject with, `signal` and `timeoutMs` of `prepare` included.
 */
export class Statement<R> {
  /** @internal */
  protected readonly session: Session;
  /** @internal */
  protected readonly target: Target;
  /** @internal */
  protected readonly sql: string | Sql;
  /** @internal What of the options is not about rows. */
  protected readonly call: CallOptions | undefined;
  readonly #options: QueryOptions | undefined;

  /** Made by `tx.prepare`. */
  protected constructor(session: never, target: never, sql: never, options: never);
  /** @internal */
  protected constructor(session: Session, target: Target, sql: string | Sql, options: QueryOptions | undefined);
  protected constructor(session: Session, target: Target, sql: string | Sql, options: QueryOptions | undefined) {
    queryMode(options, 0);
    this.session = session;
    this.target = target;
    this.sql = sql;
    this.#options = options === undefined ? undefined : { ...options };
    this.call =
      options?.signal === undefined && options?.timeoutMs === undefined
        ? undefined
        : { signal: options.signal, timeoutMs: options.timeoutMs };
  }

  /** @internal */
  static of<R>(session: Session, target: Target, sql: string | Sql, options: QueryOptions | undefined): Statement<R> {
    return new Statement<R>(session, target, sql, options);
  }

  /** The first row, or `undefined` when there is none. */
  get(...values: StatementValues): Promise<R | undefined> {
    const { session, target, sql } = this;
    return session.statement(target, Form.get, sql, bag(values), this.#options) as Promise<R | undefined>;
  }

  /** The first row; rejects with `NoRowsError` when there is none. */
  one(...values: StatementValues): Promise<R> {
    const { session, target, sql } = this;
    return session.statement(target, Form.one, sql, bag(values), this.#options) as Promise<R>;
  }

  /** All rows. */
  all(...values: StatementValues): Promise<R[]> {
    const { session, target, sql } = this;
    return session.statement(target, Form.all, sql, bag(values), this.#options) as Promise<R[]>;
  }

  /** The rows one by one, fetched in batches while they are consumed. */
  iterate(...values: StatementValues): AsyncRows<R> {
    const { session, target, sql } = this;
    return new RowIterator<R>(session.cursor(target, { sql, parameters: bag(values), options: this.#options }));
  }
}

/** A statement of a write transaction, made by `tx.prepare`. */
export class WriteStatement<R> extends Statement<R> {
  /** @internal */
  static override of<R>(
    session: Session,
    target: Target,
    sql: string | Sql,
    options: QueryOptions | undefined,
  ): WriteStatement<R> {
    return new WriteStatement<R>(session, target, sql, options);
  }

  /** Runs the statement for what it changes; rows it gives are dropped. */
  run(...values: StatementValues): Promise<RunResult> {
    const { session, target, sql, call } = this;
    return session.statement(target, Form.run, sql, bag(values), call) as Promise<RunResult>;
  }
}

/** The values as the engine takes them. One object that is no value itself holds all of them. */
function bag(values: StatementValues): SqlParameters | undefined {
  if (values.length === 0) return undefined;
  const [first] = values;
  if (values.length === 1 && typeof first === 'object' && first !== null && holdsValues(first)) return first;
  return values as readonly SqlParameter[];
}

function holdsValues(value: object): value is SqlParameters & object {
  return !ArrayBuffer.isView(value) && !types.isAnyArrayBuffer(value) && !types.isDate(value);
}
