// A pool: a database per key, opened when it is needed, kept while it is used much, closed when it is not.

import { join, resolve } from 'node:path';
import type { BatchItem } from './batch.js';
import { callable } from './checks.js';
import type { Database } from './database.js';
import { DatabaseClosedError, OptionError, StatementError } from './errors.js';
import { wipe } from './keys.js';
import { ManagedCursor } from './managed-cursor.js';
import type { MigrationProgress } from './migration-history.js';
import { engine } from './native/addon.js';
import type { Opened } from './native/engine.js';
import { migrationsOf } from './open.js';
import {
  type ArrayRowOptions,
  type CallOptions,
  type CloseOptions,
  checkCallOptions,
  checkCloseOptions,
  checkIterateOptions,
  checkPath,
  type IterateOptions,
  type ObjectRowOptions,
  type QueryOptions,
  queryMode,
  type SplitQuerier,
} from './options.js';
import {
  type BackupAllOptions,
  type BackupResult,
  checkAllOptions,
  forAll,
  type MigrateAllOptions,
  type MigrateResult,
  targetFolder,
} from './pool-all.js';
import { isThere, type PoolFiles, poolFiles } from './pool-files.js';
import {
  type CheckedPoolOptions,
  checkPoolOptions,
  checkUseOptions,
  type PoolOptions,
  type UseOptions,
} from './pool-options.js';
import { type PoolStats, poolStatsOf } from './pool-stats.js';
import { PooledCursor } from './pooled-cursor.js';
import { inside, ownUse } from './reentrancy.js';
import { type AsyncRows, RowIterator } from './rows.js';
import { isSql, type Sql } from './sql.js';
import type { SyncWrite } from './sync.js';
import { type Tenant, Tenants } from './tenants.js';
import type { ReadTransaction, WriteTransaction } from './transaction.js';
import type { ArrayRow, QueryResult, Row, RunResult, SqlParameters } from './values.js';

// Captured at load: tests replace it with a fake.
const { setTimeout, clearTimeout } = globalThis;

/**
 * A folder of databases, one file for each key: a user, a tenant, a device.
 *
 * Every call opens the database of its key when it is not open, with the migrations and the encryption key of the pool's
 * options, made if it is missing and may be; calls that need the same one at the same time wait for one open. At most
 * `maxOpen` stay open, those that are used most; one that is in use is never closed. Two pools on one folder, of worker
 * threads as well, share what is open.
 *
 * Beside what the methods of `Database` of the same name reject with, every call can reject with `PoolKeyError` for a key
 * that can have no file, `NoSuchDatabaseError` when there is no file and none is made, `KeyNotAvailableError`, whatever
 * `Database.open` rejects with, and `DatabaseClosedError` after the close of the pool.
 */
