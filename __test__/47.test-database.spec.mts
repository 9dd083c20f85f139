// sqlflow/testing: databases of a test's own, in folders that go with them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { describe, it } from 'node:test';
import { Database, type WriteTransaction } from 'sqlflow';
import { testDatabase } from 'sqlflow/testing';
import './fixtures/border/watchdog.mjs';

describe('a test database', () => {
  it('is a file in a private folder that goes with it', async () => {
    const db = await testDatabase();
    assert.ok(db instanceof Database);
    const folder = dirname(db.path);
    if (process.platform !== 'win32') assert.equal(statSync(folder).mode & 0o777, 0o700);
    await db.exec('CREATE TABLE t (a)');
    assert.ok(readdirSync(folder).includes('test.db'));
    await db.close();
    assert.equal(existsSync(folder), false);
    await db.close();

    let path = '';
    {
      await using disposed = await testDatabase();
      path = disposed.path;
      assert.ok(existsSync(path));
    }
    assert.equal(existsSync(dirname(path)), false);
  });

  it('shares nothing with others made at the same time', async () => {
    const databases = await Promise.all(Array.from({ length: 20 }, () => testDatabase()));
    assert.equal(new Set(databases.map(({ path }) => path)).size, 20);
    await Promise.all(
      databases.map(async (db, index) => {
        await db.exec(`CREATE TABLE t AS SELECT ${index} AS i`);
        assert.deepEqual(await db.all('SELECT i FROM t'), [{ i: index }]);
      }),
    );
    await Promise.all(databases.map((db) => db.close()));
    for (const { path } of databases) assert.equal(existsSync(dirname(path)), false);
  });

  it('takes the options of open', async () => {
    class Names {
      readonly #tx: WriteTransaction;
      constructor(tx: WriteTransaction) {
        this.#tx = tx;
      }
      add(name: string) {
        return this.#tx.run('INSERT INTO name VALUES (?)', [name]);
      }
    }
    await using db = await testDatabase({ querier: (tx) => new Names(tx), bigint: true });
    await db.exec('CREATE TABLE name (name)');
    await db.write((names) => names.add('x'));
    assert.deepEqual(await db.get('SELECT count(*) AS n, name FROM name'), { n: 1n, name: 'x' });
    assert.deepEqual(await db.get('PRAGMA synchronous'), { synchronous: 1n });
    await using full = await testDatabase({ synchronous: 'full' });
    assert.deepEqual(await full.get('PRAGMA synchronous'), { synchronous: 2 });
  });

  it('refuses what makes no sense', async () => {
    const wrong: (object | undefined)[] = [{ readOnly: true }, { create: false }, { path: 'x' }, { migration: [] }];
    for (const options of wrong) await assert.rejects(testDatabase(options), { name: 'OptionError' });
  });

  it('is the same by import and by require', () => {
    assert.equal(createRequire(import.meta.url)('sqlflow/testing').testDatabase, testDatabase);
  });

  it('that is never closed goes with its process', () => {
    const program = `
      const { testDatabase } = require('sqlflow/testing');
      testDatabase().then(async (db) => { await db.exec('CREATE TABLE t (a)'); console.log(db.path); });`;
    const path = execFileSync(process.execPath, ['-e', program], { encoding: 'utf8' }).trim();
    assert.match(path, /sqlflow-test-/);
    assert.equal(existsSync(dirname(path)), false);
  });
});
