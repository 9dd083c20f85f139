// The transactions that are open, by index: whom to tell when the engine ends one by itself.

import type { Failure } from './failure.js';
import type { Target } from './target.js';

/** Bounded by the transactions the engine has at a time: it uses indexes again. */
export class Transactions {
  readonly #open: (Target | undefined)[] = [];

  /** A transaction was granted. */
  readonly add = (transaction: Target): void => {
    this.#open[transaction.index] = transaction;
  };

  /** Its end was asked for: what becomes of it is that answer's to tell. */
  remove(transaction: Target): void {
    if (this.#open[transaction.index] === transaction) this.#open[transaction.index] = undefined;
  }

  /** The engine has rolled it back, savepoints included. */
  ended(index: number, generation: number, reason: Failure): void {
    const transaction = this.#open[index];
    if (transaction === undefined || transaction.generation !== generation) return;
    this.#open[index] = undefined;
    for (const target of transaction.open()) {
      target.endedBy = reason;
      target.ended = true;
    }
    for (const { onEnded } of transaction.open()) onEnded?.();
  }
}
