// Parameters: which value goes where, and what is refused, by name and without its value.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { createContext, runInContext } from 'node:vm';
import { type Database, ParameterError, SqlError, type SqlParameter, type SqlParameters, sql } from 'sqlflow';
import { databaseChanges, forEachForm, transactionChanges } from './fixtures/forms.mjs';
import { refusal, refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

let scratch: Scratch;
let db: Database;

before(async () => {
  scratch = new Scratch();
  db = await scratch.open('parameters.db', { synchronous: 'normal' });
  await db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)');
});
after(() => scratch[Symbol.asyncDispose]());

/** Parameters as a caller without types may give them. */
const loose = (parameters: unknown) => parameters as SqlParameters;

/** Fails unless every way to ask gives this row. */
async function assertRow(text: string, parameters: SqlParameters | undefined, row: unknown[]): Promise<void> {
  await forEachForm(db, async (form) => {
    assert.deepEqual(await form.rows(text, parameters, { rowMode: 'array' }), [row], form.name);
  });
}

/** Fails unless every way to run a statement refuses with these words. */
async function assertRefused(text: string, parameters: unknown, says: string | RegExp): Promise<void> {
  const given = loose(parameters);
  await forEachForm(db, async (form) => {
    // A prepared statement takes its values spread out as well, so that one value that holds none is one of them.
    if (form.name.includes('prepare') && !Array.isArray(parameters)) return;
    const error = await refused(() => form.rows(text, given), ParameterError, says, form.name);
    assert.equal(error.sql, text);
    assert.equal(error.sqliteCode, undefined);
  });
  for (const form of databaseChanges(db).filter(({ script }) => !script)) {
    await refused(() => form.run(text, given), ParameterError, says, form.name);
  }
  await db.write(async (tx) => {
    for (const form of transactionChanges(tx).filter(({ script }) => !script)) {
      if (form.name.includes('prepare') && !Array.isArray(parameters)) continue;
      await refused(() => form.run(text, given), ParameterError, says, form.name);
    }
  });
}

describe('positional parameters', () => {
  it('take the values in order', () => assertRow('SELECT ?, ?, ?', [1, 'b', null], [1, 'b', null]));
  it('take the value of their number', () => assertRow('SELECT ?2, ?1, ?2', ['x', 'y'], ['y', 'x', 'y']));
  it('go on counting after a number', () => assertRow('SELECT ?2, ?', ['a', 'b', 'c'], ['b', 'c']));
  it('are not those in quotes and comments', () => assertRow("SELECT '?', ? -- ?", ['v'], ['?', 'v']));

  it('need as many values as there are', async () => {
    const words = (has: string, given: string) => `the statement has ${has}, but ${given} given`;
    await assertRefused('SELECT ?, ?', [1], words('2 parameters', '1 value was'));
    await assertRefused('SELECT ?, ?', [1, 2, 3], words('2 parameters', '3 values were'));
    await assertRefused('SELECT ?', [], words('1 parameter', '0 values were'));
    await assertRefused('SELECT ?', undefined, words('1 parameter', '0 values were'));
    await assertRefused('SELECT 1', [1], words('0 parameters', '1 value was'));
    await assertRefused('SELECT ?3', ['a', 'b'], words('3 parameters', '2 values were'));
  });

  it('do not take names', async () => {
    await assertRefused('SELECT ?', { a: 1 }, 'parameter 1 has no name; pass an array of values instead of an object');
    await assertRefused('SELECT ?1', { 1: 1 }, /^parameter \?1 is positional; pass an array/);
  });
});

