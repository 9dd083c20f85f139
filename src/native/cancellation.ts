// Limits of one call: its signal and its time, and how the engine is told when one is reached.

import { onAbort } from '../abort-signals.js';
import { AbortError, TransactionTimeoutError } from '../errors.js';
import type { CallOptions } from '../options.js';
import type { Border } from './border.js';
import type { Operation } from './operations.js';
import type { Target } from './target.js';
import { Kind } from './wire.js';

// Captured at load: tests replace them with fakes.
const { setTimeout, clearTimeout } = globalThis;

/** The limits of a call, read once from its options. */
export interface Limits {
  readonly signal: AbortSignal | undefined;
  /** 0: none. */
  readonly timeoutMs: number;
  /** As the wire has it: milliseconds and 1, or 0 for what the database was opened with. */
  readonly queueWord: number;
}

/** The limits in `options`; `undefined` when there are none, which is the usual case. */
export function limitsOf(options: CallOptions | undefined): Limits | undefined {
  if (options === undefined) return undefined;
  const { signal, timeoutMs = 0, queueTimeoutMs } = options;
  if (signal === undefined && timeoutMs === 0 && queueTimeoutMs === undefined) return undefined;
  return { signal, timeoutMs, queueWord: queueTimeoutMs === undefined ? 0 : queueTimeoutMs + 1 };
}

/** Throws when the signal of a call is aborted already: nothing is sent then. */
export function refuseAborted(limits: Limits | undefined, sql: string): void {
  if (limits?.signal?.aborted === true) throw abortError(limits.signal, sql);
}

/** The error of a call that was aborted before it started. */
export function abortError(signal: AbortSignal, sql: string): AbortError {
  return new AbortError('the operation was aborted before it started', {
    cause: signal.reason,
    sql: sql === '' ? undefined : sql,
  });
}

/** Watches over one operation until `end`, and cancels it when its signal is aborted or its time is over. */
export class Cancellation {
  /** What came first: its signal or its time. */
  reached: 'signal' | 'time' | undefined = undefined;
  readonly #border: Border;
  readonly #operation: Operation;
  /** Tells whether the slot still belongs to the operation: slots are used again before a caller's code continues. */
  readonly #promise: Promise<unknown>;
  readonly #target: Target;
  readonly #limits: Limits;
  readonly #leave: (() => void) | undefined;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(border: Border, operation: Operation, target: Target, promise: Promise<unknown>, limits: Limits) {
    this.#border = border;
    this.#operation = operation;
    this.#promise = promise;
    this.#target = target;
    this.#limits = limits;
    const { signal, timeoutMs } = limits;
    // Reading the values may have run code that aborts it.
    if (signal?.aborted === true) this.#cancel('signal');
    else if (signal !== undefined) this.#leave = onAbort(signal, () => this.#cancel('signal'));
    if (timeoutMs > 0) this.#timer = setTimeout(() => this.#cancel('time'), timeoutMs).unref();
  }

  end(): void {
    this.#leave?.();
    clearTimeout(this.#timer);
  }

  /** What the caller gets for an error of the operation. */
  explain(error: unknown): unknown {
    if (this.reached === undefined || !(error instanceof AbortError)) return error;
    if (this.reached === 'signal') {
      const cause: unknown = this.#limits.signal?.reason;
      Object.defineProperty(error, 'cause', { value: cause, writable: true, configurable: true });
      return error;
    }
    return new TransactionTimeoutError(`cancelled after its timeoutMs of ${this.#limits.timeoutMs} ms`, {
      sql: error.sql,
    });
  }

  #cancel(reached: 'signal' | 'time'): void {
    if (this.reached !== undefined || this.#operation.promise !== this.#promise) return;
    this.reached = reached;
    try {
      this.#border.notify(Kind.cancel, this.#target, this.#operation.index);
    } catch {
      // The environment is ending, and the operation with it.
    }
  }
}

/** What `promise`, that of `operation` on `target`, gives within the limits of its call. */
export function limited(
  border: Border,
  operation: Operation,
  target: Target,
  promise: Promise<unknown>,
  limits: Limits,
): Promise<unknown> {
  const cancellation = new Cancellation(border, operation, target, promise, limits);
  const answer = settle();
  return answer;

  async function settle(): Promise<unknown> {
    try {
      return await promise;
    } catch (error) {
      if (target.disowned) answer.catch(ignore);
      throw cancellation.explain(error);
    } finally {
      cancellation.end();
    }
  }
}

export function ignore(): void {}
