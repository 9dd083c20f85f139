// What crosses between the engine and JavaScript: how much of it at a time, and what code of the user may do meanwhile.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import vm from 'node:vm';
import type { Row, SqlParameters } from 'sqlflow';
import { Folder } from './fixtures/border/folder.mjs';
import { settled, sqlflow, type Turn, watch } from './fixtures/border/ledger.mjs';
import { QueueEnd } from './fixtures/border/queue-end.mjs';

const { Database, IntegerOutOfRangeError, ParameterError, sql } = sqlflow;

/** A test that waits for something that never comes fails alone. */
const LIMIT = { timeout: 20_000 };

const MEBIBYTE = 1024 * 1024;
const CHUNK = 64 * 1024;

/** Numbers from 1 to `count`, made by SQLite. */
function numbers(count: number): string {
  return `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${count})`;
}

function most(turns: readonly Turn[], figure: keyof Turn): number {
  return Math.max(...turns.map((turn) => turn[figure]));
}

test('completions that wait are settled a thousand per turn of the loop, woken once', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('burst.db'), { readers: 1 });
  await using end = await QueueEnd.of(db.path, 1);

  const watched = watch();
  const answers = Array.from({ length: 5_000 }, async (_, i) => {
    const row = await db.get('SELECT ? AS i', [i]);
    settled();
    return row;
  });
  end.block();
  const rows = await Promise.all(answers);
  const { turns, signals } = watched.stop();

  assert.deepEqual(
    rows,
    Array.from({ length: 5_000 }, (_, i) => ({ i })),
  );
  assert.equal(most(turns, 'completions'), 1_000);
  assert.equal(most(turns, 'drains'), 1);
  assert.ok(most(turns, 'settled') <= 1_000, `${most(turns, 'settled')} settled in one turn`);
  assert.ok(signals <= 1, `${signals} signals`);
});

test('large results that wait are taken one mebibyte per turn of the loop', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('large.db'), { readers: 1 });
  await using end = await QueueEnd.of(db.path, 1);

  const watched = watch();
  const answers = Array.from({ length: 200 }, () => db.one('SELECT hex(zeroblob(25000)) AS text'));
  end.block();
  const rows = await Promise.all(answers);
  const { turns } = watched.stop();

  assert.ok(rows.every((row) => row['text'] === '0'.repeat(50_000)));
  assert.ok(most(turns, 'bytes') > MEBIBYTE / 2, `only ${most(turns, 'bytes')} bytes waited`);
  assert.ok(most(turns, 'bytes') <= MEBIBYTE, `${most(turns, 'bytes')} bytes in one turn`);
});

test('chunks of many results that wait are taken one mebibyte per turn of the loop', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('chunks.db'), { readers: 33 });
  await using end = await QueueEnd.of(db.path, 33);

  const watched = watch();
  const answers = Array.from({ length: 32 }, () =>
    db.all(`${numbers(5_000)} SELECT i, hex(zeroblob(100)) AS text FROM n`, [], { rowMode: 'array' }),
  );
  end.block();
  const results = await Promise.all(answers);
  const { turns } = watched.stop();

  for (const rows of results) {
    assert.equal(rows.length, 5_000);
    assert.ok(rows.every(([i, text], at) => i === at + 1 && text === '0'.repeat(200)));
  }
  assert.ok(most(turns, 'chunkBytes') > MEBIBYTE / 2, `only ${most(turns, 'chunkBytes')} bytes waited`);
  assert.ok(most(turns, 'chunkBytes') <= MEBIBYTE, `${most(turns, 'chunkBytes')} bytes in one turn`);
  assert.ok(most(turns, 'bytes') <= MEBIBYTE + CHUNK, `${most(turns, 'bytes')} bytes in one turn`);
});