describe('named parameters', () => {
  it('take the value of their name, whatever their prefix', async () => {
    await assertRow('SELECT :a, @b, $c, :a', { c: 3, a: 1, b: 2 }, [1, 2, 3, 1]);
    await assertRow('SELECT :same, @same, $same', { same: 'x' }, ['x', 'x', 'x']);
    await assertRow('SELECT :größe_1', { größe_1: 'ü' }, ['ü']);
    await assertRow('SELECT :__proto__', JSON.parse('{"__proto__": 5}'), [5]);
    await assertRow('SELECT :toString', { toString: 'own' }, ['own']);
  });

  it('take own properties of any object', async () => {
    class Values {
      a = 1;
      get ignored() {
        return assert.fail('a getter of the class was read');
      }
    }
    await assertRow('SELECT :a', loose(new Values()), [1]);
    await assertRow('SELECT :a', Object.assign(Object.create(null), { a: 2 }), [2]);
    let reads = 0;
    const counting = {
      get a() {
        reads++;
        return reads;
      },
    };
    assert.deepEqual(await db.get('SELECT :a AS a', counting), { a: 1 });
    assert.equal(reads, 1);
  });

  it('must be given, all and no others', async () => {
    await assertRefused('SELECT :a, @b', { a: 1 }, 'no value for parameter @b');
    await assertRefused('SELECT :a', {}, 'no value for parameter :a');
    await assertRefused('SELECT :a', { a: 1, A: 2 }, 'the statement has no parameter named "A"; it has :a');
    await assertRefused(
      'SELECT :a, :b',
      { a: 1, b: 2, c: 3 },
      'the statement has no parameter named "c"; it has :a, :b',
    );
    await assertRefused('SELECT 1', { a: 1 }, 'the statement has no parameters, but a value named "a" was given');
    await assertRefused('SELECT :toString', {}, 'no value for parameter :toString');
    await assertRefused('SELECT :a', { ':a': 1 }, /parameter :a|named ":a"/);
    await assertRefused('SELECT $a, $b', undefined, /^no value for parameter \$a, \$b/);
  });

  it('do not take an array', async () => {
    await assertRefused('SELECT :a', [1], /names its parameters \(:a\); pass an object/);
  });

  it('beside positional ones are refused, with the way out', async () => {
    // An array must not be answered with "pass an object" when an object is answered with "pass an array".
    for (const given of [[1, 2], { a: 1 }]) {
      const error = await refused(() => db.get('SELECT ?, :a', loose(given)), ParameterError, /\?.*:a|:a.*\?/);
      assert.match(error.message, /mix|both/);
    }
  });

  it('cannot have a name that is no text', async () => {
    await assertRefused('SELECT 1', { ['n'.repeat(1_001)]: 1 }, /^parameter 1: the name is too long/);
    await assertRefused('SELECT 1', { '\ud800': 1 }, /^parameter 1: the name is .*not valid Unicode$/);
  });
});

describe('what is no list of values', () => {
  const given: [unknown, RegExp][] = [
    ['secret', /got a string; write it inside an array$/],
    [7, /got a number; write it inside an array$/],
    [null, /got null$/],
    [true, /got a boolean; write it inside an array$/],
    [Uint8Array.of(1), /got a view of bytes; write it inside an array$/],
    [new ArrayBuffer(1), /got a view of bytes; write it inside an array$/],
    [new Date(0), /got a Date$/],
    [new Map([['a', 1]]), /got a Map$/],
    [new Set([1]), /got a Set$/],
    [Promise.resolve([1]), /got a Promise; await it first$/],
    [() => [1], /got a function$/],
    [Symbol('secret'), /got a symbol$/],
    [/secret/, /got a RegExp$/],
  ];
  for (const [value, words] of given) {
    it(`is refused: ${inspect(value)}`, async () => {
      await assertRefused('SELECT ?', value, words);
      await assertRefused('SELECT ?', value, /^parameters must be an array or an object of named values, got /);
    });
  }
});

