// Writing: what a write promises to its closure and to those who wait behind it.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConstraintError, SqlError, type WriteTransaction } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { OwnError, reasonOf, thrownValues } from './fixtures/transactions/thrown-values.mjs';
import { waysOfReading } from './fixtures/transactions/ways-of-reading.mjs';
import { within } from './fixtures/transactions/within.mjs';

/** The numbers 1 to `?`. */
const SEQUENCE = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n FROM c';

describe('a write', () => {
  it('is committed when its closure returns, asynchronous or not, and resolves with its value', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const value = { of: 'the caller' };
    const asynchronous = async (tx: WriteTransaction) => {
      await tx.run(INSERT, [1]);
      return value;
    };
    const synchronous = (tx: WriteTransaction) => {
      tx.sync.run(INSERT, [2]);
      return value;
    };
    assert.equal(await db.write(asynchronous), value);
    assert.equal(await db.write(synchronous), value);
    assert.equal(await db.write(() => undefined), undefined);
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('sees what it has written, by every way to read', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      let written = 0;
      for (const [way, read] of Object.entries(waysOfReading)) {
        await tx.run(INSERT, [1]);
        tx.sync.run(INSERT, [1]);
        written += 2;
        assert.deepEqual(await read(tx, 'SELECT count(*) AS n FROM t'), [written], way);
      }
    });
  });

  it('is there for other processes once it has resolved', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const other = await OtherProcess.with(t, folder.file());
    for (let n = 1; n <= 20; n++) {
      await db.write((tx) => tx.run(INSERT, [n]));
      assert.deepEqual(await other.all('SELECT count(*) AS n FROM t'), [{ n }]);
    }
  });

  it('runs its closure once, and alone', async (t) => {
    const db = await new Folder(t).database('CREATE TABLE t(n); INSERT INTO t VALUES (0)');
    let calls = 0;
    let inside = 0;
    const add = () =>
      db.write(async (tx) => {
        calls += 1;
        inside += 1;
        assert.equal(inside, 1);
        const { n } = await tx.one<{ n: number }>('SELECT n FROM t');
        await tx.run('UPDATE t SET n = ?', [n + 1]);
        inside -= 1;
      });
    await Promise.all(Array.from({ length: 100 }, add));
    assert.deepEqual(await db.one('SELECT n FROM t'), { n: 100 });
    assert.equal(calls, 100);
  });

  it('runs its statements in the order of their calls', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      const statement = tx.prepare('INSERT INTO t(n) VALUES (?) RETURNING n');
      const calls: ((n: number) => Promise<unknown>)[] = [
        (n) => tx.run(INSERT, [n]),
        (n) => tx.get(`${INSERT} RETURNING n`, [n]),
        (n) => tx.all(`${INSERT} RETURNING n`, [n]),
        (n) => tx.query(INSERT, [n]),
        (n) => tx.exec(`INSERT INTO t(n) VALUES (${n})`),
        (n) => statement.run(n),
        (n) => statement.get(n),
        () => tx.all(SEQUENCE, [3_000]),
        () => tx.iterate(SEQUENCE, [3_000]).next(),
      ];
      await Promise.all(Array.from({ length: 90 }, (_, n) => calls[n % calls.length]?.(n)));
    });
    const expected = Array.from({ length: 90 }, (_, n) => n).filter((n) => n % 9 < 7);
    assert.deepEqual(await numbers(db), expected);
  });
});

