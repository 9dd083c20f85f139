// One open database: managed transactions, and statements that are a transaction each.

import { type BatchItem, runBatch } from './batch.js';
import { callable } from './checks.js';
import { type Closure, runClosure } from './closure.js';
import { CommitListeners } from './commit-listeners.js';
import type { Commit } from './commits.js';
import {
  type BackupOptions,
  type ConvertOptions,
  checkVacuumOptions,
  type VacuumOptions,
  type VerifyOptions,
  type VerifyResult,
} from './copies.js';
import { OptionError } from './errors.js';
import type { NewKey } from './keys.js';
import { ManagedCursor } from './managed-cursor.js';
import type { MigrationInfo } from './migration-history.js';
import { type Checkpoint, type CheckpointMode, Form } from './native/engine.js';
import { openSession, told } from './open.js';
import {
  type ArrayRowOptions,
  type CallOptions,
  type CloseOptions,
  type CommitListenerOptions,
  checkCallOptions,
  checkCheckpointMode,
  checkCloseOptions,
  checkIterateOptions,
  checkListenerOptions,
  checkRollbackOptions,
  type IterateOptions,
  type ObjectRowOptions,
  type OpenOptions,
  type QueryOptions,
  type RollbackOptions,
  type SplitQuerier,
} from './options.js';
import type { Queriers } from './querier.js';
import { outside } from './reentrancy.js';
import { type AsyncRows, RowIterator } from './rows.js';
import type { Session } from './session.js';
import type { Sql } from './sql.js';
import { type DatabaseStats, statsOf } from './stats.js';
import type { SyncWrite } from './sync.js';
import type { ReadTransaction, WriteTransaction } from './transaction.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';
import { backup, convert, rekey, verify } from './whole-file.js';

/**
 * An open database.
 *
 * There is one writer per file, served first come, first served; readers run beside it, each on a snapshot. Every
 * statement runs in a managed transaction: that of `read`, `write` or `batch`, or one of its own for `get`, `run` and the
 * others.
 *
 * A statement rejects with `SqlError` or `ConstraintError` for what SQLite says about it, `StatementError` when it is
 * empty or two, `StatementNotAllowedError` when it is none for user SQL (BEGIN, ATTACH, ...), `ParameterError` for its
 * values, `IntegerOutOfRangeError` for a result that needs `bigint: true`, `CorruptDatabaseError` and `IoError`.
 *
 * Whatever has to wait for its turn rejects with `BusyError` when another process held the file for `busyTimeoutMs`,
 * `QueueTimeoutError` when the turn did not come within `queueTimeoutMs`, `QueueFullError` when more than `maxQueued`
 * wait, `AbortError` when its `signal` was aborted, `ReentrantAccessError` inside a closure of a transaction of the same
 * database (see the option `reentrancy`), and `DatabaseClosedError` after `close`.
 *
 * `R` and `W` are what closures of `read` and `write` get: the transaction, or what the `querier` option makes of it.
 */
