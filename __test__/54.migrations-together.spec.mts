// Several who open at the same time: handles of one process, and processes. One migrates, the others wait, all have the schema.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Database } from 'sqlflow';
import { contents, LOG, states, steps } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { within } from './fixtures/transactions/within.mjs';

const ALL = steps(6);

describe('a second open of an open file', () => {
  it('runs what the first did not have, and both handles go on', async (t) => {
    const folder = new Folder(t);
    const one = await folder.open('test.db', { migrations: steps(3) });
    await one.write((tx) => tx.run('INSERT INTO t1 VALUES (1)'));
    const told: unknown[] = [];
    const two = await folder.open('test.db', { migrations: ALL, onMigration: ({ version }) => told.push(version) });
    assert.deepEqual(told, [4, 5, 6]);
    for (const db of [one, two]) {
      await db.run('INSERT INTO t6 VALUES (?)', [db === one ? 1 : 2]);
      assert.deepEqual(await db.get(LOG), { log: '1,2,3,4,5,6' });
      await db.read(async (tx) => assert.deepEqual(await tx.get('SELECT a FROM t1'), { a: 1 }));
    }
    assert.deepEqual(await one.all('SELECT a FROM t6 ORDER BY a'), [{ a: 1 }, { a: 2 }]);
    assert.equal(await states(one), '1 applied, 2 applied, 3 applied, 4 unknown, 5 unknown, 6 unknown');
    assert.equal(await states(two), ALL.map((_, index) => `${index + 1} applied`).join(', '));
  });

  // first handle            second handle
  // read begins
  //                         open: 3 pending, waits for the read
  // write: done
  // further read: waits
  // read ends
  //                         3 migrations
  // further read: sees them
  it('waits for the reads that are on, and holds new ones back meanwhile', async (t) => {
    const folder = new Folder(t);
    const one = await folder.open('test.db', { migrations: steps(3) });
    const started = folder.gate();
    const end = folder.gate();
    const order: string[] = [];
    const read = one.read(async (tx) => {
      const before = await tx.get(LOG);
      started.open();
      await end.opened;
      assert.deepEqual(await tx.get(LOG), before, 'its snapshot has changed');
      order.push('read');
    });
    await within(started.opened, 'the read begins');
    const opened = Database.open(folder.file(), { migrations: ALL, onMigration: () => order.push('migration') });
    // The engine has taken the open in when the reads are held back.
    await within(
      (async () => {
        while (!one.stats().readers.heldBack) await new Promise((resolve) => setImmediate(resolve));
      })(),
      'new reads are held back',
    );
    const further = one.get(LOG).then((row) => {
      order.push('further read');
      return row;
    });
    // Writes are not held back until the reads have ended.
    await within(one.run('INSERT INTO t1 VALUES (9)'), 'a write before the migrations');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(order, []);
    end.open();
    const two = folder.keep(await within(opened, 'the second open'));
    assert.deepEqual(await within(further, 'a read that was held back'), { log: '1,2,3,4,5,6' });
    await read;
    assert.deepEqual(order, ['read', 'migration', 'migration', 'migration', 'further read']);
    assert.deepEqual(await two.all('SELECT a FROM t1'), [{ a: 9 }]);
    assert.equal(one.stats().readers.heldBack, false);
  });

  it('waits for the write that is on', async (t) => {
    const folder = new Folder(t);
    const one = await folder.open('test.db', { migrations: steps(3) });
    const held = await folder.hold(one);
    let isOpen = false;
    const opened = Database.open(folder.file(), { migrations: ALL }).then((db) => {
      isOpen = true;
      return db;
    });
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(isOpen, false);
    assert.deepEqual(await one.get(LOG), { log: '1,2,3' });
    await held.release();
    assert.deepEqual(await folder.keep(await within(opened, 'the second open')).get(LOG), { log: '1,2,3,4,5,6' });
  });

  it('with nothing pending waits for nobody', async (t) => {
    const folder = new Folder(t);
    const one = await folder.open('test.db', { migrations: ALL });
    await one.read(async (tx) => {
      await tx.get(LOG);
      folder.keep(await within(Database.open(folder.file(), { migrations: ALL }), 'an open beside a read'));
    });
  });

  it('of many at once with the same source runs each once', async (t) => {
    const folder = new Folder(t);
    const told: unknown[] = [];
    const opens = Array.from({ length: 10 }, () =>
      Database.open(folder.file(), { migrations: ALL, onMigration: ({ version }) => told.push(version) }),
    );
    const databases = await within(Promise.all(opens), 'ten opens of one file');
    for (const db of databases) folder.keep(db);
    assert.deepEqual(told, [1, 2, 3, 4, 5, 6]);
    for (const db of databases) assert.deepEqual(await db.get(LOG), { log: '1,2,3,4,5,6' });
  });
});

