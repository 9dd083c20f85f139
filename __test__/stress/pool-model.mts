// What every tenant of a pool must hold, by what its callers know: when each row was written and removed, and each file deleted.

import { must } from './stress.mjs';

/** Ids of one author, who is a thread or a process, from its number on. */
const IDS = 1_000_000_000;

/** A moment that does not come; one that JSON has. */
const NEVER = Number.MAX_VALUE;

/** Nanoseconds of a clock that all processes share, so that what one has ended is before what another begins. */
export function now(): number {
  return Number(process.hrtime.bigint());
}

/** `unknown`: a call that was cancelled may have written or not. */
type Fate = 'pending' | 'there' | 'unknown';

/** What one write wrote: two rows, this id and the next one. */
export interface Written {
  readonly id: number;
  readonly tenant: number;
  readonly begin: number;
  end: number;
  fate: Fate;
  /** Deletes of its tenant that had removed it by `begin`, and those that were asked for by `end`. */
  deletedBefore: number;
  askedAfter: number;
  /** Its removal by its caller, if one has begun. */
  removal: { begin: number; end: number } | undefined;
  /** From when on it can be nowhere. */
  goneAt: number;
}

/**
 * How often each tenant was asked to be deleted, and was, for all threads of a process. Deletes that came to nothing are taken
 * back, for they leave the file as it is. Numbers suffice: of those asked for by one moment, less those done by an earlier one,
 * some went on between the two.
 */
export class Deletes {
  readonly #numbers: Int32Array;
  /** When each went on, for the rows of another process. */
  readonly #log = new Map<number, { begin: number; end: number }[]>();

  constructor(readonly memory: SharedArrayBuffer) {
    this.#numbers = new Int32Array(memory);
  }

  static of(tenants: number): Deletes {
    return new Deletes(new SharedArrayBuffer(8 * tenants));
  }

