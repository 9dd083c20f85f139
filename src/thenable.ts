// What can be waited for, and when nobody is left to do it.

import type { Target } from './native/engine.js';

/** Whether `value` is a promise or anything that behaves as one. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return 'then' in value && typeof value.then === 'function';
}

/** Marks a promise nobody will wait for as handled. */
export function ignoreOutcome(promise: PromiseLike<unknown>): void {
  promise.then(ignore, ignore);
}

/**
 * What `ask` promises. It counts as handled when it fails because the closure it was asked in settled meanwhile, or because
 * the transaction was ended from outside: the call of `read` or `write` has told its caller.
 */
export function asked<T>(transaction: Target | undefined, ask: () => Promise<T>): Promise<T> {
  if (transaction === undefined) return ask();
  const late = transaction.disowned;
  const answer = settle(transaction);
  return answer;

  async function settle({ root }: Target): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (root.endedBy !== undefined || (transaction?.disowned === true && !late)) ignoreOutcome(answer);
      throw error;
    }
  }
}

function ignore(): void {}