describe('two files', () => {
  it('opened at once with one source are made each for itself', async (t) => {
    const folder = new Folder(t);
    const names = Array.from({ length: 8 }, (_, index) => `${index}.db`);
    const databases = await Promise.all(names.map((name) => folder.open(name, { migrations: ALL })));
    const [first, ...others] = await Promise.all(databases.map((db) => contents(db)));
    assert.ok(first !== undefined);
    for (const other of others) assert.deepEqual(other, first);
  });
});

describe('processes', () => {
  for (const count of [2, 8]) {
    it(`${count} that open a new file at once all have the schema, and each migration is run once`, async (t) => {
      const folder = new Folder(t);
      const others = Array.from({ length: count }, () => new OtherProcess());
      t.after(() => Promise.all(others.map((other) => other.kill())));
      // All are up before the first opens: the first round is a file of its own.
      for (const path of [folder.file('first.db'), folder.file()]) {
        await Promise.all(others.map((other) => other.ask({ do: 'open', path, options: { migrations: ALL } })));
        const logs = await Promise.all(others.map((other) => other.all(LOG)));
        for (const log of logs) assert.deepEqual(log, [{ log: '1,2,3,4,5,6' }]);
        await Promise.all(others.map((other) => other.ask({ do: 'close' })));
      }
      const db = await folder.open('test.db', { migrations: ALL });
      const alone = await folder.open('alone.db', { migrations: ALL });
      assert.deepEqual(await contents(db), await contents(alone));
    });
  }

  it('that runs them beside one that works on the file waits for its writes', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(3) });
    const held = await folder.hold(db);
    const other = new OtherProcess();
    t.after(() => other.kill());
    const opened = other.ask({ do: 'open', path: folder.file(), options: { migrations: ALL } });
    await held.release();
    await opened;
    // What this process has prepared before is prepared anew.
    assert.deepEqual(await db.get(LOG), { log: '1,2,3,4,5,6' });
    await db.run('INSERT INTO t6 VALUES (1)');
    assert.deepEqual(await other.all('SELECT a FROM t6'), [{ a: 1 }]);
  });

  it('that open while another is in a NO TRANSACTION wait for its end, and do not take it for broken off', async (t) => {
    const folder = new Folder(t);
    const slow = `-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE begun (a);
SELECT count(*) FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT i FROM n);`;
    const migrations = [...steps(2), { name: '3_slow.sql', sql: slow }];
    const watcher = await folder.open('test.db');
    const other = new OtherProcess();
    t.after(() => other.kill());
    const opened = other.ask({ do: 'open', path: folder.file(), options: { migrations } });
    await within(
      (async () => {
        while ((await watcher.get("SELECT 1 FROM sqlite_schema WHERE name = 'begun'")) === undefined) {}
      })(),
      'the other process does not begin',
    );
    await watcher.close();
    const [one, two] = await Promise.allSettled([opened, folder.open('test.db', { migrations })]);
    assert.equal(one.status, 'fulfilled');
    assert.equal(two.status, 'fulfilled', String(two.status === 'rejected' && two.reason));
  });

  it('that waits for longer than its busyTimeoutMs is told so, and nothing is run', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(3) })).close();
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: 'INSERT INTO t1 VALUES (1)' });
    await assert.rejects(Database.open(folder.file(), { migrations: ALL, busyTimeoutMs: 20 }), { code: 'BUSY' });
    await other.ask({ do: 'release' });
    assert.deepEqual(await other.all(LOG), [{ log: '1,2,3' }]);
    const db = await folder.open('test.db', { migrations: ALL });
    assert.deepEqual(await db.get(LOG), { log: '1,2,3,4,5,6' });
  });
});
