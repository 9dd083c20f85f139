// The way back: what the engine has finished, settled record by record, a bounded part of it per turn of the loop.

import type { Decoder } from './decode.js';
import { Failure, FailureCode, rejection } from './failure.js';
import { givesFailures, type Operation, type Operations } from './operations.js';
import { Reader } from './reader.js';
import { HEADER_BYTES, ReplyFlag } from './wire.js';

// Captured at load: tests replace them with fakes.
const { setImmediate } = globalThis;
const now = performance.now.bind(performance);

/** A turn of the loop decodes for about this long, then gives way. */
const BUDGET_MS = 1;
/** Bytes decoded between two looks at the clock. */
const CLOCK_BYTES = 16 * 1024;

/** The part of the addon that completions come from; see `Native.drain`. */
export interface CompletionSource {
  drain(): number | ArrayBuffer | undefined;
}

/** Takes records that answer no operation. It must not run user code, nor throw. */
export interface NoticeBoard {
  take(reader: Reader, base: number): void;
}

/** What asking the engine for records has given. */
const Taken = {
  /** There are records to settle. */
  records: 0,
  /** None yet, but the engine expects some and will not signal: ask again in the next turn. */
  later: 1,
  /** None; the engine signals when there are. */
  asleep: 2,
} as const;

type Taken = (typeof Taken)[keyof typeof Taken];

/** Takes completion records and settles the operations they belong to. */
export class Completions {
  /** To be called when the engine signals that it has finished something. */
  readonly wake = (): void => this.#drain();
  readonly #source: CompletionSource;
  readonly #operations: Operations;
  readonly #decoder: Decoder;
  readonly #notices: NoticeBoard;
  readonly #responses: Reader;

  /** Records taken from the engine and not settled yet. */
  #pending: Reader;
  #position = 0;
  #end = 0;

  /** `response` is the buffer that `source.drain` fills. */
  constructor(
    source: CompletionSource,
    response: ArrayBuffer,
    operations: Operations,
    decoder: Decoder,
    notices: NoticeBoard,
  ) {
    this.#source = source;
    this.#operations = operations;
    this.#decoder = decoder;
    this.#notices = notices;
    this.#responses = new Reader(response);
    this.#pending = this.#responses;
  }

  /**
   * Settles what the engine has finished, for one turn of the loop.
   *
   * Continued by an immediate, never by a signal of its own: Node would dispatch a thousand of those in one turn. The
   * engine does not signal again until a drain has answered 0.
   */
  #drain(): void {
    const taken = this.#position === this.#end ? this.#take() : Taken.records;
    if (taken === Taken.asleep) return;
    setImmediate(this.wake);
    if (taken === Taken.later) return;
    const reader = this.#pending;
    const until = now() + BUDGET_MS;
    let looked = this.#position;
    while (this.#position < this.#end) {
      const base = this.#position;
      const size = reader.field(base, 0);
      this.#position = size < HEADER_BYTES ? this.#end : base + size;
      this.#settle(reader, base);
      if (this.#position - looked > CLOCK_BYTES) {
        if (now() > until) return;
        looked = this.#position;
      }
    }
  }

  /** Takes records from the engine. */
  #take(): Taken {
    const drained = this.#source.drain();
    this.#position = 0;
    if (drained === undefined) {
      this.#end = 0;
      return Taken.later;
    }
    if (typeof drained === 'number') {
      this.#pending = this.#responses;
      this.#end = drained;
    } else {
      this.#pending = new Reader(drained);
      this.#end = this.#pending.field(0, 0);
    }
    return this.#end > 0 ? Taken.records : Taken.asleep;
  }

  /** Settles one record. Whatever goes wrong in it stays with its operation. */
  #settle(reader: Reader, base: number): void {
    const operation = this.#operations.at(reader.field(base, 4));
    if (operation === undefined || operation.promise === undefined) {
      this.#notices.take(reader, base);
      return;
    }
    if (((reader.field(base, 8) >>> 8) & ReplyFlag.last) === 0) {
      this.#collect(reader, base, operation);
      return;
    }
    const { resolve } = operation;
    let value: unknown;
    if (operation.failure !== undefined) value = this.#refused(operation, operation.failure);
    else {
      try {
        value = this.#decoder.value(reader, base, operation);
      } catch (error) {
        value = this.#refused(operation, error);
      }
    }
    this.#operations.finish(operation);
    resolve(value);
  }

  /** What an operation that failed is settled with. */
  #refused(operation: Operation, reason: unknown): unknown {
    const { target } = operation;
    if (target !== undefined && fromOutside(operation, reason)) {
      // These come before ENDED. Who waits for the transaction is told by that; nobody need wait for its statements.
      for (const each of target.root.open()) {
        each.disowned = true;
        this.#operations.disown(each);
      }
    }
    if (reason instanceof Failure && givesFailures(operation.outcome)) return reason;
    return rejection(reason, operation.sql);
  }

  #collect(reader: Reader, base: number, operation: Operation): void {
    if (operation.failure !== undefined) return;
    try {
      this.#decoder.collect(reader, base, operation);
    } catch (error) {
      operation.failure = error;
      operation.rows = undefined;
    }
  }
}

/** Whether a statement failed because its transaction is being ended from outside, by a deadline or by `close`. */
function fromOutside({ target }: Operation, reason: unknown): boolean {
  if (target === undefined || target.flag === 0 || !(reason instanceof Failure)) return false;
  return reason.code === FailureCode.transactionTimeout || reason.code === FailureCode.databaseClosed;
}
