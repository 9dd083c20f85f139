// Closing: what is still done, what is refused, and what is left of the file.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Database, DatabaseClosedError, TransactionClosedError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess, readElsewhere } from './fixtures/transactions/other-process.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { collect } from './fixtures/transactions/ways-of-reading.mjs';
import { within } from './fixtures/transactions/within.mjs';

const MANY =
  'INSERT INTO t(n) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n FROM c';

describe('a closed database', () => {
  it('leaves the one file, with everything in it', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    await db.run(INSERT, [1]);
    await Promise.all(Array.from({ length: 8 }, () => db.read((tx) => tx.all('SELECT * FROM t'))));
    assert.deepEqual(readdirSync(folder.path).sort(), ['test.db', 'test.db-shm', 'test.db-wal']);
    await db.close();
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t'), [{ n: 1 }]);
  });

  it('leaves the log while another process has the file', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const other = await OtherProcess.with(t, folder.file());
    assert.deepEqual(await other.all('SELECT n FROM t'), []);
    await db.run(INSERT, [1]);
    await db.close();
    assert.ok(existsSync(folder.file('test.db-wal')));
    assert.deepEqual(await other.all('SELECT n FROM t'), [{ n: 1 }]);
    await other.ask({ do: 'close' });
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
  });

  it('refuses everything with DatabaseClosedError, from the call of close on', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const fail = () => assert.fail('the closure started');
    const calls: Record<string, () => Promise<unknown>> = {
      read: () => db.read(fail),
      write: () => db.write(fail),
      get: () => db.get('SELECT 1'),
      one: () => db.one('SELECT 1'),
      all: () => db.all('SELECT 1'),
      query: () => db.query('SELECT 1'),
      run: () => db.run(INSERT, [1]),
      exec: () => db.exec('SELECT 1'),
      'get that writes': () => db.get(`${INSERT} RETURNING n`, [1]),
      iterate: () => db.iterate('SELECT 1').next(),
    };
    const refuses = async (when: string) => {
      for (const [name, call] of Object.entries(calls)) {
        await assert.rejects(
          call(),
          (error) => {
            assert.ok(error instanceof DatabaseClosedError, `${name} ${when}: ${error}`);
            assert.equal(error.code, 'DATABASE_CLOSED');
            return true;
          },
          `${name} ${when}`,
        );
      }
    };
    const closing = db.close();
    await refuses('while it closes');
    await closing;
    await refuses('after it has closed');
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t'), []);
  });

  it('may be closed again', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const closing = db.close();
    assert.equal(db.close(), closing);
    await closing;
    assert.equal(db.close(), closing);
    await db[Symbol.asyncDispose]();
    const again = await folder.open();
    await db.close();
    await again.run(INSERT, [1]);
  });

  it('may be removed, and its name used for another', async (t) => {
    const folder = new Folder(t);
    for (let n = 0; n < 3; n++) {
      const db = await folder.database(TABLE);
      await db.run(INSERT, [n]);
      assert.deepEqual(await db.all('SELECT n FROM t'), [{ n }]);
      await db.close();
      rmSync(folder.file());
    }
  });

  it('is what await using leaves', async (t) => {
    const folder = new Folder(t);
    let kept: Database;
    {
      await using db = await Database.open(folder.file());
      await db.exec(TABLE);
      kept = db;
    }
    await assert.rejects(kept.get('SELECT 1'), DatabaseClosedError);
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
    const thrown = async () => {
      await using db = await Database.open(folder.file());
      await db.run(INSERT, [1]);
      throw new OwnError('out of the scope');
    };
    await assert.rejects(thrown(), OwnError);
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
  });
});