describe('a value that cannot be bound', () => {
  const context = createContext({ structuredClone });
  const detached = new ArrayBuffer(8);
  const detachedView = new Uint8Array(8);
  structuredClone([detached, detachedView], { transfer: [detached, detachedView.buffer] });
  const values: [name: string, value: unknown, words: RegExp][] = [
    ['undefined', undefined, /is undefined; bind null for NULL$/],
    ['NaN', Number.NaN, /is NaN, which SQLite cannot store$/],
    ['a Date', new Date(0), /is a Date; convert it first, for example with toISOString\(\) or getTime\(\)$/],
    ['an invalid Date', new Date(Number.NaN), /is a Date; /],
    ['a Date of another realm', runInContext('new Date(0)', context), /is a Date; /],
    ['an array', ['secret'], /is an array; /],
    ['an object', { secret: 1 }, /is an object, which cannot be bound$/],
    ['an object that converts itself', { toString: () => 'secret', valueOf: () => 1 }, /is an object, /],
    ['a function', () => 'secret', /is a function, /],
    ['a symbol', Symbol('secret'), /is a symbol, /],
    ['a Map', new Map(), /is a Map, /],
    ['a Set', new Set(), /is a Set, /],
    ['a Promise', Promise.resolve(1), /is a Promise; await it first/],
    ['a RegExp', /secret/, /is a RegExp, /],
    ['a boxed number', Object(1), /is a boxed primitive, /],
    ['a bigint above 64 bits', 2n ** 63n, /is a bigint beyond the 64 bits of an SQLite integer$/],
    ['a bigint below 64 bits', -(2n ** 63n) - 1n, /is a bigint beyond the 64 bits/],
    ['a high surrogate alone', 'secret \ud83d', /holds a lone surrogate, /],
    ['a low surrogate alone', '\ude00 secret', /holds a lone surrogate, /],
    ['surrogates the wrong way round', '\ude00\ud83d', /holds a lone surrogate, /],
    ['a lone surrogate in a long text', `${'secret '.repeat(20_000)}\ud83d`, /holds a lone surrogate, /],
    ['a detached buffer', detached, /is detached, or ends beyond its buffer; bind a copy made before$/],
    ['a view of a detached buffer', detachedView, /is detached, or ends beyond its buffer; /],
    ['a fragment of SQL', sql`secret`, /is an object, /],
  ];
  for (const [name, value, words] of values) {
    it(`is named by its position and by its name: ${name}`, async () => {
      const after = (prefix: string) => new RegExp(`^${prefix} ${words.source}`);
      await assertRefused('SELECT ?, ?, ?', [1, value, 2], after('parameter 2'));
      await assertRefused('SELECT :a, :b', { a: 'before', b: value }, after('parameter :b'));
      for (const given of [[1, value, 2], { a: 1, b: value }]) {
        const error = await refusal(() => db.get('SELECT 1', loose(given)));
        assert.doesNotMatch(inspect(error), /secret/);
      }
      // What was read before the refusal is not left behind for the next statement.
      assert.deepEqual(await db.get('SELECT ? AS a', ['next']), { a: 'next' });
    });
  }

  it('is refused where an array has a hole', () => {
    const holed: unknown[] = ['a', 'b'];
    holed.length = 3;
    return assertRefused('SELECT ?, ?, ?', holed, /^parameter 3 is undefined/);
  });

  it('is not one that another realm has made', async () => {
    const foreign = (code: string): SqlParameter => runInContext(code, context);
    const expected = Uint8Array.of(1, 2, 3);
    for (const code of [
      'Uint8Array.of(1, 2, 3)',
      'Uint8Array.of(1, 2, 3).buffer',
      'new DataView(Uint8Array.of(1, 2, 3).buffer)',
    ]) {
      await assertRow('SELECT ?', [foreign(code)], [expected]);
    }
    await assertRow('SELECT ?', loose(foreign('["foreign"]')), ['foreign']);
    await assertRow('SELECT :a', loose(foreign('({ a: "foreign" })')), ['foreign']);
  });

  it('leaves the transaction as it was', async () => {
    await db.write(async (tx) => {
      await tx.run('INSERT INTO t (a) VALUES (?)', [1]);
      await refused(() => tx.run('INSERT INTO t (a) VALUES (?)', loose([undefined])), ParameterError, /undefined/);
      await refused(() => tx.run('INSERT INTO t (a) VALUES (?)', [1, 2]), ParameterError, /1 parameter,/);
      await tx.run('INSERT INTO t (a) VALUES (?)', [2]);
    });
    assert.deepEqual(await db.all('SELECT a FROM t'), [{ a: 1 }, { a: 2 }]);
  });

  it('throws what a getter throws, unchanged', async () => {
    const thrown = new RangeError('from the getter');
    const values = {
      get a(): SqlParameter {
        throw thrown;
      },
    };
    await assert.rejects(db.get('SELECT :a', values), (error) => error === thrown);
    await db.read((tx) =>
      assert.throws(
        () => tx.sync.get('SELECT :a', values),
        (error) => error === thrown,
      ),
    );
    assert.deepEqual(await db.get('SELECT :a AS a', { a: 1 }), { a: 1 });
  });
});

