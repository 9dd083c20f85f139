// Reentrancy: what becomes of a call on the database from inside a closure of one of its own transactions.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { setTimeout as later, setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  type CallOptions,
  type Database,
  type OpenOptions,
  QueueTimeoutError,
  type ReadTransaction,
  ReentrantAccessError,
} from 'sqlflow';
import { NEVER, notStarted, readsOf, THREE, writesOf } from './fixtures/transactions/cancelling.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { within } from './fixtures/transactions/within.mjs';

const REFUSE: OpenOptions = { reentrancy: 'refuse' };

/** Every call of a database that has to wait for its turn. */
function queuedCalls(db: Database): Record<string, () => Promise<unknown>> {
  const made: Record<string, () => Promise<unknown>> = {};
  const calls = {
    ...readsOf(db, THREE),
    ...writesOf(db),
    read: (options: CallOptions) => db.read(notStarted, options),
  };
  for (const [name, call] of Object.entries(calls)) made[name] = () => call({});
  for (const mode of ['passive', 'full', 'restart', 'truncate'] as const) {
    made[`checkpoint ${mode}`] = () => db.checkpoint(mode);
  }
  return { ...made, close: () => db.close(), 'close({ timeoutMs })': () => db.close({ timeoutMs: 0 }) };
}

/** Fails unless `call` is refused. */
async function refused(call: Promise<unknown>, what: string): Promise<void> {
  const error = await within(reasonOf(call), what);
  assert.ok(error instanceof ReentrantAccessError, `${what}: ${error}`);
  assert.equal(error.code, 'REENTRANT_ACCESS', what);
  assert.match(error.message, /use tx, tx\.savepoint .*db\.outside/, what);
}

describe('inside a closure', () => {
  const closures: Record<string, (db: Database, body: () => Promise<void>) => Promise<unknown>> = {
    read: (db, body) => db.read(body),
    write: (db, body) => db.write(body),
    'a savepoint': (db, body) => db.write((tx) => tx.savepoint(body)),
    'a savepoint of tx.sync': (db, body) =>
      db.write(async (tx) => {
        const started: Promise<void>[] = [];
        tx.sync.savepoint(() => {
          started.push(body());
        });
        await Promise.all(started);
      }),
  };
  for (const [name, enter] of Object.entries(closures)) {
    it(`every call that waits for its turn is refused at once: ${name}`, async (t) => {
      const db = await new Folder(t).database(TABLE, REFUSE);
      await enter(db, async () => {
        for (const [call, make] of Object.entries(queuedCalls(db))) {
          const queued = db.stats();
          await refused(make(), call);
          assert.equal(db.stats().writer.queued + db.stats().readers.queued, 0, call);
          assert.equal(db.stats().readers.transactions, queued.readers.transactions, call);
        }
      });
      await within(db.run(INSERT, [1]), 'the database afterwards');
      assert.deepEqual(await numbers(db), [1]);
    });
  }

  it('of db.batch, which runs at once, it is the same', async (t) => {
    const db = await new Folder(t).database(TABLE, REFUSE);
    const refusals: Promise<void>[] = [];
    const value = await db.batch((tx) => {
      for (const [name, make] of Object.entries(queuedCalls(db))) refusals.push(refused(make(), name));
      tx.savepoint(() => refusals.push(refused(db.get(THREE), 'in a savepoint')));
      return tx.run(INSERT, [1]).changes;
    });
    assert.equal(value, 1);
    assert.ok(refusals.length > 20);
    await Promise.all(refusals);
    await db.batch((tx) => tx.run(INSERT, [2]));
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('it does not matter how the call comes about', async (t) => {
    const db = await new Folder(t).database(TABLE, REFUSE);
    const helper = async () => db.get(THREE);
    const deep = async () => {
      await nextTurn();
      return (async () => helper())();
    };
    const ways: Record<string, () => Promise<unknown>> = {
      'a helper': helper,
      'a helper of a helper': deep,
      'Promise.all': () => Promise.all([helper(), 1]),
      'a promise that is chained': () => Promise.resolve().then(helper),
      'a microtask': () => new Promise((resolve) => queueMicrotask(() => resolve(helper()))),
      'process.nextTick': () => new Promise((resolve) => process.nextTick(() => resolve(helper()))),
      'a timer': () => new Promise((resolve) => setTimeout(() => resolve(helper()), 1)),
      'a timer of node:timers/promises': () => later(1).then(helper),
      setImmediate: () => new Promise((resolve) => setImmediate(() => resolve(helper()))),
      'for await': async () => {
        for await (const _ of db.iterate(THREE)) assert.fail('a row');
      },
    };
    await db.write(async (tx) => {
      for (const [way, call] of Object.entries(ways)) {
        await refused(call(), way);
        await tx.get(THREE);
        await refused(call(), `${way}, after a statement`);
      }
    });
  });

  it('another Database of the file is the same database; another file is not', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, REFUSE);
    const same = await folder.open('test.db', REFUSE);
    const other = await folder.open('other.db', REFUSE);
    await other.exec(TABLE);
    await db.write(async (tx) => {
      await refused(same.get(THREE), 'the same file');
      await refused(same.close(), 'the same file');
      await tx.run(INSERT, [1]);
      await other.write(async (inner) => {
        await inner.run(INSERT, [2]);
        await refused(db.run(INSERT, [99]), 'around the other');
        await refused(other.run(INSERT, [99]), 'the other');
      });
      assert.deepEqual(await numbers(other), [2]);
      await refused(db.get(THREE), 'after the other');
    });
    await within(same.run(INSERT, [3]), 'the same file afterwards');
    assert.deepEqual(await numbers(db), [1, 3]);
  });

  it('what waits for nothing works', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, REFUSE);
    const begun = db.iterate(THREE, [], { batchRows: 1 });
    await begun.next();
    await db.write(async (tx) => {
      assert.equal(db.stats().writer.state, 'held');
      assert.deepEqual(await begun.next(), { done: false, value: { n: 2 } });
      await begun.return();
      const again = await folder.open('test.db', REFUSE);
      assert.equal(again.path, db.path);
      db.onCommit(() => {})();
      await tx.run(INSERT, [1]);
    });
    for await (const { n } of db.iterate('SELECT n FROM t')) await db.run(INSERT, [Number(n) + 1]);
    assert.deepEqual(await numbers(db), [1, 2]);
  });
});

