// The names of a pool's files: no two keys share one on any file system, and none is outside the folder.

import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { describe, it } from 'node:test';
import { OptionError, PoolKeyError } from 'sqlflow';
import { escaped, type FileNames, poolFiles } from '../dist/pool-files.js';
import { Random } from './fixtures/random.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

const FOLDER = '/srv/pool';
const SEED = 20261121;
const CASES = 20_000;
/** What keys of an attacker are made of. */
const PIECES = [
  '..',
  '/',
  '\\',
  '.',
  ' ',
  'a',
  'A',
  'é',
  'e\u0301',
  'ß',
  'K',
  '\u212a',
  '%',
  '%2e',
  '\0',
  '\n',
  'con',
  'NUL',
  '-wal',
  '.db',
  '\u{1f600}',
  ':',
  '~',
  '$HOME',
  '*',
];

const nameOf = (key: string, fileName?: FileNames) => poolFiles(FOLDER, fileName).nameOf(key);

function anyKey(random: Random): string {
  if (random.next() < 0.3) return [...random.text(0x10_ffff)].slice(0, 15).join('');
  return Array.from({ length: 1 + random.below(6) }, () => random.pick(PIECES)).join('');
}

async function keysIn(folder: string, fileName?: FileNames): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of poolFiles(folder, fileName).keys()) keys.push(key);
  return keys.sort();
}

describe('the default file names', () => {
  const known: Readonly<Record<string, string>> = {
    alice: 'alice.db',
    'user-1_x': 'user-1_x.db',
    Alice: '%41lice.db',
    '../x': '%2e%2e%2fx.db',
    'a/b': 'a%2fb.db',
    'a\\b': 'a%5cb.db',
    'a.': 'a%2e.db',
    'a ': 'a%20.db',
    'a%2fb': 'a%252fb.db',
    'a\0b': 'a%00b.db',
    con: '%63on.db',
    com7: '%63om7.db',
    CON: '%43%4f%4e.db',
    'con.txt': 'con%2etxt.db',
    console: 'console.db',
    é: '%c3%a9.db',
    'e\u0301': 'e%cc%81.db',
    '\u{1f600}': '%f0%9f%98%80.db',
  };
  for (const [key, name] of Object.entries(known)) {
    it(`are ${name} for ${JSON.stringify(key)}`, () => {
      assert.equal(nameOf(key), name);
      assert.equal(escaped.decode(name), key);
    });
  }

  it(`are different for different keys, whatever a file system makes of case and Unicode, ${CASES} keys of seed ${SEED}`, () => {
    const random = new Random(SEED);
    const keys = new Map<string, string>();
    let names = 0;
    for (let i = 0; i < CASES; i++) {
      const key = anyKey(random);
      if (key === '') continue;
      const name = nameOf(key);
      assert.match(name, /^[a-z0-9_%-]+\.db$/);
      assert.doesNotMatch(name, /^(?:con|prn|aux|nul|com\d|lpt\d)\./);
      assert.ok(name.length + '-journal'.length <= 255);
      assert.equal(normalize(join(FOLDER, name)), `${FOLDER}/${name}`);
      const folded = name.normalize('NFKC').toLowerCase();
      assert.equal(keys.get(folded) ?? key, key, `${name} is the file of two keys`);
      assert.equal(escaped.decode(name), key);
      names += keys.has(folded) ? 0 : 1;
      keys.set(folded, key);
    }
    assert.ok(names > CASES / 3, `${names} different keys`);
  });

  for (const [what, key, says] of [
    ['an empty key', '', 'a key of a pool must not be empty'],
    ['a number', 7, 'a key of a pool must be a string, got a number'],
    ['undefined', undefined, 'a key of a pool must be a string, got undefined'],
    [
      'a lone surrogate',
      'a\ud800',
      'the key "a\ufffd" cannot be used: it is not valid Unicode, but holds a lone surrogate',
    ],
  ] as const) {
    it(`are none for ${what}`, async () => {
      await refused(() => nameOf(key as string), PoolKeyError, says);
    });
  }

  it('are none for a key that is too long, which is said with both numbers', async () => {
    assert.equal(nameOf('k'.repeat(244)).length, 247);
    await refused(
      () => nameOf('k'.repeat(245)),
      PoolKeyError,
      `the key "${'k'.repeat(80)}..." cannot be used: its file name has 248 bytes, and at most 247 are possible; use a shorter key`,
    );
    await refused(() => nameOf('é'.repeat(300)), PoolKeyError, /has 1803 bytes/);
  });

  it('of nobody are passed over: other spellings, other programs, logs', async () => {
    await using scratch = new Scratch();
    for (const name of [
      'alice.db',
      'alice.db-wal',
      'alice.db-shm',
      'alice.db-journal',
      'Bob.db',
      '%62ob.db',
      '%2E.db',
      '%zz.db',
      'x.sqlite',
      '.db',
      '%ff.db',
      'con.db',
      '%63on.db',
      'sqlflow-0123456789abcdef.tmp',
    ]) {
      writeFileSync(scratch.file(name), '');
    }
    mkdirSync(scratch.file('folder.db'));
    symlinkSync(scratch.file('alice.db'), scratch.file('link.db'));
    assert.deepEqual(await keysIn(scratch.path), ['alice', 'con']);
  });
});

