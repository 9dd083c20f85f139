// Keys: what is accepted, who is asked, what a file that does not open says, and that everybody proves its key.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  Database,
  KeyNotAvailableError,
  NotADatabaseError,
  NotEncryptedError,
  type OpenOptions,
  OptionError,
  OptionsConflictError,
  type SqlflowError,
  WrongKeyError,
} from 'sqlflow';
import { refusal, refused } from './fixtures/refusal.mjs';
import { digest, Scratch } from './fixtures/scratch.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const KEY = Uint8Array.from({ length: 32 }, (_, n) => n * 7);
const OTHER_KEY = Uint8Array.from({ length: 32 }, (_, n) => 255 - n);
const PLAIN: OpenOptions = { key: undefined };
/** The package itself, which knows itself by its name. */
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SCHEMA = 'CREATE TABLE t (a INTEGER PRIMARY KEY, b)';
const ROWS = `INSERT INTO t SELECT value, hex(zeroblob(500)) FROM json_each('[1,2,3,4,5,6,7,8,9,10]')`;
const COUNT = 'SELECT count(*) AS n, sum(length(b)) AS bytes FROM t';
const COUNTED = { n: 10, bytes: 10_000 };

/** A closed file with ten rows. */
async function filled(scratch: Scratch, name: string, options: OpenOptions): Promise<string> {
  const db = await scratch.open(name, options);
  await db.exec(`${SCHEMA}; ${ROWS}`);
  await db.close();
  return scratch.file(name);
}

