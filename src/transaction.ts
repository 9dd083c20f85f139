// What a closure of `read` or `write` gets: statements bound to one open transaction.

import { callable } from './checks.js';
import { type CommitListener, guarded } from './commit-listeners.js';
import type { Commit } from './commits.js';
import { TransactionClosedError } from './errors.js';
import type { Cursor, Target } from './native/engine.js';
import { Form } from './native/engine.js';
import {
  type ArrayRowOptions,
  type BatchOptions,
  type CallOptions,
  checkCallOptions,
  type ObjectRowOptions,
  type QueryOptions,
} from './options.js';
import { type AsyncRows, batches, RowIterator } from './rows.js';
import { runSavepoint } from './savepoint.js';
import type { Session } from './session.js';
import type { Sql } from './sql.js';
import { Statement, WriteStatement } from './statement.js';
import { SyncRead, SyncWrite } from './sync.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';

/**
 * A transaction that reads: one snapshot, from before the closure starts until it settles.
 *
 * Statements run in call order. After the closure has settled, everything here fails with `TransactionClosedError`; after
 * the transaction was ended from outside, by a deadline, a `signal` or `db.close({ timeoutMs })`, with the error the call
 * of `read` or `write` was rejected with.
 *
 * `signal` and `timeoutMs` (milliseconds; default: none) of a statement that reads interrupt that statement alone; of one
 * that writes, SQLite rolls the whole transaction back with it, and what follows fails with `TransactionAbortedError`.
 * The statement rejects with `AbortError` or `TransactionTimeoutError`. `queueTimeoutMs` means nothing here.
 *
 * A statement rejects with `SqlError` or `ConstraintError` for what SQLite says about it, `StatementError` when it is
 * empty or two, `StatementNotAllowedError` when it is none for user SQL (BEGIN, ATTACH, ...), `ParameterError` for its
 * values, `ReadOnlyTransactionError` when it writes in `read`, `IntegerOutOfRangeError` for a result that needs
 * `bigint: true`, `SavepointOpenError` while a savepoint of it is open, and `TransactionAbortedError` when SQLite has
 * rolled the transaction back (`OR ROLLBACK`, `RAISE(ROLLBACK)`, a full disk).
 */
export class ReadTransaction {
  /** @internal */
  protected readonly session: Session;
  /** @internal */
  protected readonly target: Target;
  #sync: SyncRead | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  /** What its end from outside is rejected with. */
  #endedWith: unknown = undefined;

  /** Made by `db.read` and `db.write`. */
  protected constructor(session: never, target: never);
  /** @internal */
  protected constructor(session: Session, target: Target);
  protected constructor(session: Session, target: Target) {
    this.session = session;
    this.target = target;
  }

  /** @internal */
  static of(session: Session, target: Target): ReadTransaction {
    return new ReadTransaction(session, target);
  }

  /** @internal */
  static endedFromOutside(tx: ReadTransaction, error: unknown): void {
    tx.#endedWith = error;
    tx.#controller?.abort(error);
  }

  /**
   * Aborted when the transaction is ended from outside: by the `signal` or a deadline of its call, or by
   * `db.close({ timeoutMs })`. Its reason is the error the call is rejected with. Pass it on to what the closure waits for
   * beside the database; its statements fail by themselves.
   *
   * It is not aborted by the normal end. Made when it is first asked for; savepoints have the one of their transaction.
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#endedWith !== undefined) this.#controller.abort(this.#endedWith);
    }
    return this.#controller.signal;
  }

  /**
   * The same statements on this thread, without waiting for the engine's: for many short statements in a row.
   *
   * Throws `StatementInFlightError` until every asynchronous statement of this transaction has been answered.
   */
  get sync(): SyncRead {
    this.#sync ??= SyncRead.of(this.session, this.target);
    return this.#sync;
  }

  /** The first row, or `undefined` when there is none. */
  get<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<R | undefined>;
  /** The first row as an array, or `undefined` when there is none. */
  get<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<R | undefined>;
  get<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<R | undefined> {
    return this.session.statement(this.target, Form.get, sql, parameters, options) as Promise<R | undefined>;
  }

