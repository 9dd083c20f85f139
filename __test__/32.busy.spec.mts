// Other processes: who waits for their locks, for how long, and what goes on meanwhile.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BusyError, Database, type OpenOptions } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { ForeignSqlite, noForeignSqlite } from './fixtures/transactions/foreign-sqlite.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const LOCK = "INSERT INTO t(n) VALUES ('other')";
/** Longer than any test. */
const PATIENT: OpenOptions = { busyTimeoutMs: 600_000 };

/** What `promise` has come to so far. */
function watch(promise: Promise<unknown>): { state: 'pending' | 'resolved' | 'rejected' } {
  const watched: { state: 'pending' | 'resolved' | 'rejected' } = { state: 'pending' };
  promise.then(
    () => {
      watched.state = 'resolved';
    },
    () => {
      watched.state = 'rejected';
    },
  );
  return watched;
}

/** Lets the loop turn `turns` times, reading all the while. */
async function busyElsewhere(db: Database, turns: number): Promise<void> {
  let turned = 0;
  const turn = () => {
    turned += 1;
    if (turned < turns) setImmediate(turn);
  };
  turn();
  while (turned < turns) await within(db.get('SELECT n FROM t'), 'a read while a writer waits');
}

function isBusy(error: unknown): boolean {
  assert.ok(error instanceof BusyError, String(error));
  assert.equal(error.code, 'BUSY');
  assert.equal((error.sqliteCode ?? 0) & 0xff, 5, 'SQLITE_BUSY');
  assert.match(error.message, /another process|locked/);
  return true;
}