  asked(tenant: number): number {
    return Atomics.load(this.#numbers, 2 * tenant);
  }

  done(tenant: number): number {
    return Atomics.load(this.#numbers, 2 * tenant + 1);
  }

  /** Notes a delete of it around `work`, which gives whether its file was removed or not there. */
  async around(tenant: number, work: () => Promise<boolean>): Promise<void> {
    const begin = now();
    Atomics.add(this.#numbers, 2 * tenant, 1);
    if (!(await work())) {
      Atomics.sub(this.#numbers, 2 * tenant, 1);
      return;
    }
    Atomics.add(this.#numbers, 2 * tenant + 1, 1);
    const log = this.#log.get(tenant) ?? [];
    log.push({ begin, end: now() });
    this.#log.set(tenant, log);
  }

  /** Gives rows of another process their numbers, by the clock. */
  place(written: Written): void {
    const log = this.#log.get(written.tenant) ?? [];
    written.deletedBefore = log.filter(({ end }) => end < written.begin).length;
    written.askedAfter = log.filter(({ begin }) => begin < written.end).length;
  }
}

interface Tenant {
  readonly rows: Map<number, Written>;
  /** When each read that goes on has begun, in that order. */
  readonly reads: Set<number>;
}

/** The rows of one author. Another one's are known by their numbers only, until its model is taken in at the end. */
export class Model {
  readonly #tenants = new Map<number, Tenant>();
  #written = 0;

  /** `deletes`: `undefined` for a process that does not know when another one deletes. */
  constructor(
    readonly author: number,
    readonly deletes: Deletes | undefined,
  ) {}

  /** Two rows are to be written, whose ids are not used again. */
  write(tenant: number): Written {
    const id = this.author * IDS + 2 * this.#written++;
    const written: Written = {
      id,
      tenant,
      begin: now(),
      end: NEVER,
      fate: 'pending',
      deletedBefore: this.deletes?.done(tenant) ?? 0,
      askedAfter: 0,
      removal: undefined,
      goneAt: NEVER,
    };
    this.#of(tenant).rows.set(id, written);
    return written;
  }

  /** What became of them, and of those that were removed with them. */
  ended(written: Written, fate: 'there' | 'unknown' | 'never', removed: Written | undefined): void {
    written.end = now();
    written.askedAfter = this.deletes?.asked(written.tenant) ?? 0;
    if (fate === 'never') this.#of(written.tenant).rows.delete(written.id);
    else written.fate = fate;
    if (removed === undefined) return;
    if (fate === 'there' && removed.removal !== undefined) {
      removed.removal.end = written.end;
      removed.goneAt = written.end;
    } else if (fate === 'never') removed.removal = undefined;
  }

  /** A caller removes rows of its own. */
  remove(written: Written): void {
    written.removal = { begin: now(), end: NEVER };
  }

  /** A read begins; what it gives is to be told with the ids it has seen, or `undefined` when it has failed. */
  read(tenant: number): (ids: readonly number[] | undefined, extent: 'all' | 'some') => void {
    const known = this.#of(tenant);
    const begin = now();
    known.reads.add(begin);
    const gone = this.#goneBy(tenant);
    return (ids, extent) => {
      try {
        if (ids !== undefined) this.#check(tenant, { begin, gone }, ids, extent);
      } finally {
        known.reads.delete(begin);
        this.#forget(tenant);
      }
    };
  }

  /** A row that must be in the tenant at this moment, so that its file is there. */
  certain(tenant: number): Written | undefined {
    const at = now();
    for (const written of this.#of(tenant).rows.values()) if (this.#isCertain(written, at, at)) return written;
    return undefined;
  }

  /** Tenants of which something is known. */
  get tenants(): number[] {
    return [...this.#tenants.keys()];
  }

  /** All rows, for another thread or process to take in. */
  all(): Written[] {
    return [...this.#tenants.values()].flatMap(({ rows }) => [...rows.values()]);
  }

  /** Those of an author that has ended; by `clock`, when it did not know of deletes. */
  static from(author: number, deletes: Deletes, rows: readonly Written[], clock: 'numbers' | 'clock'): Model {
    const model = new Model(author, deletes);
    for (const written of rows) {
      if (clock === 'clock') deletes.place(written);
      model.#of(written.tenant).rows.set(written.id, written);
    }
    return model;
  }

  static authorOf(id: number): number {
    return Math.floor(id / IDS);
  }

  #check(
    tenant: number,
    { begin, gone }: { begin: number; gone: (written: Written) => boolean },
    ids: readonly number[],
    extent: 'all' | 'some',
  ): void {
    const { rows } = this.#of(tenant);
    const end = now();
    const seen = new Set(ids);
    must(seen.size === ids.length, `tenant ${tenant}: a row was read twice`);
    for (const id of seen) {
      const isSecond = id % 2 === 1;
      if (extent === 'all')
        must(seen.has(isSecond ? id - 1 : id + 1), `tenant ${tenant}: half of what wrote row ${id} was read`);
      if (Model.authorOf(id) !== this.author || isSecond) continue;
      const written = rows.get(id);
      must(written !== undefined, `tenant ${tenant}: row ${id} was read, and was never written, or is long gone`);
      const told = JSON.stringify(written);
      must(written.goneAt >= begin, `tenant ${tenant}: a removed row was read at ${begin}: ${told}`);
      must(!gone(written), `tenant ${tenant}: a row of a deleted file was read at ${begin}: ${told}`);
    }
    if (extent === 'some') return;
    for (const written of rows.values()) {
      if (seen.has(written.id) || !this.#isCertain(written, begin, end)) continue;
      const asked = this.deletes?.asked(tenant);
      must(
        false,
        `tenant ${tenant}: an acknowledged row is not there, ${begin} to ${end}, deletes ${asked}: ${JSON.stringify(written)}`,
      );
    }
  }

  /** Whether everybody who looks at its tenant between the two moments sees it. The second one is now. */
  #isCertain(written: Written, begin: number, end: number): boolean {
    const { fate, removal, tenant } = written;
    if (fate !== 'there' || written.end >= begin) return false;
    if (removal !== undefined && removal.begin <= end) return false;
    return this.deletes !== undefined && this.deletes.asked(tenant) <= written.deletedBefore;
  }

  /** Which rows are gone for whoever looks from now on: a delete has begun after their write and is done. */
  #goneBy(tenant: number): (written: Written) => boolean {
    const { deletes } = this;
    if (deletes === undefined) return () => false;
    const done = deletes.done(tenant);
    return ({ fate, askedAfter }) => fate !== 'pending' && done > askedAfter;
  }

  /** Drops what no read that goes on, or comes, can see. */
  #forget(tenant: number): void {
    const { rows, reads } = this.#of(tenant);
    const gone = this.#goneBy(tenant);
    const at = now();
    const [oldest = at] = reads;
    for (const written of rows.values()) {
      if (gone(written)) written.goneAt = Math.min(written.goneAt, at);
      if (written.goneAt < oldest) rows.delete(written.id);
    }
  }

  #of(tenant: number): Tenant {
    let known = this.#tenants.get(tenant);
    if (known === undefined) {
      known = { rows: new Map(), reads: new Set() };
      this.#tenants.set(tenant, known);
    }
    return known;
  }
}
