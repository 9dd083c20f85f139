// Group commit: a member that fails, fails alone and leaves nothing.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConstraintError, type Database, ParameterError, SqlError, StatementNotAllowedError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { amongNeighbours, failure, together } from './fixtures/transactions/group.mjs';
import { INSERT, numbers, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';

describe('one member fails alone', () => {
  it('by a constraint', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1)`);
    failure(await amongNeighbours(folder, db, () => db.run(INSERT, [1])), ConstraintError);
    assert.deepEqual(await numbers(db), [1]);
  });

  it('by a mistake in its SQL, its parameters, or what is not allowed', async (t) => {
    const mistakes: [(db: Database) => Promise<unknown>, new (...args: never[]) => Error][] = [
      [(db) => db.run('nonsense'), SqlError],
      [(db) => db.run('INSERT INTO missing VALUES (1)'), SqlError],
      [(db) => db.run(INSERT, [1, 2]), ParameterError],
      [(db) => db.run('BEGIN'), StatementNotAllowedError],
      [(db) => db.run('COMMIT'), StatementNotAllowedError],
      [(db) => db.run('ROLLBACK'), StatementNotAllowedError],
      [(db) => db.run('SAVEPOINT s'), StatementNotAllowedError],
      [(db) => db.run('CREATE TEMP TABLE x(n)'), StatementNotAllowedError],
      [(db) => db.run("SELECT json('not json')"), SqlError],
    ];
    for (const [mistake, kind] of mistakes) {
      const folder = new Folder(t);
      const db = await folder.database(UNIQUE_TABLE);
      failure(await amongNeighbours(folder, db, () => mistake(db)), kind);
      assert.deepEqual(await numbers(db), []);
    }
  });

  const FOREIGN_KEYS = `
    CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE);
    CREATE TABLE child(n REFERENCES t(n) DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO t(n) VALUES (1);
    INSERT INTO child VALUES (1)`;

  it('by a deferred foreign key, when it inserts and when it deletes', async (t) => {
    for (const sql of [
      'INSERT INTO child VALUES (99)',
      'DELETE FROM t WHERE n = 1',
      'UPDATE t SET n = 5 WHERE n = 1',
    ]) {
      const folder = new Folder(t);
      const db = await folder.database(FOREIGN_KEYS);
      const error = failure(await amongNeighbours(folder, db, () => db.run(sql)), ConstraintError);
      assert.equal(error.sqliteCode, 787, 'SQLITE_CONSTRAINT_FOREIGNKEY');
      assert.deepEqual(await db.all('SELECT n FROM child'), [{ n: 1 }]);
      assert.deepEqual(await numbers(db), [1]);
    }
  });

  it('by a deferred foreign key, though one behind it would mend that', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(FOREIGN_KEYS);
    const outcomes = await together(folder, db, [
      () => db.run('INSERT INTO child VALUES (99)'),
      () => db.run(INSERT, [99]),
    ]);
    failure(outcomes[0], ConstraintError);
    assert.deepEqual(outcomes[1], { value: { changes: 1, lastInsertRowid: 2 } });
    assert.deepEqual(await db.all('SELECT n FROM child'), [{ n: 1 }]);
  });

  it('by an ignored insert: it reports no row id of a neighbour', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1)`);
    const outcome = await amongNeighbours(folder, db, () => db.run('INSERT OR IGNORE INTO t(n) VALUES (1)'));
    assert.deepEqual(outcome, { value: { changes: 0, lastInsertRowid: 0 } });
    const query = await together(folder, db, [
      () => db.run(INSERT, [2]),
      () => db.query('INSERT INTO t(n) VALUES (1) ON CONFLICT DO NOTHING RETURNING n'),
    ]);
    assert.deepEqual(query[1], { value: { columns: ['n'], rows: [], changes: 0, lastInsertRowid: 0 } });
  });

  const LEAVING_ROWS: Record<string, { schema: string; sql: string }> = {
    'OR FAIL': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1)`,
      sql: 'INSERT OR FAIL INTO t(n) VALUES (100), (101), (1), (102)',
    },
    'UPDATE OR FAIL': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1), (2)`,
      sql: 'UPDATE OR FAIL t SET n = 7',
    },
    'RAISE(FAIL)': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1);
        CREATE TRIGGER raises BEFORE INSERT ON t WHEN NEW.n = 'raise' BEGIN SELECT RAISE(FAIL, 'raised'); END`,
      sql: "INSERT INTO t(n) VALUES (100), (101), ('raise'), (102)",
    },
    'RAISE(FAIL) of a statement that gives rows': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1);
        CREATE TRIGGER raises AFTER INSERT ON t WHEN NEW.n = 'raise' BEGIN SELECT RAISE(FAIL, 'raised'); END`,
      sql: "INSERT INTO t(n) VALUES (100), (101), ('raise'), (102) RETURNING n",
    },
    'ON CONFLICT FAIL of the schema': {
      schema: `CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE ON CONFLICT FAIL); INSERT INTO t(n) VALUES (1)`,
      sql: 'INSERT INTO t(n) VALUES (100), (101), (1), (102)',
    },
    'ON CONFLICT FAIL in a table that a trigger writes': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1);
        CREATE TABLE strict(n UNIQUE ON CONFLICT FAIL); INSERT INTO strict VALUES (101);
        CREATE TRIGGER copies AFTER INSERT ON t BEGIN INSERT INTO strict VALUES (NEW.n); END`,
      sql: 'INSERT INTO t(n) VALUES (100), (101), (102)',
    },
    'OR ROLLBACK': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1)`,
      sql: 'INSERT OR ROLLBACK INTO t(n) VALUES (100), (1)',
    },
    'RAISE(ROLLBACK)': {
      schema: `${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (1);
        CREATE TRIGGER raises BEFORE INSERT ON t WHEN NEW.n = 'raise' BEGIN SELECT RAISE(ROLLBACK, 'raised'); END`,
      sql: "INSERT INTO t(n) VALUES (100), ('raise')",
    },
  };
  for (const [name, { schema, sql }] of Object.entries(LEAVING_ROWS)) {
    it(`by ${name}: it leaves no row`, async (t) => {
      for (const run of [(db: Database) => db.run(sql), (db: Database) => db.all(sql), (db: Database) => db.get(sql)]) {
        const folder = new Folder(t);
        const db = await folder.database(schema);
        const before = await numbers(db);
        failure(await amongNeighbours(folder, db, () => run(db)), ConstraintError);
        assert.deepEqual(await numbers(db), before);
        await assert.rejects(run(db), ConstraintError, 'alone it fails the same way');
        assert.deepEqual(await numbers(db), before);
        await db.run(INSERT, [200]);
        assert.deepEqual(await numbers(db), [...before, 200]);
      }
    });
  }

  it('and several do, of all kinds, between others that keep their order', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`
      ${UNIQUE_TABLE}; INSERT INTO t(n) VALUES (-1);
      CREATE TABLE child(n REFERENCES t(n) DEFERRABLE INITIALLY DEFERRED)`);
    const culprits = [
      'INSERT INTO t(n) VALUES (-1)',
      'INSERT INTO child VALUES (-99)',
      'INSERT OR FAIL INTO t(n) VALUES (-5), (-1)',
      'INSERT OR ROLLBACK INTO t(n) VALUES (-6), (-1)',
      'nonsense',
    ];
    const calls = Array.from({ length: 120 }, (_, n) => async () => {
      const culprit = n % 7 === 3 ? culprits[n % culprits.length] : undefined;
      return culprit === undefined ? db.run(INSERT, [n]) : db.run(culprit);
    });
    // What waits behind the group waits behind those of it that run again.
    const write = () => db.write((tx) => tx.run(INSERT, [1_000]));
    const outcomes = await together(folder, db, [...calls, write, () => db.run(INSERT, [1_001])]);
    const failed = outcomes.flatMap((outcome, n) => ('error' in outcome ? [n] : []));
    const numbered = calls.map((_, n) => n);
    assert.deepEqual(
      failed,
      numbered.filter((n) => n % 7 === 3),
    );
    assert.deepEqual(await numbers(db), [-1, ...numbered.filter((n) => n % 7 !== 3), 1_000, 1_001]);
    assert.deepEqual(await db.all('SELECT * FROM child'), []);
  });
});
