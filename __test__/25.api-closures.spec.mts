// What closures get and what ends: queriers, transactions that are over, iterators that are left, databases that are closed.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  Database,
  DatabaseClosedError,
  OptionError,
  ReadOnlyDatabaseError,
  ReadOnlyTransactionError,
  type ReadTransaction,
  type SqlParameter,
  TransactionClosedError,
  WriteTransaction,
} from 'sqlflow';
import { databaseForms, transactionChanges, transactionForms } from './fixtures/forms.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

/** A database with a table of three rows. */
async function filled(scratch: Scratch, name = 'main.db'): Promise<Database> {
  const db = await scratch.open(name);
  await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name); INSERT INTO t (name) VALUES ('a'), ('b'), ('c')");
  return db;
}

describe('the querier', () => {
  class Names {
    readonly tx: WriteTransaction;
    constructor(tx: WriteTransaction) {
      this.tx = tx;
    }
    count = () => this.tx.one<{ n: number }>('SELECT count(*) AS n FROM t');
    add = (name: string) => this.tx.run('INSERT INTO t (name) VALUES (?)', [name]);
    addNow = (name: string) => this.tx.sync.run('INSERT INTO t (name) VALUES (?)', [name]);
  }

  it('as one function makes what both closures get; its writes fail in a read', async () => {
    await using scratch = new Scratch();
    await (await filled(scratch)).close();
    const db = await Database.open(scratch.file('main.db'), { querier: (tx) => new Names(tx) });
    await db.write(async (names, tx) => {
      assert.ok(names instanceof Names && names.tx === tx);
      await names.add('d');
      names.addNow('e');
    });
    await db.read(async (names, tx) => {
      assert.equal(names.tx, tx);
      assert.deepEqual(await names.count(), { n: 5 });
      await refused(() => names.add('f'), ReadOnlyTransactionError, /use db\.write/);
      await refused(() => names.addNow('f'), ReadOnlyTransactionError, /use db\.write/);
      await refused(() => names.tx.exec('DELETE FROM t'), ReadOnlyTransactionError, /use db\.write/);
      assert.deepEqual(await names.count(), { n: 5 });
    });
    await db.close();
  });

  it('as two functions makes what each closure gets', async () => {
    await using scratch = new Scratch();
    await (await filled(scratch)).close();
    const querier = {
      read: (tx: ReadTransaction) => ({ reads: tx }),
      write: (tx: WriteTransaction) => ({ writes: tx }),
    };
    const db = await Database.open(scratch.file('main.db'), { querier });
    assert.equal(await db.read((q, tx) => q.reads === tx && !(tx instanceof WriteTransaction)), true);
    assert.equal(await db.write((q, tx) => q.writes === tx && tx instanceof WriteTransaction), true);
    await db.close();
    const fixed = await Database.open(scratch.file('main.db'), { querier, readOnly: true });
    assert.deepEqual(await fixed.read((q) => q.reads.all('SELECT name FROM t LIMIT 1')), [{ name: 'a' }]);
    await refused(() => fixed.write(() => 1), ReadOnlyDatabaseError, /readOnly: true/);
    await fixed.close();
  });
});

describe('what is not a closure', () => {
  it('is refused before a transaction begins', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    for (const fn of [undefined, null, 'SELECT 1', {}, Promise.resolve()]) {
      const given = fn as () => unknown;
      await refused(() => db.read(given), OptionError, /^read needs a function, got /);
      await refused(() => db.write(given), OptionError, /^write needs a function, got /);
      await refused(() => db.batch(given), OptionError, /^batch needs a function or an array of statements, got /);
    }
  });
});

describe('after the end of a transaction', () => {
  it('every way to run a statement is refused', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const kept = {
      read: await db.read((tx) => ({ forms: transactionForms(tx, 'read'), prepared: tx.prepare('SELECT 1') })),
      write: await db.write((tx) => ({
        forms: transactionForms(tx, 'write'),
        changes: transactionChanges(tx),
        prepared: tx.prepare('DELETE FROM t'),
      })),
    };
    await db.write(async () => {
      for (const form of [...kept.read.forms, ...kept.write.forms]) {
        await refused(() => form.rows('SELECT 1'), TransactionClosedError, /ended|closed/, form.name);
      }
      for (const form of kept.write.changes) {
        await refused(() => form.run('DELETE FROM t'), TransactionClosedError, /ended|closed/, form.name);
      }
      await refused(() => kept.read.prepared.get(), TransactionClosedError, /ended|closed/);
      await refused(() => kept.write.prepared.run(), TransactionClosedError, /ended|closed/);
    });
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM t'), { n: 3 });
  });
});

describe('an iterator', () => {
  it('is asynchronous, ends once, and can be left at any row', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('main.db', { readers: 1 });
    await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t SELECT value FROM json_each('[1,2,3,4,5]')");
    const text = 'SELECT id FROM t';
    const rows = db.iterate<{ id: number }>(text, [], { batchRows: 2 });
    assert.equal(rows[Symbol.asyncIterator](), rows);
    assert.deepEqual(await rows.next(), { done: false, value: { id: 1 } });
    const calls = await Promise.all([rows.next(), rows.next(), rows.next(), rows.next(), rows.next(), rows.next()]);
    assert.deepEqual(
      calls.map(({ value }) => value?.id),
      [2, 3, 4, 5, undefined, undefined],
    );
    assert.deepEqual(await rows.next(), { done: true, value: undefined });
    assert.deepEqual(await rows.return(), { done: true, value: undefined });

    // One reader: whatever is left early must give it back.
    for await (const row of db.iterate<{ id: number }>(text)) if (row.id === 2) break;
    const thrown = new Error('out of the loop');
    const loop = async () => {
      for await (const _row of db.iterate(text, [], { batchRows: 1 })) throw thrown;
    };
    await assert.rejects(loop, (error) => error === thrown);
    {
      await using left = db.iterate(text);
      await left.next();
    }
    const never = db.iterate(text);
    assert.deepEqual(await never.return(), { done: true, value: undefined });
    assert.deepEqual(await never.next(), { done: true, value: undefined });
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM t'), { n: 5 });
    await db.read((tx) => {
      const sync = tx.sync.iterate<{ id: number }>(text, [], { batchRows: 2 });
      assert.deepEqual(sync.next().value, { id: 1 });
      assert.deepEqual(
        [...sync].map((row) => row.id),
        [2, 3, 4, 5],
      );
      for (const row of tx.sync.iterate<{ id: number }>(text)) if (row.id === 3) break;
    });
  });

  it('reads its values when the first row is asked for', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const values: SqlParameter[] = ['early'];
    const rows = db.iterate('SELECT ? AS v', values);
    values[0] = 'late';
    assert.deepEqual(await rows.next(), { done: false, value: { v: 'late' } });
    await rows.return();
  });
});

describe('close', () => {
  it('is one promise, and everything after it is refused', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const closing = db.close();
    assert.equal(db.close(), closing);
    assert.equal(db[Symbol.asyncDispose](), closing);
    assert.equal(db.path, scratch.file('main.db'));
    for (const form of databaseForms(db)) {
      await refused(() => form.rows('SELECT 1'), DatabaseClosedError, /closed/, form.name);
    }
    for (const call of [
      () => db.run('SELECT 1'),
      () => db.exec('SELECT 1'),
      () => db.read(() => 1),
      () => db.write(() => 1),
    ]) {
      await refused(call, DatabaseClosedError, /closed/);
    }
    await closing;
    await refused(() => db.get('SELECT 1'), DatabaseClosedError, /closed/);
  });
});