describe('the number of parameters', () => {
  const MOST = 32_766;
  const numbers = Array.from({ length: MOST }, (_, n) => n);
  const sum = (MOST * (MOST - 1)) / 2;

  it('can be 32,766', async () => {
    const text = `SELECT count(*), sum(column1) FROM (VALUES ${numbers.map(() => '(?)').join(', ')})`;
    await assertRow(text, numbers, [MOST, sum]);
  });

  it('can be thousands by name, each with its own value', async () => {
    const some = numbers.slice(0, 2_000);
    const text = `SELECT * FROM (VALUES ${some.map((n) => `(:p${n})`).join(', ')})`;
    const values = Object.fromEntries(some.map((n) => [`p${n}`, n]));
    assert.deepEqual(
      await db.all(text, values, { rowMode: 'array' }),
      some.map((n) => [n]),
    );
    const backwards = Object.fromEntries(Object.entries(values).reverse());
    assert.deepEqual(
      await db.all(text, backwards, { rowMode: 'array' }),
      some.map((n) => [n]),
    );
  });

  it('is at most 32,766', async () => {
    const text = `SELECT 1 WHERE 0 IN (${Array(MOST + 1)
      .fill('?')
      .join(', ')})`;
    await refused(() => db.all(text, [...numbers, 1]), SqlError, 'too many SQL variables');
    await refused(() => db.get('SELECT ?32767', [1]), SqlError, 'variable number must be between ?1 and ?32766');
    await assertRefused('SELECT ?32766', [1], 'the statement has 32766 parameters, but 1 value was given');
    const many = Array(65_536).fill(1);
    await assertRefused('SELECT ?', many, '65536 parameters; at most 65535 are possible');
    await assertRefused(
      'SELECT :a',
      Object.fromEntries(many.map((_, n) => [`n${n}`, n])),
      /^65536 parameters; at most /,
    );
  });
});

