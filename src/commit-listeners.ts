// Who wants to know of commits, and how they are told.

import type { Commit } from './commits.js';
import { DatabaseClosedError } from './errors.js';
import { guardedListener } from './listener.js';
import type { Engine, Target } from './native/engine.js';
import { outside } from './reentrancy.js';

/** A function that is told of a commit. */
export type CommitListener = (commit: Commit) => void;

/** How much the engine has to tell: `listen` of the addon. */
const Detail = { nothing: 0, tables: 1, rowIds: 2 } as const;

/** A listener as it is kept: bound to the async context it was registered in, and unable to do harm. */
export function guarded(listener: CommitListener): CommitListener {
  return guardedListener(listener, 'onCommit', 'the commit stands');
}

/** The listeners of `db.onCommit` of one database. */
export class CommitListeners {
  readonly #engine: Engine;
  readonly #handle: Target;
  /** Called in the order they came; the key is one registration, so that a function can be registered twice. */
  readonly #listeners = new Map<symbol, { readonly tell: CommitListener; readonly rowIds: boolean }>();
  #detail: 0 | 1 | 2 = Detail.nothing;
  #closed = false;

  constructor(engine: Engine, handle: Target) {
    this.#engine = engine;
    this.#handle = handle;
  }

  /** Gives the function that ends it. */
  add(listener: CommitListener, rowIds: boolean): () => void {
    if (this.#closed) throw new DatabaseClosedError('the database was closed');
    const key = Symbol('listener');
    // It may live for long, and is none of the closure that registers it, whose transaction it would keep.
    this.#listeners.set(key, { tell: outside(() => guarded(listener)), rowIds });
    try {
      this.#listen();
    } catch (error) {
      this.#listeners.delete(key);
      throw error;
    }
    return () => {
      if (this.#listeners.delete(key) && !this.#closed) this.#listen();
    };
  }

  /** The database is being closed: those who listen hear of what it had accepted, and nobody can join any more. */
  databaseClosed(): void {
    this.#closed = true;
  }

  #listen(): void {
    let detail: 0 | 1 | 2 = this.#listeners.size === 0 ? Detail.nothing : Detail.tables;
    for (const { rowIds } of this.#listeners.values()) if (rowIds) detail = Detail.rowIds;
    if (detail === this.#detail) return;
    this.#engine.listen(this.#handle, detail, detail === Detail.nothing ? undefined : this.#tell);
    this.#detail = detail;
  }

  readonly #tell = (commit: Commit): void => {
    for (const { tell, rowIds } of [...this.#listeners.values()]) {
      tell(rowIds ? commit : { tables: commit.tables, truncated: false });
    }
  };
}