test('256 callers of get and a result of a million rows do not starve each other', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('crowd.db'));
  await db.exec(`
    CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    ${numbers(1_000)} INSERT INTO city SELECT i, 'city ' || i FROM n;
  `);

  const watched = watch();
  let delivered = false;
  const callers = Array.from({ length: 256 }, async (_, caller) => {
    let answers = 0;
    for (; !delivered; answers++) {
      const id = 1 + ((caller * 7 + answers) % 1_000);
      const row = await db.get('SELECT name FROM city WHERE id = ?', [id]);
      settled();
      assert.equal(row?.['name'], `city ${id}`);
    }
    return answers;
  });
  const rows = await db.all(`${numbers(1_000_000)} SELECT i, 'row ' || i AS name FROM n`);
  delivered = true;
  const answers = await Promise.all(callers);
  const { turns, signals, empty } = watched.stop();

  assert.equal(rows.length, 1_000_000);
  assert.ok(rows.every((row, at) => row['i'] === at + 1 && row['name'] === `row ${at + 1}`));
  assert.ok(Math.min(...answers) >= 10, `a caller had only ${Math.min(...answers)} answers`);
  const busy = turns.filter((turn) => turn.chunkBytes > 0);
  assert.ok(busy.filter((turn) => turn.settled > 0).length > 10, 'get and all were not served side by side');
  assert.ok(most(turns, 'completions') <= 1_000, `${most(turns, 'completions')} completions in one turn`);
  assert.ok(most(turns, 'settled') <= 1_000, `${most(turns, 'settled')} settled in one turn`);
  assert.ok(most(turns, 'chunkBytes') <= MEBIBYTE, `${most(turns, 'chunkBytes')} bytes in one turn`);
  assert.equal(most(turns, 'drains'), 1);
  assert.ok(signals <= empty + 1, `${signals} signals, only ${empty} times asleep`);
});

test('a result that cannot be decoded rejects its own operation, not its neighbours of the batch', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('neighbours.db'), { readers: 1 });
  await using end = await QueueEnd.of(db.path, 1);

  const watched = watch();
  const answers = Array.from({ length: 100 }, (_, i) =>
    i % 10 === 5 ? db.get('SELECT 9007199254740993 AS i') : db.get('SELECT ? AS i', [i]),
  );
  end.block();
  const outcomes = await Promise.allSettled(answers);
  const { drained } = watched.stop();

  assert.deepEqual(
    drained.map(({ completions }) => completions),
    [100],
    'all in one batch',
  );
  for (const [i, outcome] of outcomes.entries()) {
    if (i % 10 !== 5) assert.deepEqual(outcome, { status: 'fulfilled', value: { i } });
    else {
      assert.equal(outcome.status, 'rejected');
      assert.ok(outcome.reason instanceof IntegerOutOfRangeError);
    }
  }
  assert.deepEqual(await db.get('SELECT 9007199254740993 AS i', [], { bigint: true }), { i: 9007199254740993n });
});

test(
  'a chunk in the middle of a result that cannot be decoded rejects the result, and the connection goes on',
  LIMIT,
  async () => {
    using folder = new Folder();
    await using db = await Database.open(folder.file('middle.db'), { readers: 1 });
    const rows = `${numbers(20_000)} SELECT i, CASE i WHEN 10000 THEN 9007199254740993 ELSE i END AS value FROM n`;

    const [bad, good] = await Promise.allSettled([db.all(rows), db.all(`${numbers(20_000)} SELECT i FROM n`)]);
    assert.ok(bad.status === 'rejected' && bad.reason instanceof IntegerOutOfRangeError);
    assert.ok(good.status === 'fulfilled' && good.value.length === 20_000);

    await db.read(async (tx) => {
      await assert.rejects(tx.all(rows), IntegerOutOfRangeError);
      assert.throws(() => tx.sync.all(rows), IntegerOutOfRangeError);
      assert.deepEqual(await tx.get('SELECT 1 AS one'), { one: 1 });
      let seen = 0;
      await assert.rejects(async () => {
        for await (const row of tx.iterate(rows, [], { batchRows: 100 })) {
          seen++;
          assert.equal(row['value'], seen);
        }
      }, IntegerOutOfRangeError);
      assert.ok(seen >= 9_900 && seen < 10_000, `${seen} rows came before the bad batch`);
      assert.deepEqual(await tx.get('SELECT 2 AS two'), { two: 2 });
    });
  },
);

