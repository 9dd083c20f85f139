// The cursor of `db.iterate`: it brings its own read transaction.

import { onAbort } from './abort-signals.js';
import { AbortError, DatabaseClosedError, type SqlflowError, TransactionTimeoutError } from './errors.js';
import type { Batch, Cursor, Target } from './native/engine.js';
import type { CheckedIterateOptions } from './options.js';
import type { BatchSource } from './rows.js';
import type { Session } from './session.js';
import type { Sql } from './sql.js';
import type { SqlParameters } from './values.js';

// Captured at load: tests replace them with fakes.
const { setTimeout, clearTimeout } = globalThis;

/** Where a cursor is in its life; `'failed'`: it was ended between two fetches, and says why at the next. */
type State = 'new' | 'fetching' | 'idle' | 'ended' | 'failed';

/** Ends the transaction of an iterator that was dropped half-way. The cursor does not hold its iterator. */
const dropped = new FinalizationRegistry<{ close(): void }>((cursor) => cursor.close());

/** The query of a cursor, and what bounds it. */
export interface ManagedRequest {
  readonly sql: string | Sql;
  readonly parameters: SqlParameters | undefined;
  readonly options: CheckedIterateOptions;
}

/** A cursor and its transaction, from the first batch to the last. */
export class ManagedCursor implements BatchSource {
  /** None that a closure bounds: rows that were fetched may be had after the end of its own. */
  readonly transaction = undefined;
  readonly #session: Session;
  readonly #request: ManagedRequest;
  #onEnd: (() => void) | undefined;
  #state: State = 'new';
  #own: Target | undefined = undefined;
  #cursor: Cursor | undefined = undefined;
  #closedMeanwhile = false;
  /** Why it failed; made at the next fetch, whose caller its stack names. */
  #failure: () => SqlflowError = closed;
  #idle: NodeJS.Timeout | undefined = undefined;
  #leaveSignal: (() => void) | undefined = undefined;

  /** `onEnd` is called once, when its transaction is being ended, or will not be begun. */
  constructor(session: Session, request: ManagedRequest, onEnd?: () => void) {
    this.#session = session;
    this.#request = request;
    this.#onEnd = onEnd;
  }

  /** Ends `cursor` when `iterator` is collected. */
  static endWith(iterator: object, cursor: { close(): void }): void {
    dropped.register(iterator, cursor);
  }

  async next(): Promise<Batch> {
    if (this.#state === 'ended') return { rows: [], open: false };
    if (this.#state === 'failed') throw this.#failure();
    this.#state = 'fetching';
    try {
      const cursor = this.#cursor ?? (await this.#begin());
      const batch = await cursor.next();
      this.#state = 'idle';
      if (this.#closedMeanwhile) this.databaseClosed();
      else if (batch.open) this.#startIdling();
      return batch;
    } catch (error) {
      this.#state = 'idle';
      this.close();
      throw this.#withReason(error);
    }
  }

  /** Ends the transaction; a read has nothing to lose, so failing at that is not worth an error. */
  close(): void {
    this.#end('ended');
  }

  /** The database is being closed: an idle cursor ends now, one that fetches when its batch is there. */
  databaseClosed(): void {
    if (this.#state === 'fetching') this.#closedMeanwhile = true;
    else this.#fail(closed);
  }

  async #begin(): Promise<Cursor> {
    const session = this.#session;
    const { sql, parameters, options } = this.#request;
    session.refuseReentrance('iterate');
    // Before it waits: a close meanwhile must find it.
    session.cursors.add(this);
    const wait = session.wait(options.call, ManagedCursor.prototype.next);
    this.#own = await session.engine.begin(session.handle, 'read', wait);
    const signal = wait?.signal;
    if (signal !== undefined) this.#watch(signal);
    this.#cursor = session.ownCursor(this.#own, { sql, parameters, options: options.request });
    return this.#cursor;
  }

  #watch(signal: AbortSignal): void {
    if (signal.aborted) throw abortedBy(signal);
    this.#leaveSignal = onAbort(signal, () => {
      if (this.#state === 'idle') this.#fail(() => abortedBy(signal));
      else if (this.#own?.ended === false) this.#session.engine.expire(this.#own);
    });
  }

  /** One timer for all fetches, refreshed: most loops never wait for it. */
  #startIdling(): void {
    const { idleTimeoutMs } = this.#request.options;
    if (idleTimeoutMs === 0) return;
    if (this.#idle === undefined) this.#idle = setTimeout(() => this.#idledAway(), idleTimeoutMs).unref();
    else this.#idle.refresh();
  }

  #idledAway(): void {
    if (this.#state !== 'idle') return;
    const { idleTimeoutMs } = this.#request.options;
    this.#fail(
      () =>
        new TransactionTimeoutError(
          `no row was asked for in the ${idleTimeoutMs} ms of idleTimeoutMs, so the transaction of the iterator was ended`,
        ),
    );
  }

  #fail(failure: () => SqlflowError): void {
    this.#failure = failure;
    this.#end('failed');
  }

  #end(state: State): void {
    this.#session.cursors.delete(this);
    this.#state = state;
    clearTimeout(this.#idle);
    this.#leaveSignal?.();
    this.#leaveSignal = undefined;
    try {
      if (this.#own?.ended === false) this.#session.engine.endRead(this.#own)?.catch(overBefore);
    } catch {
      overBefore();
    }
    const onEnd = this.#onEnd;
    this.#onEnd = undefined;
    onEnd?.();
  }

  /** An error of the engine that says "aborted" gets the signal's reason. */
  #withReason(error: unknown): unknown {
    const signal = this.#request.options.call?.signal;
    if (signal?.aborted !== true || !(error instanceof AbortError) || error.cause !== undefined) return error;
    return abortedBy(signal);
  }
}

/** The engine has ended the transaction before. */
function overBefore(): void {}

function closed(): DatabaseClosedError {
  return new DatabaseClosedError('the database was closed while the iterator was idle');
}

function abortedBy(signal: AbortSignal): AbortError {
  return new AbortError('the iterator was ended by its signal', { cause: signal.reason });
}
