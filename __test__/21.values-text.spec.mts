// Text: every length and mixture that is treated in its own way, what is not valid in the file, and files in UTF-16.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import type { Database } from 'sqlflow';
import { databaseForms, forEachForm } from './fixtures/forms.mjs';
import { Scratch } from './fixtures/scratch.mjs';

let scratch: Scratch;
let db: Database;

before(async () => {
  scratch = new Scratch();
  db = await scratch.open('text.db', { synchronous: 'normal' });
  await db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c)');
});
after(() => scratch[Symbol.asyncDispose]());

/** Equal, without printing a megabyte when not. */
function assertSame(actual: unknown, expected: string, context: string): void {
  if (actual === expected) return;
  const is = typeof actual === 'string' ? `${actual.length} characters` : typeof actual;
  assert.fail(`${context}: ${is} instead of ${expected.length} characters`);
}

const ASCII = 'abcdefghij';
const LATIN = 'aé';
const WIDE = 'a漢é';
const ASTRAL = 'a😀é漢';

/** Text of this many UTF-16 units; an astral character that does not fit is left out. */
const ofLength = (pattern: string, length: number) => {
  const text = pattern.repeat(Math.ceil(length / pattern.length)).slice(0, length);
  return text.isWellFormed() ? text : `${text.slice(0, -1)}.`;
};

describe('text', () => {
  it('of every length comes back whole', async () => {
    const lengths = [...Array(40).keys(), 63, 64, 65, 127, 128, 129, 255, 256, 1_023, 4_096, 10_000];
    for (const pattern of [ASCII, LATIN, WIDE, ASTRAL]) {
      const texts = lengths.map((length) => ofLength(pattern, length));
      const sql = `SELECT ${texts.map(() => '?').join(', ')}`;
      await forEachForm(db, async (form) => {
        assert.deepEqual(await form.rows(sql, texts, { rowMode: 'array' }), [texts], form.name);
      });
      for (const text of texts) assertSame((await db.get('SELECT ? AS v', [text]))?.['v'], text, `${text.length}`);
    }
  });

  it('around the size of the buffers comes back whole', async () => {
    // The request buffer has 64 KiB; how much room text needs is known before it is written only as a bound.
    const sizes = [21_820, 21_830, 21_840, 21_845, 21_850, 32_750, 32_768];
    for (let size = 65_470; size <= 65_540; size++) sizes.push(size);
    for (const pattern of [ASCII, LATIN, WIDE]) {
      const unit = Buffer.byteLength(pattern) / pattern.length;
      await db.write(async (tx) => {
        for (const size of sizes) {
          const text = ofLength(pattern, Math.floor(size / unit));
          const context = `${pattern} ${text.length}`;
          assertSame((await tx.get('SELECT ? AS v', [text]))?.['v'], text, context);
          assertSame(tx.sync.get('SELECT ? AS v, 1 AS one', [text])?.['v'], text, `sync ${context}`);
          const named = tx.sync.get('SELECT :first AS a, :second AS b', { second: 'end', first: text });
          assertSame(named?.['a'], text, `named ${context}`);
          assert.equal(named?.['b'], 'end');
        }
      });
    }
  });

  it('of a megabyte and more comes back whole', async () => {
    const assertBack = ([row]: unknown[], text: string, context: string) => {
      assert.ok(typeof row === 'object' && row !== null && 'v' in row && 'n' in row);
      assertSame(row.v, text, context);
      assert.equal(row.n, text.length);
    };
    const long = ofLength(LATIN, 2 ** 20 + 3);
    await forEachForm(db, async (form) => {
      assertBack(await form.rows('SELECT ? AS v, length(?1) AS n', [long]), long, form.name);
    });
    for (const pattern of [ASCII, WIDE, ASTRAL.repeat(7)]) {
      const text = ofLength(pattern, 2 ** 20 + 3);
      const sql = 'SELECT ? AS v, length(CAST(?1 AS BLOB)) AS n';
      const n = Buffer.byteLength(text);
      const back = [await db.get(sql, [text]), await db.read((tx) => tx.sync.get(sql, [text]))];
      for (const row of back) {
        assertSame(row?.['v'], text, pattern);
        assert.equal(row?.['n'], n);
      }
    }
  });

  it('is cut between cells where it was, beside cells of every other kind', async () => {
    const pieces = ['', 'a', 'é', '😀', '\0', 'long enough to be more than sixteen', '漢'.repeat(40), 'z'];
    const rows: unknown[][] = [];
    await db.write(async (tx) => {
      let n = 0;
      for (const a of pieces) {
        for (const b of [null, 1.5, Uint8Array.of(1, 2), ...pieces]) {
          const c = pieces[n % pieces.length] ?? null;
          await tx.run('INSERT INTO t (a, b, c) VALUES (?, ?, ?)', [a, b, c]);
          rows.push([a, b, c]);
          n++;
        }
      }
    });
    await forEachForm(db, async (form) => {
      if (form.single) return;
      assert.deepEqual(await form.rows('SELECT a, b, c FROM t ORDER BY id', [], { rowMode: 'array' }), rows, form.name);
      const objects = rows.map(([a, b, c]) => ({ a, b, c }));
      assert.deepEqual(await form.rows('SELECT a, b, c FROM t ORDER BY id'), objects, form.name);
    });
  });
});

