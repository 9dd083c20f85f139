// What a commit changed: its tables, and its rows for those who ask for them.

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Commit, ConstraintError, type Database, StatementNotAllowedError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { together } from './fixtures/transactions/group.mjs';
import { INSERT } from './fixtures/transactions/numbers.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { until } from './fixtures/transactions/within.mjs';

const SCHEMA = 'CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE); CREATE TABLE mark(n)';
const ROWS = 'INSERT INTO t(id, n) VALUES (1, 1), (2, 2), (3, 3)';
const MOST = 10_000;
const sequence = (last: number) =>
  `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${last}) SELECT i FROM c`;

/** A database with three rows, and what it tells of its commits from then on. */
async function listening(
  t: TestContext,
  schema = '',
  rowIds = true,
): Promise<{ db: Database; told: () => Promise<Commit[]> }> {
  const db = await new Folder(t).database(`${SCHEMA}; ${ROWS}; ${schema}`);
  const commits: Commit[] = [];
  db.onCommit((commit) => commits.push(commit), { rowIds });
  const told = async () => {
    await db.run('INSERT INTO mark VALUES (1)');
    await until(() => commits.some(({ tables }) => tables.has('mark')), 'the commit that was waited for');
    return commits.splice(0).filter(({ tables }) => !tables.has('mark'));
  };
  return { db, told };
}

function rows(commit: Commit | undefined): string[] {
  assert.ok(commit?.changes, 'no rows');
  for (const { table } of commit.changes) assert.ok(commit.tables.has(table), `${table} is not among the tables`);
  return commit.changes.map(({ kind, table, rowid }) => `${kind} ${table} ${rowid}`);
}

describe('the tables of a commit', () => {
  const cases: { of: string; schema?: string; sql: readonly string[]; tables: readonly string[] }[] = [
    {
      of: 'a trigger',
      schema: 'CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO u VALUES (1); END',
      sql: ['INSERT INTO t(n) VALUES (NULL)'],
      tables: ['t', 'u'],
    },
    {
      of: 'a cascade',
      schema: 'CREATE TABLE child(n REFERENCES t(id) ON DELETE CASCADE)',
      sql: ['DELETE FROM t WHERE id = 1'],
      tables: ['child', 't'],
    },
    { of: 'REPLACE', sql: ['REPLACE INTO t(id, n) VALUES (1, 2)'], tables: ['t'] },
    { of: 'DELETE without WHERE', sql: ['DELETE FROM t'], tables: ['t'] },
    {
      of: 'a table without row ids',
      schema: 'CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID',
      sql: ['REPLACE INTO w VALUES (1)'],
      tables: ['w'],
    },
    { of: 'two statements', sql: ['INSERT INTO u VALUES (1)', 'UPDATE t SET n = n + 10'], tables: ['t', 'u'] },
    {
      of: 'a view with a trigger',
      schema:
        'CREATE VIEW s AS SELECT 1 AS n; CREATE TRIGGER r INSTEAD OF INSERT ON s BEGIN INSERT INTO u VALUES (1); END',
      sql: ['INSERT INTO s VALUES (1)'],
      tables: ['u'],
    },
  ];
  for (const { of, schema = '', sql, tables } of cases) {
    for (const rowIds of [false, true]) {
      it(`are there: ${of}${rowIds ? ', with row ids' : ''}`, async (t) => {
        const { db, told } = await listening(t, `CREATE TABLE u(n); ${schema}`, rowIds);
        let own: Commit | undefined;
        await db.write(async (tx) => {
          tx.onCommit((commit) => {
            own = commit;
          });
          for (const one of sql) await tx.run(one);
        });
        await db.batch(sql);
        const includes = (found: Iterable<string> = []) =>
          assert.deepEqual([...found].filter((table) => tables.includes(table)).sort(), tables);
        const commits = await told();
        assert.equal(commits.length, 2);
        for (const commit of [own, ...commits]) includes(commit?.tables);
      });
    }
  }

  it('are there of a trigger that was made after the statement was prepared', async (t) => {
    const { db, told } = await listening(t, 'CREATE TABLE u(n)', false);
    const tables = async () => (await told()).map((commit) => [...commit.tables].sort());
    let n = 10;
    const insert = () => db.run(INSERT, [n++]);
    await insert();
    await insert();
    assert.deepEqual(await tables(), [['t'], ['t']]);
    await db.exec('CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO u VALUES (1); END');
    await told();
    await insert();
    assert.deepEqual(await tables(), [['t', 'u']]);
    await db.exec('DROP TRIGGER r');
    await told();
    await insert();
    assert.deepEqual(await tables(), [['t']]);
  });
});

