// The cursor of `db.iterate`: it brings its own read transaction.

import { DatabaseClosedError } from './errors.js';
import type { Batch, Cursor, CursorRequest, Engine, Target } from './native/engine.js';
import type { BatchSource } from './rows.js';

/** Where a cursor is in its life. */
type State = 'new' | 'fetching' | 'idle' | 'ended' | 'database closed';

/** Ends the transaction of an iterator that was dropped half-way. The cursor does not hold its iterator. */
const dropped = new FinalizationRegistry<ManagedCursor>((cursor) => cursor.close());

/** A cursor and its transaction, from the first batch to the last. */
export class ManagedCursor implements BatchSource {
  readonly #engine: Engine;
  readonly #handle: Target;
  readonly #live: Set<ManagedCursor>;
  readonly #request: CursorRequest;
  #state: State = 'new';
  #transaction: Target | undefined = undefined;
  #cursor: Cursor | undefined = undefined;
  #closedMeanwhile = false;

  /** `live` holds the cursors of the database that have a transaction. */
  constructor(engine: Engine, handle: Target, live: Set<ManagedCursor>, request: CursorRequest) {
    this.#engine = engine;
    this.#handle = handle;
    this.#live = live;
    this.#request = request;
  }

  /** Ends `cursor` when `iterator` is collected. */
  static endWith(iterator: object, cursor: ManagedCursor): void {
    dropped.register(iterator, cursor);
  }

  async next(): Promise<Batch> {
    if (this.#state === 'ended') return { rows: [], open: false };
    if (this.#state === 'database closed') throw closed();
    this.#state = 'fetching';
    try {
      const cursor = this.#cursor ?? (await this.#begin());
      const batch = await cursor.next();
      this.#state = 'idle';
      if (this.#closedMeanwhile) this.databaseClosed();
      return batch;
    } catch (error) {
      this.#state = 'idle';
      this.close();
      throw error;
    }
  }

  /** Ends the transaction; a read has nothing to lose, so failing at that is not worth an error. */
  close(): void {
    this.#end('ended');
  }

  /** The database is being closed: an idle cursor ends now, one that fetches when its batch is there. */
  databaseClosed(): void {
    if (this.#state === 'fetching') this.#closedMeanwhile = true;
    else this.#end('database closed');
  }

  async #begin(): Promise<Cursor> {
    this.#transaction = await this.#engine.begin(this.#handle, 'read');
    this.#live.add(this);
    this.#cursor = this.#engine.cursor(this.#transaction, this.#request);
    return this.#cursor;
  }

  #end(state: State): void {
    this.#live.delete(this);
    this.#state = state;
    if (this.#transaction === undefined || this.#transaction.ended) return;
    try {
      this.#engine.endReadSync(this.#transaction);
    } catch {
      // The engine has ended it before.
    }
  }
}

function closed(): DatabaseClosedError {
  return new DatabaseClosedError('the database was closed while the iterator was idle');
}