describe('an sql`...` statement', () => {
  it('brings its values, by every way to run it', async () => {
    const where = sql`WHERE a IN (${sql.join([1, 2])})`;
    const statement = sql`SELECT ${'x'} AS x, count(*) AS n FROM t ${where} LIMIT ${1}`;
    await forEachForm(db, async (form) => {
      assert.deepEqual(await form.rows(statement), [{ x: 'x', n: 2 }], form.name);
      await refused(() => form.rows(statement, [1]), ParameterError, /brings its own values/, form.name);
      assert.deepEqual(await form.rows(sql`SELECT 1 AS one`), [{ one: 1 }], form.name);
    });
    await db.write(async (tx) => {
      for (const form of transactionChanges(tx)) {
        const insert = sql`INSERT INTO t (a, b) VALUES (${'tagged'}, ${form.name})`;
        if (form.script) await refused(() => form.run(insert), ParameterError, /^exec takes no values/, form.name);
        else assert.equal((await form.run(insert))?.changes, 1, form.name);
      }
      assert.deepEqual(await tx.get("SELECT count(*) AS n FROM t WHERE a = 'tagged'"), { n: 3 });
    });
  });

  it('with nothing to bind can be a script', async () => {
    await db.exec(sql`CREATE TABLE ${sql.identifier('we"ird name')} (x); DROP TABLE "we""ird name"`);
    await refused(() => db.exec('SELECT ?'), ParameterError, /1 parameter, but 0 values were given/);
    await refused(() => db.exec('SELECT :a'), ParameterError, /^no value for parameter :a/);
  });

  it('of which a piece of text cannot be read is refused, not shortened', () => {
    // An escape that JavaScript cannot read makes the whole piece undefined in a tagged template.
    const make = () => sql`DELETE FROM t WHERE a = ${1} AND b = '\u'`;
    assert.throws(make, ParameterError);
  });
});

describe('no message has a bound value in it', () => {
  const SECRET = 'sesame-4711';
  const assertSilent = async (text: string, parameters: SqlParameters) => {
    const asked = [
      () => db.get(text, parameters),
      () => db.all(text, parameters),
      () => db.write((tx) => tx.sync.run(text, parameters)),
      () => db.write((tx) => tx.run(text, parameters)),
    ];
    for (const ask of asked) {
      const error = await refusal(ask, text);
      assert.doesNotMatch(
        inspect(error, { depth: null, showHidden: true }),
        /sesame|4711/,
        `${text}: ${error.message}`,
      );
    }
  };

  before(() =>
    db.exec(`CREATE TABLE guarded (id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 0, c CHECK (length(c) < 5));
      INSERT INTO guarded (u) VALUES ('${SECRET}');
      CREATE TABLE child (parent REFERENCES guarded (u));
      CREATE TABLE strict (i INTEGER) STRICT;
      CREATE VIRTUAL TABLE words USING fts5 (body);`),
  );

  const failing: [name: string, text: string, parameters: SqlParameters][] = [
    ['UNIQUE', 'INSERT INTO guarded (u) VALUES (?)', [SECRET]],
    ['NOT NULL', 'INSERT INTO guarded (u, n) VALUES (?, NULL)', ['other']],
    ['CHECK', 'INSERT INTO guarded (c) VALUES (:c)', { c: SECRET }],
    ['a foreign key', 'INSERT INTO child VALUES (?)', [`no ${SECRET}`]],
    ['a STRICT table', 'INSERT INTO strict VALUES (?)', [SECRET]],
    ['a row id that is none', 'INSERT INTO guarded (id) VALUES (?)', [SECRET]],
    ['LIMIT', 'SELECT 1 LIMIT ?', [SECRET]],
    ['malformed JSON', "SELECT json_extract(?, '$.a')", [`{${SECRET}`]],
    ['a bad path of JSON', "SELECT json_extract('{}', ?)", [SECRET]],
    ['a bad search of FTS5', 'SELECT * FROM words WHERE words MATCH ?', [`"${SECRET}`]],
    ['a search of FTS5 in a column that is none', 'SELECT * FROM words WHERE words MATCH ?', ['sesame:x']],
    ['an unknown command in a search of FTS5', 'SELECT * FROM words WHERE words MATCH ?', ['* sesame']],
    ['a wrong operator in a search of FTS5', 'SELECT * FROM words WHERE words MATCH ?', ['a ^ sesame NEAR/4711']],
    ['a value that cannot be bound', 'SELECT ?, ?', loose([SECRET, undefined])],
    ['a wrong count', 'SELECT ?', [SECRET, SECRET]],
    ['an unknown name', 'SELECT :a', { a: SECRET, b: SECRET }],
  ];
  for (const [name, text, parameters] of failing) it(name, () => assertSilent(text, parameters));
});
