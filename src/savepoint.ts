// Transactions within a transaction: a closure whose work can be taken back alone.

import { types } from 'node:util';
import { callable } from './checks.js';
import { AsyncClosureError, UnfinishedQueryError } from './errors.js';
import type { Target } from './native/engine.js';
import { warnOfRollback } from './rollback.js';
import type { Session } from './session.js';
import { SyncWrite } from './sync.js';
import { asked, ignoreOutcome, thenOf } from './thenable.js';
import type { WriteTransaction } from './transaction.js';

/** Runs the closure of `tx.savepoint`; `of` makes its `tx`, `released` takes over what that has gathered. */
export function runSavepoint<T>(
  session: Session,
  parent: Target,
  fn: (tx: WriteTransaction) => T | PromiseLike<T>,
  of: (child: Target) => WriteTransaction,
  released: (tx: WriteTransaction) => void,
): Promise<T> {
  return asked(parent, () => run(session, parent, fn, of, released));
}

async function run<T>(
  session: Session,
  parent: Target,
  fn: (tx: WriteTransaction) => T | PromiseLike<T>,
  of: (child: Target) => WriteTransaction,
  released: (tx: WriteTransaction) => void,
): Promise<T> {
  callable(fn, 'savepoint');
  const { engine } = session;
  const child = await engine.savepoint(parent);
  const tx = of(child);
  let value: T;
  try {
    value = await fn(tx);
  } catch (error) {
    await takeBack(session, child);
    throw error;
  }
  if (child.unfinished) {
    await takeBack(session, child);
    throw new UnfinishedQueryError(
      `the closure of ${child.label} settled while one of its statements was still running, so it was rolled back; ` +
        'await every statement inside the closure',
    );
  }
  await engine.endSavepoint(child, 'release');
  released(tx);
  return value;
}

/** Runs a synchronous closure within `parent`: that of `tx.sync.savepoint`, or one of `db.batch`; `method` is its name. */
export function runSavepointSync<T>(session: Session, parent: Target, method: string, fn: (tx: SyncWrite) => T): T {
  callable(fn, method);
  const { engine } = session;
  const child = engine.savepointSync(parent);
  let value: T;
  try {
    value = fn(SyncWrite.of(session, child));
    if (thenOf(value) !== undefined) {
      // Nothing else is waited for: that could start a query which is lazy.
      if (types.isPromise(value)) ignoreOutcome(value);
      throw new AsyncClosureError(
        `the closure of ${method} gave a promise, but has to be synchronous, so it was rolled back; use db.write or ` +
          'tx.savepoint for one that waits',
      );
    }
  } catch (error) {
    takeBackSync(session, child);
    throw error;
  }
  engine.endSavepointSync(child, 'release');
  return value;
}

/** Rolls back to the savepoint. What is still running comes first; nobody waits for it any more. */
async function takeBack({ engine }: Session, child: Target): Promise<void> {
  if (child.unfinished) engine.disown(child);
  try {
    await engine.endSavepoint(child, 'rollback');
  } catch (error) {
    warnOfRollback(error);
  }
}

function takeBackSync({ engine }: Session, child: Target): void {
  try {
    engine.endSavepointSync(child, 'rollback');
  } catch (error) {
    warnOfRollback(error);
  }
}
