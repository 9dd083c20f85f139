// What cannot be opened: each a typed error that names the thing, and nothing half open is left behind.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  CannotOpenError,
  CorruptDatabaseError,
  Database,
  NotADatabaseError,
  type OpenOptions,
  OptionError,
  OptionsConflictError,
  ReadOnlyDatabaseError,
} from 'sqlflow';
import { refused } from './fixtures/refusal.mjs';
import { digest, Scratch } from './fixtures/scratch.mjs';
import type { Outcome } from './fixtures/unprivileged.mjs';

const posix = process.platform === 'win32' ? 'modes and special files of POSIX' : false;

/** Options as a caller without types may give them. */
const loose = (options: unknown) => options as OpenOptions;

/** The bytes of a closed database of several pages; its table `t` has 100 rows. */
async function sound(scratch: Scratch): Promise<Buffer> {
  const db = await scratch.open('sound.db', { key: undefined });
  await db.exec(`CREATE TABLE t (a INTEGER PRIMARY KEY, b);
    INSERT INTO t SELECT value, hex(zeroblob(300)) FROM json_each('[${Array.from({ length: 100 }, (_, n) => n)}]')`);
  await db.close();
  const bytes = readFileSync(scratch.file('sound.db'));
  unlinkSync(scratch.file('sound.db'));
  return bytes;
}

/** The file can be opened, written, read and closed: nothing of an earlier try is in the way. */
async function opens(path: string): Promise<void> {
  const db = await Database.open(path);
  await db.exec('CREATE TABLE IF NOT EXISTS proof (a); INSERT INTO proof VALUES (1)');
  assert.deepEqual(await db.get('SELECT a FROM proof'), { a: 1 });
  await db.close();
  assert.ok(!existsSync(`${path}-wal`) && !existsSync(`${path}-shm`));
}

describe('the path', () => {
  it('must be text that can name a file', async () => {
    await using scratch = new Scratch();
    const open = (path: unknown) => () => Database.open(path as string);
    await refused(open(''), OptionError, "path must not be empty; ':memory:' opens a private temporary database");
    await refused(open(undefined), OptionError, 'path must be a string, got undefined');
    await refused(open(Buffer.from('a.db')), OptionError, 'path must be a string, got an object');
    const cut = `${scratch.path}/cut.db\0.txt`;
    await refused(open(cut), OptionError, `path must not contain NUL, got ${JSON.stringify(cut)}`);
    await refused(open(`${scratch.path}/\ud800`), OptionError, /lone surrogate/);
    assert.deepEqual(scratch.contents(), {});
  });

  it('is a name and never a URI', async () => {
    await using scratch = new Scratch();
    const before = process.cwd();
    process.chdir(scratch.path);
    try {
      for (const name of ['file:x?mode=memory', 'file::memory:?cache=shared', 'a%20b#c?d.db', "qu'ote ü😀.db"]) {
        const db = await Database.open(name);
        await db.exec('CREATE TABLE t (a)');
        await db.close();
        assert.ok(statSync(join(scratch.path, name)).size > 0, name);
      }
    } finally {
      process.chdir(before);
    }
  });
});

describe('a missing folder', () => {
  it('is made with all above it, for the owner only', { skip: posix }, async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a/b/c.db');
    assert.equal(db.path, scratch.file('a/b/c.db'));
    const mode = (name: string) => (statSync(scratch.file(name)).mode & 0o777).toString(8);
    assert.deepEqual([mode('a'), mode('a/b'), mode('a/b/c.db')], ['700', '700', '600']);
  });

  it('stays missing with create: false and with readOnly', async () => {
    await using scratch = new Scratch();
    for (const options of [{ create: false }, { readOnly: true }]) {
      const path = scratch.file('a/b/c.db');
      await refused(
        () => Database.open(path, options),
        CannotOpenError,
        `${path} cannot be opened: its folder does not exist`,
      );
      const file = scratch.file('c.db');
      await refused(
        () => Database.open(file, options),
        CannotOpenError,
        `${file} cannot be opened: the file does not exist`,
      );
    }
    assert.deepEqual(scratch.contents(), {});
    await opens(scratch.file('a/b/c.db'));
  });
});

