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
  /** None that a closure bounds: rows that were fetched may be had after the end of its own. */
  readonly transaction = undefined;
  readonly #engine: Engine;
  readonly #handle: Target;
  readonly #live: Set<ManagedCursor>;
  readonly #request: CursorRequest;
  #state: State = 'new';
  #own: Target | undefined = undefined;
  #cursor: Cursor | undefined = undefined;
  #closedMeanwhile = false;

  /** `live` holds the cursors of the database that have a transaction or wait for one. */
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
    // Before it waits: a close meanwhile must find it.
    this.#live.add(this);
    this.#own = await this.#engine.begin(this.#handle, 'read');
    this.#cursor = this.#engine.cursor(this.#own, this.#request);
    return this.#cursor;
  }

  #end(state: State): void {
    this.#live.delete(this);
    this.#state = state;
    if (this.#own === undefined || this.#own.ended) return;
    try {
      this.#engine.endRead(this.#own)?.catch(overBefore);
    } catch {
      overBefore();
    }
  }
}

/** The engine has ended the transaction before. */
function overBefore(): void {}

function closed(): DatabaseClosedError {
  return new DatabaseClosedError('the database was closed while the iterator was idle');
}
