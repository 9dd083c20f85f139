// The op table: what is known on this side of every operation the engine has not finished.

import type { Step } from '../copies.js';
import type { MigrationProgress } from '../migration-history.js';
import type { Target } from './target.js';

/** What an operation resolves with. */
export const Outcome = {
  /** The first row or `undefined`. */
  row: 0,
  /** The first row; none is an error. */
  one: 1,
  /** All rows, over as many records as it takes. */
  rows: 2,
  /** All rows with columns, changes and row id. */
  query: 3,
  /** Changes and row id. */
  changes: 4,
  /** Nothing. */
  done: 5,
  /** One batch of a cursor. */
  batch: 6,
  /** A granted transaction. */
  grant: 7,
  /** An opened database. */
  opened: 8,
  /** How a transaction ended. */
  committed: 9,
  /** A closure's turn in a group. */
  turn: 10,
  /** What a checkpoint did. */
  checkpoint: 11,
  /** Migrations, and which of them are applied. */
  history: 12,
  /** What a check has found. */
  verified: 13,
  /** Rows, columns and counts of every statement of a batch; a `Failure` is given as a value. */
  results: 14,
  /** The sums of a batch; a `Failure` is given as a value. */
  totals: 15,
  /** Frames in the log after the commit of a group; a `Failure` is given as a value. */
  settled: 16,
} as const;

export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** Whether a failure is given as a value, for whoever asked to make errors of. */
export function givesFailures(outcome: Outcome): boolean {
  return outcome >= Outcome.results;
}

type Settle = (value: unknown) => void;

const unused: Settle = () => {};

/** One slot of the table; used again as soon as its last record has been settled. */
export class Operation {
  readonly index: number;
  resolve: Settle = unused;
  promise: Promise<unknown> | undefined = undefined;
  target: Target | undefined = undefined;
  outcome: Outcome = Outcome.done;
  /** `Flag.bigint` and `Flag.arrays`, as asked for by the call. */
  mode = 0;
  sql = '';
  /** Rows of earlier records of a result that comes in several. */
  rows: unknown[] | undefined = undefined;
  /** Told, inside the drain, of each migration that it runs: must not run user code. */
  progress: ((progress: MigrationProgress) => void) | undefined = undefined;
  /** The same for the steps of a copy or a check. */
  steps: ((step: Step) => void) | undefined = undefined;
  /** Set when a record could not be decoded; later records of the operation are skipped. */
  failure: unknown = undefined;

  constructor(index: number) {
    this.index = index;
  }
}

let lastSettle: Settle = unused;
const capture = (resolve: Settle): void => {
  lastSettle = resolve;
};
const ignore = (): void => {};

/** Slots with a free list: an operation in steady state allocates nothing here but its promise. */
export class Operations {
  readonly #slots: Operation[] = [];
  readonly #free: Operation[] = [];

  constructor(size = 64) {
    for (let index = 0; index < size; index++) {
      const slot = new Operation(index);
      this.#slots.push(slot);
      this.#free.push(slot);
    }
  }

  /** A free slot; the table grows when there is none. */
  take(target: Target | undefined, outcome: Outcome, mode: number, sql: string): Operation {
    let slot = this.#free.pop();
    if (slot === undefined) {
      slot = new Operation(this.#slots.length);
      this.#slots.push(slot);
    }
    slot.target = target;
    slot.outcome = outcome;
    slot.mode = mode;
    slot.sql = sql;
    return slot;
  }

  /** The promise of a slot that was taken. It never rejects by `reject`: see `rejection` in failure.ts. */
  start(slot: Operation): Promise<unknown> {
    const promise = new Promise<unknown>(capture);
    slot.promise = promise;
    slot.resolve = lastSettle;
    if (slot.target !== undefined) {
      slot.target.inFlight++;
      if (slot.target.disowned) promise.then(undefined, ignore);
    }
    return promise;
  }

  at(index: number): Operation | undefined {
    // The comparison keeps `NO_REPLY` and the like from being looked up as a property.
    return index < this.#slots.length ? this.#slots[index] : undefined;
  }

  /** Gives a slot back whose operation was started. */
  finish(slot: Operation): void {
    if (slot.target !== undefined) slot.target.inFlight--;
    this.release(slot);
  }

  /** Gives a slot back that was taken and not started. */
  release(slot: Operation): void {
    slot.promise = undefined;
    slot.resolve = unused;
    slot.target = undefined;
    slot.sql = '';
    slot.rows = undefined;
    slot.progress = undefined;
    slot.steps = undefined;
    slot.failure = undefined;
    this.#free.push(slot);
  }

  /** Marks the promises of everything in flight on `target` as handled: nobody is left to wait for them. */
  disown(target: Target): void {
    for (const slot of this.#slots) {
      if (slot.target === target) slot.promise?.then(undefined, ignore);
    }
  }
}