describe('a key', () => {
  const wrong: [options: unknown, says: RegExp][] = [
    [{ key: new Uint8Array(31) }, /^key must have 32 bytes, got 31$/],
    [{ key: new Uint8Array(0) }, /^key must have 32 bytes, got 0$/],
    [{ key: 'ab'.repeat(32) }, /^key must be a Uint8Array of 32 bytes, got a string; Buffer\.from\(hex, 'hex'\)/],
    [{ key: new Uint16Array(16) }, /^key must be a Uint8Array of 32 bytes, got an object$/],
    [{ key: new ArrayBuffer(32) }, /^key must be a Uint8Array of 32 bytes, got an object$/],
    [
      { key: Object.defineProperty(new Uint8Array(40), 'byteLength', { value: 32 }) },
      /^key must have 32 bytes, got 40$/,
    ],
    [{ key: null }, /^key must be a Uint8Array of 32 bytes, got null$/],
    [{ key: KEY, passphrase: 'x' }, /^key and passphrase are both given/],
    [{ key: () => KEY, passphrase: 'x' }, /^key and passphrase are both given/],
    [{ passphrase: '' }, /^passphrase must not be empty/],
    [{ passphrase: 'a\0b' }, /^passphrase must not contain NUL$/],
    [{ passphrase: '\ud800' }, /^passphrase must be valid Unicode/],
    [{ passphrase: KEY }, /^passphrase must be a string, got an object$/],
    [{ passphrase: `X'${'aB'.repeat(32)}'` }, /^passphrase has the form x'\.\.' of a raw key/],
    [{ key: KEY, cipherCompatibility: 5 }, /^cipherCompatibility must be 1, 2, 3 or 4, got 5$/],
    [{ key: KEY, cipherCompatibility: '4' }, /^cipherCompatibility must be 1, 2, 3 or 4, got "4"$/],
    [{ key: undefined, cipherCompatibility: 4 }, /^cipherCompatibility is about an encrypted file/],
    [{ autoVacuum: 'yes' }, /^autoVacuum must be 'none', 'full' or 'incremental', got "yes"$/],
    [{ secureDelete: 1 }, /^secureDelete must be true or false, got 1$/],
    [{ cypher: 1 }, /^unknown option "cypher"/],
  ];
  it('of the wrong kind is refused before the file is touched', async () => {
    await using scratch = new Scratch();
    for (const [options, says] of wrong) {
      await refused(() => Database.open(scratch.file('a.db'), options as OpenOptions), OptionError, says);
    }
    assert.deepEqual(scratch.contents(), {});
  });

  it('is copied by the call: what becomes of the bytes afterwards does not matter', async () => {
    await using scratch = new Scratch();
    const shared = new Uint8Array(new SharedArrayBuffer(64), 16, 32);
    for (const bytes of [Uint8Array.from(KEY), Buffer.from(KEY), shared, new (class extends Uint8Array {})(32)]) {
      bytes.set(KEY);
      const opening = Database.open(scratch.file('a.db'), { key: bytes });
      bytes.fill(0);
      await (await opening).close();
    }
    const db = await scratch.open('a.db', { key: KEY });
    await db.exec(SCHEMA);
  });

  it('encrypts all of the file and its log', async () => {
    await using scratch = new Scratch();
    const secrets = { raw: { key: KEY }, text: { passphrase: "correct 'horse' ñ" } };
    for (const [name, secret] of Object.entries(secrets)) {
      const db = await scratch.open(`${name}.db`, secret);
      await db.exec(`${SCHEMA}; INSERT INTO t VALUES (1, 'needle in the haystack')`);
      for (const suffix of ['', '-wal']) {
        const bytes = readFileSync(scratch.file(`${name}.db${suffix}`)).toString('latin1');
        assert.ok(bytes.length > 0);
        for (const word of ['SQLite', 'CREATE', 'needle'])
          assert.equal(bytes.includes(word), false, `${suffix} ${word}`);
      }
      await db.close();
    }
  });

  it('opens with readOnly, from another process, and a temporary database', async (t) => {
    await using scratch = new Scratch();
    const path = await filled(scratch, 'a.db', { key: KEY });
    const reading = await scratch.open('a.db', { key: KEY, readOnly: true });
    assert.deepEqual(await reading.get(COUNT), COUNTED);
    const other = await OtherProcess.with(t, path, { key: KEY });
    assert.deepEqual(await other.all(COUNT), [COUNTED]);
    const temporary = await Database.open(':memory:', { key: KEY });
    await temporary.exec(`${SCHEMA}; ${ROWS}`);
    assert.deepEqual(await temporary.get(COUNT), COUNTED);
    await temporary.close();
  });

  it('is taken by the first opens of a process, however many at the same time', async () => {
    await using scratch = new Scratch();
    const program = `
      const { Database } = require('sqlflow');
      const key = new Uint8Array(32);
      const open = async (n) => (await Database.open(process.argv[1] + '/' + process.pid + '-' + n + '.db', { key })).close();
      Promise.all(Array.from({ length: 8 }, (_, n) => open(n)));`;
    const run = promisify(execFile);
    const { NODE_OPTIONS: _, ...env } = process.env;
    for (let round = 0; round < 10; round++) {
      const processes = Array.from({ length: 4 }, () =>
        run(process.execPath, ['-e', program, scratch.path], { env, cwd: ROOT }),
      );
      for (const { stderr } of await Promise.all(processes)) assert.equal(stderr, '');
    }
  });

  it('of two processes that make one file at the same time is good for both', async (t) => {
    for (let round = 0; round < 5; round++) {
      const folder = new Folder(t);
      const path = folder.file();
      const others = [new OtherProcess(), new OtherProcess()];
      t.after(() => Promise.all(others.map((other) => other.kill())));
      const options = { key: KEY, busyTimeoutMs: 10_000 };
      await Promise.all([
        folder.open('test.db', options),
        ...others.map((other) => other.ask({ do: 'open', path, options })),
      ]);
      for (const other of others) await other.ask({ do: 'exec', sql: 'CREATE TABLE IF NOT EXISTS t (a)' });
      for (const other of others) await other.kill();
    }
  });
});

