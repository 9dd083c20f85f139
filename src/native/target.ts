// A database handle or a transaction in the engine, and what this side knows of it.

import type { Failure } from './failure.js';

/** A database, a transaction, or a savepoint in one. */
export class Target {
  readonly index: number;
  readonly generation: number;
  /** `Flag.transaction` or 0. */
  readonly flag: number;
  /** Results as the database was opened for: `Flag.bigint` or 0. */
  readonly mode: number;
  /** Operations that have not been answered. */
  inFlight = 0;
  /** Set when the closure of a transaction or savepoint has settled, or it was ended from outside. */
  ended = false;
  /** Set when it ended with statements in flight: nobody is left to wait for them. */
  disowned = false;
  /** Of a database: equal for all handles of the process that share one engine. Of a transaction: that of its database. */
  engineId = 0;
  /** Of a savepoint: what it was opened in. It has the same index and generation. */
  parent: Target | undefined = undefined;
  /** The savepoint that is open in it, if any. */
  child: Target | undefined = undefined;
  /** Of a savepoint: how messages call it, for example `savepoint 1.2` or `the closure of db.batch`. */
  label = '';
  /** Why it was ended from outside. */
  endedBy: Failure | undefined = undefined;
  /** Called once, inside the drain, when it was ended from outside: must not run user code. */
  onEnded: (() => void) | undefined = undefined;
  /** Set to be told at COMMIT what was changed. */
  wantsTables = false;
  /** The transaction of a group: what is opened in it are the closures of `db.batch`. */
  shared = false;
  /** SQLite has rolled it back underneath a savepoint, or a savepoint of it could not be ended. */
  lost = false;
  /** How long BEGIN waited for the lock of another process. */
  lockWaitMs = 0;
  /** Entries that waited behind it when it was granted. */
  queuedBehind = 0;
  /** Of a savepoint: the cursor number given out last before it was opened. */
  cursorsBefore = 0;
  #cursors = 0;
  #savepoints = 0;

  constructor(index: number, generation: number, flag: number, mode: number) {
    this.index = index;
    this.generation = generation;
    this.flag = flag;
    this.mode = mode;
  }

  /** Whether something of it, savepoints open in it included, has not been answered or ended. */
  get unfinished(): boolean {
    return this.inFlight > 0 || this.child !== undefined;
  }

  /** A cursor number that was not used in this transaction. */
  newCursor(): number {
    const root = this.root;
    root.#cursors += 1;
    return root.#cursors;
  }

  /** The transaction that a savepoint is in; itself otherwise. */
  get root(): Target {
    let target: Target = this;
    while (target.parent !== undefined) target = target.parent;
    return target;
  }

  /** Itself, the savepoint that is open in it, the one that is open in that, and so on. */
  *open(): Generator<Target, void, undefined> {
    for (let target: Target | undefined = this; target !== undefined; target = target.child) yield target;
  }

  /** A savepoint in it, which takes its place until it ends. */
  newChild(): Target {
    const child = new Target(this.index, this.generation, this.flag, this.mode);
    this.#savepoints += 1;
    child.label = this.#labelOfChild();
    child.engineId = this.engineId;
    child.parent = this;
    child.cursorsBefore = this.root.#cursors;
    this.child = child;
    return child;
  }

  #labelOfChild(): string {
    if (this.shared) return 'the closure of db.batch';
    const outermost = this.parent === undefined || this.parent.shared;
    return outermost ? `savepoint ${this.#savepoints}` : `${this.label}.${this.#savepoints}`;
  }
}