describe('writers', () => {
  it('are served in the order of their calls, whatever they call', async (t) => {
    // holds the writer
    // calls 0 to 89, of all kinds, in one turn
    // releases
    // they run in that order
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const calls: ((n: number) => Promise<unknown>)[] = [
      (n) => db.run(INSERT, [n]),
      (n) => db.write((tx) => tx.run(INSERT, [n])),
      (n) => db.get(`INSERT INTO t(n) VALUES (?) RETURNING ${n}`, [n]),
      (n) => db.exec(`INSERT INTO t(n) VALUES (${n})`),
      (n) => db.run(INSERT, [n]),
      (n) => db.all(`WITH v(n) AS (SELECT ?) INSERT INTO t(n) SELECT n FROM v RETURNING ${n}`, [n]),
      (n) => db.query(`REPLACE INTO t(n) VALUES (?) RETURNING ${n}`, [n]),
      (n) => db.write((tx) => tx.sync.run(INSERT, [n])),
      (n) => db.one(`/* a comment */ INSERT INTO t(n) VALUES (?) RETURNING ${n}`, [n]),
    ];
    for (const begin of [() => folder.hold(db), async () => ({ release: async () => {} })]) {
      await db.exec('DELETE FROM t');
      const held = await begin();
      const waiting = Array.from({ length: 90 }, (_, n) => calls[n % calls.length]?.(n));
      await held.release();
      await Promise.all(waiting);
      assert.deepEqual(
        await numbers(db),
        waiting.map((_, n) => n),
      );
    }
  });

  it('are served in the order of their calls, though a comment reads like a query', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const waiting = ['select', 'values', 'pragma', 'explain', 'with'].flatMap((word, n) => [
      db.get(`-- ${word}\nINSERT INTO t(n) VALUES (?) RETURNING n`, [2 * n]),
      db.run(INSERT, [2 * n + 1]),
    ]);
    await held.release();
    await Promise.all(waiting);
    assert.deepEqual(await numbers(db), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('are served though one before them fails', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const held = await folder.hold(db);
    const fails = () => {
      throw new OwnError('fails');
    };
    const outcomes = Promise.allSettled([
      db.write(fails),
      db.write((tx) => tx.run(INSERT, [1])),
      db.run(INSERT, [1]),
      db.exec('INSERT INTO t(n) VALUES (2); nonsense'),
      db.write(async (tx) => {
        await tx.run(INSERT, [3]);
        fails();
      }),
      db.run(INSERT, [4]),
    ]);
    await held.release();
    const rejected = (await outcomes).map(({ status }) => status === 'rejected');
    assert.deepEqual(rejected, [true, false, true, true, true, false]);
    assert.deepEqual(await numbers(db), [1, 4]);
  });
});

describe('a write closure that throws', () => {
  for (const [name, value] of Object.entries(thrownValues)) {
    it(`is rolled back, and what it threw comes back: ${name}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      const atOnce = () => {
        throw value;
      };
      const later = async (tx: WriteTransaction) => {
        await tx.run(INSERT, [1]);
        tx.sync.run(INSERT, [2]);
        throw value;
      };
      assert.equal(await reasonOf(db.write(atOnce)), value);
      assert.equal(await reasonOf(db.write(later)), value);
      assert.deepEqual(await numbers(db), []);
      await within(db.run(INSERT, [3]), 'the writer is not given back');
      assert.deepEqual(await numbers(db), [3]);
    });
  }

  it('may throw the error of a statement; one that is caught does no harm', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    let error: unknown;
    const reason = await reasonOf(
      db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        error = await reasonOf(tx.run(INSERT, [1]));
        throw error;
      }),
    );
    assert.ok(reason instanceof ConstraintError);
    assert.equal(reason, error);
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      await assert.rejects(tx.run(INSERT, [1]), ConstraintError);
      assert.throws(() => tx.sync.run(INSERT, [1]), ConstraintError);
      await assert.rejects(tx.exec('INSERT INTO t(n) VALUES (2); nonsense'), SqlError);
      await tx.run(INSERT, [3]);
    });
    assert.deepEqual(await numbers(db), [1, 2, 3]);
  });
});

describe('the writer', () => {
  it('can commit after a CREATE TABLE that was rolled back', async (t) => {
    // SQLite prepares statements anew after a change of the schema: the engine's COMMIT too, inside its step.
    const db = await new Folder(t).database(TABLE);
    for (let n = 0; n < 5; n++) {
      const created = db.write(async (tx) => {
        await tx.run(`CREATE TABLE u${n}(n)`);
        await tx.exec(`CREATE INDEX i${n} ON t(n); DROP INDEX i${n}; ALTER TABLE t ADD COLUMN m${n}`);
        await tx.run(INSERT, [-1]);
        throw new OwnError('rolls back');
      });
      await assert.rejects(created, OwnError);
      await db.run(INSERT, [n]);
      await db.write((tx) => tx.run(INSERT, [n]));
      await db.exec(`INSERT INTO t(n) VALUES (${n})`);
      await db.write((tx) => tx.run(`CREATE TABLE u${n}(n)`));
      await assert.rejects(db.exec(`CREATE TABLE v(n); INSERT INTO t(n) VALUES (-1); nonsense`), SqlError);
    }
    assert.deepEqual(
      await numbers(db),
      [0, 1, 2, 3, 4].flatMap((n) => [n, n, n]),
    );
    assert.deepEqual(await db.one("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'"), { n: 6 });
  });

  it('sees the schema as it is after a rollback', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const all = 'SELECT * FROM t';
    await db.write((tx) => tx.run(INSERT, [1]));
    const altered = db.write(async (tx) => {
      await tx.run('ALTER TABLE t ADD COLUMN m');
      assert.deepEqual(await tx.all(all), [{ id: 1, n: 1, m: null }]);
      throw new OwnError('rolls back');
    });
    await assert.rejects(altered, OwnError);
    assert.deepEqual(await db.write((tx) => tx.all(all)), [{ id: 1, n: 1 }]);
    assert.deepEqual(await db.all(all), [{ id: 1, n: 1 }]);
  });
});
