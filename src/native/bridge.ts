// The border: requests go out through one buffer, completions come back through another, one wake-up per batch.

import { StatementInFlightError } from '../errors.js';
import { type QueryOptions, queryMode } from '../options.js';
import { isSql, type Sql } from '../sql.js';
import type { SqlParameters } from '../values.js';
import type { Native, NativeOpenOptions } from './binding.js';
import { Completions } from './completions.js';
import { BridgeCursor } from './cursor.js';
import { type Batch, Decoder } from './decode.js';
import { Encoder, NO_REPLY } from './encode.js';
import type { Cursor, CursorRequest, Ending, Engine, Form, Opened, Target } from './engine.js';
import { errorOf, Failure, FailureCode } from './failure.js';
import { Operation, Operations, Outcome } from './operations.js';
import { Parameters } from './parameters.js';
import { Reader } from './reader.js';
import { Statements } from './statements.js';
import { Flag, Kind, REQUEST_BYTES, RESPONSE_BYTES, Reply, ReplyFlag } from './wire.js';

/** The engine behind the addon. One per copy of this module: a bridge is never shared between two. */
export class Bridge implements Engine {
  readonly #native: Native;
  readonly #encoder: Encoder;
  readonly #decoder: Decoder;
  readonly #statements: Statements;
  readonly #operations = new Operations();
  readonly #parameters = new Parameters();
  readonly #answers: Reader;
  /** Stands for the operation of a synchronous call; not in the table. */
  readonly #synchronous = new Operation(0);

  constructor(native: Native) {
    const request = new ArrayBuffer(REQUEST_BYTES);
    const response = new ArrayBuffer(RESPONSE_BYTES);
    const sync = new ArrayBuffer(RESPONSE_BYTES);
    this.#native = native;
    this.#encoder = new Encoder(request);
    this.#decoder = new Decoder((id) => native.shape(id));
    this.#statements = new Statements(native);
    this.#answers = new Reader(sync);
    const completions = new Completions(native, response, this.#operations, this.#decoder);
    native.setup(request, response, sync, completions.wake);
  }

  open(path: string, options: NativeOpenOptions, bigint: boolean): Promise<Opened> {
    const operation = this.#operations.take(undefined, Outcome.opened, bigint ? Flag.bigint : 0, '');
    const promise = this.#operations.start(operation);
    try {
      this.#native.open(operation.index, path, options);
      return promise as Promise<Opened>;
    } catch (error) {
      this.#operations.finish(operation);
      return Promise.reject(error);
    }
  }

  close(handle: Target): Promise<void> {
    const operation = this.#operations.take(undefined, Outcome.done, 0, '');
    const promise = this.#operations.start(operation);
    try {
      this.#native.close(operation.index, handle.index, handle.generation);
      return promise as Promise<void>;
    } catch (error) {
      this.#operations.finish(operation);
      return Promise.reject(error);
    }
  }

  begin(handle: Target, access: 'read' | 'write'): Promise<Target> {
    const kind = access === 'read' ? Kind.beginRead : Kind.beginWrite;
    return this.#submit(handle, kind, Outcome.grant, handle.mode, '', 0, 0, 0, undefined) as Promise<Target>;
  }

  end(transaction: Target, ending: Ending): Promise<void> {
    transaction.ended = true;
    const kind = ending === 'commit' ? Kind.commit : Kind.rollback;
    return this.#submit(transaction, kind, Outcome.done, 0, '', 0, 0, 0, undefined) as Promise<void>;
  }

  endRead(transaction: Target): Promise<void> | undefined {
    transaction.ended = true;
    const size = this.#encoder.encode(0, Kind.commit, 0, transaction, 0, 0, 0, undefined);
    try {
      this.#answer(this.#native.sync(size), Outcome.done, 0, '');
    } catch (error) {
      if (transaction.inFlight > 0 || !(error instanceof StatementInFlightError)) throw error;
      return this.end(transaction, 'commit');
    }
    return undefined;
  }

  disown(transaction: Target): void {
    transaction.disowned = true;
    this.#operations.disown(transaction);
  }

  statement(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<unknown> {
    let text = '';
    try {
      text = typeof sql === 'string' ? sql : textOf(sql);
      if (target.ended) throw closed();
      const mode = options === undefined ? target.mode : queryMode(options, target.mode);
      const values = this.#values(sql, parameters, form.kind);
      const id = this.#statements.id(text);
      return this.#submit(target, form.kind, form.outcome, mode, text, id, 0, 0, values);
    } catch (error) {
      return Promise.reject(errorOf(error, text));
    }
  }

  statementSync(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): unknown {
    let text = '';
    try {
      text = typeof sql === 'string' ? sql : textOf(sql);
      if (target.ended) throw closed();
      if (target.inFlight > 0) throw inFlight();
      const mode = options === undefined ? target.mode : queryMode(options, target.mode);
      const values = this.#values(sql, parameters, form.kind);
      const id = this.#statements.id(text);
      const cursor = form.kind === Kind.all || form.kind === Kind.query ? target.newCursor() : 0;
      return this.#runSync(target, form.kind, form.outcome, mode, text, id, cursor, 0, values);
    } catch (error) {
      throw errorOf(error, text);
    }
  }

  cursor(target: Target, request: CursorRequest): Cursor {
    return new BridgeCursor(this, target, request);
  }

  /** Opens a cursor and takes its first batch. */
  openCursor(cursor: BridgeCursor): Promise<Batch> {
    let text = '';
    try {
      text = textOf(cursor.sql);
      if (cursor.transaction.ended) throw closed();
      const { transaction: target, id, mode, limit } = cursor;
      const values = this.#values(cursor.sql, cursor.parameters, Kind.cursor);
      const statement = this.#statements.id(text);
      const { cursor: kind } = Kind;
      return this.#submit(target, kind, Outcome.batch, mode, text, statement, id, limit, values) as Promise<Batch>;
    } catch (error) {
      return Promise.reject(errorOf(error, text));
    }
  }

  /** Takes the next batch of an open cursor. */
  pull(cursor: BridgeCursor): Promise<Batch> {
    const text = textOf(cursor.sql);
    const { transaction: target, id, mode, limit } = cursor;
    if (target.ended) return Promise.reject(errorOf(closed(), text));
    return this.#submit(target, Kind.pull, Outcome.batch, mode, text, 0, id, limit, undefined) as Promise<Batch>;
  }

  /** Opens a cursor on this thread and takes its first batch. */
  openCursorSync(cursor: BridgeCursor): Batch {
    let text = '';
    try {
      text = textOf(cursor.sql);
      const { transaction: target, id, mode, limit } = cursor;
      if (target.ended) throw closed();
      if (target.inFlight > 0) throw inFlight();
      const values = this.#values(cursor.sql, cursor.parameters, Kind.cursor);
      const statement = this.#statements.id(text);
      return this.#runSync(target, Kind.cursor, Outcome.batch, mode, text, statement, id, limit, values) as Batch;
    } catch (error) {
      throw errorOf(error, text);
    }
  }

  /** Takes the next batch of an open cursor on this thread. */
  pullSync(cursor: BridgeCursor): Batch {
    const text = textOf(cursor.sql);
    try {
      const { transaction: target, id, mode, limit } = cursor;
      if (target.ended) throw closed();
      if (target.inFlight > 0) throw inFlight();
      return this.#runSync(target, Kind.pull, Outcome.batch, mode, text, 0, id, limit, undefined) as Batch;
    } catch (error) {
      throw errorOf(error, text);
    }
  }

  /** Gives an open cursor up; done at once unless a statement of the transaction is running. */
  closeCursor(target: Target, cursor: number): void {
    if (target.ended) return;
    this.#send(this.#encoder.encode(NO_REPLY, Kind.closeCursor, 0, target, 0, cursor, 0, undefined));
  }

  /** The values of a statement, read once. What they are read into belongs to this call until it has been encoded. */
  #values(sql: string | Sql, parameters: SqlParameters | undefined, kind: number): Parameters | undefined {
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

  #submit(
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
    const operation = this.#operations.take(target, outcome, mode, text);
    try {
      const size = this.#encoder.encode(operation.index, kind, mode, target, statement, cursor, limit, values);
      const promise = this.#operations.start(operation);
      this.#send(size);
      return promise;
    } catch (error) {
      if (operation.promise === undefined) this.#operations.release(operation);
      else this.#operations.finish(operation);
      return Promise.reject(errorOf(error, text));
    }
  }

  #send(size: number): void {
    const { large } = this.#encoder;
    if (large === undefined) this.#native.submit(size);
    else this.#native.submitFrom(large, size);
  }

