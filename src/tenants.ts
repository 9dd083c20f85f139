// The databases of one pool as this thread has them: opened when their key is first used, and kept open by each use.

import { join } from 'node:path';
import { shown } from './checks.js';
import { Database } from './database.js';
import { CannotOpenError, type DatabaseClosedError, EnginePanicError, OptionError, PoolKeyError } from './errors.js';
import { copyOf, nativeCipher, wipe } from './keys.js';
import { guardedListener } from './listener.js';
import type { MigrationProgress } from './migration-history.js';
import type { NativeOpenOptions } from './native/binding.js';
import { Begin, type Engine, type LetGo, type Opened, type Target } from './native/engine.js';
import { told } from './open.js';
import { abortedBy, type OpenLimits, OpenWaits } from './open-wait.js';
import type { PoolFiles } from './pool-files.js';
import type { CheckedPoolOptions, PoolEvent } from './pool-options.js';
import { type Queriers, queriersOf } from './querier.js';
import { detects, isInside } from './reentrancy.js';
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

/** An open that is under way for those who asked for it. */
interface Opening {
  readonly outcome: Promise<void>;
  /** How many wait for it. */
  waiting: number;
  /** The handle with the use that an open begins. */
  firstUse: Target | undefined;
}

/** One open, from when the engine has it until its outcome is noted. */
class Entering {
  readonly #all: Set<Promise<void>>;
  #over: () => void = () => {};

  constructor(all: Set<Promise<void>>) {
    this.#all = all;
  }

