// Who is told of a commit: when, in which order, of which tables and rows, and what a listener can do to others.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, it } from 'node:test';
import {
  type Commit,
  ConstraintError,
  type Database,
  DatabaseClosedError,
  OptionError,
  TransactionClosedError,
  TransactionTimeoutError,
} from 'sqlflow';
import { Thread } from './fixtures/threads/thread.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const SCHEMA = `${TABLE}; CREATE TABLE mark(n)`;

/** The commits a database tells of. */
class Heard {
  readonly commits: Commit[] = [];
  readonly end: () => void;
  readonly #db: Database;

  constructor(db: Database, options?: { rowIds?: boolean }) {
    this.#db = db;
    this.end = db.onCommit((commit) => this.commits.push(commit), options);
  }

  /** The commits so far. One of the table `mark` is waited for, behind which none is outstanding. */
  async all(): Promise<Commit[]> {
    await this.#db.exec('INSERT INTO mark VALUES (1)');
    await until(() => this.commits.some(({ tables }) => tables.has('mark')), 'the commit that was waited for');
    const found = this.commits.splice(0).filter(({ tables }) => !tables.has('mark'));
    return found;
  }

  async tables(): Promise<string[][]> {
    return (await this.all()).map(({ tables }) => [...tables].sort());
  }

  /** Rows as `kind table rowid`. */
  async rows(): Promise<string[][]> {
    return (await this.all()).map(({ changes }) => changed(changes));
  }
}

function changed(changes: Commit['changes']): string[] {
  return (changes ?? assert.fail('no rows')).map(({ kind, table, rowid }) => `${kind} ${table} ${rowid}`);
}

/** The warnings of listeners that failed while `work` ran, and up to `count` of them after it. */
async function warningsIn(count: number, work: () => Promise<unknown>): Promise<string[]> {
  const warnings: string[] = [];
  const collect = (warning: Error & { code?: string }) => {
    if (warning.code === 'SQLFLOW_LISTENER_FAILED') warnings.push(warning.message);
  };
  // Node.js would print them.
  const others = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', collect);
  try {
    await work();
    await until(() => warnings.length >= count, `${count} warnings`);
  } finally {
    process.off('warning', collect);
    for (const other of others) process.on('warning', other);
  }
  return warnings;
}