describe('close', () => {
  it('lets all accepted work finish, of every kind', async (t) => {
    // holds the writer and takes all readers
    // calls of all kinds, they wait
    // close
    // releases: all of them run, then the files are gone
    const folder = new Folder(t);
    const db = await folder.database(`${TABLE}; ${MANY}`, { readers: 2 });
    const gate = folder.gate();
    const held = await folder.hold(db);
    const reading = [1, 2].map(() =>
      db.read(async (tx) => {
        await gate.opened;
        return tx.get('SELECT 1 AS n');
      }),
    );
    const count = 'SELECT count(*) AS n FROM t WHERE n <= 5000';
    const accepted = [
      db.run(INSERT, [9_001]),
      db.write((tx) => tx.run(INSERT, [9_002])),
      db.exec('INSERT INTO t(n) VALUES (9003)'),
      db.all(`${INSERT} RETURNING n`, [9_004]),
      db.get(count),
      db.read((tx) => tx.one(count)),
      db.read((tx) => tx.sync.one(count)),
      db.all('SELECT n FROM t WHERE n <= 5000').then((rows) => rows.length),
    ];
    let closed = false;
    const closing = db.close().then(() => {
      closed = true;
    });
    assert.equal(closed, false);
    gate.open();
    await held.release();
    const outcomes = await within(Promise.all([...reading, ...accepted]), 'what was accepted before close');
    assert.deepEqual(outcomes, [
      { n: 1 },
      { n: 1 },
      { changes: 1, lastInsertRowid: 5_001 },
      { changes: 1, lastInsertRowid: 5_002 },
      undefined,
      [{ n: 9_004 }],
      { n: 5_000 },
      { n: 5_000 },
      { n: 5_000 },
      5_000,
    ]);
    await within(closing, 'close after the accepted work');
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t WHERE n > 5000 ORDER BY id'), [
      { n: 9_001 },
      { n: 9_002 },
      { n: 9_003 },
      { n: 9_004 },
    ]);
  });

  for (const kind of ['write', 'read'] as const) {
    it(`waits for an open ${kind}, in which everything still works`, async (t) => {
      // transaction            close
      // closure starts
      //                        (waits)
      // statements
      // closure ends
      //                        closed
      const folder = new Folder(t);
      const db = await folder.database(`${TABLE}; ${MANY}`);
      const gate = folder.gate();
      const started = folder.gate();
      const work = db[kind](async (tx) => {
        const rows = tx.iterate('SELECT n FROM t');
        await rows.next();
        started.open();
        await gate.opened;
        assert.deepEqual(await tx.one('SELECT count(*) AS n FROM t'), { n: 5_000 });
        assert.equal(tx.sync.all('SELECT n FROM t').length, 5_000);
        assert.equal((await collect(rows)).length, 4_999);
        if ('run' in tx) await tx.run(INSERT, [7]);
        return 'done';
      });
      await started.opened;
      let closed = false;
      const closing = db.close().then(() => {
        closed = true;
      });
      await assert.rejects(db.get('SELECT 1'), DatabaseClosedError);
      assert.equal(closed, false);
      assert.ok(existsSync(folder.file('test.db-wal')));
      gate.open();
      assert.equal(await within(work, 'the transaction that was open at close'), 'done');
      await within(closing, 'close after the transaction');
      const rows = await readElsewhere(folder.file(), 'SELECT count(*) AS n FROM t');
      assert.deepEqual(rows, [{ n: kind === 'write' ? 5_001 : 5_000 }]);
    });
  }

  it('waits for an open transaction that throws, and rolls it back', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const gate = folder.gate();
    const write = db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      await gate.opened;
      throw new OwnError('rolls back');
    });
    const closing = db.close();
    gate.open();
    await assert.rejects(write, OwnError);
    await within(closing, 'close after the transaction');
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT * FROM t'), []);
  });

  it('may be called from within a closure, outside of it, without waiting there', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    let closing: Promise<void> | undefined;
    await db.write(async (tx) => {
      closing = db.outside(() => db.close());
      await tx.run(INSERT, [1]);
    });
    await within(closing ?? Promise.reject(), 'close after the transaction it was called in');
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t'), [{ n: 1 }]);
  });

  it('ends iterators that are idle: the next fetch says why', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${TABLE}; ${MANY}`, { readers: 4 });
    const idle = [1, 2, 3, 4].map(() => db.iterate('SELECT n FROM t', [], { batchRows: 1 }));
    for (const rows of idle) await rows.next();
    const fresh = db.iterate('SELECT n FROM t');
    await within(db.close(), 'close beside idle iterators');
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
    for (const rows of [...idle, fresh]) {
      await assert.rejects(rows.next(), DatabaseClosedError);
      assert.deepEqual(await rows.next(), { done: true, value: undefined });
    }
  });

  it('ends iterators that fetch when their rows are there', async (t) => {
    // iterator               close
    // first row asked for
    //                        close
    // first row
    //                        closed: nobody waits for the other rows
    const folder = new Folder(t);
    const db = await folder.database(`${TABLE}; ${MANY}`);
    const fresh = db.iterate('SELECT n FROM t ORDER BY n', [], { batchRows: 1 });
    const begun = db.iterate('SELECT n FROM t ORDER BY n', [], { batchRows: 1 });
    await begun.next();
    const first = fresh.next();
    const second = begun.next();
    const closing = db.close();
    assert.deepEqual(await first, { done: false, value: { n: 1 } });
    assert.deepEqual(await second, { done: false, value: { n: 2 } });
    await within(closing, 'close beside an iterator that fetches');
    await assert.rejects(fresh.next(), DatabaseClosedError);
    await assert.rejects(begun.next(), DatabaseClosedError);
  });

  it('does not wait for iterators that were left, or transactions that are over', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${TABLE}; ${MANY}`, { readers: 1 });
    for await (const _ of db.iterate('SELECT n FROM t')) break;
    const { rows } = await db.read((tx) => ({ rows: tx.iterate('SELECT n FROM t') }));
    await within(db.close(), 'close');
    await assert.rejects(rows.next(), TransactionClosedError);
  });

  it('of one handle leaves the work of another alone', async (t) => {
    const folder = new Folder(t);
    const first = await folder.database(TABLE);
    const second = await folder.open();
    const held = await folder.hold(second);
    const waiting = second.run(INSERT, [2]);
    await within(first.close(), 'close of a handle that has nothing to do');
    await assert.rejects(first.get('SELECT 1'), DatabaseClosedError);
    await held.release();
    await waiting;
    assert.deepEqual(await second.all('SELECT n FROM t'), [{ n: 2 }]);
  });
});