  begin(): void {
    const over = new Promise<void>((resolve) => {
      this.#over = resolve;
    });
    this.#all.add(over);
    over.then(() => this.#all.delete(over));
  }

  over(): void {
    this.#over();
  }
}

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
  readonly #opening = new Map<string, Opening>();
  readonly #waits: OpenWaits;
  /** Opens that the engine is at, until it is known here what became of them. */
  readonly #entering = new Set<Promise<void>>();
  /** Handles of `runApart`. */
  readonly #apart = new Set<Target>();
  #failures = 0;
  #forced = false;
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
    this.#waits = new OpenWaits(options.database.native.queueTimeoutMs);
    const listeners = {
      onOpen: options.onOpen && guardedListener(options.onOpen, 'onOpen', 'the database is open'),
      onClose: options.onClose && guardedListener(options.onClose, 'onClose', 'the database is closed'),
    };
    this.#tell = (kind, event) => listeners[kind]?.(event);
  }

  /** Runs `work` on the database of `key`, which is opened if need be and stays open until what `work` gives has settled. */
  async run<T>(key: string, limits: OpenLimits | undefined, work: (tenant: Tenant) => T | PromiseLike<T>): Promise<T> {
    const held = this.acquire(key, limits);
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
  acquire(key: string, limits: OpenLimits | undefined): Tenant | Promise<Tenant> {
    if (this.closed !== undefined) throw this.closed();
    if (limits?.signal?.aborted === true) throw abortedBy(limits.signal);
    this.#uses++;
    return this.#held(key, Begin.open) ?? this.#open(key, limits ?? {});
  }

  /** Ends a use. */
  release(tenant: Tenant): void {
    this.#engine.pools.release(tenant.session.handle);
    this.#over();
  }

  /** A use has failed: a database whose engine is gone is opened anew by the next one, and descriptors may be wanted. */
  failed({ name }: Tenant, error: unknown): void {
    if (error instanceof EnginePanicError) this.#engine.pools.evict(this.#pool, name).catch(() => {});
    if (error instanceof CannotOpenError && this.closed === undefined) this.#engine.pools.relieve(this.#pool);
  }

  /** Runs `work` on a handle of its own, opened as `overrides` say, with no place in the cache, and closed after it. */
  async runApart<T>(
    key: string,
    overrides: Overrides,
    onMigration: ((progress: MigrationProgress) => void) | undefined,
    work: (opened: Opened) => T | PromiseLike<T>,
  ): Promise<T> {
    if (this.closed !== undefined) throw this.closed();
    this.#uses++;
    const entering = new Entering(this.#entering);
    try {
      const name = this.files.nameOf(key);
      const how = { ...overrides, create: false };
      const opened = await this.#openHandle(key, name, how, onMigration, () => {}, entering, true);
      this.#apart.add(opened.target);
      entering.over();
      try {
        return await work(opened);
      } finally {
        // The close of the pool may have closed it before.
        if (this.#apart.delete(opened.target)) await this.#engine.close(opened.target, undefined);
      }
    } finally {
      entering.over();
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

  /** Calls that wait for an open. */
  get waiting(): number {
    return this.#waits.size;
  }

  /** Opens that failed before the engine heard of them. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Nothing is waited for any more: whoever waits for an open is told, and what is opened apart, or being opened by the
   * engine, is closed. Resolves when it is.
   */
  async force(): Promise<void> {
    this.#forced = true;
    if (this.closed !== undefined) this.#waits.end(this.closed());
    const apart = [...this.#apart];
    this.#apart.clear();
    await Promise.all([...this.#entering, ...apart.map((target) => this.#engine.close(target, 0))]);
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

  #held(key: string, how: Begin): Tenant | undefined {
    const tenant = this.#byKey.get(key);
    if (tenant === undefined) return undefined;
    const { pools } = this.#engine;
    const { handle } = tenant.session;
    if (pools.acquire(handle, how)) return tenant;
    // What runs inside a use of it must not wait for the deletion that waits for that use.
    return isInside(handle.engineId) && pools.acquire(handle, Begin.inside) ? tenant : undefined;
  }

  /** Every open that is asked for while one is under way is answered by that, and its failure is theirs as well. */
  async #open(key: string, limits: OpenLimits): Promise<Tenant> {
    try {
      for (;;) {
        const opening = this.#opening.get(key) ?? this.#begin(key);
        opening.waiting++;
        try {
          await this.#waits.for(key, opening.outcome, limits);
          const tenant = this.#held(key, Begin.opened);
          if (tenant !== undefined) return tenant;
        } finally {
          opening.waiting--;
          this.#endFirstUse(opening);
        }
      }
    } catch (error) {
      this.#over();
      throw error;
    }
  }

  /** Known before anything of the user runs: what asks for the same key then, waits. */
  #begin(key: string): Opening {
    const outcome = Promise.resolve().then(() => this.#openOnce(key, opening));
    const opening: Opening = { outcome, waiting: 0, firstUse: undefined };
    this.#opening.set(key, opening);
    const over = () => this.#opening.delete(key);
    outcome.then(over, over);
    return opening;
  }

  /** The first use is nobody's: it lasts until those who wait for the open have begun theirs, or have given up. */
  #endFirstUse(opening: Opening): void {
    if (opening.waiting > 0 || opening.firstUse === undefined) return;
    this.#engine.pools.release(opening.firstUse);
    opening.firstUse = undefined;
  }

  async #openOnce(key: string, opening: Opening): Promise<void> {
    const name = this.#nameFor(key);
    const isNew = !this.#byName.has(name);
    this.#byName.set(name, key);
    try {
      await this.#openAs(key, name, opening);
    } catch (error) {
      if (isNew) this.#byName.delete(name);
      throw error;
    }
  }

  #nameFor(key: string): string {
    const name = this.files.nameOf(key);
    const other = this.#byName.get(name);
    if (other === undefined || other === key) return name;
    throw new PoolKeyError(
      `fileName.encode gives ${JSON.stringify(name)} for the key ${JSON.stringify(key)} and for another key, which has it open`,
    );
  }

  async #openAs(key: string, name: string, opening: Opening): Promise<void> {
    const onMigration = told(this.#options.database.onMigration);
    let tenant: Tenant | undefined;
    const onLetGo = (reason: LetGo) => tenant !== undefined && this.forget(tenant, reason);
    const overrides = { create: this.#makes(key) };
    const entering = new Entering(this.#entering);
    try {
      const { target, path } = await this.#openHandle(key, name, overrides, onMigration, onLetGo, entering, false);
      tenant = { key, name, ...this.over(target, path) };
      if (this.closed !== undefined && this.#forced) {
        await this.#engine.close(target, 0);
        throw this.closed();
      }
      this.#opened(tenant);
      opening.firstUse = target;
      this.#endFirstUse(opening);
    } finally {
      entering.over();
    }
  }

  #opened(tenant: Tenant): void {
    const { key } = tenant;
    const { path } = tenant.session;
    const before = this.#byKey.get(key);
    this.#byKey.set(key, tenant);
    this.#live.add(tenant);
    const event: PoolEvent = { key, path, reason: undefined };
    // The engine has closed it, and the word of that is on its way.
    if (before !== undefined && this.#live.has(before)) this.#untold.set(before, event);
    else this.#tell('onOpen', event);
  }

  #makes(key: string): boolean {
    const { create } = this.#options;
    if (typeof create !== 'function') return create;
    const makes: unknown = create(key);
    if (typeof makes === 'boolean') return makes;
    throw new OptionError(`create must give true or false, gave ${shown(makes)}`);
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
    entering: Entering,
    apart: boolean,
  ): Promise<Opened> {
    const { database, keyProvider } = this.#options;
    const native = { ...database.native, ...overrides };
    try {
      if (database.keys !== undefined) {
        const label = JSON.stringify(key);
        const asked = keyProvider === undefined ? join(this.#folder, name) : key;
        const cipher = nativeCipher(copyOf(database.keys), asked, label);
        native.cipher = cipher instanceof Promise ? await cipher : cipher;
      }
    } catch (error) {
      this.#failures++;
      throw error;
    }
    try {
      if (this.#forced && this.closed !== undefined) throw this.closed();
      const { pools } = this.#engine;
      entering.begin();
      return await pools.openDatabase(this.#pool, name, native, {
        bigint: database.bigint,
        apart,
        onMigration,
        onLetGo,
      });
    } finally {
      wipe(native.cipher);
    }
  }

  #over(): void {
    this.#uses--;
    if (this.#uses === 0) for (const drained of this.#drained.splice(0)) drained();
  }
}
