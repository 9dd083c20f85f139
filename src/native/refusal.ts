// What may not be done with a transaction at this moment, and why.

import { Failure, FailureCode } from './failure.js';
import type { Target } from './target.js';

/** A rejection with `error`. Of a transaction that was ended from outside it counts as handled: its call has told its caller. */
export function refused(target: Target, error: unknown): Promise<never> {
  const answer = Promise.reject(error);
  if (target.root.endedBy !== undefined) answer.catch(() => {});
  return answer;
}

/** Why nothing can be run in a transaction that has ended, or in which a savepoint is open. */
export function refusal(target: Target): Failure {
  if (target.endedBy !== undefined) return target.endedBy;
  const { child } = target;
  if (child !== undefined && !target.ended) {
    return new Failure(
      FailureCode.savepointOpen,
      `${child.label} is open in this ${nameOf(target)}: use the tx of its closure, and this one when that has ended`,
    );
  }
  return new Failure(FailureCode.transactionClosed, endOf(target));
}

function nameOf({ parent }: Target): string {
  if (parent === undefined) return 'transaction';
  return parent.shared ? 'closure' : 'savepoint';
}

function endOf({ label, parent }: Target): string {
  if (parent === undefined) {
    return 'the transaction has ended: await every statement inside the closure of read or write, and do not keep tx beyond it';
  }
  if (parent.shared) return `${label} has ended: do not keep its tx beyond it`;
  return `${label} has ended: await every statement inside its closure, and do not keep its tx beyond it`;
}

/** Whether something asynchronous has not been answered yet, in the transaction or in what the savepoint is in. */
export function isBusy(target: Target): boolean {
  return target.inFlight > 0 || (target.parent !== undefined && isBusy(target.parent));
}

/** Decided here, not by whether the engine has finished: what a caller may do depends on what it has seen. */
export function inFlight(): Failure {
  return new Failure(
    FailureCode.statementInFlight,
    'an asynchronous statement of this transaction has not been answered yet; await it before you use tx.sync',
  );
}
