// Iterators over the rows of a statement, fetched batch by batch while they are consumed.

import type { Batch, Cursor } from './native/engine.js';

/** The rows of a statement, one by one; ends what it holds when it is exhausted, left early or fails. */
export interface AsyncRows<R> extends AsyncIterableIterator<R, undefined, undefined>, AsyncDisposable {
  /** Gives up the rows that were not read. */
  return(): Promise<IteratorReturnResult<undefined>>;
  [Symbol.asyncIterator](): AsyncRows<R>;
}

/** Where batches come from. */
export interface BatchSource {
  next(): Promise<Batch>;
  close(): void | Promise<void>;
}

/** Rows one by one. A row that has been fetched costs one resolved promise. */
export class RowIterator<R> implements AsyncRows<R> {
  readonly #source: BatchSource;
  #rows: unknown[] = [];
  #at = 0;
  #open = true;
  /** The fetch or end under way; calls that come meanwhile wait behind it. */
  #busy: Promise<unknown> | undefined = undefined;

  constructor(source: BatchSource) {
    this.#source = source;
  }

  next(): Promise<IteratorResult<R, undefined>> {
    if (this.#busy === undefined) {
      if (this.#at < this.#rows.length) return Promise.resolve({ done: false, value: this.#take() });
      if (!this.#open) return Promise.resolve({ done: true, value: undefined });
    }
    return this.#alone(() => this.#advance());
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#alone(async () => {
      this.#rows = [];
      this.#at = 0;
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
      while (this.#at >= this.#rows.length) {
        if (!this.#open) return { done: true, value: undefined };
        const batch = await this.#source.next();
        this.#rows = batch.rows;
        this.#at = 0;
        if (!batch.open) await this.#end();
      }
    } catch (error) {
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
export async function* batches<R>(source: BatchSource): AsyncGenerator<R[], undefined, undefined> {
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

/** Rows one by one on this thread. */
export function* rowsSync<R>(cursor: Cursor): Generator<R, undefined, undefined> {
  try {
    for (;;) {
      const batch = cursor.nextSync();
      yield* batch.rows as R[];
      if (!batch.open) return undefined;
    }
  } finally {
    cursor.close();
  }
}
