// Checks what several processes did to lists and saw of them: were the writes one after the other, and was every read the
// state after some prefix of them, not older than what was acknowledged before it began?
//
// The order of commits is taken from the log that every write adds to, and checked against all that was seen: the lists
// only grow, and no value is appended twice, so a list tells between which two commits it was read (as in Elle,
// https://arxiv.org/abs/2003.10554).

/** A value at the end of a list. */
export interface Append {
  readonly key: number;
  readonly value: number;
}

/** What one transaction saw and did; the times are of one clock, which all processes share. */
export interface Operation {
  readonly process: number;
  readonly kind: 'read' | 'write';
  readonly outcome: 'committed' | 'rolled back';
  /** Before the call. */
  readonly start: number;
  /** After it was answered. */
  readonly end: number;
  /** Lists that were read, before anything was appended; values joined by commas. */
  readonly seen: readonly (readonly [key: number, items: string])[];
  /** In order. */
  readonly appended: readonly Append[];
}

/** An append as the file has it. */
export interface Logged extends Append {
  /** Of the commit, from 1. */
  readonly version: number;
}

export interface History {
  readonly operations: readonly Operation[];
  /** In the order of the file. */
  readonly log: readonly Logged[];
  /** The lists as they are at the end. */
  readonly lists: readonly (readonly [key: number, items: string])[];
}

export type Anomaly =
  | 'lost append'
  | 'aborted append'
  | 'broken transaction'
  | 'lost update'
  | 'order against time'
  | 'unknown state'
  | 'fractured read'
  | 'stale read'
  | 'read from the future';

export interface Finding {
  readonly anomaly: Anomaly;
  readonly what: string;
}

/** From the version `from` on, and not at `until` any more. */
interface Span {
  readonly from: number;
  readonly until: number;
}

/** A time, and a version that counts from it on. */
interface Mark {
  readonly time: number;
  readonly version: number;
}

/** Everything that is wrong with a history; empty when it can be explained. */
export function check(history: History): Finding[] {
  return new Checker(history).findings;
}

class Checker {
  readonly findings: Finding[] = [];
  readonly #last: number;
  /** Where each value is in the log. */
  readonly #logged = new Map<number, Logged>();
  /** When each list was what. */
  readonly #states = new Map<number, Map<string, Span>>();

  constructor({ operations, log, lists }: History) {
    this.#last = log.at(-1)?.version ?? 0;
    for (const entry of log) {
      if (this.#logged.has(entry.value)) this.#find('broken transaction', `${entry.value} was appended twice`);
      this.#logged.set(entry.value, entry);
    }
    this.#replay(log);
    this.#compareLists(lists);
    const writes = this.#versions(operations, log);
    this.#checkWrites(writes);
    this.#checkSnapshots(operations, writes);
  }

  #find(anomaly: Anomaly, what: string): void {
    this.findings.push({ anomaly, what });
  }

