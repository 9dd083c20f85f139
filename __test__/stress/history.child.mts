// One of the processes of a history: appends to lists and reads them, and writes down what it did and saw.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Database, type ReadTransaction, type WriteTransaction } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import type { Append, Operation } from './history-checker.mjs';

const CLIENTS = 3;
/** So many commits, and other lists are used: those there are stay short. */
const COMMITS_PER_LISTS = 40;
const LISTS = 5;

const APPEND = `INSERT INTO list VALUES (?1, ?2)
  ON CONFLICT DO UPDATE SET items = items || ',' || excluded.items`;
const LOG = 'INSERT INTO log(version, key, value) VALUES (?, ?, ?)';
const ROLLED_BACK = new Error('rolled back on purpose');

type Seen = [key: number, items: string][];

const [path = '', process_ = '', seconds = '', seed = '', file = ''] = process.argv.slice(2);
const self = Number(process_);
const operations: Operation[] = [];
let values = 0;

/** The clock of the system, which counts for all its processes. */
function now(): number {
  return Number(process.hrtime.bigint());
}

class Client {
  readonly #db: Database;
  readonly #random: Random;
  /** The last commit it knows of. */
  #version = 0;

  constructor(db: Database, random: Random) {
    this.#db = db;
    this.#random = random;
  }

  async workUntil(end: number): Promise<void> {
    while (now() < end) {
      const choice = this.#random.next();
      if (choice < 0.4) await this.#read();
      else if (choice < 0.7) await this.#write('committed');
      else if (choice < 0.8) await this.#write('rolled back');
      else await this.#run();
    }
  }

  async #read(): Promise<void> {
    const keys = this.#keys(3);
    const start = now();
    const seen = await this.#db.read(async (tx) => {
      const lists = await this.#look(tx, keys);
      this.#version = (await tx.one<{ n: number }>('SELECT n FROM clock')).n;
      return lists;
    });
    this.#note('read', 'committed', start, seen, []);
  }

  /** Reads some lists, then appends to some, perhaps twice to the same. */
  async #write(outcome: Operation['outcome']): Promise<void> {
    const keys = this.#keys(2);
    const appended = Array.from({ length: 1 + this.#random.below(3) }, () => this.#append());
    const start = now();
    let seen: Seen = [];
    try {
      await this.#db.write(async (tx) => {
        seen = await this.#look(tx, keys);
        await this.#change(tx, appended);
        if (outcome === 'rolled back') throw ROLLED_BACK;
      });
    } catch (error) {
      if (error !== ROLLED_BACK) throw error;
    }
    this.#note('write', outcome, start, seen, appended);
  }

  async #change(tx: WriteTransaction, appended: readonly Append[]): Promise<void> {
    const { n } = await tx.one<{ n: number }>('SELECT n FROM clock');
    for (const { key, value } of appended) {
      await tx.run(APPEND, [key, String(value)]);
      tx.sync.run(LOG, [n + 1, key, value]);
    }
    await tx.run('UPDATE clock SET n = ?', [n + 1]);
  }

  /** One statement, which shares its commit. */
  async #run(): Promise<void> {
    const append = this.#append();
    const start = now();
    await this.#db.run('INSERT INTO appending VALUES (?, ?)', [append.key, append.value]);
    this.#note('write', 'committed', start, [], [append]);
  }

  async #look(tx: ReadTransaction, keys: readonly number[]): Promise<Seen> {
    const seen: Seen = [];
    for (const key of keys) {
      const row = await tx.get<{ items: string }>('SELECT items FROM list WHERE key = ?', [key]);
      seen.push([key, row?.items ?? '']);
    }
    return seen;
  }

  #note(kind: Operation['kind'], outcome: Operation['outcome'], start: number, seen: Seen, appended: Append[]): void {
    operations.push({ process: self, kind, outcome, start, end: now(), seen, appended });
  }

  #keys(count: number): number[] {
    return Array.from({ length: count }, () => this.#key());
  }

  #key(): number {
    return LISTS * Math.floor(this.#version / COMMITS_PER_LISTS) + this.#random.below(LISTS);
  }

  #append(): Append {
    values++;
    return { key: this.#key(), value: self * 10_000_000 + values };
  }
}

const db = await Database.open(path, { busyTimeoutMs: 60_000 });
console.log('ready');
await once(process.stdin.resume(), 'end');
const end = now() + Number(seconds) * 1e9;
const clients = Array.from({ length: CLIENTS }, (_, client) => new Client(db, new Random(Number(seed) + client)));
await Promise.all(clients.map((client) => client.workUntil(end)));
await db.close();
writeFileSync(file, JSON.stringify(operations));
