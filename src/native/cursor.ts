// A statement whose rows are taken batch by batch.

import { batchMode, batchRows } from '../options.js';
import type { Sql } from '../sql.js';
import type { SqlParameters } from '../values.js';
import type { Bridge } from './bridge.js';
import type { Batch, Cursor, CursorRequest, Target } from './engine.js';

/** Where a cursor is in its life. */
type State = 'new' | 'open' | 'closed';

/** A cursor of the bridge. Nothing is sent before the first batch is asked for. */
export class BridgeCursor implements Cursor {
  readonly transaction: Target;
  readonly sql: string | Sql;
  readonly parameters: SqlParameters | undefined;
  readonly id: number;
  readonly mode: number;
  readonly limit: number;
  readonly #bridge: Bridge;
  #state: State = 'new';

  /** Throws an `OptionError`. */
  constructor(bridge: Bridge, target: Target, request: CursorRequest) {
    this.#bridge = bridge;
    this.transaction = target;
    this.sql = request.sql;
    this.parameters = request.parameters;
    this.mode = batchMode(request.options, target.mode);
    this.limit = batchRows(request.options);
    this.id = target.newCursor();
  }

  async next(): Promise<Batch> {
    if (this.#state === 'closed' && !this.transaction.ended) return { rows: [], open: false };
    const opening = this.#state === 'new';
    this.#state = 'open';
    try {
      const batch = opening ? await this.#bridge.openCursor(this) : await this.#bridge.pull(this);
      if (!batch.open) this.#state = 'closed';
      return batch;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  nextSync(): Batch {
    if (this.#state === 'closed' && !this.transaction.ended) return { rows: [], open: false };
    const opening = this.#state === 'new';
    this.#state = 'open';
    try {
      const batch = opening ? this.#bridge.openCursorSync(this) : this.#bridge.pullSync(this);
      if (!batch.open) this.#state = 'closed';
      return batch;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    if (this.#state === 'open') this.#bridge.closeCursor(this.transaction, this.id);
    this.#state = 'closed';
  }
}