describe('while another process has the write lock', () => {
  const ways: Record<string, (db: Database) => Promise<unknown>> = {
    write: (db) => db.write((tx) => tx.run(INSERT, [1])),
    run: (db) => db.run(INSERT, [1]),
    exec: (db) => db.exec('INSERT INTO t(n) VALUES (1)'),
    'get that writes': (db) => db.get(`${INSERT} RETURNING n`, [1]),
    'all that writes': (db) => db.all(`${INSERT} RETURNING n`, [1]),
  };
  for (const [name, write] of Object.entries(ways)) {
    it(`waits by a timer, the loop and the readers are free: ${name}`, async (t) => {
      // other process       writer               reads, the loop
      // INSERT, open
      //                     (waits)              go on
      // COMMIT
      //                     INSERT
      const folder = new Folder(t);
      const db = await folder.database(TABLE, PATIENT);
      const other = await OtherProcess.with(t, folder.file());
      await other.ask({ do: 'hold', sql: LOCK });
      const written = write(db);
      const watched = watch(written);
      await busyElsewhere(db, 300);
      assert.equal(watched.state, 'pending');
      assert.deepEqual(await numbers(db), []);
      await other.ask({ do: 'release' });
      await within(written, 'the write after the lock was released');
      assert.deepEqual(await numbers(db), ['other', 1]);
    });
  }

  it('a write does not start, and its closure runs once', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, PATIENT);
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: LOCK });
    let started = 0;
    const written = db.write(async (tx) => {
      started += 1;
      await tx.run(INSERT, [1]);
    });
    await busyElsewhere(db, 300);
    assert.equal(started, 0);
    await other.ask({ do: 'release' });
    await within(written, 'the write after the lock was released');
    assert.equal(started, 1);
  });

  it('fails with BusyError after busyTimeoutMs, and the writer works again when the lock is free', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 60 });
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: LOCK });
    for (const [name, write] of Object.entries(ways)) {
      isBusy(await within(reasonOf(write(db)), `${name} beyond busyTimeoutMs`));
    }
    let started = false;
    const write = db.write(() => {
      started = true;
    });
    isBusy(await within(reasonOf(write), 'a write beyond busyTimeoutMs'));
    assert.equal(started, false);
    await other.ask({ do: 'release' });
    await db.run(INSERT, [1]);
    assert.deepEqual(await numbers(db), ['other', 1]);
  });

  it('fails at once with busyTimeoutMs 0', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 0 });
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: LOCK });
    for (const write of Object.values(ways)) isBusy(await within(reasonOf(write(db)), 'no patience at all'));
    await other.ask({ do: 'release' });
    for (const write of Object.values(ways)) await write(db);
    assert.deepEqual(await numbers(db), ['other', 1, 1, 1, 1, 1]);
  });

  it('each has its own patience, and the others keep their order', async (t) => {
    // other process    patient handle            impatient handle
    // INSERT, open
    //                  write 1, run 2
    //                                            write 3, run 4
    //                  run 5, exec 6
    //                                            run 7
    //                                            3, 4, 7 have failed
    // COMMIT
    //                  1, 2, 5, 6
    const folder = new Folder(t);
    const patient = await folder.database(TABLE, PATIENT);
    const impatient = await folder.open('test.db', { busyTimeoutMs: 60 });
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: LOCK });
    const write = (db: Database, n: number) => db.write((tx) => tx.run(INSERT, [n]));
    const first = [write(patient, 1), patient.run(INSERT, [2])];
    const failing = [write(impatient, 3), impatient.run(INSERT, [4])];
    const last = [patient.run(INSERT, [5]), patient.exec('INSERT INTO t(n) VALUES (6)')];
    failing.push(impatient.run(INSERT, [7]));
    const watched = [...first, ...last].map(watch);
    for (const one of failing) isBusy(await within(reasonOf(one), 'an impatient write'));
    assert.deepEqual(
      watched.map(({ state }) => state),
      Array(4).fill('pending'),
    );
    await other.ask({ do: 'release' });
    await within(Promise.all([...first, ...last]), 'the patient writes');
    assert.deepEqual(await numbers(patient), ['other', 1, 2, 5, 6]);
  });

  it('keeps the order of those who wait, whatever comes first', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, PATIENT);
    const other = await OtherProcess.with(t, folder.file());
    const calls = [
      (n: number) => db.write((tx) => tx.run(INSERT, [n])),
      (n: number) => db.exec(`INSERT INTO t(n) VALUES (${n})`),
      (n: number) => db.run(INSERT, [n]),
    ];
    for (let first = 0; first < calls.length; first++) {
      await db.exec('DELETE FROM t');
      await other.ask({ do: 'hold', sql: 'SELECT 1' });
      const waiting = Array.from({ length: 9 }, (_, n) => calls[(first + n) % calls.length]?.(n));
      await busyElsewhere(db, 300);
      await other.ask({ do: 'release' });
      await within(Promise.all(waiting), 'the writes after the lock was released');
      assert.deepEqual(await numbers(db), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
  });

  it('close waits for what was accepted', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, PATIENT);
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: LOCK });
    const waiting = [db.run(INSERT, [1]), db.write((tx) => tx.run(INSERT, [2]))];
    const closed = db.close();
    const watched = watch(closed);
    await assert.rejects(db.run(INSERT, [3]), { code: 'DATABASE_CLOSED' });
    assert.equal(watched.state, 'pending');
    await other.ask({ do: 'release' });
    await within(Promise.all([...waiting, closed]), 'close behind writes that wait');
    assert.deepEqual(await other.all('SELECT n FROM t ORDER BY id'), [{ n: 'other' }, { n: 1 }, { n: 2 }]);
  });

  it('a crash of that process lets the writer go on, without what was not committed', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, PATIENT);
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: LOCK });
    const written = db.run(INSERT, [1]);
    await busyElsewhere(db, 100);
    await other.kill();
    await within(written, 'the write after the crash');
    assert.deepEqual(await numbers(db), [1]);
  });

  it('both processes get their turns', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, 0)', PATIENT);
    const other = await OtherProcess.with(t, folder.file(), PATIENT);
    const add = 'UPDATE t SET n = n + 1';
    const here = async () => {
      for (let n = 0; n < 100; n++) await db.run(add);
    };
    const there = async () => {
      for (let n = 0; n < 100; n++) await other.ask({ do: 'run', sql: add });
    };
    await Promise.all([here(), there()]);
    assert.deepEqual(await numbers(db), [200]);
  });
});