describe('after the closure', () => {
  it('what it has started may use the database', async (t) => {
    // closure           what it started
    // starts it
    // returns
    //                   (waits for its own)
    // committed
    //                   uses the database
    const folder = new Folder(t);
    const db = await folder.database(TABLE, REFUSE);
    const gate = folder.gate();
    const goesOn = async (n: number) => {
      await gate.opened;
      await db.run(INSERT, [n]);
      return db.write((tx) => refused(db.get(THREE), 'in a closure of its own').then(() => tx.get(THREE)));
    };
    const started: Promise<unknown>[] = [];
    await db.read(() => {
      started.push(goesOn(1));
    });
    await db.write((tx) => {
      started.push(goesOn(2));
      tx.onCommit(() => started.push(db.run(INSERT, [3])));
    });
    await db.batch(() => {
      started.push(goesOn(4));
    });
    const late = db.write(
      () => {
        started.push(goesOn(5));
        return NEVER;
      },
      { timeoutMs: 20 },
    );
    await within(reasonOf(late), 'a write that is ended by its deadline');
    gate.open();
    await within(Promise.all(started), 'what was started inside');
    assert.deepEqual((await numbers(db)).sort(), [1, 2, 3, 4, 5]);
  });
});

describe('db.outside', () => {
  it('runs what is none of the closure, and gives its value', async (t) => {
    const db = await new Folder(t).database(TABLE, REFUSE);
    const value = { of: 'the caller' };
    assert.equal(
      db.outside(() => value),
      value,
    );
    const kept: Promise<unknown>[] = [];
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      assert.deepEqual(await db.outside(() => numbers(db)), []);
      kept.push(db.outside(async () => db.run(INSERT, [2])));
      const nested = db.outside(() => db.read(() => refused(db.get(THREE), 'in a closure within')));
      await within(nested, 'a read outside');
      await refused(db.get(THREE), 'after db.outside');
      assert.throws(() => db.outside(() => assert.fail('thrown')), /thrown/);
      await refused(db.get(THREE), 'after db.outside has thrown');
    });
    await within(Promise.all(kept), 'what waited outside');
    assert.deepEqual(await numbers(db), [1, 2]);
    assert.throws(() => db.outside('SELECT 1' as never), /outside needs a function/);
  });
});

