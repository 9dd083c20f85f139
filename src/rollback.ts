// The end of a transaction that must not be committed.

import {
  AbortError,
  DatabaseClosedError,
  TransactionAbortedError,
  TransactionClosedError,
  TransactionTimeoutError,
  UnfinishedQueryError,
} from './errors.js';
import type { Engine, Target } from './native/engine.js';

/** Rolls back. What is still running is interrupted, and its promises count as handled: their closure is over. */
export async function endByRollback(engine: Engine, target: Target): Promise<void> {
  if (target.unfinished) engine.disown(target);
  try {
    await engine.end(target, 'rollback');
  } catch (error) {
    warnOfRollback(error);
  }
}

/** A rollback failed: a warning, because the error of the closure matters more. */
export function warnOfRollback(error: unknown): void {
  if (isOverAlready(error)) return;
  const reason = error instanceof Error ? error.message : String(error);
  process.emitWarning(`A rollback failed: ${reason}. Its connection is not used again.`, {
    code: 'SQLFLOW_ROLLBACK_FAILED',
  });
}

/** The engine ended the transaction before, for a reason the closure has been told. */
function isOverAlready(error: unknown): boolean {
  return (
    error instanceof TransactionClosedError ||
    error instanceof TransactionAbortedError ||
    error instanceof TransactionTimeoutError ||
    error instanceof UnfinishedQueryError ||
    error instanceof AbortError ||
    error instanceof DatabaseClosedError
  );
}