describe('a key provider', () => {
  it('is asked once per open, with the path, and may take its time', async () => {
    await using scratch = new Scratch();
    const asked: string[] = [];
    const give = (path: string) => {
      asked.push(path);
      return KEY;
    };
    const db = await scratch.open('a.db', { key: give });
    await db.exec(SCHEMA);
    await scratch.open('a.db', { key: async (path) => give(path) });
    assert.deepEqual(asked, [scratch.file('a.db'), scratch.file('a.db')]);
    await Promise.all([1, 2, 3, 4].map(() => db.read((tx) => tx.get('SELECT 1'))));
    assert.equal(asked.length, 2);
  });

  it('that has none, fails, or gives something else opens nothing', async () => {
    await using scratch = new Scratch();
    const path = scratch.file('a.db');
    const cause = new Error('the key store is away');
    const none = new RegExp(`^the key provider has no key for ${path}$`);
    await refused(() => Database.open(path, { key: () => undefined }), KeyNotAvailableError, none);
    await refused(() => Database.open(path, { key: async () => null }), KeyNotAvailableError, none);
    for (const key of [() => Promise.reject(cause), thrower(cause)]) {
      const failed = await refused(() => Database.open(path, { key }), KeyNotAvailableError, /its error is the cause$/);
      assert.equal(failed.cause, cause);
    }
    const short = () => new Uint8Array(16);
    await refused(
      () => Database.open(path, { key: short }),
      OptionError,
      /^what the key provider gives for .* must have 32 bytes/,
    );
    assert.deepEqual(scratch.contents(), {});
  });

  it('that hangs holds up nobody else', async () => {
    await using scratch = new Scratch();
    let release = (_: Uint8Array | null) => {};
    const hanging = new Promise<Uint8Array | null>((resolve) => {
      release = resolve;
    });
    const late = Database.open(scratch.file('a.db'), { key: () => hanging });
    const db = await scratch.open('a.db', { key: KEY });
    await db.exec(SCHEMA);
    await db.close();
    release(null);
    await refused(() => late, KeyNotAvailableError, /has no key/);
  });
});

function thrower(error: Error): () => never {
  return () => {
    throw error;
  };
}

describe('a file that does not open', () => {
  const raw: OpenOptions = { key: KEY };
  const wrongs: Record<string, [made: OpenOptions, opened: OpenOptions, as: new (message: string) => SqlflowError]> = {
    'another key': [raw, { key: OTHER_KEY }, WrongKeyError],
    'a passphrase for a key': [raw, { passphrase: 'secret' }, WrongKeyError],
    'a key for a passphrase': [{ passphrase: 'secret' }, raw, WrongKeyError],
    'another passphrase': [{ passphrase: 'secret' }, { passphrase: 'Secret' }, WrongKeyError],
    'the settings of another version': [raw, { key: KEY, cipherCompatibility: 3 }, WrongKeyError],
    'no key': [raw, PLAIN, NotADatabaseError],
    'a key for a plain file': [PLAIN, raw, NotEncryptedError],
    'a passphrase for a plain file': [PLAIN, { passphrase: 'secret' }, NotEncryptedError],
  };
  for (const [name, [made, opened, as]] of Object.entries(wrongs)) {
    it(`for ${name} says so, is untouched, and leaves nothing open`, async () => {
      await using scratch = new Scratch();
      const path = await filled(scratch, 'a.db', made);
      const before = scratch.contents();
      for (const more of [{}, { readOnly: true }, { create: false }]) {
        const error = await refusal(() => Database.open(path, { ...opened, ...more }), name);
        assert.equal(error.name, as.name, error.message);
        assert.ok(error.message.startsWith(path), error.message);
        // A reader makes the index of the log of a plain file, and cannot remove it.
        if (opened !== PLAIN && made !== PLAIN) assert.deepEqual(scratch.contents(), before);
        assert.equal(scratch.contents()['a.db'], before['a.db']);
        assert.deepEqual(scratch.held(), []);
      }
      const db = await scratch.open('a.db', made);
      assert.deepEqual(await db.get(COUNT), COUNTED);
    });
  }

  it('for a wrong key leaves the log of a crash to the right one', async () => {
    await using scratch = new Scratch();
    const other = new OtherProcess();
    const path = scratch.file('a.db');
    await other.ask({ do: 'open', path, options: { key: KEY } });
    await other.ask({ do: 'exec', sql: `${SCHEMA}; ${ROWS}` });
    await other.kill();
    const { 'a.db': file, 'a.db-wal': log } = scratch.contents();
    for (const options of [{ key: OTHER_KEY }, PLAIN]) {
      await refusal(() => Database.open(path, options));
      assert.deepEqual([scratch.contents()['a.db'], scratch.contents()['a.db-wal']], [file, log]);
    }
    const db = await scratch.open('a.db', { key: KEY });
    assert.deepEqual(await db.get(COUNT), COUNTED);
  });

  it('because it was cut says that the key is wrong or the file damaged', async () => {
    await using scratch = new Scratch();
    const path = await filled(scratch, 'a.db', { key: KEY });
    const bytes = readFileSync(path);
    // One byte is to SQLite a new file: https://sqlite.org/src, unixFileSize
    for (const length of [2, 15, 16, 100, 4_095, 4_096, bytes.length - 1, bytes.length - 4_096]) {
      const cut = bytes.subarray(0, length);
      writeFileSync(path, cut);
      const outcome = await outcomeOf(path, { key: KEY });
      assert.match(outcome, /^(?:WRONG_KEY|CORRUPT_DATABASE|IO)$/, `${length} bytes: ${outcome}`);
      assert.equal(digest(readFileSync(path)), digest(cut), `${length} bytes`);
      assert.deepEqual(scratch.held(), []);
    }
  });
});

