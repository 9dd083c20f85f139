// Opening: where the file is, what is made, who may open what, and what a failed open leaves behind.

import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';
import {
  CannotOpenError,
  Database,
  DatabaseClosedError,
  NotADatabaseError,
  OptionError,
  ReadOnlyDatabaseError,
  ReadOnlyTransactionError,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { ForeignSqlite, noForeignSqlite } from './fixtures/transactions/foreign-sqlite.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { queriesOfEveryKind } from './fixtures/transactions/ways-of-reading.mjs';
import { within } from './fixtures/transactions/within.mjs';

/** Permissions mean nothing to Windows. */
const noPermissions = process.platform === 'win32' ? 'Windows has no such permissions' : false;

const permissions = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('the file', () => {
  it('is made with the folders on the way to it, for their owner only', { skip: noPermissions }, async (t) => {
    const folder = new Folder(t);
    chmodSync(folder.path, 0o755);
    const db = await folder.open('a/b/c.db');
    await db.exec('CREATE TABLE t(n)');
    assert.equal(permissions(folder.file('a')), '700');
    assert.equal(permissions(folder.file('a/b')), '700');
    assert.equal(permissions(folder.file('a/b/c.db')), '600');
    assert.equal(permissions(folder.file('a/b/c.db-wal')), '600');
    assert.equal(permissions(folder.file('a/b/c.db-shm')), '600');
    assert.equal(permissions(folder.path), '755', 'a folder that was there stays as it is');
  });

  it('keeps its permissions when it was there', { skip: noPermissions }, async (t) => {
    const folder = new Folder(t);
    writeFileSync(folder.file(), '', { mode: 0o640 });
    await folder.open();
    assert.equal(permissions(folder.file()), '640');
  });

  it('is known by its canonical path', async (t) => {
    const folder = new Folder(t);
    mkdirSync(folder.file('real'));
    symlinkSync(folder.file('real'), folder.file('link'), 'junction');
    const canonical = join(realpathSync(folder.file('real')), 'test.db');
    const spellings = [
      canonical,
      relative(process.cwd(), canonical),
      folder.file('real/../real/./test.db'),
      folder.file('link/test.db'),
    ];
    for (const spelling of spellings) {
      const db = folder.keep(await Database.open(spelling));
      assert.equal(db.path, canonical, spelling);
    }
  });

  it('may lie behind symbolic links, but is none itself', { skip: noPermissions }, async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('real.db');
    await db.close();
    symlinkSync(folder.file('real.db'), folder.file('link.db'));
    await assert.rejects(folder.open('link.db'), (error) => {
      assert.ok(error instanceof CannotOpenError);
      assert.match(error.message, /link\.db.*symbolic link/);
      return true;
    });
  });

  it('writes ahead, and keeps its rows from one open to the next', async (t) => {
    const folder = new Folder(t);
    for (const expected of [[], [{ n: 1 }], [{ n: 1 }, { n: 1 }]]) {
      const db = await folder.database('CREATE TABLE IF NOT EXISTS t(n)');
      assert.equal((await db.one('PRAGMA journal_mode'))['journal_mode'], 'wal');
      assert.deepEqual(await db.all('SELECT n FROM t'), expected);
      await db.run('INSERT INTO t VALUES (1)');
      await db.close();
    }
  });

  it('of another SQLite keeps its rows and is switched to write-ahead logging', {
    skip: noForeignSqlite,
  }, async (t) => {
    const folder = new Folder(t);
    const foreign = new ForeignSqlite(t, folder.file());
    assert.deepEqual(await foreign.all('PRAGMA journal_mode'), [['delete']]);
    await foreign.all('CREATE TABLE t AS SELECT 7 AS n');
    const db = await folder.open();
    assert.deepEqual(await db.all('SELECT n FROM t'), [{ n: 7 }]);
    await db.run('INSERT INTO t VALUES (8)');
    assert.deepEqual(await foreign.all('SELECT n FROM t'), [[7], [8]]);
    assert.deepEqual(await foreign.all('PRAGMA journal_mode'), [['wal']]);
  });

  it('may be called like a URI', { skip: noPermissions }, async (t) => {
    const folder = new Folder(t);
    const name = 'file:x?mode=memory&cache=shared';
    await folder.open(name);
    assert.ok(existsSync(folder.file(name)));
  });

  it('is made once by many opens at the same time', async (t) => {
    const folder = new Folder(t);
    const handles = await Promise.all(Array.from({ length: 20 }, () => folder.open('deep/down/test.db')));
    const [first, ...others] = handles;
    assert.ok(first);
    await first.exec('CREATE TABLE t(n)');
    await Promise.all(others.map((db, n) => db.run('INSERT INTO t VALUES (?)', [n])));
    assert.deepEqual(await first.one('SELECT count(*) AS n FROM t'), { n: others.length });
  });
});

