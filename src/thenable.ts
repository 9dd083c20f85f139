// What can be waited for, and when nobody is left to do it.

import type { Target } from './native/engine.js';

/** How a value is waited for; to be called on that value. */
export type Then = PromiseLike<unknown>['then'];

/** How to wait for `value`; `undefined` when it is none to be waited for. To be asked once: `then` may be a getter. */
export function thenOf(value: unknown): Then | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined;
  const { then } = value as { readonly then?: unknown };
  return typeof then === 'function' ? (then as Then) : undefined;
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
