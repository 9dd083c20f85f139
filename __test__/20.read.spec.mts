// Reading: one snapshot per transaction, who serves it, and what its closure gets.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Database, ReadOnlyTransactionError, type ReadTransaction } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { collect, queriesOfEveryKind, waysOfReading } from './fixtures/transactions/ways-of-reading.mjs';
import { within } from './fixtures/transactions/within.mjs';

const COUNT = 'SELECT count(*) AS n FROM t';
/** Five thousand rows, 0 to 4,999: some batches. */
const MANY =
  'CREATE TABLE t(n INTEGER); INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 4999) SELECT n FROM c';

describe('the snapshot of a read', () => {
  for (const [way, read] of Object.entries(waysOfReading)) {
    it(`does not move, seen by ${way}`, async (t) => {
      // read                    writer
      // closure starts
      //                         INSERT
      // first statement: 0
      //                         INSERT
      // second statement: 0
      // closure ends
      // next read: 2
      const folder = new Folder(t);
      const db = await folder.database('CREATE TABLE t(n)');
      const seen = await db.read(async (tx) => {
        await db.outside(() => db.run('INSERT INTO t VALUES (1)'));
        const before = await read(tx, COUNT);
        await db.outside(() => db.run('INSERT INTO t VALUES (1)'));
        return [before, await read(tx, COUNT)];
      });
      assert.deepEqual(seen, [[0], [0]]);
      assert.deepEqual(await db.read((tx) => read(tx, COUNT)), [2]);
    });
  }

  it('is taken before the closure starts, not by its first statement', async (t) => {
    // read                    writer
    // closure starts
    //                         INSERT, committed
    // first statement: 0
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n)');
    const started = folder.gate();
    const written = folder.gate();
    const read = db.read(async (tx) => {
      started.open();
      await written.opened;
      return tx.sync.get(COUNT);
    });
    await started.opened;
    await db.write((tx) => tx.run('INSERT INTO t VALUES (1)'));
    written.open();
    assert.deepEqual(await read, { n: 0 });
  });

  it('is one for the schema too', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n); INSERT INTO t VALUES (1)');
    await db.read(async (tx) => {
      await db.outside(() => db.exec('ALTER TABLE t ADD COLUMN m; CREATE TABLE u(n)'));
      assert.deepEqual(await tx.all('SELECT * FROM t'), [{ n: 1 }]);
      await assert.rejects(tx.all('SELECT * FROM u'), { code: 'SQL_ERROR' });
    });
    assert.deepEqual(await db.all('SELECT * FROM t'), [{ n: 1, m: null }]);
    assert.deepEqual(await db.all('SELECT * FROM u'), []);
  });

  it('is one for all rows of db.iterate, from the first that is asked for', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(MANY);
    const rows = db.iterate<{ n: number }>('SELECT n FROM t ORDER BY n', [], { batchRows: 100 });
    await db.run('INSERT INTO t VALUES (-1)');
    assert.deepEqual(await rows.next(), { done: false, value: { n: -1 } });
    await db.run('UPDATE t SET n = n + 100000');
    const rest = await collect(rows);
    assert.deepEqual([rest.length, rest.at(-1)], [5_000, { n: 4_999 }]);
  });

  it('shows nothing of a write that is open', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n)');
    await db.write(async (tx) => {
      await tx.run('INSERT INTO t VALUES (1)');
      const seen = db.outside(() => [db.read((other) => other.one(COUNT)), db.one(COUNT)]);
      assert.deepEqual(await Promise.all(seen), [{ n: 0 }, { n: 0 }]);
    });
    assert.deepEqual(await db.one(COUNT), { n: 1 });
  });
});

describe('a read after a write', () => {
  it('sees it, by every way to write and to read', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n)');
    const insert = 'INSERT INTO t VALUES (1)';
    const ways: (() => Promise<unknown>)[] = [
      () => db.run(insert),
      () => db.exec(insert),
      () => db.write((tx) => tx.run(insert)),
      () => db.write((tx) => tx.sync.run(insert)),
      () => db.get(`${insert} RETURNING n`),
      () => db.one(`${insert} RETURNING n`),
      () => db.all(`${insert} RETURNING n`),
      () => db.query(`${insert} RETURNING n`),
    ];
    let written = 0;
    for (let round = 0; round < 5; round++) {
      for (const write of ways) {
        await write();
        written += 1;
        const seen = await Promise.all([
          db.get(COUNT),
          db.one(COUNT),
          db.all(COUNT).then(([row]) => row),
          db.query(COUNT).then(({ rows: [row] }) => row),
          collect(db.iterate(COUNT)).then(([row]) => row),
          db.read((tx) => tx.get(COUNT)),
          db.read((tx) => tx.sync.get(COUNT)),
        ]);
        for (const row of seen) assert.deepEqual(row, { n: written });
      }
    }
  });
});

