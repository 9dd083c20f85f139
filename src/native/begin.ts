// Waiting for a transaction with limits of its own.

import type { Border } from './border.js';
import { Cancellation, limitsOf, refuseAborted } from './cancellation.js';
import type { Wait } from './engine.js';
import type { Operation, Outcome } from './operations.js';
import { Parameters } from './parameters.js';
import type { Target } from './target.js';

/** Waits for what one of the BEGIN records asks for. */
export async function begun(
  border: Border,
  kind: number,
  outcome: Outcome,
  handle: Target,
  wait: Wait,
): Promise<unknown> {
  const limits = limitsOf(wait);
  refuseAborted(limits, '');
  const operation = border.operations.take(handle, outcome, handle.mode, '');
  const promise = submit(border, operation, kind, handle, wait);
  if (limits?.signal === undefined) return await promise;
  // How long a transaction may take is the engine's to see to.
  const cancellation = new Cancellation(border, operation, handle, promise, { ...limits, timeoutMs: 0 });
  try {
    return await promise;
  } catch (error) {
    throw cancellation.explain(error);
  } finally {
    cancellation.end();
  }
}

function submit(border: Border, operation: Operation, kind: number, handle: Target, wait: Wait): Promise<unknown> {
  const { timeoutMs, queueTimeoutMs, stack } = wait;
  const values = stack === undefined ? undefined : new Parameters().read([stack.toWellFormed()]);
  return border.start(operation, kind, handle.mode, handle, 0, word(queueTimeoutMs), word(timeoutMs), values);
}

/** Milliseconds as the wire has them; 0: what the database was opened with. */
function word(milliseconds: number | undefined): number {
  return milliseconds === undefined ? 0 : milliseconds + 1;
}