test('reading the parameters of a statement may submit another one', LIMIT, async () => {
  await using db = await Database.open(':memory:');
  await db.exec('CREATE TABLE note (a, b, c)');
  const text = 'x'.repeat(100_000);
  const inner: Promise<Row | undefined>[] = [];

  /** Values whose reading asks the database, at every depth. */
  const asking = (depth: number): SqlParameters => ({
    a: `a${depth}`,
    get b() {
      if (depth > 0) inner.push(db.get('SELECT :a AS a, :b AS b, :c AS c', asking(depth - 1)));
      return `b${depth}`;
    },
    c: depth % 2 === 0 ? text : depth,
  });
  assert.deepEqual(await db.get('SELECT :a AS a, :b AS b, :c AS c', asking(4)), { a: 'a4', b: 'b4', c: text });
  assert.deepEqual(await Promise.all(inner), [
    { a: 'a0', b: 'b0', c: text },
    { a: 'a1', b: 'b1', c: 1 },
    { a: 'a2', b: 'b2', c: text },
    { a: 'a3', b: 'b3', c: 3 },
  ]);

  const array: (string | number)[] = ['first', 0, 'third'];
  Object.defineProperty(array, 1, {
    get: () => {
      inner.push(db.get('SELECT ? AS p, ? AS q, ? AS r, ? AS s', ['p', 'q', text, 's']));
      return 'second';
    },
  });
  assert.deepEqual(await db.get('SELECT ? AS a, ? AS b, ? AS c', array), { a: 'first', b: 'second', c: 'third' });
  assert.deepEqual(await inner.at(-1), { p: 'p', q: 'q', r: text, s: 's' });

  const watching = new Proxy([1, 2, 3], {
    get(target, key, receiver) {
      if (key === '2') inner.push(db.get('SELECT ? AS only', ['inner']));
      return Reflect.get(target, key, receiver);
    },
  });
  assert.deepEqual(await db.get('SELECT ? AS a, ? AS b, ? AS c', watching), { a: 1, b: 2, c: 3 });
  assert.deepEqual(await inner.at(-1), { only: 'inner' });
});

test('reading the parameters of a statement may run others of its transaction, and fail', LIMIT, async () => {
  await using db = await Database.open(':memory:');
  await db.exec('CREATE TABLE log (entry)');

  await db.write(async (tx) => {
    const sync = (entry: string): SqlParameters => ({
      get entry() {
        tx.sync.run('INSERT INTO log VALUES (?)', [`before ${entry}`]);
        return entry;
      },
    });
    await tx.run('INSERT INTO log VALUES (:entry)', sync('one'));
    tx.sync.run('INSERT INTO log VALUES (:entry)', sync('two'));
    await tx.prepare('INSERT INTO log VALUES (:entry)').run(sync('three'));

    let inner: Promise<unknown> | undefined;
    const queued: SqlParameters = {
      get entry() {
        inner = tx.run('INSERT INTO log VALUES (?)', ['before four']);
        return 'four';
      },
    };
    await tx.run('INSERT INTO log VALUES (:entry)', queued);
    await inner;

    const thrown = new Error('of the getter');
    const failing: SqlParameters = {
      a: 'kept away',
      get b(): string {
        inner = tx.run('INSERT INTO log VALUES (?)', ['before five']);
        throw thrown;
      },
    };
    await assert.rejects(tx.run('INSERT INTO log VALUES (:a || :b)', failing), (error) => error === thrown);
    await inner;
  });
  assert.deepEqual(await db.all('SELECT entry FROM log', [], { rowMode: 'array' }), [
    ['before one'],
    ['one'],
    ['before two'],
    ['two'],
    ['before three'],
    ['three'],
    ['before four'],
    ['four'],
    ['before five'],
  ]);
});

test('an iterator whose parameters ask the database gives its own rows', LIMIT, async () => {
  await using db = await Database.open(':memory:');
  const inner: Promise<Row | undefined>[] = [];
  const limits = (): SqlParameters => ({
    get low() {
      inner.push(db.outside(() => db.get('SELECT ? AS a, ? AS b', ['inner', inner.length])));
      return 3;
    },
    high: 6,
  });
  const rows = `${numbers(10)} SELECT i FROM n WHERE i BETWEEN :low AND :high`;
  const wanted = [{ i: 3 }, { i: 4 }, { i: 5 }, { i: 6 }];

  const seen: Row[] = [];
  for await (const row of db.iterate(rows, limits(), { batchRows: 2 })) seen.push(row);
  assert.deepEqual(seen, wanted);
  await db.read(async (tx) => {
    const inTransaction: Row[] = [];
    for await (const row of tx.iterate(rows, limits(), { batchRows: 2 })) inTransaction.push(row);
    assert.deepEqual(inTransaction, wanted);
    assert.deepEqual([...tx.sync.iterate(rows, limits(), { batchRows: 2 })], wanted);
    for await (const batch of tx.batches(rows, limits())) assert.deepEqual(batch, wanted);
  });
  const answers = await Promise.all(inner);
  assert.deepEqual(
    answers,
    Array.from({ length: 4 }, (_, b) => ({ a: 'inner', b })),
  );
});