describe('file names of the user', () => {
  const plain: FileNames = {
    encode: (key) => `${key}.db`,
    decode: (name) => (name.endsWith('.db') ? name.slice(0, -3) : undefined),
  };
  const spread: FileNames = {
    encode: (key) => `${key.slice(0, 2)}/${key}.sqlite`,
    decode: (name) => /^..\/(.+)\.sqlite$/.exec(name)?.[1],
  };

  it('may be those that exist, and spread over folders', async () => {
    await using scratch = new Scratch();
    assert.equal(nameOf('Carol', plain), 'Carol.db');
    assert.equal(nameOf('carol', spread), 'ca/carol.sqlite');
    for (const name of [
      'ca/carol.sqlite',
      'ca/dave.sqlite',
      'al/alice.sqlite',
      'al/alice.sqlite-wal',
      'eve.sqlite',
      'al/x/y.sqlite',
    ]) {
      mkdirSync(join(scratch.path, name, '..'), { recursive: true });
      writeFileSync(scratch.file(name), '');
    }
    // That of dave is not where it belongs.
    assert.deepEqual(await keysIn(scratch.path, spread), ['alice', 'carol']);
  });

  for (const key of ['../x', '/etc/passwd', 'a/../../b', 'a//b', '.', '..', 'a/.', 'a\0b', 'x/']) {
    it(`do not lead out of the folder: ${JSON.stringify(key)}`, async () => {
      await refused(
        () => nameOf(key, { encode: (given) => given }),
        PoolKeyError,
        /cannot be used: its file name (?:leads out|holds a NUL)/,
      );
    });
  }

  for (const [what, encode, says] of [
    ['no string', () => 7 as unknown as string, /its file name is a number/],
    ['empty', () => '', /its file name is empty/],
    ['a log of SQLite', () => 'x.db-wal', /is one that SQLite or a backup uses/],
    ['a lone surrogate', () => 'x\udc00', /is not valid Unicode/],
    ['too long', () => 'x'.repeat(248), /has 248 bytes/],
  ] as const) {
    it(`are refused when they are ${what}`, async () => {
      await refused(() => nameOf('k', { encode }), PoolKeyError, says);
    });
  }

  it('are refused when the key does not come back from its name, for another may have the same', async () => {
    const lower: FileNames = { encode: (key) => `${key.toLowerCase()}.db`, decode: (name) => name.slice(0, -3) };
    assert.equal(nameOf('alice', lower), 'alice.db');
    await refused(
      () => nameOf('Alice', lower),
      PoolKeyError,
      'the key "Alice" cannot be used: fileName.decode gives another key for its file name',
    );
    await refused(() => nameOf('x', { encode: () => 'x', decode: () => undefined }), PoolKeyError, /gives no key/);
  });

  it('give no list of keys without decode', async () => {
    await using scratch = new Scratch();
    await refused(
      () => keysIn(scratch.path, { encode: plain.encode }),
      OptionError,
      /the option fileName has no decode/,
    );
  });
});