/** The code of what opening and reading all of a file rejects with. */
async function outcomeOf(path: string, options: OpenOptions): Promise<string> {
  const error = await refusal(async () => {
    const db = await Database.open(path, { ...options, readOnly: true });
    try {
      await db.get(COUNT);
    } finally {
      await db.close();
    }
  });
  return error.code;
}

describe('who joins an open file', () => {
  it('proves its key, and is refused alone', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', { key: KEY });
    await db.exec(`${SCHEMA}; ${ROWS}`);
    const path = scratch.file('a.db');
    await refused(() => Database.open(path, { key: OTHER_KEY }), WrongKeyError, /cannot be decrypted/);
    await refused(() => Database.open(path, { passphrase: 'x' }), WrongKeyError, /cannot be decrypted/);
    await refused(() => Database.open(path, PLAIN), NotADatabaseError, /is to be opened with its key/);
    await refused(
      () => Database.open(path, { key: KEY, cipherCompatibility: 3 }),
      OptionsConflictError,
      /cipherCompatibility 4, and is now opened with cipherCompatibility 3/,
    );
    const joined = await scratch.open('a.db', { key: () => KEY });
    await db.close();
    assert.deepEqual(await joined.get(COUNT), COUNTED);
    const plain = await scratch.open('plain.db', PLAIN);
    await plain.exec(SCHEMA);
    await refused(() => Database.open(scratch.file('plain.db'), { key: KEY }), NotEncryptedError, /is not encrypted/);
  });

  it('proves it while the file is being opened as well: each gets its own answer', async () => {
    await using scratch = new Scratch();
    const path = await filled(scratch, 'a.db', { passphrase: 'right' });
    const given: OpenOptions[] = [
      { passphrase: 'wrong' },
      { passphrase: 'right' },
      PLAIN,
      { key: KEY },
      { passphrase: 'right' },
      { passphrase: 'wrong' },
    ];
    const outcomes = await Promise.allSettled(given.map((options) => within(Database.open(path, options), 'open')));
    const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'open'));
    assert.deepEqual(codes, ['WRONG_KEY', 'open', 'NOT_A_DATABASE', 'WRONG_KEY', 'open', 'WRONG_KEY']);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') continue;
      assert.deepEqual(await outcome.value.get(COUNT), COUNTED);
      await outcome.value.close();
    }
    assert.deepEqual(scratch.held(), []);
  });

  it('does not wait for a derivation: one serves every reader', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { passphrase: 'text', readers: 16 });
    await db.exec(`${SCHEMA}; ${ROWS}`);
    const started = process.cpuUsage();
    const gate = folder.gate();
    let open = 0;
    const reads = Array.from({ length: 16 }, () =>
      db.read(async (tx) => {
        open += 1;
        await gate.opened;
        return tx.get(COUNT);
      }),
    );
    await until(() => open === 16, 'sixteen readers');
    const { user, system } = process.cpuUsage(started);
    gate.open();
    assert.deepEqual(await Promise.all(reads), Array(16).fill(COUNTED));
    // A derivation is 256,000 rounds, some 100 ms of a processor: sixteen would be more than a second of it.
    assert.ok(user + system < 1_000_000, `${(user + system) / 1_000} ms of processor`);
  });
});