describe('what is no regular file', () => {
  it('is refused: a folder', async () => {
    await using scratch = new Scratch();
    const path = scratch.file('folder');
    mkdirSync(path);
    await refused(() => Database.open(path), CannotOpenError, `${path} cannot be opened: it is a folder`);
    await refused(() => Database.open('/'), CannotOpenError, /^\/ cannot be opened: it is a folder$/);
    assert.deepEqual(Object.keys(scratch.contents()), ['folder']);
    rmSync(path, { recursive: true });
    await opens(path);
  });

  it('is refused: a file where a folder is needed', async () => {
    await using scratch = new Scratch();
    writeFileSync(scratch.file('file'), 'x');
    for (const name of ['file/x.db', 'file/y/x.db']) {
      const path = scratch.file(name);
      const error = await refused(() => Database.open(path), CannotOpenError, / cannot be opened: /);
      assert.ok(error.message.startsWith(path));
    }
    assert.deepEqual(scratch.contents(), { file: digest(Buffer.from('x')) });
  });

  it('is refused: a link, even to a database', { skip: posix }, async () => {
    await using scratch = new Scratch();
    await opens(scratch.file('target.db'));
    symlinkSync(scratch.file('target.db'), scratch.file('link.db'));
    symlinkSync(scratch.file('nowhere'), scratch.file('dangling.db'));
    for (const name of ['link.db', 'dangling.db']) {
      await refused(() => scratch.open(name), CannotOpenError, /it is a symbolic link; give the path it points to$/);
    }
    assert.ok(!existsSync(scratch.file('nowhere')));
    await opens(scratch.file('target.db'));
  });

  it('is refused: a device and a pipe, without waiting for them', { skip: posix }, async () => {
    await using scratch = new Scratch();
    execFileSync('mkfifo', [scratch.file('pipe')]);
    for (const path of ['/dev/null', scratch.file('pipe')]) {
      await refused(() => Database.open(path), CannotOpenError, `${path} cannot be opened: it is not a regular file`);
    }
  });
});

describe('a file that is no database', () => {
  const files = {
    'a line of text': Buffer.from('hello\n'),
    'two bytes': Buffer.from('hi'),
    'a long text': Buffer.from('All work and no play makes Jack a dull boy.\n'.repeat(500)),
    zeros: Buffer.alloc(8_192),
    garbage: Buffer.from(Uint8Array.from({ length: 8_192 }, (_, n) => (n * 131 + (n >> 3)) & 0xff)),
    'the header alone, of another format': Buffer.from(`SQLite format 2\0${'\0'.repeat(84)}`),
  };
  for (const [name, bytes] of Object.entries(files)) {
    it(`is refused and left as it is: ${name}`, async () => {
      await using scratch = new Scratch();
      const path = scratch.file('file');
      writeFileSync(path, bytes);
      const words = `${path} is not a database: it is no SQLite file, or it is encrypted and is to be opened with its key or passphrase`;
      for (const options of [{}, { readOnly: true }, { create: false }]) {
        const error = await refused(() => Database.open(path, options), NotADatabaseError, words);
        assert.equal(error.sqliteCode, 26);
      }
      await Promise.all([1, 2, 3].map(() => refused(() => Database.open(path), NotADatabaseError, words)));
      assert.deepEqual(scratch.contents(), { file: digest(bytes) });
      assert.deepEqual(scratch.held(), []);
      writeFileSync(path, await sound(scratch));
      await opens(path);
    });
  }

  it('is not the empty file: it becomes a database', async () => {
    await using scratch = new Scratch();
    writeFileSync(scratch.file('empty.db'), '');
    await opens(scratch.file('empty.db'));
  });
});

