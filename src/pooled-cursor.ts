// The cursor of `pool.iterate`: it uses its database from the first fetch to the end of its transaction.

import { DatabaseClosedError } from './errors.js';
import { ManagedCursor, type ManagedRequest } from './managed-cursor.js';
import type { Batch } from './native/engine.js';
import type { BatchSource } from './rows.js';
import type { Tenants } from './tenants.js';

/** A managed cursor whose database is opened with its first fetch. */
export class PooledCursor implements BatchSource {
  readonly transaction = undefined;
  readonly #tenants: Tenants;
  readonly #key: string;
  readonly #request: ManagedRequest;
  #cursor: ManagedCursor | undefined = undefined;
  #ended = false;

  constructor(tenants: Tenants, key: string, request: ManagedRequest) {
    this.#tenants = tenants;
    this.#key = key;
    this.#request = request;
  }

  async next(): Promise<Batch> {
    if (this.#ended) return { rows: [], open: false };
    this.#cursor ??= await this.#begin();
    return await this.#cursor.next();
  }

  close(): void {
    this.#ended = true;
    this.#cursor?.close();
  }

  async #begin(): Promise<ManagedCursor> {
    const tenant = await this.#tenants.acquire(this.#key, this.#request.options.call);
    const cursor = new ManagedCursor(tenant.session, this.#request, () => this.#tenants.release(tenant));
    if (!this.#ended) return cursor;
    // Given up, or dropped, while the database was being opened.
    cursor.close();
    throw new DatabaseClosedError('the iterator was ended before its first row was there');
  }
}