  #runSync(
    target: Target,
    kind: number,
    outcome: Outcome,
    mode: number,
    text: string,
    statement: number,
    cursor: number,
    limit: number,
    values: Parameters | undefined,
  ): unknown {
    const size = this.#encoder.encode(0, kind, mode, target, statement, cursor, limit, values);
    const { large } = this.#encoder;
    const answer = large === undefined ? this.#native.sync(size) : this.#native.syncFrom(large, size);
    if (outcome !== Outcome.rows && outcome !== Outcome.query) return this.#answer(answer, outcome, mode, text);
    return this.#answerInBatches(answer, target, outcome, mode, text, cursor);
  }

  #answer(answer: number | ArrayBuffer, outcome: Outcome, mode: number, text: string): unknown {
    const operation = this.#synchronous;
    operation.outcome = outcome;
    operation.mode = mode;
    operation.rows = undefined;
    const reader = typeof answer === 'number' ? this.#answers : new Reader(answer);
    try {
      return this.#decoder.value(reader, 0, operation);
    } catch (error) {
      throw errorOf(error, text);
    }
  }

  /** A result that does not fit into one record comes as batches of a cursor. */
  #answerInBatches(
    first: number | ArrayBuffer,
    target: Target,
    outcome: Outcome,
    mode: number,
    text: string,
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
          this.closeCursor(target, cursor);
          throw error;
        }
        answer = this.#native.sync(this.#encoder.encode(0, Kind.pull, mode, target, 0, cursor, 0, undefined));
      }
    } catch (error) {
      throw errorOf(error, text);
    } finally {
      operation.rows = undefined;
    }
  }
}

/** The text of a statement; anything but text and `sql` fragments is a `Failure`. */
function textOf(sql: string | Sql): string {
  if (typeof sql === 'string') return sql;
  if (isSql(sql)) return sql.text;
  throw new Failure(FailureCode.statement, `the statement must be a string or sql\`...\`, got ${typeof sql}`);
}

function closed(): Failure {
  return new Failure(
    FailureCode.transactionClosed,
    'the transaction has ended: await every statement inside the closure of read or write, and do not keep tx beyond it',
  );
}

/** Decided here, not by whether the engine has finished: what a caller may do depends on what it has seen. */
function inFlight(): Failure {
  return new Failure(
    FailureCode.statementInFlight,
    'an asynchronous statement of this transaction has not been answered yet; await it before you use tx.sync',
  );
}