  /** The first row; rejects with `NoRowsError` when there is none. */
  one<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<R>;
  /** The first row as an array; rejects with `NoRowsError` when there is none. */
  one<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<R>;
  one<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<R> {
    return this.session.statement(this.target, Form.one, sql, parameters, options) as Promise<R>;
  }

  /** All rows. */
  all<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<R[]>;
  /** All rows as arrays. */
  all<R = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<R[]>;
  all<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<R[]> {
    return this.session.statement(this.target, Form.all, sql, parameters, options) as Promise<R[]>;
  }

  /** All there is to know about a statement of any kind: columns, rows, changes and row id. */
  query<R = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<QueryResult<R>>;
  /** The same, with rows as arrays. */
  query<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<QueryResult<R>>;
  query<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<QueryResult<R>> {
    return this.session.statement(this.target, Form.query, sql, parameters, options) as Promise<QueryResult<R>>;
  }

  /**
   * The rows one by one, fetched in batches while they are consumed.
   *
   * Other statements may run between two rows. The values are read when the first row is asked for. A statement that
   * writes is refused with `StatementError`; use `all`. `signal` ends the fetch that is under way and the iterator. One
   * that is open ends with an error when a savepoint that has changed the schema is taken back.
   */
  iterate<R = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & BatchOptions,
  ): AsyncRows<R>;
  /** The rows one by one as arrays. */
  iterate<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & BatchOptions,
  ): AsyncRows<R>;
  iterate<R>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions & BatchOptions): AsyncRows<R> {
    return new RowIterator<R>(this.#cursor(sql, parameters, options));
  }

  /** The rows in batches of `batchRows`, as they are fetched; otherwise as `iterate`. */
  batches<R = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & BatchOptions,
  ): AsyncGenerator<R[], undefined, undefined>;
  /** The rows in batches, each row as an array. */
  batches<R = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & BatchOptions,
  ): AsyncGenerator<R[], undefined, undefined>;
  batches<R>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: QueryOptions & BatchOptions,
  ): AsyncGenerator<R[], undefined, undefined> {
    return batches<R>(this.#cursor(sql, parameters, options));
  }

  /**
   * A statement to be run several times with different values.
   *
   * Synchronous and lazy: nothing is sent, and nothing can fail but the options, before it is run. The options, `signal`
   * and `timeoutMs` among them, hold for each run.
   */
  prepare<R = Row>(sql: string | Sql, options?: ObjectRowOptions): Statement<R>;
  /** The same, with rows as arrays. */
  prepare<R = ArrayRow>(sql: string | Sql, options: ArrayRowOptions): Statement<R>;
  prepare<R>(sql: string | Sql, options?: QueryOptions): Statement<R> {
    return Statement.of<R>(this.session, this.target, sql, options);
  }

  #cursor(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: (QueryOptions & BatchOptions) | undefined,
  ): Cursor {
    return this.session.cursor(this.target, { sql, parameters, options });
  }
}

/** A listener of a transaction. */
interface Registration {
  /** Its place among those of the transaction, savepoints included. */
  readonly place: number;
  readonly tell: CommitListener;
}

/**
 * A transaction that writes: BEGIN IMMEDIATE before the closure starts, COMMIT after it returned, ROLLBACK after it threw.
 *
 * It is the only writer of its file in this process while it is open.
 */
export class WriteTransaction extends ReadTransaction {
  #syncWrite: SyncWrite | undefined = undefined;
  #listeners: Registration[] = [];
  /** Of the transaction itself: how many listeners were registered in it and in its savepoints. */
  #registrations = 0;
  /** Of a savepoint: the transaction or savepoint it is in. */
  #around: WriteTransaction | undefined = undefined;

  /** @internal */
  static override of(session: Session, target: Target): WriteTransaction {
    return new WriteTransaction(session, target);
  }