describe('bytes that are no valid UTF-8', () => {
  // Parts of characters, overlong forms, surrogates, beyond the last character: as the Encoding Standard decodes them.
  const broken = [
    'ff',
    'c3',
    'e282',
    'f09f98',
    'f09f',
    'c080',
    'e08080',
    'eda080',
    'edb080',
    'f0808080',
    'f4908080',
    'f8808080',
    '80',
    'bf80',
    '61ff62',
    'c3c3a9',
    'e2c3a9',
    'f09fc3a9',
    'efbbbfff',
    'ff00ff',
    'fe',
  ];
  const decode = (hex: string) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.from(hex, 'hex'));

  it('are replaced, by every way to ask', async () => {
    const sql = `SELECT ${broken.map((hex) => `CAST(x'${hex}' AS TEXT)`).join(', ')}`;
    await forEachForm(db, async (form) => {
      assert.deepEqual(await form.rows(sql, [], { rowMode: 'array' }), [broken.map(decode)], form.name);
    });
  });

  it('never become a character together with the next cell', async () => {
    for (const [start, end] of [
      ['c3', 'a9'],
      ['f09f', '9880'],
      ['e2', '82ac'],
    ] as const) {
      const sql = `SELECT CAST(x'${start}' AS TEXT), CAST(x'${end}' AS TEXT), 'after'`;
      await forEachForm(db, async (form) => {
        const rows = await form.rows(sql, [], { rowMode: 'array' });
        assert.deepEqual(rows, [[decode(start), decode(end), 'after']], form.name);
      });
    }
  });

  it('are in the file as they were', async () => {
    assert.deepEqual(
      await db.get("SELECT hex(CAST(x'61ff' AS TEXT)) AS hex, CAST(CAST(x'61ff' AS TEXT) AS BLOB) AS blob"),
      {
        hex: '61FF',
        blob: Uint8Array.of(0x61, 0xff),
      },
    );
  });
});

describe('a file in UTF-16', () => {
  const texts = ['', 'a', 'é', '漢字', '😀', 'a\0b', '\ufeffmark', ASTRAL.repeat(20_000)];
  const script = `
import json, sqlite3, sys
path, encoding, texts = sys.argv[1], sys.argv[2], json.loads(sys.stdin.read())
db = sqlite3.connect(path)
db.execute(f"PRAGMA encoding = '{encoding}'")
db.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, text, other)')
for text in texts:
    db.execute("INSERT INTO t (text, other) VALUES (?, x'00ff')", (text,))
db.commit()
db.close()
`;
  const python = spawnSync('python3', ['-c', 'import sqlite3'], { stdio: 'ignore' }).status === 0;

  for (const encoding of ['UTF-16le', 'UTF-16be']) {
    it(`is read and written as any other: ${encoding}`, {
      skip: !python && 'python3 with sqlite3 is needed',
    }, async () => {
      const path = scratch.file(`${encoding}.db`);
      const made = spawnSync('python3', ['-c', script, path, encoding], {
        input: JSON.stringify(texts),
        encoding: 'utf8',
      });
      assert.equal(made.status, 0, made.stderr);
      const wide = await scratch.open(`${encoding}.db`);
      assert.deepEqual(await wide.get('PRAGMA encoding'), { encoding });
      const expected = texts.map((text) => ({ text, other: Uint8Array.of(0, 255) }));
      await forEachForm(wide, async (form) => {
        if (!form.single)
          assert.deepEqual(await form.rows('SELECT text, other FROM t ORDER BY id'), expected, form.name);
      });
      for (const text of texts) {
        await wide.run('INSERT INTO t (text) VALUES (?)', [text]);
        for (const form of databaseForms(wide)) {
          const rows = await form.rows('SELECT text, ? AS given, typeof(text) AS type FROM t WHERE text = ?1', [text]);
          assert.deepEqual(rows.at(-1), { text, given: text, type: 'text' }, form.name);
        }
      }
      // Half a surrogate pair, which is in the file what a lone surrogate is in a string.
      const half = encoding === 'UTF-16le' ? '610000d86200' : '0061d8000062';
      const [row] = await wide.all(`SELECT CAST(x'${half}' AS TEXT) AS text, 'after' AS next`);
      assert.ok(typeof row?.['text'] === 'string' && row['text'].isWellFormed());
      assert.equal(row['next'], 'after');
    });
  }
});
