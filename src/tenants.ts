// The databases of one pool as this thread has them: opened when their key is first used, and kept open by each use.

import { join } from 'node:path';
import { Database } from './database.js';
import { type DatabaseClosedError, EnginePanicError, PoolKeyError } from './errors.js';
import { copyOf, nativeCipher, wipe } from './keys.js';
import { guardedListener } from './listener.js';
import type { MigrationProgress } from './migration-history.js';
import type { NativeOpenOptions } from './native/binding.js';
import type { Engine, LetGo, Opened, Target } from './native/engine.js';
import { told } from './open.js';
import type { PoolFiles } from './pool-files.js';
import type { CheckedPoolOptions, PoolEvent } from './pool-options.js';
import { type Queriers, queriersOf } from './querier.js';
import { detects } from './reentrancy.js';
import { Session } from './session.js';

/** One open database. It may be used between `acquire` and `release` of its handle only. */
export interface Tenant {
  readonly key: string;
  readonly name: string;
  readonly session: Session;
  readonly db: Database<unknown, unknown>;
}

/** What an open may ask for beside the options of the pool. */
export type Overrides = Partial<Pick<NativeOpenOptions, 'create' | 'migrate'>>;

/** The table of a thread. What is open is for the engine to know: an entry here that is closed there is made anew. */
export class Tenants {
  readonly #engine: Engine;
  readonly #pool: Target;
  readonly #folder: string;
  readonly #options: CheckedPoolOptions;
  readonly #queriers: Queriers;
  readonly #detects: boolean;
  readonly #byKey = new Map<string, Tenant>();
  /** All handles that the engine has not let go: after a deletion that came to nothing a key can have two. */
  readonly #live = new Set<Tenant>();
  /** Opens that are told of once the close of the handle before is. */
  readonly #untold = new Map<Tenant, PoolEvent>();
  /** Which key has a file: a second one for it would be somebody else's data. */
  readonly #byName = new Map<string, string>();
  readonly #opening = new Map<string, Promise<Tenant>>();
  readonly #tell: (kind: 'onOpen' | 'onClose', event: PoolEvent) => void;
  readonly files: PoolFiles;
  /** Uses that are on, and those that wait for an open. */
  #uses = 0;
  readonly #drained: (() => void)[] = [];
  /** Why nothing is begun any more. */
  closed: (() => DatabaseClosedError) | undefined = undefined;

  constructor(engine: Engine, pool: Opened, files: PoolFiles, options: CheckedPoolOptions) {
    this.#engine = engine;
    this.#pool = pool.target;
    this.#folder = pool.path;
    this.#options = options;
    this.#queriers = queriersOf(options.database.querier);
    this.#detects = detects(options.database.reentrancy);
    this.files = files;
    const listeners = {
      onOpen: options.onOpen && guardedListener(options.onOpen, 'onOpen', 'the database is open'),
      onClose: options.onClose && guardedListener(options.onClose, 'onClose', 'the database is closed'),
    };
    this.#tell = (kind, event) => listeners[kind]?.(event);
  }

  /** Runs `work` on the database of `key`, which is opened if need be and stays open until what `work` gives has settled. */
  async run<T>(key: string, work: (tenant: Tenant) => T | PromiseLike<T>): Promise<T> {
    const held = this.acquire(key);
    // Hot ones wait for nothing.
    const tenant = held instanceof Promise ? await held : held;
    try {
      return await work(tenant);
    } catch (error) {
      this.failed(tenant, error);
      throw error;
    } finally {
      this.release(tenant);
    }
  }

  /** Begins a use of the database of `key`: now if it is open, else when it is. */
  acquire(key: string): Tenant | Promise<Tenant> {
    if (this.closed !== undefined) throw this.closed();
    this.#uses++;
    const tenant = this.#held(key);
    return tenant ?? this.#open(key);
  }

  /** Ends a use. */
  release(tenant: Tenant): void {
    this.#engine.pools.release(tenant.session.handle);
    this.#over();
  }

  /** A use has failed: a database whose engine is gone is opened anew by the next one. */
  failed({ name }: Tenant, error: unknown): void {
    if (error instanceof EnginePanicError) this.#engine.pools.evict(this.#pool, name).catch(() => {});
  }