test('globals that are replaced after the package was loaded are not used', LIMIT, async () => {
  using folder = new Folder();
  const fake = (): never => {
    throw new Error('a fake was called');
  };
  const real = { setImmediate, setTimeout, queueMicrotask, performance, now: performance.now };
  performance.now = fake;
  Object.assign(globalThis, { setImmediate: fake, setTimeout: fake, queueMicrotask: fake });
  Object.defineProperty(globalThis, 'performance', { value: { now: fake }, configurable: true, writable: true });
  try {
    await using db = await Database.open(folder.file('fakes.db'));
    await db.exec('CREATE TABLE t (a)');
    await Promise.all(Array.from({ length: 2_000 }, (_, i) => db.run('INSERT INTO t VALUES (?)', [i])));
    assert.equal((await db.all(`${numbers(50_000)} SELECT i, hex(zeroblob(50)) AS text FROM n`)).length, 50_000);
    const sum = await db.read((tx) => tx.get('SELECT sum(a) AS sum FROM t'));
    assert.deepEqual(sum, { sum: 1_999_000 });
  } finally {
    const { now, ...globals } = real;
    Object.assign(globalThis, globals);
    performance.now = now;
  }
});

test("the timers of Node's own test runner may be mocked", LIMIT, async () => {
  using folder = new Folder();
  mock.timers.enable();
  try {
    await using db = await Database.open(folder.file('mocked.db'));
    await db.exec('CREATE TABLE t (a)');
    await db.write(async (tx) => {
      for (let i = 0; i < 100; i++) await tx.run('INSERT INTO t VALUES (?)', [i]);
    });
    const all = await Promise.all(Array.from({ length: 2_000 }, () => db.one('SELECT count(*) AS count FROM t')));
    assert.ok(all.every((row) => row['count'] === 100));
  } finally {
    mock.timers.reset();
  }
});

test('values of another realm are taken for what they are', LIMIT, async () => {
  await using db = await Database.open(':memory:');
  const realm = vm.createContext({});
  const evaluate = (code: string): unknown => vm.runInContext(code, realm);
  const parameters = (code: string): SqlParameters => evaluate(code) as SqlParameters;
  assert.equal(evaluate('new Uint8Array([1])') instanceof Uint8Array, false, 'it is another realm');

  assert.deepEqual(await db.get('SELECT ? AS a, ? AS b', parameters('[1, "two"]')), { a: 1, b: 'two' });
  assert.deepEqual(await db.get('SELECT :a AS a, :b AS b', parameters('({ a: 1n, b: null })')), { a: 1, b: null });
  assert.deepEqual(await db.get('SELECT :a AS a', parameters('Object.assign(Object.create(null), { a: 3 })')), {
    a: 3,
  });
  const bytes = { bytes: Uint8Array.of(1, 2, 3) };
  for (const code of [
    'new Uint8Array([1, 2, 3])',
    'new Uint8Array([9, 1, 2, 3, 9]).subarray(1, 4)',
    'new Uint8Array([1, 2, 3]).buffer',
    'new DataView(new Uint8Array([9, 1, 2, 3]).buffer, 1)',
    'new (class Blob extends Uint8Array {})([1, 2, 3])',
  ]) {
    const blob = parameters(`[${code}]`);
    assert.deepEqual(await db.get('SELECT ? AS bytes', blob), bytes, code);
    assert.deepEqual(await db.get('SELECT :blob AS bytes', parameters(`({ blob: ${code} })`)), bytes, code);
    assert.deepEqual(await db.get('SELECT typeof(?) AS type', blob), { type: 'blob' }, code);
  }
  assert.deepEqual(await db.get(sql`SELECT ${evaluate('new Uint8Array([1, 2, 3])') as Uint8Array} AS bytes`), bytes);
  for (const code of ['new Date()', 'new Map()', 'new Set()', 'Promise.resolve()', 'Object(1)', '[1]']) {
    await assert.rejects(db.get('SELECT ?', parameters(`[${code}]`)), ParameterError, code);
  }
  for (const code of ['new Date()', 'new Map()', 'new Uint8Array(1)']) {
    await assert.rejects(db.get('SELECT :a', parameters(code)), ParameterError, code);
  }
});
