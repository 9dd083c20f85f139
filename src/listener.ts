// A function of the user that is told of something: called where it belongs, and unable to do harm.

import { AsyncResource } from 'node:async_hooks';
import { thenOf } from './thenable.js';

/**
 * A listener as it is kept: bound to the async context it was registered in. What it throws becomes a warning of the
 * process; `option` is how the user calls it, `stands` says what its failure does not change.
 */
export function guardedListener<T>(listener: (event: T) => void, option: string, stands: string): (event: T) => void {
  const bound = AsyncResource.bind(listener, `sqlflow.${option}`);
  const warn = (error: unknown): void => {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.emitWarning(`A listener of ${option} failed; ${stands}: ${reason}`, { code: 'SQLFLOW_LISTENER_FAILED' });
  };
  return (event) => {
    try {
      // A listener that is an async function is none of its type, and common.
      const result: unknown = bound(event);
      thenOf(result)?.call(result, undefined, warn);
    } catch (error) {
      warn(error);
    }
  };
}