  /** @internal */
  static committed(tx: WriteTransaction, commit: Commit | undefined): void {
    // Those of a savepoint come when it is released, behind what was registered after it.
    tx.#listeners.sort((a, b) => a.place - b.place);
    for (const { tell } of tx.#listeners) tell(commit ?? { tables: new Set(), truncated: false });
  }

  /** The same statements on this thread: see `ReadTransaction.sync`. */
  override get sync(): SyncWrite {
    this.#syncWrite ??= SyncWrite.of(this.session, this.target);
    return this.#syncWrite;
  }

  /** As `ReadTransaction.signal`. */
  override get signal(): AbortSignal {
    return this.#around === undefined ? super.signal : this.#around.signal;
  }

  /** Runs a statement for what it changes; rows it gives are dropped. */
  run(sql: string | Sql, parameters?: SqlParameters, options?: CallOptions): Promise<RunResult> {
    return this.#change(Form.run, sql, parameters, options) as Promise<RunResult>;
  }

  /**
   * Runs one statement once for each element of `rows`, all or none of them, and gives the sum of `changes` and the last
   * `lastInsertRowid`. Much faster than as many calls of `run`: they cross to the engine together.
   *
   * When one fails, the promise rejects with its error and what the ones before it changed is taken back; the transaction
   * goes on. `rows` is read to its end before the first of them runs.
   */
  runMany(sql: string | Sql, rows: Iterable<SqlParameters>, options?: CallOptions): Promise<RunResult> {
    return this.session.runMany(this.target, sql, rows, options);
  }

  /** Runs a script of any number of statements without parameters, in order, until one fails. */
  exec(sql: string | Sql, options?: CallOptions): Promise<void> {
    return this.#change(Form.exec, sql, undefined, options) as Promise<void>;
  }

  /**
   * Runs `fn` in a transaction within this one: kept when `fn` returns, and taken back alone when it throws.
   *
   * `fn` gets a `tx` of its own, which may have savepoints in turn; until it has settled this one refuses statements and
   * further savepoints with `SavepointOpenError`. Resolves with what `fn` gives; what `fn` throws is thrown again,
   * unchanged, after its work was taken back, and this transaction goes on. Nothing is durable before this transaction
   * commits. When the transaction is ended from outside, the statements of `fn` fail, and with them `fn`. An iterator of
   * this transaction goes on after it, but ends with an error when what was taken back has changed the schema.
   *
   * @throws SavepointOpenError when one is open; UnfinishedQueryError when `fn` settles while one of its statements runs,
   *   after its work was taken back; TransactionAbortedError when SQLite has rolled the whole transaction back
   */
  savepoint<T>(fn: (tx: WriteTransaction) => T | PromiseLike<T>): Promise<T> {
    return runSavepoint(
      this.session,
      this.target,
      fn,
      (child) => this.#within(child),
      (tx) => {
        for (const registration of tx.#listeners) this.#listeners.push(registration);
      },
    );
  }

  /**
   * Has `fn` called after this transaction has committed and another one may write; never when it is rolled back, and
   * never when it is registered in a savepoint that is taken back.
   *
   * `fn` runs once, before the promise of `write` resolves, in the async context of this call; listeners run in the order
   * of their registration, those of savepoints among them. It is told the tables that may have changed: those that the statements name as written to,
   * triggers and foreign keys included. When `fn` throws, the outcome stays, and the process emits a warning with the
   * code `SQLFLOW_LISTENER_FAILED`.
   *
   * @throws TransactionClosedError after the end of the transaction or savepoint
   */
  onCommit(fn: (commit: Commit) => void): void {
    callable(fn, 'onCommit');
    if (this.target.ended) {
      throw new TransactionClosedError(
        'the transaction has ended: register what follows its commit inside the closure',
      );
    }
    this.target.root.wantsTables = true;
    let whole: WriteTransaction = this;
    while (whole.#around !== undefined) whole = whole.#around;
    whole.#registrations += 1;
    this.#listeners.push({ place: whole.#registrations, tell: guarded(fn) });
  }

  /** As `ReadTransaction.prepare`, for statements that write as well. */
  override prepare<R = Row>(sql: string | Sql, options?: ObjectRowOptions): WriteStatement<R>;
  /** The same, with rows as arrays. */
  override prepare<R = ArrayRow>(sql: string | Sql, options: ArrayRowOptions): WriteStatement<R>;
  override prepare<R>(sql: string | Sql, options?: QueryOptions): WriteStatement<R> {
    return WriteStatement.of<R>(this.session, this.target, sql, options);
  }

  #change(
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: CallOptions | undefined,
  ): Promise<unknown> {
    try {
      checkCallOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.session.statement(this.target, form, sql, parameters, options);
  }

  #within(child: Target): WriteTransaction {
    const tx = new WriteTransaction(this.session, child);
    tx.#around = this;
    return tx;
  }
}
