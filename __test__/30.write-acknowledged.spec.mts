// An acknowledged commit: whatever other processes do with the file, it stays.

import assert from 'node:assert/strict';
import { linkSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Database, OptionsConflictError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { ForeignSqlite, noForeignSqlite } from './fixtures/transactions/foreign-sqlite.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess, readElsewhere } from './fixtures/transactions/other-process.mjs';
import { collect, waysOfReading } from './fixtures/transactions/ways-of-reading.mjs';

describe('an acknowledged commit', () => {
  const steps = (db: Database, folder: Folder) => async () => {
    const sql = 'SELECT n FROM t ORDER BY n';
    for (const read of Object.values(waysOfReading)) await db.read((tx) => read(tx, sql));
    for (const read of Object.values(waysOfReading)) await db.write((tx) => read(tx, sql));
    await db.get(sql);
    await db.all(sql);
    await db.query(sql);
    await collect(db.iterate(sql));
    for await (const _ of db.iterate(sql, [], { batchRows: 1 })) break;
    // Whatever opens the file once more must not close a descriptor of it: that would drop the locks of this process.
    for (const name of ['test.db', 'hard.db']) {
      const again = await Database.open(folder.file(name));
      await again.get(sql);
      await again.close();
      await assert.rejects(Database.open(folder.file(name), { readers: 99 }), OptionsConflictError);
      await assert.rejects(Database.open(folder.file(name), { readOnly: true }), OptionsConflictError);
    }
  };

  it('is lost by nobody while other processes open, write and close', async (t) => {
    // this process                 another process
    // open, write 1, read through every API
    //                              open, write 2, close
    // write 3
    //                              a third: reads 1, 2, 3
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    linkSync(folder.file(), folder.file('hard.db'));
    const readThroughEverything = steps(db, folder);
    await db.run(INSERT, [1]);
    await readThroughEverything();
    const log = statSync(folder.file('test.db-wal'));

    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'run', sql: INSERT, parameters: [2] });
    await other.ask({ do: 'close' });
    assert.equal(statSync(folder.file('test.db-wal')).ino, log.ino, 'the other one takes the log for its own');

    await readThroughEverything();
    await db.run(INSERT, [3]);
    await db.write((tx) => tx.run(INSERT, [4]));
    const expected = [1, 2, 3, 4].map((n) => ({ n }));
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t ORDER BY id'), expected);
    assert.deepEqual(await db.all('SELECT n FROM t ORDER BY id'), expected);
    await db.close();
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t ORDER BY id'), expected);
  });

  it('is lost by nobody beside another SQLite', { skip: noForeignSqlite }, async (t) => {
    // As above; an older SQLite does not notice that its neighbour has lost its locks.
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    linkSync(folder.file(), folder.file('hard.db'));
    const readThroughEverything = steps(db, folder);
    await db.run(INSERT, [1]);
    await readThroughEverything();

    const foreign = new ForeignSqlite(t, folder.file());
    await foreign.all('INSERT INTO t(n) VALUES (2)');
    await foreign.close();

    await readThroughEverything();
    await db.run(INSERT, [3]);
    const third = new ForeignSqlite(t, folder.file());
    assert.deepEqual(await third.all('SELECT n FROM t ORDER BY id'), [[1], [2], [3]]);
    await third.close();
    await db.run(INSERT, [4]);
    const expected = [1, 2, 3, 4].map((n) => ({ n }));
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT n FROM t ORDER BY id'), expected);
  });

  it('survives the process being killed', async (t) => {
    const folder = new Folder(t);
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'exec', sql: TABLE });
    for (let n = 0; n < 10; n++) await other.ask({ do: 'run', sql: INSERT, parameters: [n] });
    await other.ask({ do: 'hold', sql: 'INSERT INTO t(n) VALUES (99)' });
    await other.kill();
    const db = await folder.open();
    assert.deepEqual(await numbers(db), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(await db.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
  });
});