describe('a damaged database', () => {
  for (const readOnly of [false, true]) {
    it(`is refused when it was cut short (readOnly: ${readOnly})`, async () => {
      await using scratch = new Scratch();
      const bytes = await sound(scratch);
      const path = scratch.file('cut.db');
      for (const length of [40, 100, 4_096, Math.floor(bytes.length / 8_192) * 4_096]) {
        const rest = bytes.subarray(0, length);
        writeFileSync(path, rest);
        const error = await refused(() => Database.open(path, { readOnly }), CorruptDatabaseError, /malformed/);
        assert.ok(error.message.startsWith(path), `${length}: ${error.message}`);
        assert.equal(error.sqliteCode, 11);
        assert.deepEqual(scratch.held(), []);
        const { 'cut.db': file, ...beside } = scratch.contents();
        assert.equal(file, digest(rest), `cut to ${length}`);
        // A connection that may not write can make a log and its index, but not remove them: https://sqlite.org/wal.html#readonly
        if (!readOnly) assert.deepEqual(beside, {}, `cut to ${length}`);
      }
      writeFileSync(path, bytes);
      await opens(path);
    });
  }

  it('gives what is sound, and an error for the rest', async () => {
    await using scratch = new Scratch();
    const bytes = await sound(scratch);
    writeFileSync(scratch.file('holed.db'), bytes.fill(0x5a, 4_096));
    const db = await scratch.open('holed.db');
    assert.deepEqual(await db.all('SELECT name FROM sqlite_schema'), [{ name: 't' }]);
    const error = await refused(() => db.all('SELECT * FROM t'), CorruptDatabaseError, /malformed/);
    assert.equal(error.sql, 'SELECT * FROM t');
    await refused(() => db.run('INSERT INTO t VALUES (1000, 1)'), CorruptDatabaseError, /malformed/);
    assert.deepEqual(await db.get('SELECT 1 AS one'), { one: 1 });
    await db.close();
    assert.deepEqual(scratch.held(), []);
  });
});