describe('a new file', () => {
  it('has the auto_vacuum that was asked for, an old one keeps its own, and an encrypted one has none', async () => {
    await using scratch = new Scratch();
    for (const [index, autoVacuum] of (['none', 'full', 'incremental'] as const).entries()) {
      const db = await scratch.open(`${autoVacuum}.db`, { ...PLAIN, autoVacuum });
      await db.exec(SCHEMA);
      assert.deepEqual(await db.get('PRAGMA auto_vacuum'), { auto_vacuum: index });
      await db.backup(scratch.file(`${autoVacuum}-copy.db`));
      await db.backup(scratch.file(`${autoVacuum}-encrypted.db`), { key: KEY });
      await db.close();
      const again = await scratch.open(`${autoVacuum}.db`, { ...PLAIN, autoVacuum: 'none' });
      assert.deepEqual(await again.get('PRAGMA auto_vacuum'), { auto_vacuum: index });
      const copy = await scratch.open(`${autoVacuum}-copy.db`, PLAIN);
      assert.deepEqual(await copy.get('PRAGMA auto_vacuum'), { auto_vacuum: index });
      const encrypted = await scratch.open(`${autoVacuum}-encrypted.db`, { key: KEY });
      assert.deepEqual(await encrypted.get('PRAGMA auto_vacuum'), { auto_vacuum: 0 });
    }
    for (const secret of [{ key: KEY }, { passphrase: 'text' }]) {
      const open = () => Database.open(scratch.file('new.db'), { ...secret, autoVacuum: 'full' });
      await refused(open, OptionError, /^autoVacuum: 'full' cannot be had with a key/);
    }
  });

  it('overwrites what is deleted when that is asked for, and always if it is encrypted', async () => {
    await using scratch = new Scratch();
    const asked = async (name: string, options: OpenOptions) => {
      const db = await scratch.open(name, options);
      return db.get('PRAGMA secure_delete');
    };
    assert.deepEqual(await asked('a.db', PLAIN), { secure_delete: 0 });
    assert.deepEqual(await asked('b.db', { ...PLAIN, secureDelete: true }), { secure_delete: 1 });
    assert.deepEqual(await asked('c.db', { key: KEY }), { secure_delete: 1 });
    await refused(
      () => Database.open(scratch.file('a.db'), { ...PLAIN, secureDelete: true }),
      OptionsConflictError,
      /secureDelete/,
    );
  });

  it('is for its owner alone, with all that is made beside it', { skip: process.platform === 'win32' }, async () => {
    await using scratch = new Scratch();
    const mask = process.umask(0);
    try {
      const db = await scratch.open('deep/er/a.db', { key: KEY });
      await db.exec(SCHEMA);
      await db.backup(scratch.file('deep/copy.db'));
      const modes = ['deep', 'deep/er', 'deep/er/a.db', 'deep/er/a.db-wal', 'deep/er/a.db-shm', 'deep/copy.db'].map(
        (name) => (statSync(scratch.file(name)).mode & 0o777).toString(8),
      );
      assert.deepEqual(modes, ['700', '700', '600', '600', '600', '600']);
    } finally {
      process.umask(mask);
    }
  });
});
