// Work of every kind on one file, going on until its process or worker is ended: transactions that are whole or not there.

import type { Database } from 'sqlflow';
import type { Random } from '../fixtures/random.mjs';

/** A head tells how many parts it has; `whole` writes one in a single statement. */
export const SCHEMA = `
  CREATE TABLE IF NOT EXISTS head(id INTEGER PRIMARY KEY, parts INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS part(
    head INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY(head, number)
  );
  CREATE TABLE IF NOT EXISTS ballast(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
  CREATE VIEW IF NOT EXISTS whole AS SELECT 0 AS id, x'' AS body;
  CREATE TRIGGER IF NOT EXISTS write_whole INSTEAD OF INSERT ON whole BEGIN
    INSERT INTO part VALUES (NEW.id, 1, NEW.body);
    INSERT INTO head VALUES (NEW.id, 2);
    INSERT INTO part VALUES (NEW.id, 2, NEW.body);
  END;`;

const HEAD = 'INSERT INTO head VALUES (?, ?)';
const PART = 'INSERT INTO part VALUES (?, ?, randomblob(?))';
const WHOLE = 'INSERT INTO whole VALUES (?, randomblob(?))';
const BALLAST = 'REPLACE INTO ballast VALUES (?, randomblob(?))';

/** Ids a single traffic has for itself, from its first one. */
export const IDS = 100_000;

export interface TrafficOptions {
  firstId: number;
  random: Random;
  /** Bytes a `write` adds to the log beside its rows; the file does not grow by them. */
  ballastBytes?: number;
  /** Called when a commit was acknowledged. */
  acknowledge: (id: number) => void;
  /** Called inside of transactions, between any two of their statements. */
  inside: () => void;
}

/** Its loops never end by themselves; what they reject with is a defect. */
export class Traffic {
  #db: Database;
  readonly #options: TrafficOptions;
  #taken = 0;

  constructor(db: Database, options: TrafficOptions) {
    this.#db = db;
    this.#options = options;
  }

  /** Goes on with another handle. */
  use(db: Database): void {
    this.#db = db;
  }

  /** All kinds at once. */
  async all(): Promise<never> {
    const loops = [
      this.write,
      this.write,
      this.writeSynchronously,
      this.run,
      this.run,
      this.batch,
      this.batch,
      this.read,
      this.iterate,
    ];
    await Promise.all(loops.map((one) => this.repeat(one)));
    throw new Error('endless loops have ended');
  }

  async repeat(one: () => Promise<void>): Promise<never> {
    for (;;) await one.call(this);
  }

  async write(): Promise<void> {
    const { random, inside, ballastBytes = 0, acknowledge } = this.#options;
    const id = this.#id();
    const parts = 1 + random.below(4);
    await this.#db.write(async (tx) => {
      inside();
      await tx.run(HEAD, [id, parts]);
      for (let number = 1; number <= parts; number++) {
        inside();
        await tx.run(PART, [id, number, random.below(3_000)]);
      }
      if (ballastBytes > 0) await tx.run(BALLAST, [random.below(20), ballastBytes]);
      inside();
    });
    acknowledge(id);
  }

  async writeSynchronously(): Promise<void> {
    const { random, inside, acknowledge } = this.#options;
    const id = this.#id();
    const parts = 20 + random.below(30);
    await this.#db.write((tx) => {
      tx.sync.run(HEAD, [id, parts]);
      for (let number = 1; number <= parts; number++) {
        inside();
        tx.sync.run(PART, [id, number, random.below(200)]);
      }
    });
    acknowledge(id);
  }

  /** Shares a commit with its neighbours. */
  async run(): Promise<void> {
    const id = this.#id();
    await this.#db.run(WHOLE, [id, this.#options.random.below(1_000)]);
    this.#options.acknowledge(id);
  }

  /** The same for several statements, from a closure or from a list. */
  async batch(): Promise<void> {
    const { random, inside, acknowledge } = this.#options;
    const id = this.#id();
    const parts = 1 + random.below(6);
    if (random.below(2) === 0) {
      const all = Array.from({ length: parts }, (_, at): [string, number[]] => [PART, [id, at + 1, random.below(500)]]);
      await this.#db.batch([[HEAD, [id, parts]], ...all]);
    } else {
      await this.#db.batch((tx) => {
        tx.run(HEAD, [id, parts]);
        for (let number = 1; number <= parts; number++) {
          inside();
          tx.run(PART, [id, number, random.below(500)]);
        }
      });
    }
    acknowledge(id);
  }

  /** Fails when it sees half a transaction. */
  async read(): Promise<void> {
    await this.#db.read(async (tx) => {
      const { parts } = await tx.one('SELECT coalesce(sum(parts), 0) AS parts FROM head');
      this.#options.inside();
      const { found } = await tx.one('SELECT count(*) AS found FROM part');
      if (parts !== found) throw new Error(`half a transaction was read: ${parts} parts, ${found} found`);
    });
  }

  async iterate(): Promise<void> {
    let parts = 0;
    const rows = this.#db.iterate('SELECT parts FROM head ORDER BY id DESC LIMIT 300', [], { batchRows: 20 });
    for await (const row of rows) {
      parts += Number(row['parts']);
      if (parts % 7 === 0) this.#options.inside();
    }
  }

  #id(): number {
    if (this.#taken === IDS) throw new RangeError('more transactions than ids');
    const id = this.#options.firstId + this.#taken;
    this.#taken++;
    return id;
  }
}