describe('a file the user may not use', { skip: posix }, () => {
  const program = fileURLToPath(new URL('./fixtures/unprivileged.mjs', import.meta.url));

  /** Runs opens as a user whom modes bind. */
  function asNobody(scratch: Scratch, asked: [name: string, options: OpenOptions][]): Outcome[] {
    chmodSync(scratch.path, 0o777);
    const paths = asked.map(([name, options]) => [scratch.file(name), options]);
    const child = spawnSync(process.execPath, [program, JSON.stringify(paths)], { encoding: 'utf8', timeout: 20_000 });
    assert.equal(child.status, 0, child.stderr);
    return JSON.parse(child.stdout);
  }

  /** A closed database with the given mode; `journal: 'delete'` as other programs leave theirs. */
  async function file(scratch: Scratch, name: string, mode: number, journal: 'wal' | 'delete' = 'wal'): Promise<void> {
    const db = await scratch.open(name, { key: undefined });
    await db.exec('CREATE TABLE t (a)');
    await db.close();
    if (journal === 'delete') {
      // Bytes 18 and 19 of the header tell the journal mode: https://sqlite.org/fileformat2.html#file_format_version_numbers
      const bytes = readFileSync(scratch.file(name));
      writeFileSync(scratch.file(name), bytes.fill(1, 18, 20));
    }
    chmodSync(scratch.file(name), mode);
  }

  it('is refused when it cannot be read', async () => {
    await using scratch = new Scratch();
    await file(scratch, 'secret.db', 0o000);
    const outcomes = asNobody(scratch, [
      ['secret.db', {}],
      ['secret.db', { readOnly: true }],
    ]);
    for (const outcome of outcomes) {
      assert.equal(outcome.open, 'CannotOpenError');
      assert.ok(outcome.message?.startsWith(scratch.file('secret.db')), outcome.message);
    }
    assert.deepEqual(Object.keys(scratch.contents()), ['secret.db']);
  });

  for (const journal of ['delete', 'wal'] as const) {
    it(`is refused when it cannot be written (journal mode ${journal}), and can be read with readOnly`, async () => {
      await using scratch = new Scratch();
      await file(scratch, 'fixed.db', 0o444, journal);
      const [writing] = asNobody(scratch, [['fixed.db', {}]]);
      assert.equal(writing?.open, 'ReadOnlyDatabaseError', JSON.stringify(writing));
      assert.ok(writing.message?.includes(scratch.file('fixed.db')), writing.message);
      assert.deepEqual(Object.keys(scratch.contents()), ['fixed.db']);
      const [reading] = asNobody(scratch, [['fixed.db', { readOnly: true }]]);
      assert.deepEqual(reading, { open: '', read: '', write: 'ReadOnlyDatabaseError' });
    });
  }

  it('is refused when nothing can be made beside it', async () => {
    await using scratch = new Scratch();
    await file(scratch, 'fixed/plain.db', 0o666, 'delete');
    await file(scratch, 'fixed/wal.db', 0o666, 'wal');
    chmodSync(scratch.file('fixed'), 0o555);
    const [plain, plainReading, wal, fresh, freshFolder] = asNobody(scratch, [
      ['fixed/plain.db', {}],
      ['fixed/plain.db', { readOnly: true }],
      ['fixed/wal.db', {}],
      ['fixed/fresh.db', {}],
      ['fixed/folder/fresh.db', {}],
    ]);
    assert.equal(plain?.open, 'ReadOnlyDatabaseError');
    assert.deepEqual(plainReading, { open: '', read: '', write: 'ReadOnlyDatabaseError' });
    assert.equal(wal?.open, 'ReadOnlyDatabaseError');
    assert.equal(fresh?.open, 'CannotOpenError');
    assert.match(fresh?.message ?? '', /fresh\.db cannot be created: Permission denied/);
    assert.equal(freshFolder?.open, 'CannotOpenError');
    assert.match(freshFolder?.message ?? '', /its folder cannot be created: Permission denied/);
    assert.deepEqual(Object.keys(scratch.contents()), ['fixed', 'fixed/plain.db', 'fixed/wal.db']);
    chmodSync(scratch.file('fixed'), 0o777);
    await opens(scratch.file('fixed/plain.db'));
    await opens(scratch.file('fixed/wal.db'));
  });

  it('is refused when its folder cannot be entered', async () => {
    await using scratch = new Scratch();
    await file(scratch, 'closed/a.db', 0o666);
    chmodSync(dirname(scratch.file('closed/a.db')), 0o000);
    const [outcome] = asNobody(scratch, [['closed/a.db', {}]]);
    assert.equal(outcome?.open, 'CannotOpenError');
    assert.ok(outcome?.message?.startsWith(scratch.file('closed/a.db')), outcome?.message);
  });
});

describe('a database opened readOnly', () => {
  it('refuses everything that writes, and changes nothing', async () => {
    await using scratch = new Scratch();
    writeFileSync(scratch.file('a.db'), await sound(scratch));
    const before = scratch.contents()['a.db'];
    const db = await scratch.open('a.db', { readOnly: true });
    const insert = "INSERT INTO t VALUES (1000, 'x') RETURNING a";
    const writes = [
      () => db.run(insert),
      () => db.exec(insert),
      () => db.get(insert),
      () => db.all(insert),
      () => db.query(insert),
      () => db.write(() => assert.fail('the closure ran')),
    ];
    for (const write of writes) await refused(write, ReadOnlyDatabaseError, /readOnly: true/);
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM t'), { n: 100 });
    await db.close();
    assert.equal(scratch.contents()['a.db'], before);
  });
});