describe('nested reads on all readers', () => {
  /** Opens a read on each of the readers, and a read in each of them: what the inner ones come to. */
  function deadlock(folder: Folder, db: Database, readers: number): Promise<unknown[]> {
    let open = 0;
    const all = folder.gate();
    const nested = async (tx: ReadTransaction) => {
      await tx.get(THREE);
      open += 1;
      if (open === readers) all.open();
      await all.opened;
      return reasonOf(db.read((inner) => inner.get(THREE)));
    };
    return within(Promise.all(Array.from({ length: readers }, () => db.read(nested))), 'nested reads');
  }

  it('do not deadlock: each is refused', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { ...REFUSE, readers: 4 });
    for (const error of await deadlock(folder, db, 4)) {
      assert.ok(error instanceof ReentrantAccessError, String(error));
    }
  });

  it("with 'allow' they end by queueTimeoutMs, which names the holders and where they were taken", async (t) => {
    const folder = new Folder(t);
    const options: OpenOptions = { reentrancy: 'allow', readers: 3, queueTimeoutMs: 40, captureStacks: true };
    const db = await folder.database(TABLE, options);
    const errors = await deadlock(folder, db, 3);
    const [first] = errors;
    assert.ok(first instanceof QueueTimeoutError, String(first));
    assert.match(first.message, /\(40 ms\) for one of 3 readers/);
    assert.equal(first.message.match(/a db\.read that has been open for \d+ ms; it was taken/g)?.length, 3);
    assert.match(first.message, /deadlock.*38\.reentrancy\.spec/s);
    for (const error of errors) assert.ok(error instanceof QueueTimeoutError, String(error));
    assert.deepEqual(await within(db.get(THREE), 'a reader'), { n: 1 });
  });

  it("with 'allow' a nested write ends by queueTimeoutMs, and a read beside a write is a read", async (t) => {
    const db = await new Folder(t).database(TABLE, { reentrancy: 'allow', queueTimeoutMs: 40 });
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      const error = await within(reasonOf(db.run(INSERT, [2])), 'a nested write');
      assert.ok(error instanceof QueueTimeoutError, String(error));
      assert.match(error.message, /held by a db\.write that has been open/);
      assert.deepEqual(await numbers(db), []);
    });
    assert.deepEqual(await numbers(db), [1]);
  });
});

describe("reentrancy: 'auto'", () => {
  const PROGRAM = `
    import { Database } from 'sqlflow';
    const version = process.argv[1];
    if (version !== '') Object.defineProperty(process, 'versions', { value: { ...process.versions, node: version } });
    const db = await Database.open(':memory:');
    const outcome = await db.read(() => db.get('SELECT 1').then(() => 'allowed', (error) => error.name));
    await db.close();
    process.stdout.write(outcome);`;
  const [own] = process.versions.node.split('.');
  const cases: [version: string, nodeEnv: string | undefined, outcome: string][] = [
    ['20.17.0', undefined, 'ReentrantAccessError'],
    ['20.17.0', 'production', 'allowed'],
    ['22.1.0', 'test', 'ReentrantAccessError'],
    ['22.1.0', 'production', 'allowed'],
    ['24.0.0', 'production', 'ReentrantAccessError'],
    ['26.0.0', 'production', 'ReentrantAccessError'],
    ['', undefined, 'ReentrantAccessError'],
    ['', 'production', Number(own) >= 24 ? 'ReentrantAccessError' : 'allowed'],
  ];
  for (const [version, nodeEnv, outcome] of cases) {
    it(`on Node ${version === '' ? 'as it is' : version} with NODE_ENV ${nodeEnv}: ${outcome}`, () => {
      const { NODE_TEST_CONTEXT: _, NODE_ENV: __, ...env } = process.env;
      const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', PROGRAM, '--', version], {
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        encoding: 'utf8',
        env: nodeEnv === undefined ? env : { ...env, NODE_ENV: nodeEnv },
        timeout: 20_000,
      });
      assert.equal(stdout, outcome, stderr);
    });
  }
});