describe('the rows of a commit', () => {
  const cases: Record<string, { schema?: string; sql: string; rows: readonly string[] }> = {
    INSERT: { sql: 'INSERT INTO t(n) VALUES (7), (8)', rows: ['insert t 4', 'insert t 5'] },
    UPDATE: { sql: 'UPDATE t SET n = n + 10 WHERE id > 1', rows: ['update t 2', 'update t 3'] },
    DELETE: { sql: 'DELETE FROM t WHERE id <> 2', rows: ['delete t 1', 'delete t 3'] },
    'DELETE without WHERE': { sql: 'DELETE FROM t', rows: ['delete t 1', 'delete t 2', 'delete t 3'] },
    'REPLACE of one': { sql: 'REPLACE INTO t(n) VALUES (2)', rows: ['delete t 2', 'insert t 4'] },
    'REPLACE of two': {
      sql: 'REPLACE INTO t(id, n) VALUES (1, 2)',
      rows: ['delete t 1', 'delete t 2', 'insert t 1'],
    },
    UPSERT: { sql: 'INSERT INTO t(n) VALUES (2) ON CONFLICT(n) DO UPDATE SET n = 20', rows: ['update t 2'] },
    'IGNORE of one': { sql: 'INSERT OR IGNORE INTO t(n) VALUES (2), (9)', rows: ['insert t 4'] },
    'a trigger': {
      schema: 'CREATE TABLE u(n); CREATE TRIGGER r AFTER DELETE ON t BEGIN INSERT INTO u VALUES (old.n); END',
      sql: 'DELETE FROM t WHERE id = 3',
      rows: ['delete t 3', 'insert u 1'],
    },
    'a cascade': {
      schema: 'CREATE TABLE u(n REFERENCES t(id) ON DELETE CASCADE); INSERT INTO u VALUES (3), (1), (3)',
      sql: 'DELETE FROM t WHERE id = 3',
      rows: ['delete t 3', 'delete u 1', 'delete u 3'],
    },
    'SET NULL': {
      schema: 'CREATE TABLE u(n REFERENCES t(id) ON DELETE SET NULL); INSERT INTO u VALUES (3), (1)',
      sql: 'DELETE FROM t WHERE id = 3',
      rows: ['delete t 3', 'update u 1'],
    },
    'a table without row ids beside another': {
      schema:
        'CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID; CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO w VALUES (new.n); END',
      sql: 'INSERT INTO t(n) VALUES (7)',
      rows: ['insert t 4'],
    },
    'a table whose name ends at a boundary of the record': {
      schema: 'CREATE TABLE city(n)',
      sql: 'INSERT INTO city VALUES (1)',
      rows: ['insert city 1'],
    },
    'a negative row id': { sql: 'INSERT INTO t(id, n) VALUES (-5, 9)', rows: ['insert t -5'] },
  };
  for (const [of, { schema, sql, rows: expected }] of Object.entries(cases)) {
    it(`are told: ${of}`, async (t) => {
      const { db, told } = await listening(t, schema);
      await db.run(sql);
      const [commit] = await told();
      assert.deepEqual(rows(commit).sort(), [...expected].sort());
      assert.equal(commit?.truncated, false);
    });
  }

  it('come in the order of the changes', async (t) => {
    const { db, told } = await listening(t);
    await db.write(async (tx) => {
      await tx.run('DELETE FROM t WHERE id = 2');
      tx.sync.run('INSERT INTO t(id, n) VALUES (9, 9)');
      await tx.runMany('UPDATE t SET n = n * 10 WHERE id = ?', [[3], [1]]);
      await tx.exec('INSERT INTO t(id, n) VALUES (4, 4); DELETE FROM t WHERE id = 1');
    });
    const [commit] = await told();
    assert.deepEqual(rows(commit), [
      'delete t 2',
      'insert t 9',
      'update t 3',
      'update t 1',
      'insert t 4',
      'delete t 1',
    ]);
  });

  it('have row ids beyond the safe integers', async (t) => {
    const { db, told } = await listening(t);
    const ids = [2n ** 62n, -(2n ** 63n), 2n ** 53n, 9_007_199_254_740_991n];
    await db.runMany(
      'INSERT INTO t(id) VALUES (?)',
      ids.map((id) => [id]),
    );
    const [commit] = await told();
    const [large, least, first, last] = commit?.changes?.map(({ rowid }) => rowid) ?? [];
    assert.deepEqual([large, least, first, last], [2n ** 62n, -(2n ** 63n), 2n ** 53n, 9_007_199_254_740_991]);
  });

  it('are told by whatever group they were written in, without those of a neighbour that failed', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${SCHEMA}; ${ROWS}`);
    const commits: Commit[] = [];
    db.onCommit((commit) => commits.push(commit), { rowIds: true });
    const outcomes = await together(folder, db, [
      () => db.run(INSERT, [10]),
      () => db.run('INSERT INTO t(n) VALUES (11), (1)'),
      () =>
        db.batch([
          [INSERT, [12]],
          [INSERT, [1]],
        ]),
      () => db.run('INSERT OR FAIL INTO t(n) VALUES (13), (1)'),
      () => db.runMany(INSERT, [[14], [15]]),
      () => db.run(INSERT, [16]),
    ]);
    assert.deepEqual(
      outcomes.map((outcome) => 'error' in outcome),
      [false, true, true, true, false, false],
    );
    await until(() => commits.flatMap(rows).length >= 4, 'the rows');
    const there = (await db.all('SELECT id FROM t WHERE id > 3 ORDER BY id')).map(({ id }) => `insert t ${id}`);
    assert.equal(there.length, 4);
    assert.deepEqual(commits.flatMap(rows), there);
  });

  it('are told by closures of db.batch, without those of one that threw', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${SCHEMA}; ${ROWS}`);
    const commits: Commit[] = [];
    db.onCommit((commit) => commits.push(commit), { rowIds: true });
    const insert =
      (n: number, throws = false) =>
      () =>
        db.batch((tx) => {
          tx.run(INSERT, [n]);
          if (throws) throw new OwnError('taken back');
        });
    await together(folder, db, [insert(10), insert(11, true), insert(12)]);
    await until(() => commits.flatMap(rows).length >= 2, 'the rows');
    assert.deepEqual(commits.flatMap(rows), ['insert t 4', 'insert t 5']);
  });

  it('are without what a statement took back when it failed', async (t) => {
    const { db, told } = await listening(t);
    await db.write(async (tx) => {
      await assert.rejects(tx.run('INSERT INTO t(id, n) VALUES (10, 10), (11, 11), (12, 1)'), ConstraintError);
      assert.throws(() => tx.sync.run('UPDATE t SET n = 3 WHERE id < 3'), ConstraintError);
      await assert.rejects(
        tx.runMany('INSERT INTO t(id, n) VALUES (?, ?)', [
          [20, 20],
          [21, 1],
        ]),
        ConstraintError,
      );
      await tx.run('INSERT INTO t(id, n) VALUES (30, 30)');
    });
    const [commit] = await told();
    assert.deepEqual(rows(commit), ['insert t 30']);
  });

  it('are cut at 10,000, and say so; not at 10,000 exactly', async (t) => {
    const { db, told } = await listening(t, 'CREATE TABLE u(n)');
    await db.run(`INSERT INTO u ${sequence(MOST)}`);
    await db.run(`INSERT INTO u ${sequence(MOST + 1)}`);
    await db.run('INSERT INTO u VALUES (1)');
    const commits = await told();
    assert.deepEqual(
      commits.map(({ changes, truncated }) => [changes?.length, truncated]),
      [
        [MOST, false],
        [MOST, true],
        [1, false],
      ],
    );
  });

  it('are not called cut for what was rolled back', async (t) => {
    const { db, told } = await listening(t, 'CREATE TABLE u(n)');
    await db.write(async (tx) => {
      const undone = tx.savepoint(async (inner) => {
        await inner.run(`INSERT INTO u ${sequence(MOST + 1)}`);
        throw new OwnError('taken back');
      });
      await assert.rejects(undone, OwnError);
      await tx.run(INSERT, [4]);
    });
    const [commit] = await told();
    assert.deepEqual(rows(commit), ['insert t 4']);
    assert.equal(commit?.truncated, false);
  });

  it('are for those who asked for them only', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${SCHEMA}; ${ROWS}`);
    const other = await folder.open();
    const told: Record<string, Commit[]> = { tables: [], rows: [], 'another handle': [], transaction: [] };
    const note = (name: string) => (commit: Commit) => told[name]?.push(commit);
    db.onCommit(note('tables'));
    const end = db.onCommit(note('rows'), { rowIds: true });
    other.onCommit(note('another handle'), { rowIds: false });
    const write = () =>
      db.write(async (tx) => {
        tx.onCommit(note('transaction'));
        await tx.run('UPDATE t SET n = n + 100');
      });
    await write();
    await until(() => Object.values(told).every(({ length }) => length === 1), 'the first commit');
    end();
    await write();
    await until(() => told['tables']?.length === 2 && told['another handle']?.length === 2, 'the second commit');
    for (const name of ['tables', 'another handle', 'transaction']) {
      assert.deepEqual(
        told[name]?.map(({ changes }) => changes),
        [undefined, undefined],
        name,
      );
    }
    assert.deepEqual(told['rows']?.map(rows), [['update t 1', 'update t 2', 'update t 3']]);
  });

  it('are told though the statement was prepared before anybody asked', async (t) => {
    // A DELETE without WHERE that was prepared without the hook deletes all rows at once, unseen.
    const db = await new Folder(t).database(`${SCHEMA}; ${ROWS}`);
    const empty = () => db.run('DELETE FROM t');
    await empty();
    await db.exec(ROWS);
    await empty();
    await db.exec(ROWS);
    const commits: Commit[] = [];
    db.onCommit((commit) => commits.push(commit), { rowIds: true });
    await empty();
    await until(() => commits.length === 1, 'the commit');
    assert.deepEqual(rows(commits[0]).sort(), ['delete t 1', 'delete t 2', 'delete t 3']);
  });

  it('are not called complete to those who asked in the middle of the transaction', async (t) => {
    // write                listener
    // INSERT
    //                      registered
    // COMMIT
    //                      told, without the row: of that it must not say that it is all
    const db = await new Folder(t).database(SCHEMA);
    const commits: Commit[] = [];
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      db.onCommit((commit) => commits.push(commit), { rowIds: true });
    });
    await until(() => commits.length === 1, 'the commit');
    const [commit] = commits;
    assert.ok(commit?.changes?.length === 1 || commit?.truncated, 'no row, and nothing is left out');
  });

  it('come with the tables of statements that are refused left out', async (t) => {
    const { db, told } = await listening(t);
    await db.write(async (tx) => {
      await assert.rejects(tx.exec('BEGIN'), StatementNotAllowedError);
      await tx.run('DELETE FROM t WHERE 0');
      await tx.run(INSERT, [5]);
    });
    const [commit] = await told();
    assert.deepEqual(rows(commit), ['insert t 4']);
  });
});
