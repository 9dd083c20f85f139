// The border: requests go out through one buffer, completions come back through another, one wake-up per batch.

import type { Step } from '../copies.js';
import type { MigrationProgress } from '../migration-history.js';
import { isSql, type Sql } from '../sql.js';
import type { SqlParameters } from '../values.js';
import type { Native } from './binding.js';
import { Completions } from './completions.js';
import { Decoder } from './decode.js';
import { Encoder } from './encode.js';
import { errorOf, Failure, FailureCode } from './failure.js';
import { Notices } from './notices.js';
import { Operation, Operations, Outcome } from './operations.js';
import { Parameters } from './parameters.js';
import { Reader } from './reader.js';
import { Statements } from './statements.js';
import type { Target } from './target.js';
import { Kind, NO_REPLY, REQUEST_BYTES, RESPONSE_BYTES, Reply, ReplyFlag } from './wire.js';

/** Who is told of what an operation does: see `Operation.progress` and `steps`. */
export interface Listeners {
  readonly progress?: ((progress: MigrationProgress) => void) | undefined;
  readonly steps?: ((step: Step) => void) | undefined;
}

/** The addon with its buffers and tables. */
export class Border {
  readonly native: Native;
  readonly operations = new Operations();
  readonly notices = new Notices();
  readonly statements: Statements;
  readonly #encoder: Encoder;
  readonly #decoder: Decoder;
  readonly #parameters = new Parameters();
  readonly #answers: Reader;
  /** Stands for the operation of a synchronous call; not in the table. */
  readonly #synchronous = new Operation(0);

  constructor(native: Native) {
    const request = new ArrayBuffer(REQUEST_BYTES);
    const response = new ArrayBuffer(RESPONSE_BYTES);
    const sync = new ArrayBuffer(RESPONSE_BYTES);
    this.native = native;
    this.statements = new Statements(native);
    this.#encoder = new Encoder(request);
    this.#decoder = new Decoder((id) => native.shape(id), this.notices.transactions.add);
    this.#answers = new Reader(sync);
    const completions = new Completions(native, response, this.operations, this.#decoder, this.notices);
    native.setup(request, response, sync, completions.wake);
  }

  /** The values of a statement, read once. What they are read into belongs to this call until it has been encoded. */
  values(sql: string | Sql, parameters: SqlParameters | undefined, kind: number): Parameters | undefined {
    if (typeof sql !== 'string') {
      if (parameters !== undefined) {
        throw new Failure(
          FailureCode.parameter,
          'an sql`...` statement brings its own values: leave the parameters out (options are the third argument)',
        );
      }
      if (sql.values.length === 0) return undefined;
      if (kind === Kind.exec)
        throw new Failure(FailureCode.parameter, 'exec takes no values; use run for each statement');
      return this.#parameters.read(sql.values);
    }
    return parameters === undefined ? undefined : this.#parameters.read(parameters);
  }

  /** An operation that a function of the addon starts. */
  ask(outcome: Outcome, mode: number, call: (op: number) => void, listeners?: Listeners): Promise<unknown> {
    const operation = this.operations.take(undefined, outcome, mode, '');
    return this.askFor(operation, call, listeners);
  }

  /** The same for an operation that was taken. */
  askFor(operation: Operation, call: (op: number) => void, listeners?: Listeners): Promise<unknown> {
    operation.progress = listeners?.progress;
    operation.steps = listeners?.steps;
    const promise = this.operations.start(operation);
    try {
      call(operation.index);
      return promise;
    } catch (error) {
      this.operations.finish(operation);
      return Promise.reject(error);
    }
  }

  submit(
    target: Target,
    kind: number,
    outcome: Outcome,
    mode: number,
    text: string,
    statement: number,
    cursor: number,
    limit: number,
    values: Parameters | undefined,
  ): Promise<unknown> {
    const operation = this.operations.take(target, outcome, mode, text);
    return this.start(operation, kind, mode, target, statement, cursor, limit, values);
  }

  /** Submits a record for an operation that was taken. */
  start(
    operation: Operation,
    kind: number,
    mode: number,
    target: Target,
    statement: number,
    cursor: number,
    limit: number,
    values: Parameters | undefined,
  ): Promise<unknown> {
    try {
      const size = this.#encoder.encode(operation.index, kind, mode, target, statement, cursor, limit, values);
      const promise = this.operations.start(operation);
      this.#send(size);
      return promise;
    } catch (error) {
      const failed = errorOf(error, operation.sql);
      if (operation.promise === undefined) this.operations.release(operation);
      else this.operations.finish(operation);
      return Promise.reject(failed);
    }
  }

  /** Submits a record that wants no answer. */
  notify(kind: number, target: Target, cursor: number): void {
    this.#send(this.#encoder.encode(NO_REPLY, kind, 0, target, 0, cursor, 0, undefined));
  }

  /** Encodes a record and leaves it to the caller to submit it; valid until the next one. */
  record(
    op: number,
    kind: number,
    mode: number,
    target: Target,
    statement: number,
    cursor: number,
    values: Parameters | undefined,
  ): Uint8Array {
    return this.#encoder.record(this.#encoder.encode(op, kind, mode, target, statement, cursor, 0, values));
  }

  /** Runs a record on this thread. Throws a `Failure`, to be made an error where the caller is known. */
  sync(
    target: Target,
    kind: number,
    outcome: Outcome,
    mode: number,
    statement: number,
    cursor: number,
    limit: number,
    values: Parameters | undefined,
  ): unknown {
    const size = this.#encoder.encode(0, kind, mode, target, statement, cursor, limit, values);
    const { large } = this.#encoder;
    const answer = large === undefined ? this.native.sync(size) : this.native.syncFrom(large, size);
    if (outcome !== Outcome.rows && outcome !== Outcome.query) return this.#answer(answer, outcome, mode);
    return this.#answerInBatches(answer, target, outcome, mode, cursor);
  }

  #send(size: number): void {
    const { large } = this.#encoder;
    if (large === undefined) this.native.submit(size);
    else this.native.submitFrom(large, size);
  }

