// Groups of synchronous closures: one transaction, one closure after the other, each in the context of its own caller.

import { begun } from './begin.js';
import type { Border } from './border.js';
import { GroupGrant } from './decode.js';
import type { BatchTurn, Wait } from './engine.js';
import { errorOf, Failure, FailureCode } from './failure.js';
import { Outcome } from './operations.js';
import type { Savepoints } from './savepoints.js';
import type { Target } from './target.js';
import { Kind } from './wire.js';

// Captured at load: tests replace it with a fake.
const now = performance.now.bind(performance);

/** After this long no further closure is started: the others of the process wait for the writer too. */
const BUDGET_MS = 2;

/** Waits for turns, and passes them on. */
export class Groups {
  readonly #border: Border;
  readonly #savepoints: Savepoints;

  constructor(border: Border, savepoints: Savepoints) {
    this.#border = border;
    this.#savepoints = savepoints;
  }

  async begin(handle: Target, wait: Wait | undefined): Promise<BatchTurn> {
    const value = await this.#granted(handle, wait);
    const turn = value instanceof GroupGrant ? new Group(this.#border, this.#savepoints, value).first() : value;
    if (!(turn instanceof Turn)) throw errorOf(new Failure(FailureCode.protocol, 'a turn was not granted'), '');
    turn.aborted = wait?.signal?.aborted === true;
    return turn;
  }

  #granted(handle: Target, wait: Wait | undefined): Promise<unknown> {
    const { beginBatch } = Kind;
    if (wait !== undefined) return begun(this.#border, beginBatch, Outcome.turn, handle, wait);
    return this.#border.submit(handle, beginBatch, Outcome.turn, handle.mode, '', 0, 0, 0, undefined);
  }
}

/** The closures of one grant. */
class Group {
  readonly target: Target;
  readonly #border: Border;
  readonly #savepoints: Savepoints;
  readonly #ops: readonly number[];
  readonly #since = now();
  /** What its commit gave: the frames in the log after it, or how it failed. */
  readonly #outcome: Promise<unknown>;
  #end: (outcome: unknown) => void = () => {};
  #started = 0;

  constructor(border: Border, savepoints: Savepoints, { target, ops }: GroupGrant) {
    this.#border = border;
    this.#savepoints = savepoints;
    this.target = target;
    this.#ops = ops;
    this.#outcome = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  first(): Turn {
    this.#started = 1;
    return new Turn(this);
  }

  /** A closure is done: the next one has its turn, or what has been done is committed. Gives the outcome of that. */
  pass(): Promise<unknown> {
    const { target } = this;
    if (target.child !== undefined) this.#giveUp(target.child);
    if (!this.#startNext()) this.#commit();
    return this.#outcome;
  }

  /** Takes back a savepoint that was left open: it would be committed with the rest. */
  #giveUp(child: Target): void {
    try {
      this.#savepoints.endSync(child, 'rollback');
    } catch {
      this.target.lost = true;
    }
  }

  #startNext(): boolean {
    const { operations } = this.#border;
    while (this.#started < this.#ops.length) {
      if (this.target.lost || this.target.ended || now() - this.#since > BUDGET_MS) return false;
      const operation = operations.at(this.#ops[this.#started] ?? 0);
      this.#started += 1;
      if (operation?.promise === undefined) continue;
      const { resolve } = operation;
      operations.finish(operation);
      resolve(new Turn(this));
      return true;
    }
    return false;
  }

  /** Also when it was ended from outside: the engine learns from it whom to grant another transaction. */
  #commit(): void {
    const { target } = this;
    this.#border.notices.transactions.remove(target);
    target.ended = true;
    const commit = this.#border.submit(target, Kind.commit, Outcome.settled, 0, '', 0, 0, this.#started, undefined);
    const { endedBy } = target;
    commit.then((outcome) => this.#end(outcome instanceof Failure ? (endedBy ?? outcome) : outcome), this.#end);
  }
}

/** One closure's turn. */
class Turn implements BatchTurn {
  aborted = false;
  readonly #group: Group;
  #released = false;

  constructor(group: Group) {
    this.#group = group;
  }

  get target(): Target {
    return this.#group.target;
  }

  async release(): Promise<number> {
    if (this.#released) throw errorOf(new Failure(FailureCode.protocol, 'a turn was released twice'), '');
    this.#released = true;
    const outcome = await this.#group.pass();
    if (typeof outcome !== 'number') throw errorOf(outcome, '', this.release);
    return outcome;
  }
}
