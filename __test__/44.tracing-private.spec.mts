// What the channels of node:diagnostics_channel never do: publish values, or change an outcome.

import assert from 'node:assert/strict';
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { describe, it, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import { type Database, sql } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { collect } from './fixtures/transactions/ways-of-reading.mjs';
import { until } from './fixtures/transactions/within.mjs';

const CHANNELS = ['sqlflow:transaction', 'sqlflow:statement'] as const;
const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;

/** Has `subscriber` called at every event of both channels, until the end of the test or what it gives is called. */
function subscribe(t: TestContext, subscriber: (message: unknown, event: string) => void): () => void {
  const ends = CHANNELS.flatMap((name) =>
    EVENTS.map((event) => {
      const channelOfEvent = channel(`tracing:${name}:${event}`);
      const listener = (message: unknown) => subscriber(message, event);
      channelOfEvent.subscribe(listener);
      return () => channelOfEvent.unsubscribe(listener);
    }),
  );
  const end = () => {
    for (const each of ends) each();
  };
  t.after(end);
  return end;
}

const TEXT = 'marker-of-a-secret';
const NUMBER = 987_654_321.25;
const BIGINT = 8_765_432_109_876_543_210n;
const BLOB = new Uint8Array([222, 173, 190, 239, 202, 254, 186, 190]);
const SECRETS = [TEXT, NUMBER, BIGINT, BLOB] as const;
const MARKS = [TEXT, '987654321.25', '8765432109876543210', [...BLOB].join(',')];

/** All of a message that can be reached, hidden properties, causes and stacks included, without spaces. */
function everything(message: unknown): string {
  const all = {
    compact: false,
    depth: 20,
    showHidden: true,
    getters: true,
    maxArrayLength: null,
    maxStringLength: null,
  };
  return inspect(message, all).replaceAll(/\s/g, '');
}

/** Every kind of call, with secrets as values, in rows and as results; some fail. */
async function workWithSecrets(db: Database): Promise<void> {
  const signal = AbortSignal.abort();
  const failing: Promise<unknown>[] = [];
  const fails = (call: Promise<unknown>) => failing.push(assert.rejects(call));
  const bigint = true;
  for (const secret of SECRETS) {
    await db.run('REPLACE INTO t(n) VALUES (?)', [secret]);
    await db.all('SELECT n FROM t WHERE n = ?', [secret], { bigint });
    await db.get('SELECT :a AS n', { a: secret }, { bigint, rowMode: 'array' });
    await db.one(sql`SELECT ${secret} AS n`, undefined, { bigint });
    await db.query('REPLACE INTO t(n) VALUES (?) RETURNING n', [secret], { bigint });
    await db.runMany('REPLACE INTO t(n) VALUES (?)', [[secret], [secret]]);
    await db.batch([['REPLACE INTO t(n) VALUES (?)', [secret]]]);
    await db.batch((tx) => {
      tx.run('REPLACE INTO t(n) VALUES (?)', [secret]);
      assert.throws(() => tx.run(INSERT, [secret]));
      return tx.get('SELECT ? AS n', [secret], { bigint });
    });
    await collect(db.iterate('SELECT ? AS n', [secret], { bigint }));
    await db.write(async (tx) => {
      await tx.run('REPLACE INTO t(n) VALUES (?)', [secret]);
      await assert.rejects(tx.run(INSERT, [secret]));
      await assert.rejects(tx.runMany(INSERT, [[secret]]));
      await tx.savepoint((inner) => inner.prepare('SELECT ? AS n', { bigint }).all(secret));
      return [...tx.sync.iterate('SELECT ? AS n', [secret], { bigint })];
    });
    await db.read((tx) => tx.all('SELECT ? AS n', [secret], { bigint }));
    fails(db.run(INSERT, [secret]));
    fails(db.runMany(INSERT, [[secret], [secret]]));
    fails(db.batch([[INSERT, [secret]]]));
    fails(db.batch((tx) => tx.run(INSERT, [secret])));
    fails(db.get('SELECT ?', [secret, secret]));
    fails(db.get('SELECT :a', { b: secret }));
    fails(db.run('INSERT INTO strict VALUES (?)', [secret]));
    fails(db.all('SELECT n FROM nowhere WHERE n = ?', [secret]));
    fails(db.get('SELECT ?', [{ toString: () => TEXT, secret } as never]));
    fails(db.get('SELECT ?', [secret], { signal }));
    fails(db.write((tx) => tx.run('INSERT INTO child VALUES (?)', [secret])));
    fails(db.write((tx) => tx.run(INSERT, [secret]), { signal }));
  }
  fails(db.get('SELECT ?', [BIGINT]));
  await Promise.all(failing);
}

const SCHEMA = `${UNIQUE_TABLE}; CREATE TABLE strict(n BLOB CHECK (typeof(n) = 'null')) STRICT;
  CREATE TABLE child(n REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`;

describe('a published message', () => {
  it('never has a value in it, neither bound nor of a row, whatever happened', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    const found: string[] = [];
    const kinds = new Set<unknown>();
    subscribe(t, (message, event) => {
      const text = everything(message);
      for (const mark of MARKS) if (text.includes(mark)) found.push(`${event} ${mark}: ${text.slice(0, 2_000)}`);
      kinds.add(Reflect.get(Object(message), 'kind'));
    });
    await workWithSecrets(db);
    assert.deepEqual(found, []);
    const all = ['all', 'batch', 'get', 'iterate', 'one', 'query', 'read', 'run', 'runMany', 'write'];
    assert.deepEqual([...kinds].sort(), all, 'the work was not seen');
    // The search itself finds what is hidden.
    for (const [n, secret] of SECRETS.entries()) {
      const hidden = new Error('x', { cause: { a: new Map([[1, [secret]]]) } });
      assert.ok(everything(hidden).includes(MARKS[n] ?? '?'), `the search does not find ${MARKS[n]}`);
    }
  });
});

