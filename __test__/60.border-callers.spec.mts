// In whose name the engine answers: the stack of an error, and the async context of its caller.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { test } from 'node:test';
import { Database, type ReadTransaction, SqlError, SqlflowError } from 'sqlflow';
import { Folder } from './fixtures/border/folder.mjs';

/** A test that waits for something that never comes fails alone. */
const LIMIT = { timeout: 20_000 };

/** Numbers from 1 to `count`, made by SQLite. */
function numbers(count: number): string {
  return `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${count})`;
}

test('the stack of a rejected query names the function and the file of its caller', LIMIT, async (t) => {
  await using db = await Database.open(':memory:');
  await db.exec('CREATE TABLE unique_note (name TEXT UNIQUE)');
  await db.run("INSERT INTO unique_note VALUES ('taken')");
  const bad = 'SELECT missing FROM nowhere';
  const taken = "INSERT INTO unique_note VALUES ('taken')";

  const callers: (() => Promise<void>)[] = [
    async function callsGet() {
      await db.get(bad);
    },
    async function callsOne() {
      await db.one('SELECT 1 WHERE 0');
    },
    async function callsAll() {
      await db.all(bad);
    },
    async function callsAllThatCannotBeDecoded() {
      await db.all('SELECT 9007199254740993');
    },
    async function callsQuery() {
      await db.query(bad);
    },
    async function callsRun() {
      await db.run(taken);
    },
    async function callsRunWithWrongParameters() {
      await db.run('INSERT INTO unique_note VALUES (?)', [1, 2]);
    },
    async function callsGetWithAnUnsupportedValue() {
      await db.get('SELECT ?', [Number.NaN]);
    },
    async function callsExec() {
      await db.exec(bad);
    },
    async function iterates() {
      for await (const _ of db.iterate(bad));
    },
    async function callsGetInRead() {
      await db.read(async (tx) => {
        await tx.get(bad);
      });
    },
    async function callsAllInWrite() {
      await db.write(async (tx) => {
        await tx.all(bad);
      });
    },
    async function callsRunInWrite() {
      await db.write(async (tx) => {
        await tx.run(taken);
      });
    },
    async function callsAPreparedStatement() {
      await db.write(async (tx) => {
        await tx.prepare(taken).run();
      });
    },
    async function iteratesInRead() {
      await db.read(async (tx) => {
        for await (const _ of tx.iterate(bad));
      });
    },
    async function callsGetSync() {
      await db.read((tx) => tx.sync.get(bad));
    },
    async function callsRunSync() {
      await db.write((tx) => {
        tx.sync.run(taken);
      });
    },
    async function opensTwiceWithOtherOptions() {
      using folder = new Folder();
      await using one = await Database.open(folder.file('options.db'), { readers: 2 });
      await Database.open(one.path, { readers: 3 });
    },
  ];
  for (const caller of callers) {
    await t.test(caller.name, async () => {
      const error: unknown = await caller().then(
        () => undefined,
        (reason) => reason,
      );
      assert.ok(error instanceof SqlflowError, String(error));
      const frame = new RegExp(`\\b${caller.name}\\b.*60\\.border-callers\\.spec\\.m[jt]s`);
      assert.match(String(error.stack), frame);
      assert.ok(String(error.stack).startsWith(`${error.name}: `), error.stack);
    });
  }
});

test('the stack of a query in a closure names the line of the query', LIMIT, async () => {
  await using db = await Database.open(':memory:');
  async function theQuery(tx: ReadTransaction): Promise<void> {
    await tx.get('SELECT missing FROM nowhere');
  }
  const inRead: unknown = await db.read(theQuery).catch((error: unknown) => error);
  assert.ok(inRead instanceof SqlError);
  assert.match(String(inRead.stack), /\btheQuery\b.*60\.border-callers\.spec/);
  const inWrite: unknown = await db.write(theQuery).catch((error: unknown) => error);
  assert.ok(inWrite instanceof SqlError);
  assert.match(String(inWrite.stack), /\btheQuery\b.*60\.border-callers\.spec/);
});

test('the AsyncLocalStorage of the caller is right after every await', LIMIT, async () => {
  using folder = new Folder();
  const caller = new AsyncLocalStorage<number>();
  const opened = caller.run(-1, async () => {
    const db = await Database.open(folder.file('context.db'), { readers: 2 });
    assert.equal(caller.getStore(), -1);
    return db;
  });
  await using db = await opened;
  await db.exec('CREATE TABLE visit (caller INTEGER, step TEXT)');
  const rows = `${numbers(5)} SELECT i FROM n`;
  const bad = 'SELECT missing FROM nowhere';

  async function visit(me: number): Promise<void> {
    const here = (where: string): void => assert.equal(caller.getStore(), me, where);
    here('at first');
    await db.get('SELECT ?', [me]);
    here('after db.get');
    await db.one('SELECT ?', [me]);
    here('after db.one');
    await db.all(`${numbers(2_500)} SELECT i FROM n`);
    here('after db.all');
    await db.query('SELECT ?', [me]);
    here('after db.query');
    await db.run('INSERT INTO visit VALUES (?, ?)', [me, 'run']);
    here('after db.run');
    await db.exec(`INSERT INTO visit VALUES (${me}, 'exec')`);
    here('after db.exec');
    await db.get(bad).catch(() => here('in the handler of a rejection'));
    here('after a rejection');
    for await (const _ of db.iterate(rows, [], { batchRows: 2 })) here('in db.iterate');
    here('after db.iterate');
    await db.read(async (tx) => {
      here('at the start of read');
      await tx.get('SELECT ?', [me]);
      here('after tx.get');
      for await (const _ of tx.iterate(rows, [], { batchRows: 2 })) here('in tx.iterate');
      for await (const _ of tx.batches(rows, [], { batchRows: 2 })) here('in tx.batches');
      here('after tx.batches');
      await assert.rejects(tx.all(bad));
      here('after a rejection in read');
      tx.sync.get('SELECT ?', [me]);
      here('after tx.sync.get');
    });
    here('after read');
    await db.write(async (tx) => {
      here('at the start of write');
      await tx.run('INSERT INTO visit VALUES (?, ?)', [me, 'write']);
      here('after tx.run');
      await tx.prepare('SELECT count(*) FROM visit').get();
      here('after a prepared statement');
    });
    here('after write');
    await assert.rejects(
      db.write(async (tx) => {
        await tx.exec(`INSERT INTO visit VALUES (${me}, 'undone')`);
        here('after tx.exec');
        throw new Error('undo');
      }),
    );
    here('after a rollback');
  }

  await Promise.all(Array.from({ length: 64 }, (_, me) => caller.run(me, visit, me)));
  assert.equal(caller.getStore(), undefined);
  assert.deepEqual(await db.get('SELECT count(*) AS visits, count(DISTINCT caller) AS callers FROM visit'), {
    visits: 192,
    callers: 64,
  });
  await caller.run(-2, async () => {
    await db.close();
    assert.equal(caller.getStore(), -2);
  });
});
