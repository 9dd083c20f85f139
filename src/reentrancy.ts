// Who calls from inside a closure: the transactions whose closures the running code belongs to.

import { AsyncLocalStorage } from 'node:async_hooks';
import { ReentrantAccessError } from './errors.js';

/** What code can be inside of: a transaction, or one closure of a group that shares a transaction. */
export interface Enclosing {
  /** No transaction, but a scope of `pool.use`: in it the database may be used, and not be closed. */
  readonly uses?: true;
  readonly engineId: number;
  readonly ended: boolean;
}

/** One closure that the running code is inside of, and the one around it. */
interface Inside {
  readonly transaction: Enclosing;
  around: Inside | undefined;
}

/** None before the first closure of a database that detects: following closures costs every `await` of a process on Node 20 and 22. */
let storage: AsyncLocalStorage<Inside | undefined> | undefined;

/** Whether a database that was opened with this `reentrancy` refuses to be used inside its own closures. */
export function detects(reentrancy: 'auto' | 'refuse' | 'allow'): boolean {
  if (reentrancy !== 'auto') return reentrancy === 'refuse';
  const major = Number.parseInt(process.versions.node, 10);
  return major >= 24 || process.env['NODE_ENV'] !== 'production';
}

/** Runs `fn` as the closure of `transaction`. */
export function inside<A extends unknown[], T>(transaction: Enclosing, fn: (...values: A) => T, ...values: A): T {
  storage ??= new AsyncLocalStorage();
  return storage.run({ transaction, around: living(storage.getStore()) }, fn, ...values);
}

/** Runs `fn` as if it had been called outside of every closure. */
export function outside<T>(fn: () => T): T {
  return storage === undefined ? fn() : storage.run(undefined, fn);
}

/** Why the running code may not use the engine: the error, when it is inside an open transaction of it. */
export function reentrance(engineId: number, method: string): ReentrantAccessError | undefined {
  for (let link = storage?.getStore(); link !== undefined; link = link.around) {
    const { transaction } = link;
    if (transaction.engineId !== engineId || transaction.ended || transaction.uses) continue;
    return new ReentrantAccessError(
      `db.${method} was called inside the closure of an open transaction of the same database, where it could wait for ` +
        'what its own caller holds; use tx, tx.savepoint for a transaction within it, or db.outside(() => ...) for work ' +
        'that is none of the closure',
    );
  }
  return undefined;
}

/** Whether the running code is in a closure or a scope of `pool.use` of the engine. */
export function isInside(engineId: number): boolean {
  for (let link = storage?.getStore(); link !== undefined; link = link.around) {
    if (!link.transaction.ended && link.transaction.engineId === engineId) return true;
  }
  return false;
}

/**
 * Why the running code may not wait for the end of all that uses the database: the error, when it does so itself, in a
 * closure or inside `pool.use`. `engineId` undefined: of any.
 */
export function ownUse(isMeant: (engineId: number) => boolean, method: string): ReentrantAccessError | undefined {
  for (let link = storage?.getStore(); link !== undefined; link = link.around) {
    const { transaction } = link;
    if (transaction.ended || !isMeant(transaction.engineId)) continue;
    const where = transaction.uses ? 'inside pool.use' : 'inside the closure of an open transaction';
    return new ReentrantAccessError(
      `pool.${method} was called ${where} of a database that it would wait for; call it afterwards`,
    );
  }
  return undefined;
}

/** The chain without what has ended: work that goes on from closure to closure must not make it grow. */
function living(innermost: Inside | undefined): Inside | undefined {
  const first = skipEnded(innermost);
  for (let link = first; link !== undefined; link = link.around) link.around = skipEnded(link.around);
  return first;
}

function skipEnded(from: Inside | undefined): Inside | undefined {
  let link = from;
  while (link?.transaction.ended === true) link = link.around;
  return link;
}
