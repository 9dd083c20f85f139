// Migrations as the addon has them: sources by number, the history of a database, Down parts to be run.

import type { MigrationInfo, MigrationProgress } from '../migration-history.js';
import type { Border } from './border.js';
import { failureOf } from './decode.js';
import { errorOf } from './failure.js';
import { Outcome } from './operations.js';
import { Reader } from './reader.js';
import type { Target } from './target.js';

// Captured at load: tests replace it with a fake.
const { queueMicrotask } = globalThis;

/** Called with every migration that was run. */
export type ProgressListener = (progress: MigrationProgress) => void;

/** The part of the bridge that migrations go through. */
export class Migrations {
  readonly #border: Border;
  /** Never used again: a database that was opened keeps its source. */
  #lastId = 0;

  constructor(border: Border) {
    this.#border = border;
  }

  define(names: readonly string[], texts: readonly string[]): number {
    this.#lastId += 1;
    const answer = this.#border.native.defineMigrations(this.#lastId, names, texts);
    if (answer !== undefined) throw errorOf(failureOf(new Reader(answer), 0), '');
    return this.#lastId;
  }

  list({ index, generation }: Target): Promise<MigrationInfo[]> {
    const { native } = this.#border;
    return this.#border.ask(Outcome.history, 0, (op) => {
      native.migrations(op, index, generation);
    }) as Promise<MigrationInfo[]>;
  }

  rollBack({ index, generation }: Target, to: number, listener: ProgressListener | undefined): Promise<void> {
    const { native } = this.#border;
    const call = (op: number) => native.rollbackMigrations(op, index, generation, to);
    return this.#border.ask(Outcome.done, 0, call, { progress: afterDrain(listener) }) as Promise<void>;
  }
}

/** The listener as the drain may call it: it runs after the drain, and before what waits for the operation goes on. */
export function afterDrain<T>(listener: ((event: T) => void) | undefined): ((event: T) => void) | undefined {
  if (listener === undefined) return undefined;
  return (event) => queueMicrotask(() => listener(event));
}
