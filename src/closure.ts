// How a closure runs in a transaction that can end underneath it.

import { onAbort } from './abort-signals.js';
import { callable } from './checks.js';
import { AbortError, type SqlflowError, UnfinishedQueryError } from './errors.js';
import type { Engine, Target } from './native/engine.js';
import type { Failure } from './native/failure.js';
import { type CallOptions, checkCallOptions } from './options.js';
import type { Queriers } from './querier.js';
import { inside } from './reentrancy.js';
import { endByRollback } from './rollback.js';
import type { Session } from './session.js';
import { type Then, thenOf } from './thenable.js';
import { TransactionRecord, traceTransaction, transactions } from './trace.js';
import { ReadTransaction, WriteTransaction } from './transaction.js';

/** A closure of `read` or `write`. One of `read` makes do with less of `tx`: what the engine refuses, it refuses. */
export type Closure<T> = (q: unknown, tx: WriteTransaction) => T | PromiseLike<T>;

/** One call of `read` or `write`. */
export interface ClosureCall<T> {
  readonly access: 'read' | 'write';
  readonly fn: Closure<T>;
  readonly options: CallOptions | undefined;
  /** The public method, where the stack of the caller begins. */
  readonly method: CallableFunction;
}

/** Rejects the race between a closure and the end of its transaction; the error is made where a stack can name the caller. */
const ENDED = Symbol('ended from outside');

/** Runs the closure of `read` or `write`, with the events of a transaction if somebody wants them. */
export function runClosure<T>(session: Session, queriers: Queriers, call: ClosureCall<T>): Promise<T> {
  if (!transactions.hasSubscribers) return run(session, queriers, call, undefined);
  const record = new TransactionRecord(session.path, call.access);
  return traceTransaction(record, () => run(session, queriers, call, record));
}

async function run<T>(
  session: Session,
  queriers: Queriers,
  { access, fn, options, method }: ClosureCall<T>,
  record: TransactionRecord | undefined,
): Promise<T> {
  callable(fn, access);
  if (options !== undefined) checkCallOptions(options);
  session.refuseReentrance(access);
  const { engine } = session;
  const wait = session.wait(options, method);
  const signal = wait?.signal;
  const target = await engine.begin(session.handle, access, wait);
  record?.began(target);
  const expiry = signal === undefined ? undefined : new Expiry(engine, target, signal);
  let tx: ReadTransaction | undefined;
  try {
    if (target.endedBy !== undefined) throw ENDED;
    if (signal?.aborted === true) throw aborted(signal);
    tx = access === 'read' ? queriers.readTransaction(session, target) : WriteTransaction.of(session, target);
    const whole = tx as WriteTransaction;
    const q = access === 'read' ? queriers.read(tx) : queriers.write(whole);
    const result = session.detects ? inside(target, start, target, fn, q, whole) : start(target, fn, q, whole);
    const value: T = result instanceof Promise ? await (result as Promise<T>) : (result as T);
    if (expiry?.sent === true) throw ENDED;
    if (target.unfinished) throw unfinished();
    if (access === 'read') {
      const ending = engine.endRead(target);
      if (ending !== undefined) await ending;
      record?.committed(0);
    } else {
      const { logFrames, commit } = await engine.end(target, 'commit');
      record?.committed(commit === undefined ? logFrames : undefined);
      WriteTransaction.committed(whole, commit);
    }
    return value;
  } catch (error) {
    // By its signal it is over from the abort on, also when the closure has settled before the engine could say so.
    const fromOutside = target.endedBy !== undefined || expiry?.sent === true;
    if (!target.ended) await endByRollback(engine, target);
    record?.failed(error);
    if (!fromOutside) throw error;
    const reason = errorFromOutside(target.endedBy, signal);
    engine.disown(target);
    if (tx !== undefined) ReadTransaction.endedFromOutside(tx, reason);
    throw reason;
  } finally {
    expiry?.end();
  }
}

/** Has the signal of a call end its transaction, until `end`. */
class Expiry {
  /** The engine was asked to end it: what the closure comes to does not matter any more. */
  sent = false;
  readonly end: () => void;

  constructor(engine: Engine, target: Target, signal: AbortSignal) {
    this.end = onAbort(signal, () => {
      if (target.ended) return;
      this.sent = true;
      engine.disown(target);
      engine.expire(target);
    });
  }
}

/**
 * Runs the closure; what can be waited for is given as a promise. A query that is lazy starts with its `then`, which is
 * called here, where it counts as inside.
 */
function start<T>(target: Target, fn: Closure<unknown>, q: unknown, tx: WriteTransaction): T | Promise<T> {
  const result = fn(q, tx);
  const then = thenOf(result);
  return then === undefined ? (result as T) : unlessEnded<T>(target, result, then);
}

/** What the closure promises, unless its transaction is ended from outside before. Stacks of errors lead through it to the caller. */
function unlessEnded<T>(target: Target, result: unknown, then: Then): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    target.onEnded = () => reject(ENDED);
    then.call(result, resolve as (value: unknown) => void, reject);
  });
}

/** The error of a transaction that was ended by a deadline, by `signal` or by `close`. Its stack begins with the caller. */
function errorFromOutside(failure: Failure | undefined, signal: AbortSignal | undefined): SqlflowError {
  let error = failure?.toError('');
  if (error === undefined || error instanceof AbortError) {
    const message = error?.message ?? 'the transaction was aborted by its signal and rolled back';
    error = new AbortError(message, { cause: signal?.reason });
  }
  Error.captureStackTrace(error, run);
  return error;
}

/** The error of a call whose signal was aborted before its closure started. */
export function aborted(signal: AbortSignal): AbortError {
  return new AbortError('the operation was aborted before it started', { cause: signal.reason });
}

function unfinished(): UnfinishedQueryError {
  return new UnfinishedQueryError(
    'the closure settled while one of its statements was still running, so the transaction was rolled back; ' +
      'await every statement inside the closure',
  );
}