  #answer(answer: number | ArrayBuffer, outcome: Outcome, mode: number): unknown {
    const operation = this.#synchronous;
    operation.outcome = outcome;
    operation.mode = mode;
    operation.rows = undefined;
    const reader = typeof answer === 'number' ? this.#answers : new Reader(answer);
    return this.#decoder.value(reader, 0, operation);
  }

  /** A result that does not fit into one record comes as batches of a cursor. */
  #answerInBatches(
    first: number | ArrayBuffer,
    target: Target,
    outcome: Outcome,
    mode: number,
    cursor: number,
  ): unknown {
    const operation = this.#synchronous;
    operation.outcome = outcome;
    operation.mode = mode;
    operation.rows = undefined;
    let answer = first;
    try {
      for (;;) {
        const reader = typeof answer === 'number' ? this.#answers : new Reader(answer);
        const head = reader.field(0, 8);
        if ((head & 0xff) !== Reply.rows || ((head >>> 8) & ReplyFlag.open) === 0) {
          return this.#decoder.value(reader, 0, operation);
        }
        try {
          this.#decoder.collect(reader, 0, operation);
        } catch (error) {
          this.notify(Kind.closeCursor, target, cursor);
          throw error;
        }
        answer = this.native.sync(this.#encoder.encode(0, Kind.pull, mode, target, 0, cursor, 0, undefined));
      }
    } finally {
      operation.rows = undefined;
    }
  }
}

/** The text of a statement; anything but text and `sql` fragments is a `Failure`. */
export function textOf(sql: string | Sql): string {
  if (typeof sql === 'string') return sql;
  if (isSql(sql)) return sql.text;
  throw new Failure(FailureCode.statement, `the statement must be a string or sql\`...\`, got ${typeof sql}`);
}
