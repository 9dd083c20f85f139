// Iterators over the rows of a statement, fetched batch by batch while they are consumed.

import type { Batch, Cursor, Target } from './native/engine.js';
import { asked } from './thenable.js';

/** The rows of a statement, one by one; ends what it holds when it is exhausted, left early or fails. */
export interface AsyncRows<R> extends AsyncIterableIterator<R, undefined, undefined>, AsyncDisposable {
  /** Gives up the rows that were not read. */
  return(): Promise<IteratorReturnResult<undefined>>;
  [Symbol.asyncIterator](): AsyncRows<R>;
}

/** Where batches come from. */
export interface BatchSource {
  /** The transaction of the closure they belong to. Once it has ended no row is handed out, and `next` says why. */
  readonly transaction: Target | undefined;
  next(): Promise<Batch>;
  close(): void | Promise<void>;
}

/** Rows one by one. A row that has been fetched costs one resolved promise. */
export class RowIterator<R> implements AsyncRows<R> {
  readonly #source: BatchSource;
  readonly #transaction: Target | undefined;
  #rows: unknown[] = [];
  #at = 0;
  #open = true;
  /** The fetch or end under way; calls that come meanwhile wait behind it. */
  #busy: Promise<unknown> | undefined = undefined;

  constructor(source: BatchSource) {
    this.#source = source;
    this.#transaction = source.transaction;
  }

  next(): Promise<IteratorResult<R, undefined>> {
    if (this.#busy === undefined) {
      if (this.#at < this.#rows.length) {
        if (this.#transaction?.ended !== true) return Promise.resolve({ done: false, value: this.#take() });
      } else if (!this.#open) return Promise.resolve({ done: true, value: undefined });
    }
    return asked(this.#transaction, () => this.#alone(() => this.#advance()));
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#alone(async () => {
      this.#drop();
      await this.#end();
      return { done: true, value: undefined };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next row, after a fetch if need be. */
  async #advance(): Promise<IteratorResult<R, undefined>> {
    try {
      if (this.#at < this.#rows.length && this.#transaction?.ended === true) await this.#source.next();
      while (this.#at >= this.#rows.length) {
        if (!this.#open) return { done: true, value: undefined };
        const batch = await this.#source.next();
        this.#rows = batch.rows;
        this.#at = 0;
        if (!batch.open) await this.#end();
      }
    } catch (error) {
      this.#drop();
      await this.#end();
      throw error;
    }
    return { done: false, value: this.#take() };
  }

  async #end(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#source.close();
  }

  #drop(): void {
    this.#rows = [];
    this.#at = 0;
  }

  #take(): R {
    return this.#rows[this.#at++] as R;
  }

  async #alone<T>(step: () => Promise<T>): Promise<T> {
    const before = this.#busy;
    const turn = before === undefined ? step() : before.then(step, step);
    this.#busy = turn;
    try {
      return await turn;
    } finally {
      if (this.#busy === turn) this.#busy = undefined;
    }
  }
}

/** Whole batches; the last one may be shorter, an empty one is left out. */
export function batches<R>(source: BatchSource): AsyncGenerator<R[], undefined, undefined> {
  const rows = generate<R>(source);
  const next = rows.next.bind(rows);
  return Object.assign(rows, { next: () => asked(source.transaction, next) });
}

async function* generate<R>(source: BatchSource): AsyncGenerator<R[], undefined, undefined> {
  try {
    for (;;) {
      const batch = await source.next();
      if (batch.rows.length > 0) yield batch.rows as R[];
      if (!batch.open) return undefined;
    }
  } finally {
    await source.close();
  }
}

/** What a loop over a generator calls: the stack of an error begins with the code of the loop. */
const resume: CallableFunction = Object.getPrototypeOf(rowsSync.prototype).next;

/** Rows one by one on this thread. */
export function* rowsSync<R>(cursor: Cursor): Generator<R, undefined, undefined> {
  const { transaction } = cursor;
  try {
    for (;;) {
      const { rows, open } = cursor.nextSync(resume);
      for (let at = 0; at < rows.length; at++) {
        if (transaction.ended) cursor.nextSync(resume);
        yield rows[at] as R;
      }
      if (!open) return undefined;
    }
  } finally {
    cursor.close();
  }
}