export class Database<R = ReadTransaction, W = ReadTransaction extends R ? WriteTransaction : R>
  implements AsyncDisposable
{
  readonly #session: Session;
  readonly #queriers: Queriers;
  readonly #listeners: CommitListeners;
  /** The number of the migrations it was opened with; 0: none. */
  readonly #migrations: number;
  #closing: Promise<void> | undefined = undefined;
  #afterClose: (() => Promise<void>) | undefined = undefined;

  private constructor(session: Session, queriers: Queriers, migrations: number) {
    this.#session = session;
    this.#queriers = queriers;
    this.#migrations = migrations;
    this.#listeners = new CommitListeners(session.engine, session.handle);
  }

  /**
   * Opens a database file, made when it is missing, or with `':memory:'` a private temporary one that ends with its close.
   *
   * A second open of the same file in this process, worker threads included, shares its engine; it is closed with the
   * last handle.
   *
   * With `migrations` the file has the schema that the code expects before the promise resolves. When they fail, the file
   * is as it was before the one that failed, and nothing stays open.
   *
   * @param path the file, relative to the working directory
   * @throws OptionError for an option that is unknown or not accepted; KeyNotAvailableError when the key provider has none;
   *   WrongKeyError, NotEncryptedError, ForeignCipherFormatError, and NotADatabaseError for one that is encrypted and opened
   *   without a key, or no database at all; CannotOpenError, CorruptDatabaseError or IoError for the file; BusyError when another process held it for `busyTimeoutMs`;
   *   OptionsConflictError when it is open in this process with other options; MigrationSourceError for migrations that
   *   are wrong in themselves, before the file is touched; MigrationFailedError for one that could not be run;
   *   MigrationDivergentError, MigrationMissingError and DatabaseNewerThanCodeError when they do not fit those that the
   *   file has, and nothing was run
   */
  static open<R, W>(path: string, options: OpenOptions & { querier: SplitQuerier<R, W> }): Promise<Database<R, W>>;
  /**
   * Opens a database whose closures, of `read` and `write` alike, get what `querier` makes of their transaction. Its
   * statements that write fail in `read` with `ReadOnlyTransactionError`.
   */
  static open<Q>(
    path: string,
    options: OpenOptions & { querier: (tx: WriteTransaction) => Q },
  ): Promise<Database<Q, Q>>;
  /** Opens a database whose closures get their transaction. */
  static open(path: string, options?: OpenOptions): Promise<Database>;
  static async open(path: string, options?: OpenOptions): Promise<Database<unknown, unknown>> {
    const { session, queriers, migrations } = await openSession(path, options);
    return new Database<unknown, unknown>(session, queriers, migrations);
  }

  /**
   * A database that was opened by other means.
   *
   * @internal
   */
  static of(session: Session, queriers: Queriers, migrations: number): Database<unknown, unknown> {
    return new Database<unknown, unknown>(session, queriers, migrations);
  }

  /**
   * Has `clean` run when `db` is closed, as the last part of its close.
   *
   * @internal
   */
  static afterClose<R, W>(db: Database<R, W>, clean: () => Promise<void>): void {
    db.#afterClose = clean;
  }

  /** The canonical path of the file; `':memory:'` for a temporary database. */
  get path(): string {
    return this.#session.path;
  }

  /**
   * Runs `fn` in a transaction that reads: one snapshot, from before `fn` starts until it settles.
   *
   * It sees every `write` that had resolved when `read` was called. Resolves with what `fn` gives; what `fn` throws is
   * thrown again, unchanged. `fn` is never run twice.
   *
   * It waits for a reader for at most `queueTimeoutMs` (milliseconds, default as opened: 30000) and may stay open for
   * `timeoutMs` (default: `readTimeoutMs` as opened, which is 0: for ever). When it is ended from outside, by that deadline,
   * by `signal` or by `close({ timeoutMs })`, the promise rejects at once, `tx.signal` is aborted, the statements of `fn`
   * fail from then on, and what becomes of `fn` is ignored.
   *
   * @throws UnfinishedQueryError when `fn` settles while one of its statements runs; TransactionTimeoutError, AbortError
   *   (with the signal's reason as cause) and DatabaseClosedError when it was ended from outside; OptionError; BusyError,
   *   QueueFullError, QueueTimeoutError, ReentrantAccessError, DatabaseClosedError when no transaction could be begun
   */
  read<T>(fn: (q: R, tx: ReadTransaction) => T | PromiseLike<T>, options?: CallOptions): Promise<T> {
    const closure = fn as Closure<T>;
    return runClosure(this.#session, this.#queriers, { access: 'read', fn: closure, options, method: this.read });
  }

  /**
   * Runs `fn` in a transaction that writes: committed when `fn` returns, rolled back when it throws.
   *
   * Resolves with what `fn` gives, after the commit; what `fn` throws is thrown again, unchanged, after the rollback.
   * Writers are served in the order of their calls; `fn` is never run twice.
   *
   * It waits for the writer for at most `queueTimeoutMs` (milliseconds, default as opened: 30000) and may stay open for
   * `timeoutMs` (default: `transactionTimeoutMs` as opened, 30000; 0: for ever). When it is ended from outside, by that
   * deadline, by `signal` or by `close({ timeoutMs })`, it is rolled back, the promise rejects right after that,
   * `tx.signal` is aborted, the statements of `fn` fail from then on, and what becomes of `fn` is ignored. Once COMMIT was
   * sent nothing ends it any more: the promise tells the real outcome.
   *
   * @throws UnfinishedQueryError when `fn` settles while one of its statements or savepoints is unfinished;
   *   ConstraintError when a deferred constraint fails at commit; TransactionTimeoutError, AbortError (with the signal's
   *   reason as cause) and DatabaseClosedError when it was ended from outside; TransactionAbortedError when SQLite has
   *   rolled it back; CommitOutcomeUnknownError when COMMIT met an I/O error; OptionError; BusyError, QueueFullError,
   *   QueueTimeoutError, ReentrantAccessError, ReadOnlyDatabaseError, DatabaseClosedError when no transaction could be begun
   */
  write<T>(fn: (q: W, tx: WriteTransaction) => T | PromiseLike<T>, options?: CallOptions): Promise<T> {
    const closure = fn as Closure<T>;
    return runClosure(this.#session, this.#queriers, { access: 'write', fn: closure, options, method: this.write });
  }

  /**
   * Runs a synchronous closure that writes: all of it is kept when it returns, nothing when it throws.
   *
   * Calls that wait for the writer together run one after the other and share one commit, after which their promises
   * resolve; it is the fast way to many small durable transactions. `fn` gets the surface of `tx.sync` and runs on this
   * thread when its turn comes, once at most; what it throws is thrown again, unchanged, and its neighbours commit. Statements
   * that change the schema, and pragmas that set something, are refused; use `write`.
   *
   * `signal` and `queueTimeoutMs` (milliseconds, default as opened: 30000) hold while it waits; `timeoutMs` (default:
   * `transactionTimeoutMs` as opened) bounds the shared transaction.
   *
   * @throws AsyncClosureError when `fn` gives a promise, which is rolled back and counts as handled; ConstraintError when a
   *   deferred constraint of it fails, which is rolled back alone; TransactionAbortedError when a neighbour has taken the shared transaction with it:
   *   nothing was written, and it may be tried again; CommitOutcomeUnknownError; and what `write` rejects with when no
   *   transaction could be begun
   */
  batch<T>(fn: (tx: SyncWrite) => T, options?: CallOptions): Promise<T>;
  /**
   * Runs statements in one transaction, all or none of them, and gives the result of each, as `query` does.
   *
   * Calls that wait for the writer together share one commit; one that fails, fails alone. The error of a statement says
   * which one it was and has its text. An empty list resolves without a transaction.
   *
   * `signal` and `timeoutMs` (milliseconds from the call; default: for ever) take it out of the queue; once it runs they
   * interrupt it only while it shares its transaction with nobody. `queueTimeoutMs`: default as opened, 30000.
   *
   * @throws OptionError for an element that is no statement; else what `run` rejects with
   */
  batch(statements: readonly BatchItem[], options?: CallOptions): Promise<QueryResult[]>;
  batch(work: unknown, options?: CallOptions): Promise<unknown> {
    return runBatch(this.#session, work, options, this.batch);
  }

  /**
   * The first row, or `undefined` when there is none, in a transaction of its own.
   *
   * A statement that writes (`RETURNING`) goes to the writer by itself, and all of it is done. `options`: what the row looks
   * like, and how the call may be ended: `signal`, `timeoutMs` (milliseconds from the call; default: for ever) and
   * `queueTimeoutMs` (default as opened: 30000), see `CallOptions`. From its turn on it is bounded by `readTimeoutMs` as
   * opened when it reads (default: for ever), by `transactionTimeoutMs` (30000) when it writes, whatever `timeoutMs` says.
   */
  get<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw | undefined>;
  /** The first row as an array, or `undefined` when there is none. */
  get<Rw = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<Rw | undefined>;
  get<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw | undefined> {
    return this.#session.own('get', Form.get, sql, parameters, options) as Promise<Rw | undefined>;
  }

  /** The first row, in a transaction of its own; rejects with `NoRowsError` when there is none. Otherwise as `get`. */
  one<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw>;
  /** The first row as an array; rejects with `NoRowsError` when there is none. */
  one<Rw = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<Rw>;
  one<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw> {
    return this.#session.own('one', Form.one, sql, parameters, options) as Promise<Rw>;
  }

  /** All rows, in a transaction of its own. Otherwise as `get`: a statement that writes goes to the writer by itself. */
  all<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw[]>;
  /** All rows as arrays. */
  all<Rw = ArrayRow>(sql: string | Sql, parameters: SqlParameters | undefined, options: ArrayRowOptions): Promise<Rw[]>;
  all<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw[]> {
    return this.#session.own('all', Form.all, sql, parameters, options) as Promise<Rw[]>;
  }

  /** All there is to know about a statement of any kind, in a transaction of its own. Otherwise as `get`. */
  query<Rw = Row>(sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<QueryResult<Rw>>;
  /** The same, with rows as arrays. */
  query<Rw = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<QueryResult<Rw>>;
  query<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<QueryResult<Rw>> {
    return this.#session.own('query', Form.query, sql, parameters, options) as Promise<QueryResult<Rw>>;
  }

  /**
   * The rows one by one, on one snapshot, fetched in batches while they are consumed.
   *
   * The transaction begins with the first row that is asked for and ends with the last one, when the loop is left, or when
   * the loop has not asked for more for `idleTimeoutMs` (milliseconds, default 60000; 0: for ever). `timeoutMs` (default:
   * `readTimeoutMs` as opened, 0: for ever) bounds the whole of it; `signal` ends it at any time. Rows that were fetched
   * before are still given; then the iterator rejects with `TransactionTimeoutError` or `AbortError`, and is over.
   * A statement that writes is refused with `ReadOnlyTransactionError`; use `all`.
   *
   * @throws OptionError at once; everything else comes with the first row that is asked for
   */
  iterate<Rw = Row>(
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & IterateOptions,
  ): AsyncRows<Rw>;
  /** The rows one by one as arrays. */
  iterate<Rw = ArrayRow>(
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & IterateOptions,
  ): AsyncRows<Rw>;
  iterate<Rw>(sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions & IterateOptions): AsyncRows<Rw> {
    const cursor = new ManagedCursor(this.#session, { sql, parameters, options: checkIterateOptions(options) });
    const rows = new RowIterator<Rw>(cursor);
    ManagedCursor.endWith(rows, cursor);
    return rows;
  }

  /**
   * Runs a statement for what it changes, in a transaction of its own; rows it gives are dropped.
   *
   * Calls that wait for the writer together share one commit, and each resolves after it. One that fails, fails alone.
   * `signal` and `timeoutMs` (milliseconds from the call; default: for ever) take it out of the queue; once it runs they
   * interrupt it only while it shares its transaction with nobody. `queueTimeoutMs`: default as opened, 30000.
   *
   * @throws ConstraintError, also for a deferred constraint; CommitOutcomeUnknownError when COMMIT met an I/O error;
   *   ReadOnlyDatabaseError; OptionError; and what the class lists
   */
  run(sql: string | Sql, parameters?: SqlParameters, options?: CallOptions): Promise<RunResult> {
    return this.#change('run', Form.run, sql, parameters, options) as Promise<RunResult>;
  }

  /**
   * Runs one statement once for each element of `rows`, in one transaction, all or none of them; gives the sum of
   * `changes` and the last `lastInsertRowid`.
   *
   * `rows` is read to its end before the call returns. It shares its commit and takes its options as `run` does. The error
   * of a row says which one it was, counted from 1; nothing of the others stays either.
   */
  runMany(sql: string | Sql, rows: Iterable<SqlParameters>, options?: CallOptions): Promise<RunResult> {
    return this.#session.runMany(this.#session.handle, sql, rows, options);
  }

  /** Runs a script of any number of statements without parameters, in one transaction. Options as of `run`. */
  exec(sql: string | Sql, options?: CallOptions): Promise<void> {
    return this.#change('exec', Form.exec, sql, undefined, options) as Promise<void>;
  }

  /**
   * Has `fn` called after each commit that changes a table of this file in this process, by whichever handle or worker
   * thread, in the order of the commits. Gives the function that ends it; the close of the database does as well.
   *
   * `fn` runs after the writer was released, in the async context of this call, and outside of the closure that this call
   * may be in. It is told the tables that may have
   * changed, those that the statements name as written to, triggers and foreign keys included; with `rowIds: true` also
   * which rows, as far as they are listed. While anybody asks for row ids, the tables behind a virtual table (FTS5, R-Tree)
   * are in `tables` too. When `fn` throws, the outcome stays, and the process emits a warning with the code
   * `SQLFLOW_LISTENER_FAILED`.
   *
   * Not told are commits of other processes, and those that change no table (CREATE INDEX, `user_version`). The commit of a
   * transaction that was open at this call may have changed more rows than it lists: with `rowIds` it has `truncated: true`.
   *
   * @throws OptionError; DatabaseClosedError after `close`
   */
  onCommit(fn: (commit: Commit) => void, options?: CommitListenerOptions): () => void {
    callable(fn, 'onCommit');
    const rowIds = checkListenerOptions(options);
    return this.#listeners.add(fn, rowIds);
  }

  /**
   * Copies the log of commits into the file; the engine does it by itself often enough for nearly everybody.
   *
   * It takes its turn at the writer. `'passive'` (default) then copies what it can without waiting. `'full'` copies all,
   * `'restart'` also has the next commit start the log anew, `'truncate'` also cuts it back to nothing: these wait for
   * readers and other processes in the way, for at most `busyTimeoutMs` as opened; writers pass meanwhile, and new reads are
   * held back for at most 100 ms. `busy: true` in the result: something was in the way of a part of it until the end.
   *
   * @throws OptionError; ReentrantAccessError inside a closure; ReadOnlyDatabaseError; IoError; DatabaseClosedError
   */
  async checkpoint(mode: CheckpointMode = 'passive'): Promise<Checkpoint> {
    checkCheckpointMode(mode);
    this.#session.refuseReentrance('checkpoint');
    return await this.#session.engine.checkpoint(this.#session.handle, mode);
  }

  /**
   * Copies the database into another file: one snapshot of it, while writers and readers go on.
   *
   * The copy has the key of the source, another one, or with `key: null` none; so it is also the way from a plain file to
   * an encrypted one and back, and from a file of an older SQLCipher to one of today. It is written beside its name, with
   * rights for the owner alone, checked from end to end, synced, and only then gets the name: nobody ever finds half a
   * copy there, whenever the process ends. What a killed one leaves is called `sqlflow-<16 digits>.tmp`.
   *
   * Runs on a thread of the engine. A copy of the same kind, encrypted as plain, is made page by page. One from plain to
   * encrypted or back, or from an older SQLCipher, is made row by row: it is slower, and row ids that no column names
   * (`INTEGER PRIMARY KEY`) may be other ones then, as after a VACUUM.
   *
   * @param path where it goes, relative to the working directory; its folder is made if it is missing
   * @throws FileExistsError without `overwrite`; CannotOpenError when the target is open in this process, or a log lies
   *   beside it; CorruptDatabaseError when the source is damaged, and then there is no copy; AbortError; BusyError;
   *   IoError; OptionError; DatabaseClosedError
   */
  async backup(path: string, options?: BackupOptions): Promise<void> {
    await backup(this.#session, path, options);
  }

  /**
   * Encrypts the file with another key, of which every later open must have proof. The old one is worthless then, but for
   * copies of the file.
   *
   * It takes its turn at the writer, waits for the reads that are on, for at most 30 s, and has the file for itself until it
   * is done; other calls wait. Killed at any instant, the file has either key, whole. Before, every page is authenticated, and after it,
   * again, by a connection that knows the new key only.
   *
   * @param newKey 32 bytes, or `{ passphrase }`
   * @throws NotEncryptedError for a plain file; CorruptDatabaseError for a damaged one, whose key stays; BusyError when
   *   another process, a backup or a verify has the file for all of `busyTimeoutMs`, or a read is on for 30 s; OptionError; ReentrantAccessError
   *   inside a closure; ReadOnlyDatabaseError; DatabaseClosedError
   */
  async rekey(newKey: NewKey): Promise<void> {
    await rekey(this.#session, newKey);
  }

  /**
   * Writes the file anew without its holes, and cuts it; with `incrementalPages` it gives back some free pages only.
   *
   * It takes its turn at the writer, waits for the reads that are on, for at most 30 s, and has the file for itself until it
   * is done; other calls wait. It needs room for two more copies of the data on the disk, one of them in memory for an
   * encrypted file, where nothing is spilled in clear. Row ids that no column names (`INTEGER PRIMARY KEY`) may change.
   *
   * @throws IoError when the disk is full, and nothing has changed; BusyError, also when a read is on for 30 s; OptionError; ReentrantAccessError inside a
   *   closure; ReadOnlyDatabaseError; DatabaseClosedError
   */
  async vacuum(options?: VacuumOptions): Promise<void> {
    const pages = checkVacuumOptions(options);
    this.#session.refuseReentrance('vacuum');
    await this.#session.engine.vacuum(this.#session.handle, pages);
  }

  /**
   * Checks the whole database, on a snapshot, while writers and readers go on: that every page is what was written with
   * its key, that SQLite finds all of it sound, that rows refer to rows that are there.
   *
   * What is wrong is data and no error; `CorruptDatabaseError` comes only when it cannot even be begun. When pages are not
   * what was written, what SQLite would say of them is left out. With `readOnly` nothing is written either; otherwise the
   * log is copied into the file first, as far as nobody is in the way.
   *
   * @throws AbortError; BusyError; IoError; OptionError; DatabaseClosedError
   */
  async verify(options?: VerifyOptions): Promise<VerifyResult> {
    return await verify(this.#session, options);
  }

  /**
   * Makes a file of SQLite3 Multiple Ciphers (scheme `sqlcipher`, `legacy` 0, as some programs of other languages write
   * them) a file of SQLCipher 4, in its place; opening one says `ForeignCipherFormatError`.
   *
   * Nobody may have it open. Its log is applied, then a copy with another first page is written beside it, checked from
   * end to end, and takes its name. Killed at any instant, there is one or the other under it, whole, and it can be run
   * again; a file that is converted already is left as it is.
   *
   * @param path the file, relative to the working directory
   * @throws WrongKeyError; CorruptDatabaseError when any page is not what was written with the key, and the file has the
   *   other format still, its log applied; ForeignCipherFormatError for pages of another size than 4096 and for a journal that its own program must see
   *   to; BusyError when another process has it open; CannotOpenError, also when it is open in this process; IoError;
   *   OptionError
   */
  static async convert(path: string, options: ConvertOptions): Promise<void> {
    await convert(path, options);
  }

  /**
   * The migrations, those of the option `migrations` and those that the database has, by version, and which are applied.
   *
   * A read of its own. Without the option there are only those of the database, all of them `'unknown'`; with the option
   * and `migrate: 'create'` or `readOnly` some may be `'pending'`.
   *
   * @throws ReentrantAccessError inside a closure; CorruptDatabaseError; IoError; DatabaseClosedError
   */
  async migrations(): Promise<MigrationInfo[]> {
    this.#session.refuseReentrance('migrations');
    return await this.#session.engine.migrations(this.#session.handle);
  }

  /**
   * Undoes migrations: runs the Down parts of all that are applied above version `to`, the newest first, each in a
   * transaction of its own with the change of the history.
   *
   * Nothing is run unless every one of them is among the `migrations` of this open, unchanged, and has a Down part. When
   * one fails, it is rolled back, and those before it stay undone. Meant for development and for taking back a release:
   * Down parts drop what was stored since.
   *
   * @throws MigrationFailedError for one that failed or has no Down part; MigrationDivergentError, MigrationMissingError and
   *   DatabaseNewerThanCodeError when the migrations do not fit those of the file; OptionError, also when the database was
   *   opened without `migrations`; ReentrantAccessError inside a closure; BusyError; ReadOnlyDatabaseError;
   *   DatabaseClosedError
   */
  async rollback(options: RollbackOptions): Promise<void> {
    const { to, onMigration } = checkRollbackOptions(options);
    if (this.#migrations === 0) {
      throw new OptionError('rollback needs the Down parts: open the database with the option migrations');
    }
    this.#session.refuseReentrance('rollback');
    await this.#session.engine.rollbackMigrations(this.#session.handle, to, told(onMigration));
  }

  /**
   * What the database is doing at this moment and has done since it was opened, by all handles of the file in this process.
   *
   * Costs microseconds, waits for nothing and may be called inside a closure. It still tells while the database is being
   * closed. Afterwards every figure is 0 and the writer `'idle'`.
   */
  stats(): DatabaseStats {
    return statsOf(this.#session.engine.stats(this.#session.handle));
  }

  /**
   * Runs `fn` as if it had been called outside of every closure, and gives what it gives.
   *
   * For what is called inside a closure and does not belong to it: a shared cache that fills itself, a queue of work,
   * a log. A closure must not wait for it when it needs the same writer: that would last until `queueTimeoutMs`.
   */
  outside<T>(fn: () => T): T {
    callable(fn, 'outside');
    return outside(fn);
  }

  /**
   * Closes the database: refuses new work, lets accepted work finish, then closes the file when no other handle has it.
   *
   * With `timeoutMs` (milliseconds; 0: at once; default: for ever) what is not finished by then is ended like by a
   * deadline: what waits is taken out of the queue, what is open is rolled back, and their promises reject with
   * `DatabaseClosedError`. Idle iterators are ended at once; they throw it at their next fetch. Closing again gives the same
   * promise, and the `timeoutMs` of the first call counts.
   *
   * @throws OptionError; ReentrantAccessError inside a closure of one of its own transactions
   */
  close(options?: CloseOptions): Promise<void> {
    try {
      const timeoutMs = checkCloseOptions(options);
      this.#session.refuseReentrance('close');
      if (this.#closing === undefined) {
        for (const cursor of this.#session.cursors) cursor.databaseClosed();
        this.#listeners.databaseClosed();
        const closing = this.#session.engine.close(this.#session.handle, timeoutMs);
        this.#closing = this.#afterClose === undefined ? closing : closing.finally(this.#afterClose);
      }
      return this.#closing;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #change(
    method: string,
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
    return this.#session.own(method, form, sql, parameters, options);
  }
}
