// Callers of one pool, all at once on the same tenants, each of whose answers is held against what they know to be there.

import { createHash } from 'node:crypto';
import {
  AbortError,
  BusyError,
  KeyNotAvailableError,
  NoSuchDatabaseError,
  Pool,
  type PoolOptions,
  type PoolStats,
} from 'sqlflow';
import type { Random } from '../fixtures/random.mjs';
import type { Model, Written } from './pool-model.mjs';
import { MIGRATIONS, type Place, read, THROWN, write } from './pool-ways.mjs';
import { must, round, Violation } from './stress.mjs';

/** How a storm is. */
export interface Weather {
  /** Of the pool. */
  readonly folder: string;
  readonly seconds: number;
  readonly tenants: number;
  readonly callers: number;
  readonly maxOpen: number;
  readonly inactivityTimeoutMs: number;
  /** How many of a hundred calls evict, and how many delete. */
  readonly evicts: number;
  readonly deletes: number;
  readonly encrypted: boolean;
  /** Whether other threads have a pool on the folder, and whether another process has. */
  readonly threads: boolean;
  readonly processes: boolean;
  /** Whether keys are listed: the open folder of a thread that is terminated stays open, in Node.js. */
  readonly lists: boolean;
}

/** What happened, by name. */
export type Counted = Record<string, number>;

/** A call that has not settled by then hangs. */
const HANGS_AFTER_MS = 25_000;
/** Rows that a caller leaves in a tenant before it removes its oldest. */
const LEFT = 4;
/** Some tenants are refused their file, and the key of some is not to be had, at times. */
const REFUSED_EACH = 17;
const KEYLESS_EACH = 13;
const ABORTED = new Error('given up');

/** The key of a tenant: some differ in case only, some have to be escaped. */
export function keyOf(tenant: number): string {
  const pair = Math.floor(tenant / 4);
  return [`t${pair}`, `T${pair}`, `ü/${pair}.db`, `../com${pair}`][tenant % 4] ?? '';
}

/** The encryption key of a tenant. */
export function secretOf(key: string): Uint8Array {
  return createHash('sha256').update(key).digest();
}

export class Storm {
  readonly counted: Counted = {};
  longestMs = 0;
  /** Most databases above `maxOpen` or those in use, whichever are more. */
  mostOver = 0;
  readonly #weather: Weather;
  readonly #model: Model;
  readonly #random: Random;
  readonly #tenantOf = new Map<string, number>();
  /** Tenants that this pool has open, by what it was told. */
  readonly #open = new Set<string>();
  /** Calls that go on, since when. */
  readonly #calls = new Map<number, { what: string; since: number }>();
  /** What is not at its end, of which a listener has told. */
  #violation: Violation | undefined;
  #pool: Pool | undefined;
  #called = 0;
  #isOver = false;

  constructor(weather: Weather, model: Model, random: Random) {
    this.#weather = weather;
    this.#model = model;
    this.#random = random;
    for (let tenant = 0; tenant < weather.tenants; tenant++) this.#tenantOf.set(keyOf(tenant), tenant);
  }

  async open(): Promise<void> {
    this.#pool = await Pool.open(this.#weather.folder, this.#options());
  }

