// The end of a read: what its closure gives or throws, and what throws when it is over.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NoRowsError, type ReadTransaction, TransactionClosedError, UnfinishedQueryError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { readingCalls } from './fixtures/transactions/late-calls.mjs';
import { OwnError, reasonOf, thrownValues } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { within } from './fixtures/transactions/within.mjs';

const COUNT = 'SELECT count(*) AS n FROM t';
/** Never ends by itself. */
const ENDLESS = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c';

describe('what a read closure gives', () => {
  it('is what read resolves with', async (t) => {
    const db = await new Folder(t).open();
    const value = { of: 'the caller' };
    assert.equal(await db.read(() => value), value);
    assert.equal(await db.read(async () => value), value);
    assert.equal(await db.read(() => undefined), undefined);
    assert.deepEqual(await db.read((tx) => tx.get('SELECT 1 AS n')), { n: 1 });
    const inner = Promise.resolve(7);
    // biome-ignore lint/suspicious/noThenProperty: a thenable of another library is what the test is about
    const foreign: PromiseLike<number> = { then: (...settle) => inner.then(...settle) };
    assert.equal(await db.read(() => foreign), 7);
  });

  for (const [name, value] of Object.entries(thrownValues)) {
    it(`comes back when it throws ${name}`, async (t) => {
      const db = await new Folder(t).open('test.db', { readers: 1 });
      const throws = () => {
        throw value;
      };
      assert.equal(await reasonOf(db.read(throws)), value);
      assert.equal(await reasonOf(db.read(async () => throws())), value);
      const afterStatement = async (tx: ReadTransaction) => {
        await tx.get('SELECT 1');
        throw value;
      };
      assert.equal(await reasonOf(db.read(afterStatement)), value);
      assert.deepEqual(await within(db.get('SELECT 1 AS n'), 'the reader is not given back'), { n: 1 });
    });
  }

  it('may be the error of a statement, and the transaction is usable after one', async (t) => {
    const db = await new Folder(t).open();
    let error: unknown;
    const reason = await reasonOf(
      db.read(async (tx) => {
        error = await reasonOf(tx.get('SELECT nothing'));
        assert.deepEqual(await tx.get('SELECT 1 AS n'), { n: 1 });
        await reasonOf(tx.one('SELECT 1 WHERE 0')).then((none) => assert.ok(none instanceof NoRowsError));
        throw error;
      }),
    );
    assert.ok(reason instanceof Error);
    assert.equal(reason, error);
  });
});

describe('after the end of a read', () => {
  for (const outcome of ['returned', 'thrown'] as const) {
    it(`everything throws TransactionClosedError: the closure has ${outcome}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database('CREATE TABLE t(n)');
      let calls = {};
      const read = db.read(async (tx) => {
        calls = await readingCalls(tx);
        if (outcome === 'thrown') throw new OwnError('ends it');
      });
      if (outcome === 'thrown') await assert.rejects(read, OwnError);
      else await read;
      const silent: string[] = [];
      for (const [name, call] of Object.entries<() => unknown>(calls)) {
        const reason = await reasonOf((async () => call())()).catch(() => undefined);
        if (!(reason instanceof TransactionClosedError)) silent.push(name);
        else assert.equal(reason.code, 'TRANSACTION_CLOSED', name);
      }
      assert.deepEqual(silent, []);
    });
  }

  it('also to the transaction that comes next on the same connection', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n)', { readers: 1 });
    const first = await db.read((tx) => ({ tx }));
    await db.read(async (second) => {
      await assert.rejects(first.tx.get('SELECT 1'), TransactionClosedError);
      assert.throws(() => first.tx.sync.get('SELECT 1'), TransactionClosedError);
      assert.deepEqual(await second.get('SELECT 1 AS n'), { n: 1 });
    });
  });
});

describe('a statement in flight when the closure of a read settles', () => {
  const started: Record<string, (tx: ReadTransaction) => unknown> = {
    get: (tx) => tx.get(ENDLESS),
    one: (tx) => tx.one(ENDLESS),
    all: (tx) => tx.all(ENDLESS),
    query: (tx) => tx.query(ENDLESS),
    'a short one': (tx) => tx.get('SELECT 1'),
    'many rows': (tx) => tx.all('WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c'),
    'several, the rest still queued': (tx) => [tx.get(ENDLESS), tx.get(ENDLESS), tx.all(ENDLESS)],
    iterate: (tx) => tx.iterate(ENDLESS).next(),
    batches: (tx) => tx.batches(ENDLESS).next(),
    'prepare, all': (tx) => tx.prepare(ENDLESS).all(),
    'prepare, iterate': (tx) => tx.prepare(ENDLESS).iterate().next(),
  };
  for (const [name, start] of Object.entries(started)) {
    it(`is interrupted, rejects and counts as handled: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database('CREATE TABLE t(n)', { readers: 1 });
      const unhandled = await unhandledIn(async () => {
        const read = db.read((tx) => {
          start(tx);
        });
        await within(assert.rejects(read, UnfinishedQueryError), 'a read with a statement in flight');
        const throwing = db.read((tx) => {
          start(tx);
          throw new OwnError('wins');
        });
        await within(assert.rejects(throwing, OwnError), 'a throwing read with a statement in flight');
      });
      assert.deepEqual(unhandled, []);
      assert.deepEqual(await within(db.get(COUNT), 'the reader is not given back'), { n: 0 });
    });
  }

  it('tells the one who waits for it', async (t) => {
    const db = await new Folder(t).open();
    let left: Promise<unknown> = Promise.resolve();
    await assert.rejects(
      db.read((tx) => {
        left = tx.get(ENDLESS);
      }),
      UnfinishedQueryError,
    );
    await assert.rejects(left, UnfinishedQueryError);
  });
});