describe('create: false', () => {
  it('refuses a missing file and makes nothing', async (t) => {
    const folder = new Folder(t);
    for (const name of ['test.db', 'a/b/test.db']) {
      await assert.rejects(folder.open(name, { create: false }), (error) => {
        assert.ok(error instanceof CannotOpenError);
        assert.ok(error.message.includes(folder.file(name)), error.message);
        return true;
      });
    }
    assert.deepEqual(readdirSync(folder.path), []);
  });

  it('opens a file that is there, for writing too', async (t) => {
    const folder = new Folder(t);
    await (await folder.open()).close();
    const db = await folder.database('CREATE TABLE t(n)', { create: false });
    await db.run('INSERT INTO t VALUES (1)');
  });
});

describe('readOnly: true', () => {
  it('refuses a missing file and makes nothing', async (t) => {
    const folder = new Folder(t);
    await assert.rejects(folder.open('test.db', { readOnly: true }), CannotOpenError);
    await assert.rejects(folder.open('a/test.db', { readOnly: true, create: true }), CannotOpenError);
    assert.deepEqual(readdirSync(folder.path), []);
  });

  it('reads, and refuses whatever writes', async (t) => {
    const folder = new Folder(t);
    const before = await folder.database('CREATE TABLE t(n); INSERT INTO t VALUES (1)');
    await before.close();

    const db = await folder.open('test.db', { readOnly: true });
    const insert = 'INSERT INTO t VALUES (2) RETURNING n';
    let started = false;
    const writing: Record<string, () => Promise<unknown>> = {
      write: () =>
        db.write(() => {
          started = true;
        }),
      run: () => db.run(insert),
      exec: () => db.exec(insert),
      get: () => db.get(insert),
      one: () => db.one(insert),
      all: () => db.all(insert),
      query: () => db.query(insert),
    };
    for (const [name, call] of Object.entries(writing)) await assert.rejects(call(), ReadOnlyDatabaseError, name);
    assert.equal(started, false, 'the closure of a refused write does not start');
    await assert.rejects(
      db.read((tx) => tx.get(insert)),
      ReadOnlyTransactionError,
    );
    assert.deepEqual(await db.all('SELECT n FROM t'), [{ n: 1 }]);
  });

  it('reads by every kind of query', async (t) => {
    const folder = new Folder(t);
    const before = await folder.database('CREATE TABLE t(n); INSERT INTO t VALUES (7)');
    await before.close();
    const db = await folder.open('test.db', { readOnly: true });
    const refused: string[] = [];
    for (const sql of queriesOfEveryKind) {
      await db.get(sql).catch(() => refused.push(sql));
      await db.read((tx) => tx.get(sql));
    }
    assert.deepEqual(refused, []);
  });

  it('sees what another process writes meanwhile', async (t) => {
    const folder = new Folder(t);
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'exec', sql: 'CREATE TABLE t(n); INSERT INTO t VALUES (1)' });
    const db = await folder.open('test.db', { readOnly: true });
    assert.deepEqual(await db.all('SELECT n FROM t'), [{ n: 1 }]);
    await other.ask({ do: 'run', sql: 'INSERT INTO t VALUES (2)' });
    assert.deepEqual(await db.all('SELECT n FROM t'), [{ n: 1 }, { n: 2 }]);
  });

  it('leaves the journal mode of the file alone', { skip: noForeignSqlite }, async (t) => {
    const folder = new Folder(t);
    const foreign = new ForeignSqlite(t, folder.file());
    await foreign.all('CREATE TABLE t AS SELECT 7 AS n');
    const db = await folder.open('test.db', { readOnly: true });
    assert.deepEqual(await db.all('SELECT n FROM t'), [{ n: 7 }]);
    await db.close();
    assert.deepEqual(await foreign.all('PRAGMA journal_mode'), [['delete']]);
  });
});