  /** Opens a handle of its own, as `overrides` say, which its caller closes. `onMigration` as of an open. */
  async openApart(
    key: string,
    overrides: Overrides,
    onMigration?: (progress: MigrationProgress) => void,
  ): Promise<Opened> {
    if (this.closed !== undefined) throw this.closed();
    this.#uses++;
    try {
      return await this.#openHandle(key, this.files.nameOf(key), overrides, onMigration, () => {});
    } finally {
      this.#over();
    }
  }

  /** The database of `key`, if this thread has it open, as far as it knows. */
  known(key: string): Tenant | undefined {
    return this.#byKey.get(key);
  }

  /** Those it has open, as far as it knows. */
  all(): Tenant[] {
    return [...this.#live];
  }

  get uses(): number {
    return this.#uses;
  }

  /** Resolves when no use is on. */
  drained(): Promise<void> {
    if (this.#uses === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Forgets a database that this side closes. */
  forget(tenant: Tenant, reason: PoolEvent['reason']): void {
    this.#live.delete(tenant);
    if (this.#byKey.get(tenant.key) === tenant) {
      this.#byKey.delete(tenant.key);
      this.#byName.delete(tenant.name);
    }
    this.#tell('onClose', { key: tenant.key, path: tenant.session.path, reason });
    const opened = this.#untold.get(tenant);
    if (opened === undefined) return;
    this.#untold.delete(tenant);
    this.#tell('onOpen', opened);
  }

  #held(key: string): Tenant | undefined {
    const tenant = this.#byKey.get(key);
    return tenant !== undefined && this.#engine.pools.acquire(tenant.session.handle) ? tenant : undefined;
  }

  /** Every open that is asked for while one is under way is answered by that, and its failure is theirs as well. */
  async #open(key: string): Promise<Tenant> {
    try {
      for (;;) {
        const opening = this.#opening.get(key);
        if (opening === undefined) break;
        await opening;
        const tenant = this.#held(key);
        if (tenant !== undefined) return tenant;
      }
      const opening = this.#openOnce(key);
      this.#opening.set(key, opening);
      try {
        return await opening;
      } finally {
        this.#opening.delete(key);
      }
    } catch (error) {
      this.#over();
      throw error;
    }
  }

  async #openOnce(key: string): Promise<Tenant> {
    const name = this.files.nameOf(key);
    const other = this.#byName.get(name);
    if (other !== undefined && other !== key) {
      throw new PoolKeyError(
        `fileName.encode gives ${JSON.stringify(name)} for the key ${JSON.stringify(key)} and for another key, which has it open`,
      );
    }
    const { create } = this.#options;
    const makes = typeof create === 'function' ? create(key) === true : create;
    const onMigration = told(this.#options.database.onMigration);
    let tenant: Tenant | undefined;
    const onLetGo = (reason: LetGo) => tenant !== undefined && this.forget(tenant, reason);
    const { target, path } = await this.#openHandle(key, name, { create: makes }, onMigration, onLetGo);
    tenant = { key, name, ...this.over(target, path) };
    const before = this.#byKey.get(key);
    this.#byKey.set(key, tenant);
    this.#byName.set(name, key);
    this.#live.add(tenant);
    const event: PoolEvent = { key, path, reason: undefined };
    // The engine has closed it, and the word of that is on its way.
    if (before !== undefined && this.#live.has(before)) this.#untold.set(before, event);
    else this.#tell('onOpen', event);
    return tenant;
  }

  /** A database on a handle. */
  over(target: Target, path: string): Pick<Tenant, 'session' | 'db'> {
    const { captureStacks, native } = this.#options.database;
    const session = new Session(this.#engine, target, path, { captureStacks, detects: this.#detects });
    return { session, db: Database.of(session, this.#queriers, native.migrations) };
  }

  async #openHandle(
    key: string,
    name: string,
    overrides: Overrides,
    onMigration: ((progress: MigrationProgress) => void) | undefined,
    onLetGo: (reason: LetGo) => void,
  ): Promise<Opened> {
    const { database, keyProvider } = this.#options;
    const native = { ...database.native, ...overrides };
    try {
      if (database.keys !== undefined) {
        const cipher = nativeCipher(copyOf(database.keys), keyProvider === undefined ? join(this.#folder, name) : key);
        native.cipher = cipher instanceof Promise ? await cipher : cipher;
      }
      return await this.#engine.pools.openDatabase(this.#pool, name, native, database.bigint, onMigration, onLetGo);
    } finally {
      wipe(native.cipher);
    }
  }

  #over(): void {
    this.#uses--;
    if (this.#uses === 0) for (const drained of this.#drained.splice(0)) drained();
  }
}