  get pool(): Pool {
    must(this.#pool !== undefined, 'the pool is not open');
    return this.#pool;
  }

  /** Storms until its time is over, or the first violation. */
  async run(): Promise<void> {
    const { seconds, callers } = this.#weather;
    const end = performance.now() + seconds * 1_000;
    let watch: NodeJS.Timeout | undefined;
    const hang = new Promise<never>((_, reject) => {
      watch = setInterval(() => {
        const late = [...this.#calls.values()].filter(({ since }) => performance.now() - since > HANGS_AFTER_MS);
        const [first] = late;
        if (first === undefined) return;
        const others = [...new Set(late.map(({ what }) => what))].slice(0, 8);
        const stats = JSON.stringify(this.pool.stats());
        reject(new Violation(`it hangs: ${first.what}; in all ${late.length}: ${others.join(', ')}; ${stats}`));
      }, 500);
    });
    try {
      await Promise.race([hang, Promise.all(Array.from({ length: callers }, () => this.#call(end)))]);
    } finally {
      clearInterval(watch);
      this.#isOver = true;
    }
    if (this.#violation !== undefined) throw this.#violation;
  }

  /** Ends the pool, whose figures are those of a pool that nobody uses. */
  async close(): Promise<void> {
    const { maxOpen, threads } = this.#weather;
    await this.#within('drain', () => this.pool.drain());
    const stats = this.pool.stats();
    if (!threads) {
      const { open, inUse, draining, opening, uses, opened, closed } = stats;
      const told = JSON.stringify(stats);
      must(inUse === 0 && draining === 0 && opening === 0 && uses === 0, `in use after all calls: ${told}`);
      must(open <= maxOpen, `more are open than may be: ${told}`);
      const closes = closed.room + closed.idle + closed.evicted + closed.deleted + closed.pool;
      must(opened === open + closes, `${opened} were opened, ${open} are open, ${closes} were closed: ${told}`);
    }
    this.#tell(stats);
    await this.#within('close', () => this.pool.close());
    if (this.#violation !== undefined) throw this.#violation;
    must(this.#open.size === 0, `open after the close, as was told: ${[...this.#open].slice(0, 5).join(', ')}`);
  }

  #tell({ opened, hits, misses, failed, closed }: PoolStats): void {
    Object.assign(this.counted, { opened, hits, misses, failed });
    for (const [reason, number] of Object.entries(closed)) this.counted[`closed: ${reason}`] = number;
  }

  #options(): PoolOptions {
    const { maxOpen, inactivityTimeoutMs, encrypted, processes } = this.#weather;
    const provider = (key: string) => this.#secret(key);
    return {
      maxOpen,
      inactivityTimeoutMs,
      migrations: MIGRATIONS,
      // Beside another process deletes find the file busy, and give up soon.
      busyTimeoutMs: processes ? 200 : 5_000,
      synchronous: 'normal',
      create: (key) => !this.#is(key, REFUSED_EACH) || this.#random.below(3) > 0,
      onOpen: ({ key }) => {
        this.#expect(!this.#open.has(key), `${key} was opened while it is open`);
        this.#open.add(key);
      },
      onClose: ({ key }) => this.#expect(this.#open.delete(key), `${key} was closed and is not open`),
      ...(encrypted ? { keyProvider: provider } : {}),
    };
  }

  /** Now or later; nothing, or a failure, for some at times. */
  #secret(key: string): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    const random = this.#random;
    const fails = this.#is(key, KEYLESS_EACH) && random.below(4) === 0;
    const way = random.below(3);
    if (fails && way === 0) throw new Error('the keys are not to be reached');
    const secret = fails ? undefined : secretOf(key);
    if (way === 1) return secret;
    return new Promise((resolve, reject) => {
      setTimeout(() => (fails && way === 0 ? reject(THROWN) : resolve(secret)), random.below(3));
    });
  }

  #is(key: string, each: number): boolean {
    return (this.#tenantOf.get(key) ?? 0) % each === 3;
  }

  /** In a listener, whose failure would be a warning. */
  #expect(holds: boolean, what: string): void {
    if (!holds) this.#violation ??= new Violation(what);
  }

  async #call(end: number): Promise<void> {
    const own = new Map<number, Written[]>();
    const random = this.#random;
    while (performance.now() < end && !this.#isOver && this.#violation === undefined) {
      // Some are used much more than others.
      const tenant = Math.floor(this.#weather.tenants * random.next() ** 2);
      const [what, work] = this.#choose(tenant, own);
      const certain = tenant % REFUSED_EACH === 3 ? this.#model.certain(tenant) : undefined;
      try {
        await this.#within(`${what} of ${keyOf(tenant)}`, work);
        this.#count(what);
      } catch (error) {
        this.#count(this.#expected(error, what, tenant));
        const still = error instanceof NoSuchDatabaseError && certain !== undefined;
        must(!still || this.#model.certain(tenant) !== certain, `${error}, but ${JSON.stringify(certain)}`);
      }
    }
  }

  #choose(tenant: number, own: Map<number, Written[]>): [string, () => Promise<unknown>] {
    const { evicts, deletes } = this.#weather;
    const key = keyOf(tenant);
    const { pool } = this;
    const dice = this.#random.next() * 100;
    if (dice < evicts) {
      return ['evict', async () => this.#count((await pool.evict(key)) ? 'evicted' : 'revived')];
    }
    if (dice < evicts + deletes) return ['delete', () => this.#delete(tenant)];
    const rest = (dice - evicts - deletes) / (100 - evicts - deletes);
    if (rest < 0.002 && this.#weather.lists) return ['keys', () => this.#keys()];
    if (rest < 0.004 && evicts > 0)
      return ['evictAll', async () => this.#count('evicted by evictAll', await pool.evictAll())];
    if (rest < 0.03) return ['has', () => this.#has(tenant)];
    if (rest < 0.06) return ['stats', async () => this.#look()];
    if (rest < 0.5) return ['write', () => this.#write(tenant, own)];
    return ['read', () => this.#read(tenant)];
  }

  async #write(tenant: number, own: Map<number, Written[]>): Promise<void> {
    const random = this.#random;
    const rows = own.get(tenant) ?? [];
    own.set(tenant, rows);
    const removed = rows.length >= LEFT ? rows.shift() : undefined;
    const written = this.#model.write(tenant);
    if (removed !== undefined) this.#model.remove(removed);
    const aborts = random.below(12) === 0;
    const throws = !aborts && random.below(12) === 0;
    const work = { id: written.id, removed: removed?.id, throws };
    try {
      await write(this.#place(tenant), work, aborts ? { signal: this.#signal() } : {}, random);
      must(!throws, `tenant ${tenant}: what a closure has thrown was lost`);
    } catch (error) {
      const isUnknown = aborts && error instanceof AbortError;
      this.#model.ended(written, isUnknown ? 'unknown' : 'never', removed);
      if (removed !== undefined && !isUnknown) rows.push(removed);
      throw error;
    }
    this.#model.ended(written, 'there', removed);
    rows.push(written);
  }

  async #read(tenant: number): Promise<void> {
    const random = this.#random;
    const options = random.below(12) === 0 ? { signal: this.#signal() } : {};
    const tell = this.#model.read(tenant);
    let seen: Awaited<ReturnType<typeof read>> | undefined;
    try {
      seen = await read(this.#place(tenant), { throws: random.below(12) === 0 }, options, random);
      if (seen.extent === 'some') this.#count('iterators left');
    } finally {
      tell(seen?.ids, seen?.extent ?? 'some');
    }
  }

  #place(tenant: number): Place {
    return { pool: this.pool, key: keyOf(tenant), tenant };
  }

  async #delete(tenant: number): Promise<void> {
    const { deletes } = this.#model;
    must(deletes !== undefined, 'who cannot note deletes does none');
    await deletes.around(tenant, async () => {
      try {
        this.#count((await this.pool.delete(keyOf(tenant))) ? 'deleted' : 'not there');
        return true;
      } catch (error) {
        if (!this.#weather.processes || !(error instanceof BusyError)) throw error;
        this.#count('deletes busy');
        return false;
      }
    });
  }

  async #has(tenant: number): Promise<void> {
    const before = this.#model.certain(tenant);
    const has = await this.pool.has(keyOf(tenant));
    const still = before !== undefined && this.#model.certain(tenant) === before;
    must(has || !still, `tenant ${tenant}: its file is not there, but ${JSON.stringify(before)}`);
  }

  async #keys(): Promise<void> {
    const before = this.#model.tenants.map((tenant) => [tenant, this.#model.certain(tenant)] as const);
    const keys = new Set<string>();
    for await (const key of this.pool.keys()) {
      must(this.#tenantOf.has(key), `the key ${JSON.stringify(key)} is nobody's`);
      keys.add(key);
    }
    for (const [tenant, written] of before) {
      const still = written !== undefined && this.#model.certain(tenant) === written;
      must(keys.has(keyOf(tenant)) || !still, `tenant ${tenant} is not among the keys, but ${JSON.stringify(written)}`);
    }
  }

  /** What the figures of the pool must be at any moment. */
  #look(): void {
    const { maxOpen, threads } = this.#weather;
    const stats = this.pool.stats();
    const { open, inUse, draining, uses, opening } = stats;
    const told = JSON.stringify(stats);
    must(inUse <= open && draining <= inUse && inUse <= uses, `figures that cannot be: ${told}`);
    // Each that is open may have the first use of its open beside those of its callers.
    if (!threads) must(uses <= this.#calls.size + open, `more uses than ${this.#calls.size} calls: ${told}`);
    must(open <= maxOpen + inUse + opening, `more are open than may be: ${told}`);
    this.mostOver = Math.max(this.mostOver, open - Math.max(maxOpen, inUse) - opening);
  }

  /** A signal that is aborted now, at once, or soon. */
  #signal(): AbortSignal {
    const controller = new AbortController();
    const abort = () => controller.abort(ABORTED);
    const delay = this.#random.below(5);
    if (delay === 0) abort();
    else if (delay === 1) setImmediate(abort);
    else setTimeout(abort, delay - 2);
    return controller.signal;
  }

  /** What a call has failed with as it may; all else is a violation. */
  #expected(error: unknown, what: string, tenant: number): string {
    const { encrypted, processes } = this.#weather;
    const key = keyOf(tenant);
    if (error === THROWN) return 'thrown';
    if (error instanceof AbortError && error.cause === ABORTED) return 'aborted';
    if (error instanceof NoSuchDatabaseError && this.#is(key, REFUSED_EACH)) return 'not made';
    if (error instanceof KeyNotAvailableError && encrypted && this.#is(key, KEYLESS_EACH)) return 'without a key';
    if (error instanceof BusyError && processes) return 'busy';
    this.#isOver = true;
    if (error instanceof Violation) throw error;
    throw new Violation(`${what} of ${key}: ${error}; ${JSON.stringify(this.pool.stats())}`, { cause: error });
  }

  async #within(what: string, work: () => Promise<unknown>): Promise<void> {
    const call = this.#called++;
    const since = performance.now();
    this.#calls.set(call, { what, since });
    try {
      await work();
    } finally {
      this.#calls.delete(call);
      this.longestMs = Math.max(this.longestMs, round(performance.now() - since));
    }
  }

  #count(what: string, by = 1): void {
    this.counted[what] = (this.counted[what] ?? 0) + by;
  }
}
