// A statement with its values left open, to be run several times in one transaction.

import { types } from 'node:util';
import type { Engine, Target } from './native/engine.js';
import { Form } from './native/engine.js';
import { type QueryOptions, queryMode } from './options.js';
import { type AsyncRows, RowIterator } from './rows.js';
import type { Sql } from './sql.js';
import type { RunResult, SqlParameter, SqlParameters } from './values.js';

/** The values of one run: spread out, as one array, or as one object of named values. */
export type StatementValues = readonly SqlParameter[] | readonly [SqlParameters];

/** A statement that reads, made by `tx.prepare`. It ends with its transaction. */
export class Statement<R> {
  /** @internal */
  protected readonly engine: Engine;
  /** @internal */
  protected readonly target: Target;
  /** @internal */
  protected readonly sql: string | Sql;
  readonly #options: QueryOptions | undefined;

  /** Made by `tx.prepare`. */
  protected constructor(engine: never, target: never, sql: never, options: never);
  /** @internal */
  protected constructor(engine: Engine, target: Target, sql: string | Sql, options: QueryOptions | undefined);
  protected constructor(engine: Engine, target: Target, sql: string | Sql, options: QueryOptions | undefined) {
    queryMode(options, 0);
    this.engine = engine;
    this.target = target;
    this.sql = sql;
    this.#options = options === undefined ? undefined : { ...options };
  }

  /** @internal */
  static of<R>(engine: Engine, target: Target, sql: string | Sql, options: QueryOptions | undefined): Statement<R> {
    return new Statement<R>(engine, target, sql, options);
  }

  /** The first row, or `undefined` when there is none. */
  get(...values: StatementValues): Promise<R | undefined> {
    const { engine, target, sql } = this;
    return engine.statement(target, Form.get, sql, bag(values), this.#options) as Promise<R | undefined>;
  }

  /** The first row; rejects with `NoRowsError` when there is none. */
  one(...values: StatementValues): Promise<R> {
    const { engine, target, sql } = this;
    return engine.statement(target, Form.one, sql, bag(values), this.#options) as Promise<R>;
  }

  /** All rows. */
  all(...values: StatementValues): Promise<R[]> {
    const { engine, target, sql } = this;
    return engine.statement(target, Form.all, sql, bag(values), this.#options) as Promise<R[]>;
  }

  /** The rows one by one, fetched in batches while they are consumed. */
  iterate(...values: StatementValues): AsyncRows<R> {
    const { engine, target, sql } = this;
    return new RowIterator<R>(engine.cursor(target, { sql, parameters: bag(values), options: this.#options }));
  }
}

/** A statement of a write transaction, made by `tx.prepare`. */
export class WriteStatement<R> extends Statement<R> {
  /** @internal */
  static override of<R>(
    engine: Engine,
    target: Target,
    sql: string | Sql,
    options: QueryOptions | undefined,
  ): WriteStatement<R> {
    return new WriteStatement<R>(engine, target, sql, options);
  }

  /** Runs the statement for what it changes; rows it gives are dropped. */
  run(...values: StatementValues): Promise<RunResult> {
    return this.engine.statement(this.target, Form.run, this.sql, bag(values), undefined) as Promise<RunResult>;
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