describe('a listener', () => {
  it('of a transaction is called once it has committed and the writer is free, before its promise resolves', async (t) => {
    // write                 listener                    write of the listener
    // COMMIT
    //                       the row is there, calls ->
    //                                                   committed, though nobody waits for it
    // resolves
    const db = await new Folder(t).database(TABLE);
    const events: string[] = [];
    let seen: Promise<unknown[]> | undefined;
    let next: Promise<unknown> | undefined;
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      tx.onCommit((commit) => {
        events.push(`first ${[...commit.tables]}`);
        assert.equal(commit.changes, undefined);
        seen = numbers(db);
        next = db.write((own) => own.run(INSERT, [2]));
      });
      tx.onCommit(() => events.push('second'));
      events.push('closure');
    });
    events.push('resolved');
    assert.deepEqual(events, ['closure', 'first t', 'second', 'resolved']);
    assert.deepEqual((await seen)?.[0], 1);
    await within(next ?? Promise.reject(), 'a write that a listener has begun');
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('of a database is called when the writer is free: a write it makes is served, and it hears of it', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    const heard = new Heard(db);
    const chain = new Promise<void>((resolve, reject) => {
      db.onCommit(() => {
        if (heard.commits.length < 5) db.write((tx) => tx.run(INSERT, [heard.commits.length])).catch(reject);
        else resolve();
      });
    });
    await db.run(INSERT, [0]);
    await within(chain, 'writes that a listener makes');
    assert.deepEqual(await numbers(db), [0, 1, 2, 3, 4]);
    assert.equal((await heard.all()).length, 5);
  });

  it('of a database hears of commits in their order, whatever wrote and through whichever handle', async (t) => {
    // holds the writer
    // calls of all kinds through two handles and a worker, in turns
    // releases: row n is the n-th of them
    const folder = new Folder(t);
    const db = await folder.database(SCHEMA);
    const other = await folder.open();
    const thread = await Thread.with(t, folder.file());
    const heard = [new Heard(db, { rowIds: true }), new Heard(other, { rowIds: true })];
    const kinds: ((handle: Database) => Promise<unknown>)[] = [
      (handle) => handle.run(INSERT, [0]),
      (handle) => handle.write((tx) => tx.run(INSERT, [1])),
      (handle) => handle.batch((tx) => tx.run(INSERT, [2])),
      (handle) => handle.batch([[INSERT, [3]]]),
      (handle) => handle.runMany(INSERT, [[4]]),
      (handle) => handle.exec('INSERT INTO t(n) VALUES (5)'),
      (handle) => handle.get(`${INSERT} RETURNING n`, [6]),
    ];
    const held = await folder.hold(db);
    const calls: Promise<unknown>[] = [];
    const expected: unknown[] = [];
    for (let n = 0; n < 21; n++) {
      const kind = kinds[n % kinds.length] ?? assert.fail();
      calls.push(kind(n % 2 === 0 ? db : other));
      expected.push(n % kinds.length);
      if (n % 3 !== 0) continue;
      await thread.ask(n % 2 === 0 ? 'run' : 'write', `worker ${n}`);
      expected.push(`worker ${n}`);
    }
    await held.release();
    await within(Promise.all(calls), 'the calls');
    await thread.heard('worker 18 done');
    assert.deepEqual(await numbers(db), expected);
    const inOrder = expected.map((_, n) => `insert t ${n + 1}`);
    for (const each of heard) assert.deepEqual((await each.rows()).flat(), inOrder);
    assert.ok(thread.all.includes('commit t'), 'the worker heard nothing');
  });

  it('is not told of what was rolled back, or changed nothing', async (t) => {
    const db = await new Folder(t).database(`${SCHEMA};
      CREATE TABLE child(n REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`);
    const heard = new Heard(db);
    const fail = () => assert.fail('called');
    const throws = db.write(async (tx) => {
      tx.onCommit(fail);
      await tx.run(INSERT, [1]);
      throw new OwnError('rolls back');
    });
    await assert.rejects(throws, OwnError);
    const failedCommit = db.write(async (tx) => {
      tx.onCommit(fail);
      await tx.run('INSERT INTO child VALUES (99)');
    });
    await assert.rejects(failedCommit, ConstraintError);
    await assert.rejects(db.run('INSERT INTO child VALUES (99)'), ConstraintError);
    const tooLate = db.write(
      async (tx) => {
        tx.onCommit(fail);
        await tx.run(INSERT, [1]);
        await new Promise<void>((resolve) => tx.signal.addEventListener('abort', () => resolve()));
      },
      { timeoutMs: 20 },
    );
    await assert.rejects(within(tooLate, 'a write with a deadline'), TransactionTimeoutError);
    await db.write((tx) => tx.get('SELECT 1'));
    await db.read((tx) => tx.get('SELECT n FROM t'));
    assert.deepEqual(await heard.tables(), []);
  });

  it('is not told of a savepoint that was taken back, and not called when it was registered there', async (t) => {
    const db = await new Folder(t).database(`${SCHEMA}; CREATE TABLE u(n); CREATE TABLE v(n)`);
    const heard = new Heard(db, { rowIds: true });
    const told: unknown[] = [];
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      const undone = tx.savepoint(async (inner) => {
        await inner.run('INSERT INTO u VALUES (1)');
        inner.onCommit(() => told.push('undone'));
        await inner.savepoint((innermost) => innermost.onCommit(() => told.push('undone within')));
        throw new OwnError('taken back');
      });
      await assert.rejects(undone, OwnError);
      await tx.savepoint(async (inner) => {
        await inner.run('INSERT INTO v VALUES (1)');
        inner.onCommit(({ tables }) => told.push([...tables].sort()));
      });
      assert.throws(() =>
        tx.sync.savepoint((inner) => inner.run('INSERT INTO u SELECT 1 UNION ALL SELECT abs(?)', [])),
      );
    });
    assert.deepEqual(told, [['t', 'v']]);
    const [commit] = await heard.all();
    assert.deepEqual([...(commit?.tables ?? [])].sort(), ['t', 'v']);
    assert.deepEqual(changed(commit?.changes), ['insert t 1', 'insert v 1']);
  });

  for (const [fails, listener] of Object.entries({
    throws: () => {
      throw new OwnError('of a listener');
    },
    rejects: async () => {
      throw new OwnError('of a listener');
    },
    'throws no error': () => {
      throw 'of a listener';
    },
  })) {
    it(`that ${fails} changes no outcome, and the process is warned`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      let others = 0;
      db.onCommit(listener);
      db.onCommit(() => others++);
      const unhandled = await unhandledIn(async () => {
        const warnings = await warningsIn(3, async () => {
          const written = db.write(async (tx) => {
            tx.onCommit(listener);
            tx.onCommit(() => others++);
            await tx.run(INSERT, [1]);
            return 'value';
          });
          assert.equal(await written, 'value');
          await db.run(INSERT, [2]);
          await until(() => others === 3, 'the other listeners');
        });
        assert.equal(warnings.length, 3);
        for (const warning of warnings) assert.match(warning, /of a listener/);
      });
      assert.deepEqual(unhandled, []);
      assert.deepEqual(await numbers(db), [1, 2]);
    });
  }

  it('runs in the async context of its registration', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const storage = new AsyncLocalStorage<string>();
    const contexts: unknown[] = [];
    const note = () => contexts.push(storage.getStore());
    storage.run('of the database', () => db.onCommit(note));
    db.onCommit(note);
    await storage.run('of the write', () =>
      db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        tx.onCommit(note);
        storage.run('within', () => tx.onCommit(note));
        await tx.savepoint((inner) => storage.run('in a savepoint', () => inner.onCommit(note)));
      }),
    );
    await until(() => contexts.length >= 5, 'five calls');
    const expected = [undefined, 'in a savepoint', 'of the database', 'of the write', 'within'];
    assert.deepEqual(contexts.map(String).sort(), expected.map(String).sort());
  });

  it('hears nothing more once it is ended, by itself or twice, and others go on', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    const heard = new Heard(db);
    let itself = 0;
    const end = db.onCommit(() => {
      itself++;
      end();
    });
    let twice = 0;
    const count = () => twice++;
    const ends = [db.onCommit(count), db.onCommit(count)];
    await db.run(INSERT, [1]);
    assert.deepEqual(await heard.tables(), [['t']]);
    assert.deepEqual([itself, twice], [1, 4]);
    ends[0]?.();
    ends[0]?.();
    await db.run(INSERT, [2]);
    assert.deepEqual(await heard.tables(), [['t']]);
    assert.deepEqual([itself, twice], [1, 6]);
    ends[1]?.();
    heard.end();
    await db.run(INSERT, [3]);
    const again = new Heard(db);
    await db.run(INSERT, [4]);
    assert.deepEqual(await again.tables(), [['t']]);
    assert.deepEqual([itself, twice, heard.commits.length], [1, 6, 0]);
  });

  it('is ended by close, after the commits that were accepted; nobody joins then', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(SCHEMA);
    const other = await folder.open();
    const heard = new Heard(db);
    const end = db.onCommit(() => {});
    const held = await folder.hold(db);
    const accepted = [db.run(INSERT, [1]), db.write((tx) => tx.run(INSERT, [2]))];
    const closing = db.close();
    assert.throws(() => db.onCommit(() => {}), DatabaseClosedError);
    await held.release();
    await Promise.all([...accepted, closing]);
    const others = new Heard(other);
    await other.run(INSERT, [3]);
    assert.deepEqual(await others.tables(), [['t']]);
    assert.equal(heard.commits.length, 2, 'the two that were accepted, and no other');
    end();
    assert.throws(() => db.onCommit(() => {}), DatabaseClosedError);
  });

  it('has to be a function, registered while its transaction is open', async (t) => {
    const db = await new Folder(t).database(TABLE);
    for (const wrong of [undefined, null, 'fn', {}]) {
      assert.throws(() => db.onCommit(wrong as never), OptionError);
      await db.write((tx) => assert.throws(() => tx.onCommit(wrong as never), OptionError));
    }
    assert.throws(() => db.onCommit(() => {}, { rowIds: 1 } as never), OptionError);
    assert.throws(() => db.onCommit(() => {}, { rowids: true } as never), OptionError);
    const over = await db.write((tx) => ({ tx }));
    assert.throws(() => over.tx.onCommit(() => {}), TransactionClosedError);
  });
});