describe('options', () => {
  const wrong: [options: unknown, message: string | RegExp][] = [
    [null, 'options must be an object, got null'],
    [['create'], 'options must be an object, got an array'],
    ['readOnly', 'options must be an object, got a string'],
    [{ readonly: true }, 'unknown option "readonly", did you mean "readOnly"?'],
    [{ busyTimeout: 10 }, 'unknown option "busyTimeout", did you mean "busyTimeoutMs"?'],
    [{ bigInt: true }, 'unknown option "bigInt", did you mean "bigint"?'],
    [{ reader: 2 }, 'unknown option "reader", did you mean "readers"?'],
    [{ sync: 'full' }, 'unknown option "sync", did you mean "synchronous"?'],
    [{ wal: true }, /^unknown option "wal"; known are create, readOnly, synchronous, readers, /],
    [{ create: 'no' }, 'create must be true or false, got "no"'],
    [{ readOnly: 0 }, 'readOnly must be true or false, got 0'],
    [{ synchronous: 'FULL' }, "synchronous must be 'full' or 'normal', got \"FULL\""],
    [{ synchronous: 'off' }, "synchronous must be 'full' or 'normal', got \"off\""],
    [{ readers: 0 }, 'readers must be an integer from 1 to 256, got 0'],
    [{ readers: 257 }, 'readers must be an integer from 1 to 256, got 257'],
    [{ readers: 4n }, 'readers must be an integer from 1 to 256, got a bigint'],
    [{ busyTimeoutMs: -1 }, 'busyTimeoutMs must be an integer from 0 to 2147483647, got -1'],
    [{ busyTimeoutMs: 2 ** 31 }, 'busyTimeoutMs must be an integer from 0 to 2147483647, got 2147483648'],
    [
      { busyTimeoutMs: Number.POSITIVE_INFINITY },
      /^busyTimeoutMs must be an integer from 0 to 2147483647, got Infinity/,
    ],
    [{ transactionTimeoutMs: -1 }, /^transactionTimeoutMs must be an integer from [01] to 2147483647, got -1$/],
    [{ transactionTimeoutMs: 1.5 }, /^transactionTimeoutMs must be an integer from [01] to 2147483647, got 1\.5$/],
    [{ maxQueued: 0 }, /^maxQueued must be an integer from 1 to \d+, got 0$/],
    [{ maxQueued: '10' }, /^maxQueued must be an integer from 1 to \d+, got "10"$/],
    [{ bigint: null }, 'bigint must be true or false, got null'],
    [{ querier: 'tx' }, 'querier must be a function or { read, write } of two functions, got a string'],
    [{ querier: { read() {} } }, 'querier must be a function or { read, write } of two functions, got an object'],
  ];

  it('are refused before anything is made', async () => {
    await using scratch = new Scratch();
    const path = scratch.file('folder/a.db');
    for (const [options, message] of wrong) {
      await refused(() => Database.open(path, loose(options)), OptionError, message);
    }
    await refused(() => Database.open(':memory:', { readOnly: true }), OptionError, /^readOnly: true makes no sense/);
    assert.deepEqual(scratch.contents(), {});
    await opens(path);
  });

  it('that the engine has one of must agree, and both values are named', async () => {
    await using scratch = new Scratch();
    const first = await scratch.open('a.db', { synchronous: 'normal', readers: 2, maxQueued: 7 });
    const agreed = { synchronous: 'normal', readers: 2, maxQueued: 7 } as const;
    const conflicts: [OpenOptions, string][] = [
      [{ ...agreed, synchronous: 'full' }, "synchronous 'normal', and is now opened with synchronous 'full'"],
      [{ ...agreed, readers: 3 }, 'readers 2, and is now opened with readers 3'],
      [{ ...agreed, maxQueued: 8 }, 'maxQueued 7, and is now opened with maxQueued 8'],
    ];
    for (const [options, words] of conflicts) {
      const error = await refused(() => scratch.open('a.db', options), OptionsConflictError, /already open/);
      assert.ok(error.message.startsWith(scratch.file('a.db')) && error.message.includes(words), error.message);
    }
    const second = await scratch.open('a.db', {
      ...agreed,
      busyTimeoutMs: 1,
      transactionTimeoutMs: 1_000,
      bigint: true,
    });
    await first.run('CREATE TABLE t (a)');
    assert.deepEqual(await second.get('SELECT count(*) AS n FROM t'), { n: 0n });
    await first.close();
    await second.close();
    const other = await scratch.open('a.db', { readers: 3 });
    assert.deepEqual(await other.get('SELECT count(*) AS n FROM t'), { n: 0 });
  });
});
