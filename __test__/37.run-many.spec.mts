// runMany: one statement for many rows, all or none of them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ConstraintError,
  type Database,
  OptionError,
  ParameterError,
  SqlError,
  type SqlParameters,
  sql,
  type WriteTransaction,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { amongNeighbours, failure } from './fixtures/transactions/group.mjs';
import { INSERT, numbers, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError, reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { within } from './fixtures/transactions/within.mjs';

/** What both the database and a transaction can do. */
type Runs = Pick<Database | WriteTransaction, 'runMany'>;

/** Runs a test with `db.runMany`, and again with that of a transaction, which must go on. */
function byBoth(name: string, test: (runs: Runs, all: () => Promise<unknown[]>) => Promise<void>): void {
  it(`${name}: db.runMany`, async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    await test(db, () => numbers(db));
  });
  it(`${name}: tx.runMany`, async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    await db.write(async (tx) => {
      await test(tx, async () => tx.sync.all('SELECT n FROM t ORDER BY id').map((row) => row['n']));
      await tx.run(INSERT, ['after it']);
    });
    assert.equal((await numbers(db)).at(-1), 'after it');
  });
}

describe('runMany', () => {
  byBoth('gives the sum of changes and the last row id', async (runs, all) => {
    const rows = Array.from({ length: 20_000 }, (_, n) => [n]);
    assert.deepEqual(await within(runs.runMany(INSERT, rows), 'many rows'), {
      changes: 20_000,
      lastInsertRowid: 20_000,
    });
    assert.deepEqual(await all(), rows.flat());
    assert.deepEqual(await runs.runMany('DELETE FROM t WHERE n >= ?', [[19_998], [3]]), {
      changes: 19_997,
      lastInsertRowid: 0,
    });
    const ignored = await runs.runMany('INSERT OR IGNORE INTO t(n) VALUES (:n)', [{ n: 7 }, { n: 1 }, { n: 2 }]);
    assert.deepEqual(ignored, { changes: 1, lastInsertRowid: 4 });
    assert.deepEqual(await all(), [0, 1, 2, 7]);
    assert.deepEqual(await runs.runMany(INSERT, []), { changes: 0, lastInsertRowid: 0 });
  });

  byBoth('takes any iterable, which is read to its end before the first row is run', async (runs, all) => {
    let read = 0;
    function* rows(): Generator<SqlParameters> {
      for (let n = 0; n < 3; n++) {
        read += 1;
        yield { n };
      }
    }
    const call = runs.runMany('INSERT INTO t(n) VALUES (:n)', rows());
    assert.equal(read, 3);
    assert.equal((await call).changes, 3);
    await runs.runMany(INSERT, new Set([[10], [11]]));
    assert.deepEqual(await all(), [0, 1, 2, 10, 11]);
  });

  byBoth('does all rows or none; the error says which row', async (runs, all) => {
    await runs.runMany(INSERT, [[7]]);
    const failing: [string, SqlParameters[], new (...args: never[]) => Error, RegExp][] = [
      [INSERT, [[1], [2], [7], [3]], ConstraintError, /^row 3: UNIQUE/],
      [INSERT, [[1], [2, 3]], ParameterError, /^row 2: /],
      [INSERT, [[1], [{} as never]], ParameterError, /^row 2: /],
      ['INSERT INTO t(n) VALUES (abs(?))', [[1], [-(2n ** 63n)]], SqlError, /^row 2: integer overflow/],
      ['nonsense', [[1]], SqlError, /near "nonsense"/],
    ];
    for (const [text, rows, kind, says] of failing) {
      const error = await within(reasonOf(runs.runMany(text, rows)), text);
      assert.ok(error instanceof kind, String(error));
      assert.match(error.message, says);
      assert.equal((error as SqlError).sql, text);
      assert.deepEqual(await all(), [7]);
    }
  });

  byBoth('leaves nothing behind when reading the rows throws midway', async (runs, all) => {
    const own = new OwnError('in the middle');
    const fails = () => {
      throw own;
    };
    function* stops(): Generator<SqlParameters> {
      yield [1];
      fails();
    }
    const getter = [
      { n: 1 },
      {
        get n() {
          return fails();
        },
      },
    ];
    for (let round = 0; round < 3; round++) {
      assert.equal(await reasonOf(runs.runMany(INSERT, stops())), own);
      assert.equal(await reasonOf(runs.runMany('INSERT INTO t(n) VALUES (:n)', getter as never)), own);
      assert.deepEqual(await all(), []);
    }
    let again: Promise<unknown> = Promise.resolve();
    const reenters = [
      [1],
      [2].map((n) => {
        again = runs.runMany(INSERT, [[50], [51]]);
        return n;
      }),
    ];
    await runs.runMany(INSERT, reenters);
    await again;
    assert.deepEqual(await all(), [50, 51, 1, 2]);
  });

  byBoth('needs an iterable of parameters, and the values in it', async (runs, all) => {
    for (const rows of [undefined, null, 5, 'abc', {}, { length: 1, 0: [1] }] as unknown[]) {
      await assert.rejects(runs.runMany(INSERT, rows as []), OptionError);
    }
    await assert.rejects(runs.runMany(sql`INSERT INTO t(n) VALUES (${1})`, [[2]]), ParameterError);
    await runs.runMany(sql`INSERT INTO t(n) VALUES (1)`, [[]]);
    assert.deepEqual(await all(), [1]);
  });

  it('fails alone among others that share its commit', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const outcome = await amongNeighbours(folder, db, () => db.runMany(INSERT, [[1], [2], [1]]));
    assert.match(failure(outcome, ConstraintError).message, /^row 3: /);
    assert.deepEqual(await numbers(db), []);
  });
});