  /** What every list was after each commit that changed it. */
  #replay(log: readonly Logged[]): void {
    const changes = new Map<number, { version: number; items: string }[]>();
    let version = 0;
    for (const { key, value, version: next } of log) {
      if (next !== version && next !== version + 1) {
        this.#find('lost update', `commit ${next} follows commit ${version} in the log`);
      }
      version = next;
      const list = changes.get(key) ?? [{ version: 0, items: '' }];
      changes.set(key, list);
      const before = list.at(-1)?.items ?? '';
      const items = before === '' ? String(value) : `${before},${value}`;
      // Of a commit that appends twice only the whole of it is a state.
      if (list.at(-1)?.version === version) list.pop();
      list.push({ version, items });
    }
    for (const [key, list] of changes) {
      const states = new Map<string, Span>();
      for (const [at, { version: from, items }] of list.entries()) {
        states.set(items, { from, until: list[at + 1]?.version ?? Number.POSITIVE_INFINITY });
      }
      this.#states.set(key, states);
    }
  }

  #compareLists(lists: History['lists']): void {
    const found = new Map(lists);
    for (const [key, states] of this.#states) {
      const items = [...states.keys()].at(-1);
      if (found.get(key) !== items) {
        this.#find('lost update', `list ${key} is [${found.get(key)}], and by the log [${items}]`);
      }
    }
  }

  /** Every committed write with its version. */
  #versions(operations: readonly Operation[], log: readonly Logged[]): Map<Operation, number> {
    const inLog = new Map<number, number>();
    for (const { version } of log) inLog.set(version, (inLog.get(version) ?? 0) + 1);
    const takenBy = new Map<number, Operation>();
    const writes = new Map<Operation, number>();
    for (const operation of operations) {
      for (const { value } of operation.appended) {
        const isThere = this.#logged.has(value);
        if (operation.outcome === 'rolled back' && isThere) this.#find('aborted append', `${value} is in the log`);
        if (operation.outcome === 'committed' && !isThere) this.#find('lost append', `${value} is not in the log`);
      }
      const [first] = operation.appended;
      const version = first === undefined ? undefined : this.#logged.get(first.value)?.version;
      if (operation.outcome !== 'committed' || version === undefined) continue;
      const isWhole =
        operation.appended.every(({ value }) => this.#logged.get(value)?.version === version) &&
        inLog.get(version) === operation.appended.length;
      if (!isWhole) this.#find('broken transaction', `commit ${version} is not what one transaction appended`);
      if (takenBy.has(version)) this.#find('lost update', `two transactions are commit ${version}`);
      takenBy.set(version, operation);
      writes.set(operation, version);
    }
    return writes;
  }

  /** Writes are ordered as they were in time, and each saw the state right before it. */
  #checkWrites(writes: ReadonlyMap<Operation, number>): void {
    const floors = new Floors([...writes].map(([{ end }, version]) => ({ time: end, version })));
    for (const [write, version] of writes) {
      const floor = floors.before(write.start);
      if (floor >= version) {
        this.#find('order against time', `commit ${version} began after commit ${floor} had been acknowledged`);
      }
      const span = this.#spanOf(write);
      if (span === undefined) continue;
      if (span.until < version) {
        this.#find('lost update', `commit ${version} had read what commit ${span.until} changed`);
      } else if (span.from >= version) {
        this.#find('read from the future', `commit ${version} had read what commit ${span.from} wrote`);
      }
    }
  }

  /** Every read is the state after some prefix, and time does not run backwards from one to the next. */
  #checkSnapshots(operations: readonly Operation[], writes: ReadonlyMap<Operation, number>): void {
    const reads: [Operation, Span][] = [];
    for (const operation of operations) {
      if (writes.has(operation)) continue;
      const span = this.#spanOf(operation);
      if (span !== undefined) reads.push([operation, span]);
    }
    const acknowledged = [...writes].map(([{ end, process }, version]) => ({ time: end, version, process }));
    const seen = reads.map(([{ end }, { from }]) => ({ time: end, version: from }));
    const floors = new Floors([...acknowledged, ...seen]);
    const own = new Map<number, Floors>();
    for (const process of new Set(operations.map((operation) => operation.process))) {
      own.set(process, new Floors(acknowledged.filter((mark) => mark.process === process)));
    }
    const ceilings = new Ceilings([...writes].map(([{ start }, version]) => ({ time: start, version })));
    for (const [{ process, start, end }, span] of reads) {
      const floor = floors.before(start);
      if (span.until <= floor) {
        const whose = span.until <= (own.get(process)?.before(start) ?? 0) ? 'by its own process' : 'or seen';
        this.#find('stale read', `commit ${floor} was acknowledged ${whose} before a read of commit ${span.until - 1}`);
      }
      const ceiling = ceilings.after(end);
      if (span.from >= ceiling) {
        this.#find('read from the future', `commit ${ceiling} began after a read that saw commit ${span.from}`);
      }
    }
  }

  /** Between which commits all that was seen was there at once; `undefined`, told as a finding, when it never was. */
  #spanOf(operation: Operation): Span | undefined {
    let from = 0;
    let until = this.#last + 1;
    for (const [key, items] of operation.seen) {
      const states = this.#states.get(key);
      const span = states === undefined && items === '' ? { from: 0, until: this.#last + 1 } : states?.get(items);
      if (span === undefined) {
        this.#find('unknown state', `list ${key} was never [${items}]`);
        return undefined;
      }
      from = Math.max(from, span.from);
      until = Math.min(until, span.until);
    }
    if (from < until) return { from, until };
    this.#find('fractured read', `a list of commit ${from} or later was read beside one from before commit ${until}`);
    return undefined;
  }
}

/** The greatest version of all marks before a time. */
class Floors {
  readonly #marks: readonly Mark[];

  constructor(marks: readonly Mark[]) {
    let version = 0;
    this.#marks = [...marks]
      .sort((a, b) => a.time - b.time)
      .map((mark) => {
        version = Math.max(version, mark.version);
        return { time: mark.time, version };
      });
  }

  before(time: number): number {
    return this.#marks[lowerBound(this.#marks, time) - 1]?.version ?? 0;
  }
}

/** The smallest version of all marks after a time. */
class Ceilings {
  readonly #marks: readonly Mark[];

  constructor(marks: readonly Mark[]) {
    let version = Number.POSITIVE_INFINITY;
    this.#marks = [...marks]
      .sort((a, b) => b.time - a.time)
      .map((mark) => {
        version = Math.min(version, mark.version);
        return { time: -mark.time, version };
      });
  }

  after(time: number): number {
    return this.#marks[lowerBound(this.#marks, -time) - 1]?.version ?? Number.POSITIVE_INFINITY;
  }
}

/** How many marks are of an earlier time. */
function lowerBound(marks: readonly Mark[], time: number): number {
  let low = 0;
  let high = marks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const mark = marks[middle];
    if (mark !== undefined && mark.time < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