describe('the channels', () => {
  it('are silent when nobody listens, and after the last has gone', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const messages: unknown[] = [];
    for (const name of CHANNELS) assert.equal(tracingChannel(name).start.hasSubscribers, false);
    const end = subscribe(t, (message) => messages.push(message));
    await db.write((tx) => tx.run(INSERT, [1]));
    const published = messages.length;
    assert.ok(published >= 8, `${published} messages`);
    end();
    await db.write((tx) => tx.run(INSERT, [2]));
    await db.all('SELECT n FROM t');
    assert.equal(messages.length, published);
    for (const name of CHANNELS) assert.equal(tracingChannel(name).start.hasSubscribers, false);
  });

  it('that are left in the middle of a transaction leave it alone', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const end = subscribe(t, () => {});
    await db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      end();
      await tx.run(INSERT, [2]);
      tx.sync.run(INSERT, [3]);
    });
    await db.write(async (tx) => {
      await tx.run(INSERT, [4]);
      subscribe(t, () => {});
      await tx.run(INSERT, [5]);
    });
    assert.deepEqual(await numbers(db), [1, 2, 3, 4, 5]);
  });

  it('with subscribers that throw change no outcome', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const outcomes = async (first: number): Promise<unknown[]> => {
      const calls = [
        db.run(INSERT, [first]),
        db.run(INSERT, [first]),
        db.write((tx) => tx.run(INSERT, [first + 1])),
        db.write(() => {
          throw new OwnError('thrown');
        }),
        db.batch((tx) => tx.run(INSERT, [first + 2]).changes),
        db.batch([[INSERT, [first + 3]]]),
        db.all('SELECT count(*) >= 0 AS n FROM t'),
        db.read((tx) => tx.sync.get('SELECT 1 AS n')),
        db.read((tx) => tx.get('nonsense')),
        collect(db.iterate('SELECT 7 AS n')),
      ];
      const settled = await Promise.allSettled(calls);
      const named = (reason: unknown) => (reason instanceof Error ? `${reason.name}: ${reason.message}` : reason);
      return settled.map((one) => (one.status === 'fulfilled' ? one.value : named(one.reason)));
    };
    const expected = (await outcomes(1)).map((value) => inspect(value).replace(/lastInsertRowid: \d+/, ''));
    let thrown = 0;
    // Node.js throws them as uncaught exceptions of their own; the test runner would blame the test.
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    let caught = 0;
    const catches = (error: unknown) => {
      assert.ok(error instanceof OwnError, String(error));
      caught += 1;
    };
    process.on('uncaughtException', catches);
    try {
      const end = subscribe(t, () => {
        thrown += 1;
        throw new OwnError('of a subscriber');
      });
      const actual = (await outcomes(11)).map((value) => inspect(value).replace(/lastInsertRowid: \d+/, ''));
      end();
      await until(() => caught === thrown, 'the errors of the subscribers');
      assert.deepEqual(actual, expected);
      assert.ok(thrown >= 40, `${thrown} were thrown`);
    } finally {
      process.off('uncaughtException', catches);
      for (const other of others) process.on('uncaughtException', other);
    }
    assert.deepEqual(await numbers(db), [1, 2, 3, 4, 11, 12, 13, 14]);
    assert.deepEqual([db.stats().writer.state, db.stats().readers.transactions], ['idle', 0]);
  });
});
