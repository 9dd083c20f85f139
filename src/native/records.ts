// Records that are gathered before they are submitted together.

import type { Native } from './binding.js';

/** A buffer takes records until it is full; those of most batches fit into the first one. */
const FIRST_BYTES = 16 * 1024;
const MAX_BYTES = 1024 * 1024;

/** Where the flags are in a record. */
const FLAGS_AT = 9;

/** Copies of records, in order, each whole in one buffer. */
export class Records {
  readonly #full: Uint8Array<ArrayBuffer>[] = [];
  #bytes = new Uint8Array(FIRST_BYTES);
  #size = 0;
  /** Where the last record begins. */
  #last = 0;

  add(record: Uint8Array): void {
    if (this.#size + record.length > this.#bytes.length) this.#grow(record.length);
    this.#last = this.#size;
    this.#bytes.set(record, this.#size);
    this.#size += record.length;
  }

  /** Adds flags to the last record. */
  mark(flags: number): void {
    this.#bytes[this.#last + FLAGS_AT] = (this.#bytes[this.#last + FLAGS_AT] ?? 0) | flags;
  }

  submit(native: Native): void {
    for (const bytes of this.#full) native.submitFrom(bytes.buffer, bytes.length);
    native.submitFrom(this.#bytes.buffer, this.#size);
  }

  #grow(needed: number): void {
    if (this.#size > 0) this.#full.push(this.#bytes.subarray(0, this.#size));
    this.#bytes = new Uint8Array(Math.max(needed, Math.min(MAX_BYTES, this.#bytes.length * 4)));
    this.#size = 0;
  }
}