describe("':memory:'", () => {
  it('is private to the one who opened it', async (t) => {
    const folder = new Folder(t);
    const [one, other] = await Promise.all([folder.open(':memory:'), folder.open(':memory:')]);
    await one.exec('CREATE TABLE t(n)');
    assert.equal(one.path, ':memory:');
    assert.deepEqual(await other.all('SELECT name FROM sqlite_schema'), []);
  });

  it('reads beside an open write, as any other', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open(':memory:');
    await db.exec('CREATE TABLE t(n)');
    await db.write(async (tx) => {
      await tx.run('INSERT INTO t VALUES (1)');
      // As many as there are readers, at the same time.
      const seen = await Promise.all(
        Array.from({ length: 4 }, () => db.outside(() => db.read((other) => other.all('SELECT n FROM t')))),
      );
      assert.deepEqual(seen, [[], [], [], []]);
    });
    assert.deepEqual(await db.all('SELECT n FROM t'), [{ n: 1 }]);
  });

  it('lives in a folder of its own that goes with it, and never in a file of that name', async (t) => {
    const folder = new Folder(t);
    mkdirSync(folder.file('temporary'));
    const other = new OtherProcess({ TMPDIR: folder.file('temporary'), TEMP: folder.file('temporary') });
    t.after(() => other.kill());
    await other.ask({ do: 'open', path: ':memory:' });
    await other.ask({ do: 'exec', sql: 'CREATE TABLE t(n); INSERT INTO t VALUES (1)' });
    const [made, ...more] = readdirSync(folder.file('temporary'));
    assert.ok(made);
    assert.deepEqual(more, []);
    if (!noPermissions) assert.equal(permissions(folder.file(`temporary/${made}`)), '700');
    await other.ask({ do: 'close' });
    assert.deepEqual(readdirSync(folder.file('temporary')), []);
    assert.equal(existsSync(':memory:'), false);
  });
});

describe('a failing open', () => {
  it('by an option makes nothing', async (t) => {
    const folder = new Folder(t);
    await assert.rejects(folder.open('a/test.db', { readers: 0 }), OptionError);
    assert.deepEqual(readdirSync(folder.path), []);
  });

  it('is not remembered: not a database', async (t) => {
    const folder = new Folder(t);
    writeFileSync(folder.file(), 'no database at all. '.repeat(100));
    for (let n = 0; n < 3; n++) {
      await assert.rejects(folder.open(), (error) => {
        assert.ok(error instanceof NotADatabaseError);
        assert.ok(error.message.includes(folder.file()), error.message);
        return true;
      });
    }
    assert.deepEqual(readdirSync(folder.path), ['test.db'], 'nothing is left beside the file');
    rmSync(folder.file());
    const db = await folder.database('CREATE TABLE t(n)');
    await db.run('INSERT INTO t VALUES (1)');
  });

  it('is not remembered: a missing file', async (t) => {
    const folder = new Folder(t);
    await assert.rejects(folder.open('test.db', { create: false }), CannotOpenError);
    await folder.database('CREATE TABLE t(n)');
    await folder.open('test.db', { create: false });
  });

  it('of a folder names it', async (t) => {
    const folder = new Folder(t);
    await assert.rejects(Database.open(folder.path), (error) => {
      assert.ok(error instanceof CannotOpenError);
      assert.ok(error.message.includes(folder.path) && error.message.includes('folder'), error.message);
      return true;
    });
    assert.deepEqual(readdirSync(folder.path), []);
    assert.ok(existsSync(dirname(folder.path)));
  });
});

describe('opening while closing', () => {
  it('waits and opens anew', async (t) => {
    // last handle     another open
    // close
    //                 open
    // closed
    //                 opened: nothing of the first is lost, both queues work
    const folder = new Folder(t);
    let db = await folder.database('CREATE TABLE t(n)');
    for (let n = 0; n < 20; n++) {
      await db.run('INSERT INTO t VALUES (?)', [n]);
      const closing = db.close();
      const opening = folder.open();
      await closing;
      db = await within(opening, 'an open during a close');
      assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: n + 1 });
    }
  });

  it('joins the engine while accepted work keeps it open', async (t) => {
    // first handle          second handle
    // write begins
    // close
    //                       open: the engine is still there
    //                       run (waits for the writer)
    // INSERT, write ends
    // closed                run has run
    const folder = new Folder(t);
    const first = await folder.database('CREATE TABLE t(n)');
    const gate = folder.gate();
    const write = first.write(async (tx) => {
      await gate.opened;
      await tx.run('INSERT INTO t VALUES (1)');
    });
    const closing = first.close();
    const second = await folder.open('test.db', { busyTimeoutMs: 0 });
    const run = second.run('INSERT INTO t VALUES (2)');
    gate.open();
    await Promise.all([write, closing, run]);
    await assert.rejects(first.get('SELECT 1'), DatabaseClosedError);
    assert.deepEqual(await second.all('SELECT n FROM t'), [{ n: 1 }, { n: 2 }]);
  });
});
