// How long a caller waits for its database to be opened: until its signal, its patience, or the close of the pool.

import { onAbort } from './abort-signals.js';
import { AbortError, type DatabaseClosedError, QueueTimeoutError } from './errors.js';

// Captured at load: tests replace them with fakes.
const { setTimeout, clearTimeout } = globalThis;

/** What bounds the wait of one call. */
export interface OpenLimits {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds; 0: for ever. */
  readonly queueTimeoutMs?: number | undefined;
}

/** Those who wait for databases of one pool. The open that one waits for is not ended with its wait: it is others' as well. */
export class OpenWaits {
  readonly #queueTimeoutMs: number;
  readonly #waiting = new Set<(error: Error) => void>();

  /** `queueTimeoutMs`: of calls that say nothing else. */
  constructor(queueTimeoutMs: number) {
    this.#queueTimeoutMs = queueTimeoutMs;
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** What `opening` gives, unless the wait ends before. */
  async for<T>(key: string, opening: Promise<T>, { signal, queueTimeoutMs }: OpenLimits): Promise<T> {
    const patience = queueTimeoutMs ?? this.#queueTimeoutMs;
    let timer: NodeJS.Timeout | undefined;
    let leave: (() => void) | undefined;
    let giveUp: (error: Error) => void = () => {};
    const ended = new Promise<never>((_, reject) => {
      giveUp = reject;
    });
    this.#waiting.add(giveUp);
    if (signal !== undefined) leave = onAbort(signal, () => giveUp(abortedBy(signal)));
    if (patience > 0) timer = setTimeout(() => giveUp(late(key, patience)), patience);
    try {
      return await Promise.race([opening, ended]);
    } finally {
      this.#waiting.delete(giveUp);
      clearTimeout(timer);
      leave?.();
    }
  }

  /** Nobody waits any longer. */
  end(error: DatabaseClosedError): void {
    for (const giveUp of [...this.#waiting]) giveUp(error);
  }
}

/** The error of a call whose signal was aborted before its database was open. */
export function abortedBy(signal: AbortSignal): AbortError {
  return new AbortError('the operation was aborted before it started', { cause: signal.reason });
}

function late(key: string, patience: number): QueueTimeoutError {
  return new QueueTimeoutError(
    `the database of ${JSON.stringify(key)} was not open after the ${patience} ms of queueTimeoutMs; its key provider, ` +
      'a migration, or a deletion takes longer',
  );
}
