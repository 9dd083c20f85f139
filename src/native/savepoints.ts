// Savepoints: a child takes the place of its transaction, and gives it back when it ends.

import type { Border } from './border.js';
import type { SavepointEnding } from './engine.js';
import { errorOf, Failure, FailureCode } from './failure.js';
import { Outcome } from './operations.js';
import { inFlight, isBusy, refusal } from './refusal.js';
import type { Target } from './target.js';
import { Kind } from './wire.js';

/** Opens and ends them. Their records go to the transaction as its own: the engine knows a stack and no names. */
export class Savepoints {
  readonly #border: Border;

  constructor(border: Border) {
    this.#border = border;
  }

  async open(parent: Target): Promise<Target> {
    if (parent.ended || parent.child !== undefined) throw errorOf(refusal(parent), '');
    const child = parent.newChild();
    try {
      await this.#submit(parent, Kind.savepoint, 0);
    } catch (error) {
      this.#forget(child, parent);
      throw error;
    }
    return child;
  }

  /** As the records are sent now, statements of the parent may follow at once. */
  async end(child: Target, how: SavepointEnding): Promise<void> {
    const parent = parentOf(child);
    for (const inner of [...child.open()].slice(1).reverse()) {
      const outer = parentOf(inner);
      this.#forget(inner, outer);
      this.#submit(outer, Kind.rollbackTo, inner.cursorsBefore).catch(() => {
        child.root.lost = true;
      });
    }
    this.#forget(child, parent);
    try {
      await this.#submit(parent, kindOf(how), child.cursorsBefore);
    } catch (error) {
      child.root.lost = true;
      throw error;
    }
  }

  openSync(parent: Target): Target {
    if (parent.ended || parent.child !== undefined) throw errorOf(refusal(parent), '');
    if (isBusy(parent)) throw errorOf(inFlight(), '');
    try {
      this.#sync(parent, Kind.savepoint, 0);
    } catch (error) {
      throw errorOf(error, '');
    }
    return parent.newChild();
  }

  endSync(child: Target, how: SavepointEnding): void {
    const parent = parentOf(child);
    if (isBusy(child)) throw errorOf(inFlight(), '');
    if (child.child !== undefined) this.endSync(child.child, 'rollback');
    this.#forget(child, parent);
    try {
      this.#sync(parent, kindOf(how), child.cursorsBefore);
    } catch (error) {
      if (!isTakenBack(error, how)) child.root.lost = true;
      throw errorOf(error, '');
    }
  }

  #forget(child: Target, parent: Target): void {
    child.ended = true;
    if (parent.child === child) parent.child = undefined;
  }

  async #submit(target: Target, kind: number, cursors: number): Promise<void> {
    await this.#border.submit(target, kind, Outcome.done, 0, '', 0, cursors, 0, undefined);
  }

  #sync(target: Target, kind: number, cursors: number): void {
    this.#border.sync(target, kind, Outcome.done, 0, 0, cursors, 0, undefined);
  }
}

/** Whether a closure of a group broke a deferred constraint: the engine has rolled back to its savepoint and released it. */
function isTakenBack(error: unknown, how: SavepointEnding): boolean {
  return how === 'release' && error instanceof Failure && error.code === FailureCode.constraint;
}

function kindOf(how: SavepointEnding): number {
  return how === 'release' ? Kind.release : Kind.rollbackTo;
}

/** What a savepoint that is open was opened in; throws for one that has ended. */
function parentOf(child: Target): Target {
  const { parent } = child;
  if (parent === undefined) throw errorOf(new Failure(FailureCode.protocol, 'not a savepoint'), '');
  if (child.ended) throw errorOf(refusal(child), '');
  return parent;
}
