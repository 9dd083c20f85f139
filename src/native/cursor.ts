// A statement whose rows are taken batch by batch.

import { batchMode, batchRows } from '../options.js';
import type { Sql } from '../sql.js';
import type { SqlParameters } from '../values.js';
import { type Border, textOf } from './border.js';
import { abortError, type Limits, limited, limitsOf } from './cancellation.js';
import type { Batch, Cursor, CursorRequest } from './engine.js';
import { errorOf } from './failure.js';
import { Outcome } from './operations.js';
import type { Parameters } from './parameters.js';
import { inFlight, isBusy, refusal } from './refusal.js';
import type { Target } from './target.js';
import { Kind } from './wire.js';

/** Where a cursor is in its life. */
type State = 'new' | 'open' | 'closed';

/** A cursor of the bridge. Nothing is sent before the first batch is asked for. */
export class BridgeCursor implements Cursor {
  readonly transaction: Target;
  readonly #border: Border;
  readonly #sql: string | Sql;
  readonly #parameters: SqlParameters | undefined;
  readonly #limits: Limits | undefined;
  readonly #id: number;
  readonly #mode: number;
  readonly #rows: number;
  #state: State = 'new';

  /** Throws an `OptionError`. */
  constructor(border: Border, target: Target, request: CursorRequest) {
    this.#border = border;
    this.transaction = target;
    this.#sql = request.sql;
    this.#parameters = request.parameters;
    this.#mode = batchMode(request.options, target.mode);
    this.#rows = batchRows(request.options);
    this.#limits = limitsOf(request.options);
    this.#id = target.newCursor();
  }

  async next(): Promise<Batch> {
    if (this.#state === 'closed' && !this.transaction.ended) return { rows: [], open: false };
    const signal = this.#limits?.signal;
    if (signal?.aborted === true) {
      this.close();
      throw abortError(signal, typeof this.#sql === 'string' ? this.#sql : this.#sql.text);
    }
    const opening = this.#state === 'new';
    this.#state = 'open';
    try {
      const batch = await this.#fetch(opening);
      if (!batch.open) this.#state = 'closed';
      return batch;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  nextSync(below?: CallableFunction): Batch {
    if (this.#state === 'closed' && !this.transaction.ended) return { rows: [], open: false };
    const opening = this.#state === 'new';
    this.#state = 'open';
    try {
      const batch = this.#fetchSync(opening, below);
      if (!batch.open) this.#state = 'closed';
      return batch;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Done at once unless a statement of the transaction is running. */
  close(): void {
    if (this.#state === 'open' && !this.transaction.ended) {
      this.#border.notify(Kind.closeCursor, this.transaction, this.#id);
    }
    this.#state = 'closed';
  }

  /** Runs the statement and takes its first batch, or takes the next one. */
  #fetch(opening: boolean): Promise<Batch> {
    let text = '';
    try {
      text = textOf(this.#sql);
      this.#check();
      const border = this.#border;
      const { transaction: target } = this;
      const values = opening ? this.#values() : undefined;
      const statement = opening ? border.statements.id(text) : 0;
      const kind = opening ? Kind.cursor : Kind.pull;
      const operation = border.operations.take(target, Outcome.batch, this.#mode, text);
      const batch = border.start(operation, kind, this.#mode, target, statement, this.#id, this.#rows, values);
      const limits = this.#limits;
      return (limits === undefined ? batch : limited(border, operation, target, batch, limits)) as Promise<Batch>;
    } catch (error) {
      return Promise.reject(errorOf(error, text));
    }
  }

  /** The same on this thread. */
  #fetchSync(opening: boolean, below: CallableFunction | undefined): Batch {
    let text = '';
    try {
      text = textOf(this.#sql);
      this.#check();
      if (isBusy(this.transaction)) throw inFlight();
      const border = this.#border;
      const { transaction: target } = this;
      const values = opening ? this.#values() : undefined;
      const statement = opening ? border.statements.id(text) : 0;
      const kind = opening ? Kind.cursor : Kind.pull;
      const { batch } = Outcome;
      return border.sync(target, kind, batch, this.#mode, statement, this.#id, this.#rows, values) as Batch;
    } catch (error) {
      throw errorOf(error, text, below);
    }
  }

  #check(): void {
    if (this.transaction.ended || this.transaction.child !== undefined) throw refusal(this.transaction);
  }

  #values(): Parameters | undefined {
    return this.#border.values(this.#sql, this.#parameters, Kind.cursor);
  }
}