export class Pool<R = ReadTransaction, W = ReadTransaction extends R ? WriteTransaction : R>
  implements AsyncDisposable
{
  /** The canonical path of the folder. */
  readonly path: string;
  readonly #pool: Opened;
  readonly #options: CheckedPoolOptions;
  readonly #files: PoolFiles;
  readonly #tenants: Tenants;
  /** Databases of scopes of `use`. */
  readonly #scopes = new Set<Database<R, W>>();
  #closing: Promise<void> | undefined = undefined;
  #afterClose: (() => Promise<void>) | undefined = undefined;

  private constructor(pool: Opened, options: CheckedPoolOptions) {
    this.path = pool.path;
    this.#pool = pool;
    this.#options = options;
    this.#files = poolFiles(pool.path, options.fileName);
    this.#tenants = new Tenants(engine, pool, this.#files, options);
  }

  /**
   * Opens a pool on the databases of a folder, which is made (for its owner alone) when it is missing. None of them is
   * opened before it is needed.
   *
   * @param folder the folder, relative to the working directory
   * @throws OptionError; CannotOpenError for the folder; OptionsConflictError when this process has a pool on it with
   *   another `maxOpen`, `maxOpenBytes` or `inactivityTimeoutMs`; MigrationSourceError for migrations that are wrong in
   *   themselves
   */
  static open<R, W>(folder: string, options: PoolOptions & { querier: SplitQuerier<R, W> }): Promise<Pool<R, W>>;
  /** Opens a pool whose closures, of `read` and `write` alike, get what `querier` makes of their transaction. */
  static open<Q>(folder: string, options: PoolOptions & { querier: (tx: WriteTransaction) => Q }): Promise<Pool<Q, Q>>;
  /** Opens a pool whose closures get their transaction. */
  static open(folder: string, options?: PoolOptions): Promise<Pool>;
  static async open(folder: string, options?: PoolOptions): Promise<Pool<unknown, unknown>> {
    if (checkPath(folder) === ':memory:')
      throw new OptionError('a pool needs a folder; testPool makes a temporary one');
    const checked = checkPoolOptions(options);
    const { database, native } = checked;
    try {
      // Once for all its databases; wrong migrations are told now, and not to the first user of some tenant.
      database.native.migrations = await migrationsOf(database);
      return new Pool<unknown, unknown>(await engine.pools.open(resolve(folder), native), checked);
    } catch (error) {
      wipe(database.keys);
      throw error;
    }
  }

  /**
   * Has `clean` run when `pool` is closed, as the last part of its close.
   *
   * @internal
   */
  static afterClose<R, W>(pool: Pool<R, W>, clean: () => Promise<void>): void {
    pool.#afterClose = clean;
  }

  /** `db.read` of the database of `key`. */
  async read<T>(key: string, fn: (q: R, tx: ReadTransaction) => T | PromiseLike<T>, options?: CallOptions): Promise<T> {
    callable(fn, 'read');
    if (options !== undefined) checkCallOptions(options);
    const held = this.#tenants.acquire(key, options);
    // Hot ones wait for nothing.
    const tenant = held instanceof Promise ? await held : held;
    try {
      return await tenant.db.read(fn as Parameters<typeof tenant.db.read<T>>[0], options);
    } catch (error) {
      this.#tenants.failed(tenant, error);
      throw error;
    } finally {
      this.#tenants.release(tenant);
    }
  }

  /** `db.write` of the database of `key`. */
  async write<T>(
    key: string,
    fn: (q: W, tx: WriteTransaction) => T | PromiseLike<T>,
    options?: CallOptions,
  ): Promise<T> {
    callable(fn, 'write');
    return await this.#call(key, options, (db) => db.write(fn, options));
  }

  /** `db.batch` of the database of `key`: a synchronous closure. */
  batch<T>(key: string, fn: (tx: SyncWrite) => T, options?: CallOptions): Promise<T>;
  /** `db.batch` of the database of `key`: a list of statements. */
  batch(key: string, statements: readonly BatchItem[], options?: CallOptions): Promise<QueryResult[]>;
  batch(key: string, work: unknown, options?: CallOptions): Promise<unknown> {
    return this.#call(key, options, (db) => db.batch(work as readonly BatchItem[], options));
  }

  /** `db.get` of the database of `key`. */
  get<Rw = Row>(
    key: string,
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions,
  ): Promise<Rw | undefined>;
  /** The first row as an array, or `undefined` when there is none. */
  get<Rw = ArrayRow>(
    key: string,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<Rw | undefined>;
  get<Rw>(key: string, sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw | undefined> {
    return this.#query(key, sql, options, (db) => db.get<Rw>(sql, parameters, options as ObjectRowOptions));
  }

  /** `db.one` of the database of `key`. */
  one<Rw = Row>(key: string, sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw>;
  /** The first row as an array; rejects with `NoRowsError` when there is none. */
  one<Rw = ArrayRow>(
    key: string,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<Rw>;
  one<Rw>(key: string, sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw> {
    return this.#query(key, sql, options, (db) => db.one<Rw>(sql, parameters, options as ObjectRowOptions));
  }

  /** `db.all` of the database of `key`. */
  all<Rw = Row>(key: string, sql: string | Sql, parameters?: SqlParameters, options?: ObjectRowOptions): Promise<Rw[]>;
  /** All rows as arrays. */
  all<Rw = ArrayRow>(
    key: string,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<Rw[]>;
  all<Rw>(key: string, sql: string | Sql, parameters?: SqlParameters, options?: QueryOptions): Promise<Rw[]> {
    return this.#query(key, sql, options, (db) => db.all<Rw>(sql, parameters, options as ObjectRowOptions));
  }

  /** `db.query` of the database of `key`. */
  query<Rw = Row>(
    key: string,
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions,
  ): Promise<QueryResult<Rw>>;
  /** The same, with rows as arrays. */
  query<Rw = ArrayRow>(
    key: string,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions,
  ): Promise<QueryResult<Rw>>;
  query<Rw>(
    key: string,
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: QueryOptions,
  ): Promise<QueryResult<Rw>> {
    return this.#query(key, sql, options, (db) => db.query<Rw>(sql, parameters, options as ObjectRowOptions));
  }

  /** `db.iterate` of the database of `key`, which stays open until the iterator has ended. */
  iterate<Rw = Row>(
    key: string,
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: ObjectRowOptions & IterateOptions,
  ): AsyncRows<Rw>;
  /** The rows one by one as arrays. */
  iterate<Rw = ArrayRow>(
    key: string,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: ArrayRowOptions & IterateOptions,
  ): AsyncRows<Rw>;
  iterate<Rw>(
    key: string,
    sql: string | Sql,
    parameters?: SqlParameters,
    options?: QueryOptions & IterateOptions,
  ): AsyncRows<Rw> {
    const cursor = new PooledCursor(this.#tenants, key, { sql, parameters, options: checkIterateOptions(options) });
    const rows = new RowIterator<Rw>(cursor);
    ManagedCursor.endWith(rows, cursor);
    return rows;
  }

  /** `db.run` of the database of `key`. */
  run(key: string, sql: string | Sql, parameters?: SqlParameters, options?: CallOptions): Promise<RunResult> {
    return this.#change(key, sql, options, (db) => db.run(sql, parameters, options));
  }

  /** `db.runMany` of the database of `key`. */
  runMany(key: string, sql: string | Sql, rows: Iterable<SqlParameters>, options?: CallOptions): Promise<RunResult> {
    return this.#change(key, sql, options, (db) => db.runMany(sql, rows, options));
  }

  /** `db.exec` of the database of `key`. */
  exec(key: string, sql: string | Sql, options?: CallOptions): Promise<void> {
    return this.#change(key, sql, options, (db) => db.exec(sql, options));
  }

  /**
   * Runs `fn` with the database of `key`, which stays open until what `fn` gives has settled: for what the pool has no method
   * for, and for several calls that belong together.
   *
   * `db` is the scope's own: it is closed with it, after the work that it has accepted. Resolves with what `fn` gives; what
   * `fn` throws is thrown again, unchanged. `options` bound the wait for its open.
   */
  async use<T>(key: string, fn: (db: Database<R, W>) => T | PromiseLike<T>, options?: UseOptions): Promise<T> {
    callable(fn, 'use');
    checkUseOptions(options);
    const tenant = await this.#tenants.acquire(key, options);
    try {
      const shared = engine.pools.share(tenant.session.handle);
      if (shared === undefined) throw this.#closedError();
      const db = this.#tenants.over(shared, tenant.session.path).db as Database<R, W>;
      this.#scopes.add(db);
      const scope = { engineId: shared.engineId, ended: false, uses: true as const };
      try {
        return await (tenant.session.detects ? inside(scope, fn, db) : fn(db));
      } finally {
        scope.ended = true;
        this.#scopes.delete(db);
        await db.close();
      }
    } finally {
      this.#tenants.release(tenant);
    }
  }

  /**
   * The keys that have a file in the folder, open or not, in no order; files that are made or deleted meanwhile may be
   * missed.
   *
   * @throws OptionError when `fileName` has no `decode`; IoError
   */
  keys(): AsyncGenerator<string, void, undefined> {
    this.#refuseClosed();
    return this.#files.keys();
  }

  /** Whether there is a file for `key`. @throws PoolKeyError; IoError */
  async has(key: string): Promise<boolean> {
    this.#refuseClosed();
    return await isThere(this.path, this.#files.nameOf(key));
  }

  /**
   * Closes the database of `key`, in all threads of this process, as soon as nobody uses it. Resolves with `true` when it is
   * closed, or was not open; with `false` when somebody used it again before, or has it open by `Database.open`.
   *
   * @throws PoolKeyError; ReentrantAccessError inside a closure or a scope of `use` of it; DatabaseClosedError
   */
  async evict(key: string): Promise<boolean> {
    this.#refuseClosed();
    const name = this.#files.nameOf(key);
    this.#refuseOwnUse('evict', key);
    return await engine.pools.evict(this.#pool.target, name);
  }

  /** `evict` of every database that this pool has open; resolves with how many were closed. */
  async evictAll(): Promise<number> {
    this.#refuseClosed();
    this.#refuseOwnUse('evictAll');
    const evict = ({ name }: Tenant) => engine.pools.evict(this.#pool.target, name);
    const closed = await Promise.all(this.#tenants.all().map(evict));
    return closed.filter((yes) => yes).length;
  }

  /**
   * Deletes the database of `key`: closes it as soon as nobody uses it, then removes its file and its log. Calls that need it
   * meanwhile wait, and make it anew if they may. Resolves with whether there was one.
   *
   * Users of this process are waited for during `queueTimeoutMs` as opened, another process that has it open during
   * `busyTimeoutMs`; when they have not let it go by then, it stays as it is.
   *
   * @throws QueueTimeoutError; BusyError; CannotOpenError when this process has it open by `Database.open`; PoolKeyError;
   *   ReentrantAccessError inside a closure or a scope of `use` of it; IoError; DatabaseClosedError
   */
  async delete(key: string): Promise<boolean> {
    this.#refuseClosed();
    const name = this.#files.nameOf(key);
    if (this.#options.database.native.readOnly)
      throw new OptionError('delete: the pool was opened with readOnly: true');
    this.#refuseOwnUse('delete', key);
    return await engine.pools.remove(this.#pool.target, name, this.#options.database.native);
  }

  /**
   * Brings every database of the folder up to date with the option `migrations`, whatever `migrate` says, and tells what
   * became of each, in the order of the keys. One that fails does not stop the others.
   *
   * Those that are open are migrated while nobody works on them; the others are opened and closed again, and take no place
   * in the cache.
   *
   * @throws OptionError, also without `migrations`; AbortError; IoError for the folder; DatabaseClosedError
   */
  async migrateAll(options?: MigrateAllOptions): Promise<MigrateResult[]> {
    const checked = checkAllOptions<MigrateResult>(options, 'migrateAll', []);
    this.#refuseClosed();
    if (this.#options.database.migrations === undefined) {
      throw new OptionError('migrateAll needs the option migrations of Pool.open');
    }
    this.#refuseOwnUse('migrateAll');
    return await forAll(this.keys(), checked, (key) => this.#migrate(key));
  }

  /**
   * Copies every database of the folder into another one, by the same names, each as `db.backup` does: one snapshot, with the
   * encryption key that it has, after the migrations that are due by `migrate`. Tells what became of each, in the order of the
   * keys; one that fails, or is deleted meanwhile, does not stop the others.
   *
   * @param folder where the copies go, made if it is missing
   * @throws OptionError; AbortError; IoError for the folder; DatabaseClosedError
   */
  async backupAll(folder: string, options?: BackupAllOptions): Promise<BackupResult[]> {
    const checked = checkAllOptions<BackupResult>(options, 'backupAll', ['overwrite']);
    this.#refuseClosed();
    const target = await targetFolder(folder, this.path);
    const { overwrite, signal } = checked;
    return await forAll(this.keys(), checked, (key) =>
      this.#backup(key, join(target, this.#files.nameOf(key)), { overwrite, signal }),
    );
  }

  /**
   * What the pools on the folder are doing at this moment, and have done, in this process. Takes some 20 ns for each database
   * that is open, and waits for nothing.
   */
  stats(): PoolStats {
    return poolStatsOf(engine.pools.stats(this.#pool.target), this.#tenants);
  }

  /**
   * Resolves at the first moment when no call of this pool is on; new ones may be made meanwhile, and after it.
   *
   * @throws ReentrantAccessError inside a closure or a scope of `use`
   */
  async drain(): Promise<void> {
    this.#refuseOwnUse('drain');
    await this.#tenants.drained();
  }

  /**
   * Closes the pool: refuses new calls, lets those that are on finish, then closes its databases, those that another thread
   * has open excepted.
   *
   * With `timeoutMs` (milliseconds; 0: at once; default: for ever) what is not finished by then is ended like by a deadline,
   * as `db.close({ timeoutMs })` does. Closing again gives the same promise.
   *
   * @throws OptionError; ReentrantAccessError inside a closure or a scope of `use` of it
   */
  close(options?: CloseOptions): Promise<void> {
    try {
      const timeoutMs = checkCloseOptions(options);
      if (this.#closing === undefined) {
        this.#refuseOwnUse('close');
        this.#tenants.closed = () => this.#closedError();
        const closing = this.#close(timeoutMs);
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

  /** A statement that gives rows. Checked before the database is opened, which may make its file. */
  #query<T>(
    key: string,
    sql: string | Sql,
    options: QueryOptions | undefined,
    work: (db: Database<R, W>) => Promise<T>,
  ): Promise<T> {
    try {
      checkSql(sql);
      queryMode(options, 0);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#tenants.run(key, options, ({ db }) => work(db as Database<R, W>));
  }

  /** A statement that gives none. */
  #change<T>(
    key: string,
    sql: string | Sql,
    options: CallOptions | undefined,
    work: (db: Database<R, W>) => Promise<T>,
  ): Promise<T> {
    try {
      checkSql(sql);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#call(key, options, work);
  }

  #call<T>(key: string, options: CallOptions | undefined, work: (db: Database<R, W>) => Promise<T>): Promise<T> {
    try {
      checkCallOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#tenants.run(key, options, ({ db }) => work(db as Database<R, W>));
  }

  async #migrate(key: string): Promise<MigrateResult> {
    const migrations: MigrationProgress[] = [];
    try {
      const note = (progress: MigrationProgress) => migrations.push(progress);
      await this.#tenants.runApart(key, { migrate: 'always' }, note, () => {});
      return { key, migrations, error: undefined };
    } catch (error) {
      return { key, migrations, error };
    }
  }

  async #backup(
    key: string,
    path: string,
    options: { overwrite: boolean; signal: AbortSignal | undefined },
  ): Promise<BackupResult> {
    try {
      await this.#tenants.runApart(key, {}, undefined, ({ target, path: source }) =>
        this.#tenants.over(target, source).db.backup(path, options),
      );
      return { key, path, error: undefined };
    } catch (error) {
      return { key, path, error };
    }
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    this.#endIterators();
    const isDrained = await this.#drainedWithin(timeoutMs);
    const patience = isDrained ? undefined : 0;
    await this.#tenants.force();
    this.#endIterators();
    const scopes = [...this.#scopes].map((scope) => scope.close({ timeoutMs: 0 }));
    const close = async (tenant: Tenant): Promise<void> => {
      await engine.close(tenant.session.handle, patience).catch(ignoreClosed);
      this.#tenants.forget(tenant, 'close');
    };
    await Promise.all([...scopes, ...this.#tenants.all().map(close)]);
    await engine.pools.close(this.#pool.target);
    wipe(this.#options.database.keys);
  }

  /** Idle ones: those that fetch end with their batch. */
  #endIterators(): void {
    for (const { session } of this.#tenants.all()) for (const cursor of session.cursors) cursor.databaseClosed();
  }

  /** Whether all calls were over by then. */
  async #drainedWithin(timeoutMs: number | undefined): Promise<boolean> {
    const drained = this.#tenants.drained().then(() => true);
    if (timeoutMs === undefined) return await drained;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((settle) => {
      timer = setTimeout(() => settle(false), timeoutMs);
    });
    try {
      return await Promise.race([drained, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #refuseClosed(): void {
    if (this.#tenants.closed !== undefined) throw this.#closedError();
  }

  /** Throws when the running code uses the database of `key`, or any of the pool, whose end it would wait for. */
  #refuseOwnUse(method: string, key?: string): void {
    const tenants = key === undefined ? this.#tenants.all() : [this.#tenants.known(key)];
    const engines = new Set(tenants.map((tenant) => tenant?.session.handle.engineId));
    const refusal = ownUse((engineId) => engines.has(engineId), method);
    if (refusal !== undefined) throw refusal;
  }

  #closedError(): DatabaseClosedError {
    return new DatabaseClosedError(`the pool of ${this.path} was closed`);
  }
}

/** The engine has closed it before. */
function ignoreClosed(error: unknown): void {
  if (!(error instanceof DatabaseClosedError)) throw error;
}

function checkSql(sql: unknown): void {
  if (typeof sql === 'string' || isSql(sql)) return;
  throw new StatementError(`the statement must be a string or sql\`...\`, got ${typeof sql}`);
}