describe('opening a file that another process has locked', { skip: noForeignSqlite }, () => {
  /** A file in rollback mode, and who can lock it whole. */
  async function rollbackModeFile(folder: Folder, t: Parameters<typeof OtherProcess.with>[0]): Promise<ForeignSqlite> {
    const foreign = new ForeignSqlite(t, folder.file());
    await foreign.all('CREATE TABLE t(id INTEGER PRIMARY KEY, n)');
    await foreign.all("INSERT INTO t(n) VALUES ('foreign')");
    return foreign;
  }

  for (const options of [{}, { readOnly: true }]) {
    it(`waits until it is free: ${JSON.stringify(options)}`, async (t) => {
      // other process                 this process
      // BEGIN EXCLUSIVE
      //                               open (waits; the loop turns)
      // COMMIT
      //                               opened
      const folder = new Folder(t);
      const foreign = await rollbackModeFile(folder, t);
      await foreign.all('BEGIN EXCLUSIVE');
      const opening = folder.open('test.db', { ...PATIENT, ...options });
      const watched = watch(opening);
      let turns = 0;
      await until(() => turns++ > 1_000, 'the loop turns');
      assert.equal(watched.state, 'pending');
      await foreign.all('COMMIT');
      const db = await within(opening, 'an open after the lock was released');
      assert.deepEqual(await numbers(db), ['foreign']);
    });
  }

  it('waits for the switch to write-ahead logging, which readers hold up', async (t) => {
    const folder = new Folder(t);
    const foreign = await rollbackModeFile(folder, t);
    await foreign.all('BEGIN');
    await foreign.all('SELECT * FROM t');
    const opening = folder.open('test.db', PATIENT);
    const watched = watch(opening);
    let turns = 0;
    await until(() => turns++ > 1_000, 'the loop turns');
    assert.equal(watched.state, 'pending');
    await foreign.all('COMMIT');
    const db = await within(opening, 'an open after the reader was over');
    assert.deepEqual(await db.one('PRAGMA journal_mode'), { journal_mode: 'wal' });
  });

  it('fails with BusyError after busyTimeoutMs, and is not remembered', async (t) => {
    const folder = new Folder(t);
    const foreign = await rollbackModeFile(folder, t);
    await foreign.all('BEGIN EXCLUSIVE');
    for (const busyTimeoutMs of [60, 0]) {
      isBusy(await within(reasonOf(Database.open(folder.file(), { busyTimeoutMs })), 'an open beyond busyTimeoutMs'));
    }
    await foreign.all('COMMIT');
    const db = await folder.open('test.db', { busyTimeoutMs: 0 });
    assert.deepEqual(await numbers(db), ['foreign']);
  });

  it('each open has its own patience', async (t) => {
    // other process        first open (0)       second open (patient)
    // BEGIN EXCLUSIVE
    //                      (tries)              (joins)
    //                      BusyError            (waits)
    // COMMIT
    //                                           opened
    const folder = new Folder(t);
    const foreign = await rollbackModeFile(folder, t);
    await foreign.all('BEGIN EXCLUSIVE');
    const impatient = reasonOf(Database.open(folder.file(), { busyTimeoutMs: 30 }));
    const patient = folder.open('test.db', PATIENT);
    const watched = watch(patient);
    isBusy(await within(impatient, 'the impatient open'));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(watched.state, 'pending');
    await foreign.all('COMMIT');
    await within(patient, 'the patient open');
  });

  it('also when the patient one comes first', async (t) => {
    const folder = new Folder(t);
    const foreign = await rollbackModeFile(folder, t);
    await foreign.all('BEGIN EXCLUSIVE');
    const patient = folder.open('test.db', PATIENT);
    const watched = watch(patient);
    const impatient = reasonOf(Database.open(folder.file(), { busyTimeoutMs: 30 }));
    isBusy(await within(impatient, 'the impatient open'));
    assert.equal(watched.state, 'pending');
    await foreign.all('COMMIT');
    await within(patient, 'the patient open');
  });
});

describe('while another process reads', () => {
  it('writers and checkpoints do not wait, and nobody loses a snapshot', { skip: noForeignSqlite }, async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 0 });
    const foreign = new ForeignSqlite(t, folder.file());
    await foreign.all('BEGIN');
    assert.deepEqual(await foreign.all('SELECT count(*) FROM t'), [[0]]);
    // More than a thousand frames: the log is checkpointed in between.
    for (let n = 0; n < 40; n++) await db.run('INSERT INTO t(n) VALUES (zeroblob(200000))');
    assert.deepEqual(await foreign.all('SELECT count(*) FROM t'), [[0]]);
    await foreign.all('COMMIT');
    assert.deepEqual(await foreign.all('SELECT count(*) FROM t'), [[40]]);
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: 40 });
  });
});
