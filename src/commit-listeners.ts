// Who wants to know of commits, and how they are told.

import { AsyncResource } from 'node:async_hooks';
import type { Commit } from './commits.js';
import { DatabaseClosedError } from './errors.js';
import type { Engine, Target } from './native/engine.js';
import { isThenable } from './thenable.js';

/** A function that is told of a commit. */
export type CommitListener = (commit: Commit) => void;

/** How much the engine has to tell: `listen` of the addon. */
const Detail = { nothing: 0, tables: 1, rowIds: 2 } as const;

/** A listener as it is kept: bound to the async context it was registered in, and unable to do harm. */
export function guarded(listener: CommitListener): CommitListener {
  const bound = AsyncResource.bind(listener, 'sqlflow.onCommit');
  return (commit) => {
    try {
      // A listener that is an async function is none of its type, and common.
      const result: unknown = bound(commit);
      if (isThenable(result)) result.then(undefined, warn);
    } catch (error) {
      warn(error);
    }
  };
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
    this.#listeners.set(key, { tell: guarded(listener), rowIds });
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

function warn(error: unknown): void {
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.emitWarning(`A listener of onCommit failed; the commit stands: ${reason}`, {
    code: 'SQLFLOW_LISTENER_FAILED',
  });
}