describe('a query', () => {
  it('is served beside an open write, however it begins', async (t) => {
    // holds the writer
    //                     queries, each for the first time
    //                     all are answered
    // releases
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n); INSERT INTO t VALUES (7)');
    const held = await folder.hold(db);
    const answers = queriesOfEveryKind.map((sql) => db.get(sql));
    await within(Promise.all(answers), 'a query waits for the writer');
    await held.release();
  });
});

describe('readers', () => {
  it('are as many as asked for, and serve those who wait in the order of their calls', async (t) => {
    // reader 1        reader 2        waiting
    // a               b
    //                                 c, d, e
    // a ends
    // c                               d, e
    //                 b ends
    //                 d               e
    const folder = new Folder(t);
    const db = await folder.open('test.db', { readers: 2 });
    const running: string[] = [];
    const gates = new Map(['a', 'b', 'c', 'd', 'e'].map((name) => [name, folder.gate()]));
    const starts = new Map(['a', 'b', 'c', 'd', 'e'].map((name) => [name, folder.gate()]));
    const reads = [...gates].map(([name, gate]) =>
      db.read(async () => {
        running.push(name);
        starts.get(name)?.open();
        await gate.opened;
        running.splice(running.indexOf(name), 1);
      }),
    );
    const start = (name: string) => within(starts.get(name)?.opened ?? Promise.reject(name), `${name} does not start`);
    await Promise.all([start('a'), start('b')]);
    assert.deepEqual(running.toSorted(), ['a', 'b']);
    gates.get('a')?.open();
    await start('c');
    assert.deepEqual(running, ['b', 'c']);
    gates.get('b')?.open();
    await start('d');
    assert.deepEqual(running, ['c', 'd']);
    for (const gate of gates.values()) gate.open();
    await Promise.all(reads);
  });

  it('are not kept by reads that are over: more reads than readers, mixed', async (t) => {
    const db = await new Folder(t).database(MANY, { readers: 3 });
    const reads = Array.from({ length: 300 }, (_, n) => {
      const sql = 'SELECT n FROM t WHERE n = ?';
      if (n % 4 === 0) return db.read((tx) => tx.one(sql, [n]));
      if (n % 4 === 1) return db.one(sql, [n]);
      if (n % 4 === 2) return db.all(sql, [n]).then(([row]) => row);
      return collect(db.iterate(sql, [n])).then(([row]) => row);
    });
    const rows = await Promise.all(reads);
    assert.deepEqual(
      rows,
      rows.map((_, n) => ({ n })),
    );
  });
});

describe('the querier', () => {
  class Users {
    readonly tx: ReadTransaction;
    constructor(tx: ReadTransaction) {
      this.tx = tx;
    }
    count() {
      return this.tx.one<{ n: number }>(COUNT);
    }
  }

  it('makes what closures get, beside the transaction itself', async (t) => {
    const folder = new Folder(t);
    await (await folder.database('CREATE TABLE t(n)')).close();
    const db = await Database.open(folder.file(), { querier: (tx) => new Users(tx) });
    try {
      const seen = await db.read(async (users, tx) => {
        assert.equal(users.tx, tx);
        return users.count();
      });
      assert.deepEqual(seen, { n: 0 });
      await db.write(async (users, tx) => {
        assert.equal(users.tx, tx);
        await tx.run('INSERT INTO t VALUES (1)');
        assert.deepEqual(await users.count(), { n: 1 });
      });
      const writing = db.read((users) => Reflect.get(users.tx, 'run').call(users.tx, 'DELETE FROM t'));
      await assert.rejects(writing, ReadOnlyTransactionError);
    } finally {
      await db.close();
    }
  });

  it('may be one for reading and one for writing', async (t) => {
    const folder = new Folder(t);
    const db = await Database.open(folder.file(), {
      querier: { read: (tx) => ({ reads: tx }), write: (tx) => ({ writes: tx }) },
    });
    try {
      await db.write((q, tx) => assert.equal(q.writes, tx));
      await db.read((q, tx) => assert.equal(q.reads, tx));
    } finally {
      await db.close();
    }
  });

  it('that throws ends the transaction with its error', async (t) => {
    const folder = new Folder(t);
    const db = await Database.open(folder.file(), {
      readers: 1,
      querier: () => {
        throw new OwnError('of the querier');
      },
    });
    try {
      for (let n = 0; n < 3; n++) {
        await assert.rejects(
          db.read(() => assert.fail('the closure started')),
          OwnError,
        );
        await assert.rejects(
          db.write(() => assert.fail('the closure started')),
          OwnError,
        );
      }
      await within(db.run('CREATE TABLE t(n)'), 'the writer is not given back');
      await within(db.get(COUNT), 'the reader is not given back');
    } finally {
      await db.close();
    }
  });
});
