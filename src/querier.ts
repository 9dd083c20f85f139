// What closures get of their transaction.

import type { Target } from './native/engine.js';
import type { Querier } from './options.js';
import type { Session } from './session.js';
import { ReadTransaction, WriteTransaction } from './transaction.js';

/** How transactions and what closures get of them are made. */
export interface Queriers {
  readTransaction(session: Session, target: Target): ReadTransaction;
  read(tx: ReadTransaction): unknown;
  write(tx: WriteTransaction): unknown;
}

/** With one querier for both, closures of `read` get a transaction that has the methods that write; the engine refuses them. */
export function queriersOf(querier: Querier<unknown, unknown> | undefined): Queriers {
  const reading = (session: Session, target: Target) => ReadTransaction.of(session, target);
  if (querier === undefined) return { readTransaction: reading, read: (tx) => tx, write: (tx) => tx };
  if (typeof querier !== 'function') return { readTransaction: reading, read: querier.read, write: querier.write };
  return {
    readTransaction: (session, target) => WriteTransaction.of(session, target),
    read: (tx) => querier(tx as WriteTransaction),
    write: querier,
  };
}
