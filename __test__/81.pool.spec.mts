// A pool: what a database has, with the key first; its options; what is done to all; existing folders.

import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  AbortError,
  CannotOpenError,
  Database,
  DatabaseClosedError,
  FileExistsError,
  KeyNotAvailableError,
  MigrationFailedError,
  MigrationSourceError,
  NoRowsError,
  NoSuchDatabaseError,
  NotADatabaseError,
  OptionError,
  OptionsConflictError,
  Pool,
  PoolKeyError,
  ReadOnlyDatabaseError,
  ReentrantAccessError,
  StatementError,
  sql,
  type WriteTransaction,
  WrongKeyError,
} from 'sqlflow';
import { testPool } from 'sqlflow/testing';
import { goFiles, noGoFiles } from './fixtures/migrating.mjs';
import { hold, INSERT, KINDS, keyOf, logOf, MIGRATIONS, PoolScratch } from './fixtures/pool/pools.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

for (const { kind, options } of KINDS) {
  describe(`a pool, ${kind}`, () => {
    it('has a database for each key, with the migrations applied, and keeps what it holds', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      await Promise.all(['alice', 'Bob', '../carol'].map((key) => pool.run(key, INSERT, [key])));
      assert.deepEqual(await logOf(pool, 'alice'), ['alice']);
      assert.deepEqual(await logOf(pool, '../carol'), ['../carol']);
      await pool.close();
      assert.deepEqual(scratch.folder.held(), []);
      const names = ['%2e%2e%2fcarol.db', '%42ob.db', 'alice.db'];
      assert.deepEqual(readdirSync(scratch.folder.path).sort(), names);
      if (process.platform !== 'win32') {
        for (const name of names) assert.equal(statSync(scratch.folder.file(name)).mode & 0o777, 0o600);
      }
      const isPlain = readFileSync(scratch.folder.file('alice.db')).subarray(0, 15).toString() === 'SQLite format 3';
      assert.equal(isPlain, kind === 'plain');

      const again = await scratch.open(options);
      assert.deepEqual(await logOf(again, 'Bob'), ['Bob']);
      const keys: string[] = [];
      for await (const key of again.keys()) keys.push(key);
      assert.deepEqual(keys.sort(), ['../carol', 'Bob', 'alice']);
      assert.deepEqual(await Promise.all(['alice', 'bob', 'Bob'].map((key) => again.has(key))), [true, false, true]);
    });

    it('has the methods of a database, with the key first', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      assert.deepEqual(await pool.run('k', INSERT, ['one']), { changes: 1, lastInsertRowid: 1 });
      assert.deepEqual(await pool.runMany('k', INSERT, [['two'], ['three']]), { changes: 2, lastInsertRowid: 3 });
      await pool.exec('k', 'CREATE TABLE more (a)');
      assert.equal(await pool.write('k', async (tx) => (await tx.run(INSERT, ['four'])).lastInsertRowid), 4);
      assert.equal(await pool.batch('k', (tx) => tx.run(INSERT, ['five']).changes), 1);
      assert.equal(
        (
          await pool.batch('k', [
            [INSERT, ['six']],
            [INSERT, ['seven']],
          ])
        ).length,
        2,
      );
      assert.deepEqual(await pool.get('k', 'SELECT who FROM log WHERE id = ?', [2]), { who: 'two' });
      assert.equal(await pool.get('k', 'SELECT who FROM log WHERE id = 99'), undefined);
      assert.deepEqual(await pool.one('k', sql`SELECT who FROM log WHERE id = ${3}`), { who: 'three' });
      assert.deepEqual(await pool.all('k', 'SELECT id FROM log WHERE id < 3', undefined, { rowMode: 'array' }), [
        [1],
        [2],
      ]);
      assert.deepEqual((await pool.query('k', 'SELECT id FROM log LIMIT 1')).columns, ['id']);
      assert.deepEqual(await pool.read('k', (tx) => tx.sync.get('SELECT count(*) AS n FROM log')), { n: 7 });
      const rows: unknown[] = [];
      for await (const { id } of pool.iterate('k', 'SELECT id FROM log', undefined, { batchRows: 2 })) rows.push(id);
      assert.deepEqual(rows, [1, 2, 3, 4, 5, 6, 7]);
      await assert.rejects(pool.one('k', 'SELECT 1 WHERE 0'), NoRowsError);
      const thrown = new Error('mine');
      await assert.rejects(
        pool.write('k', async (tx) => {
          await tx.run(INSERT, ['lost']);
          throw thrown;
        }),
        (error) => error === thrown,
      );
      assert.equal((await logOf(pool, 'k')).length, 7);
      assert.equal(pool.stats().inUse, 0);
    });

    it('leases a database for a scope, whose own it is', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open({ ...options, maxOpen: 1 });
      let leaked: Database | undefined;
      const commits: string[][] = [];
      const total = await pool.use('a', async (db) => {
        leaked = db;
        assert.ok(db instanceof Database);
        db.onCommit(({ tables }) => commits.push([...tables]));
        await db.run(INSERT, ['x']);
        // Others come and go meanwhile: this one stays.
        for (const key of ['b', 'c', 'd']) await pool.run(key, INSERT, [key]);
        assert.equal((await db.verify()).ok, true);
        // Accepted, and waited for by the end of the scope.
        void db.run(INSERT, ['y']);
        return (await db.one('SELECT count(*) AS n FROM log'))['n'];
      });
      assert.ok(total === 1 || total === 2);
      assert.deepEqual(await logOf(pool, 'a'), ['x', 'y']);
      assert.deepEqual(commits[0], ['log']);
      await assert.rejects(async () => leaked?.get('SELECT 1'), DatabaseClosedError);
      const thrown = new Error('mine');
      await assert.rejects(
        pool.use('a', () => {
          throw thrown;
        }),
        (error) => error === thrown,
      );
      assert.equal(pool.stats().uses, 0);
    });

    it('copies all of them', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open({ ...options, maxOpen: 2 });
      for (const key of ['a', 'b', 'C', 'd']) await pool.run(key, INSERT, [key]);
      const target = scratch.folder.file('copies');
      const seen: number[] = [];
      const copies = await pool.backupAll(target, { concurrency: 2, onProgress: ({ done }) => seen.push(done) });
      assert.deepEqual(
        copies.map(({ key, error }) => [key, error]),
        ['C', 'a', 'b', 'd'].map((key) => [key, undefined]),
      );
      assert.deepEqual(seen, [1, 2, 3, 4]);
      for (const { key, path } of copies) {
        await using copy = await Database.open(path, kind === 'plain' ? { key: undefined } : { key: keyOf(key) });
        assert.deepEqual(await copy.all('SELECT who FROM log'), [{ who: key }]);
      }
      const again = await pool.backupAll(target);
      assert.ok(again.every(({ error }) => error instanceof FileExistsError));
      assert.ok((await pool.backupAll(target, { overwrite: true })).every(({ error }) => error === undefined));
      // One that goes meanwhile stays away.
      const gone = pool.backupAll(scratch.folder.file('less'), {
        concurrency: 1,
        onProgress: ({ done }) => done === 1 && void pool.delete('d'),
      });
      const { key, error } = (await gone).at(-1) ?? assert.fail();
      assert.equal(key, 'd');
      assert.equal(await pool.has('d'), false);
      assert.ok(error === undefined || error instanceof NoSuchDatabaseError, String(error));
      await refused(() => pool.backupAll(scratch.folder.path), OptionError, /another folder than that of the pool/);
      await refused(() => pool.backupAll(target, { signal: AbortSignal.abort() }), AbortError, /ended by its signal/);
    });

    it('migrates all of them, those that are open as the others, and goes on after a failure', async () => {
      await using scratch = new PoolScratch();
      const first = await scratch.open(options);
      for (const key of ['a', 'b', 'c']) await first.run(key, INSERT, [key]);
      await first.exec('b', 'CREATE TABLE more (in_the_way)');
      await first.close();
      const migrations = [...MIGRATIONS, { name: '002_more.sql', sql: 'CREATE TABLE more (a)' }];
      const pool = await scratch.open({ ...options, migrations, migrate: 'create', maxOpen: 2 });
      const release = await hold(pool, 'a');
      const seen: string[] = [];
      const results = await pool.migrateAll({
        onProgress: ({ done, total, result }) => seen.push(`${done}/${total} ${result.key}`),
      });
      assert.deepEqual(
        results.map(({ key, migrations: run }) => [key, run.map(({ version }) => version)]),
        [
          ['a', [2]],
          ['b', []],
          ['c', [2]],
        ],
      );
      assert.deepEqual(
        results.map(({ error }) => error instanceof MigrationFailedError),
        [false, true, false],
      );
      assert.equal(seen.length, 3);
      await release();
      assert.deepEqual(await pool.all('a', 'SELECT * FROM more'), []);
      assert.deepEqual(
        (await pool.migrateAll({ concurrency: 1 })).map(({ migrations: run }) => run.length),
        [0, 0, 0],
      );
      await refused(() => pool.migrateAll({ signal: AbortSignal.abort('why') }), AbortError, /ended by its signal/);
    });
  });
}

describe('the options of a pool', () => {
  for (const [what, options, says] of [
    ['unknown', { maxopen: 3 }, 'unknown option "maxopen", did you mean "maxOpen"?'],
    ['maxOpen', { maxOpen: 0 }, 'maxOpen must be an integer from 1 to 1000000, got 0'],
    ['maxOpenBytes', { maxOpenBytes: -1 }, /maxOpenBytes must be an integer from 0/],
    ['inactivityTimeoutMs', { inactivityTimeoutMs: 'x' }, /inactivityTimeoutMs must be an integer from 0/],
    ['create', { create: 'yes' }, 'create must be true or false, got "yes"'],
    ['keyProvider', { keyProvider: new Uint8Array(32) }, 'keyProvider must be a function, got an object'],
    [
      'two keys',
      { keyProvider: keyOf, key: new Uint8Array(32) },
      'keyProvider and key are both given: a file has one of them',
    ],
    [
      'key and passphrase',
      { keyProvider: keyOf, passphrase: 'x' },
      'keyProvider and passphrase are both given: a file has one of them',
    ],
    ['fileName', { fileName: (key: string) => key }, 'fileName must be { encode, decode }, got a function'],
    ['fileName.encode', { fileName: {} }, 'fileName needs encode, a function'],
    ['fileName.decode', { fileName: { encode: String, decode: 1 } }, 'decode must be a function, got 1'],
    ['onOpen', { onOpen: true }, 'onOpen must be a function, got true'],
    ['readers', { readers: 0 }, /readers must be an integer/],
  ] as const) {
    it(`are checked: ${what}`, async () => {
      await using scratch = new Scratch();
      await refused(() => Pool.open(scratch.file('none'), options as object), OptionError, says);
      assert.equal(existsSync(scratch.file('none')), false);
    });
  }

  it('have the migrations checked before anything is made', async () => {
    await using scratch = new Scratch();
    const twice = [
      { name: '001_a.sql', sql: 'SELECT 1' },
      { name: '001_b.sql', sql: 'SELECT 1' },
    ];
    await refused(() => Pool.open(scratch.file('none'), { migrations: twice }), MigrationSourceError, /001/);
    assert.equal(existsSync(scratch.file('none')), false);
  });

  it('may be to read only', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.run('a', INSERT, ['x']);
    await pool.close();
    const reader = await scratch.open({ readOnly: true });
    assert.deepEqual(await logOf(reader, 'a'), ['x']);
    await refused(() => reader.get('b', 'SELECT 1'), NoSuchDatabaseError, /b\.db/);
    await refused(() => reader.delete('a'), OptionError, 'delete: the pool was opened with readOnly: true');
    await assert.rejects(reader.run('a', INSERT, ['y']), ReadOnlyDatabaseError);
    await reader.close();
    await refused(() => Pool.open(scratch.folder.file('none'), { readOnly: true }), CannotOpenError, /does not exist/);
  });

  it('are about a folder', async () => {
    await using scratch = new Scratch();
    await refused(() => Pool.open(':memory:'), OptionError, /testPool makes a temporary one/);
    await refused(() => Pool.open(''), OptionError, /must not be empty/);
    writeFileSync(scratch.file('file'), '');
    await refused(() => Pool.open(scratch.file('file')), CannotOpenError, /it is no folder/);
    await refused(
      () => Pool.open(scratch.file('none'), { create: false }),
      CannotOpenError,
      /the folder does not exist/,
    );
    const made = await Pool.open(scratch.file('a/b'));
    if (process.platform !== 'win32') assert.equal(statSync(scratch.file('a/b')).mode & 0o777, 0o700);
    await made.close();
  });

  it('of pools on one folder agree in what they share', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 3 });
    await refused(
      () => scratch.open({ maxOpen: 4 }),
      OptionsConflictError,
      /has a pool in this process with maxOpen 3, and now one is opened with maxOpen 4/,
    );
    await pool.close();
    const other = await scratch.open({ maxOpen: 4, inactivityTimeoutMs: 0 });
    await refused(() => scratch.open({ maxOpen: 4 }), OptionsConflictError, /inactivityTimeoutMs 0/);
    await other.close();
  });

  it('decide whether a file is made', async () => {
    await using scratch = new PoolScratch();
    const never = await scratch.open({ create: false });
    await refused(
      () => never.get('nobody', 'SELECT 1'),
      NoSuchDatabaseError,
      /^there is no database .*nobody\.db: the file does not exist$/,
    );
    assert.deepEqual(readdirSync(scratch.folder.path), []);
    assert.equal(never.stats().failed, 1);
    await never.close();
    const asked: string[] = [];
    const some = await scratch.open({
      create: (key) => {
        asked.push(key);
        return key.startsWith('user-');
      },
    });
    await some.run('user-1', INSERT, ['x']);
    await refused(() => some.get('guest', 'SELECT 1'), NoSuchDatabaseError, /guest\.db/);
    await some.get('user-1', 'SELECT 1');
    assert.deepEqual(asked, ['user-1', 'guest']);
    await some.close();
    const later = await scratch.open({ create: (async () => true) as unknown as () => boolean });
    await refused(() => later.get('guest', 'SELECT 1'), OptionError, 'create must give true or false, gave an object');
    await later.close();
    assert.deepEqual(readdirSync(scratch.folder.path), ['user-1.db']);
  });

  it('make closures get what the querier makes', async () => {
    await using scratch = new Scratch();
    class Log {
      readonly #tx: WriteTransaction;
      constructor(tx: WriteTransaction) {
        this.#tx = tx;
      }
      add(who: string) {
        return this.#tx.run(INSERT, [who]);
      }
      count() {
        return this.#tx.one<{ n: bigint }>('SELECT count(*) AS n FROM log');
      }
    }
    await using pool = await Pool.open(scratch.path, {
      migrations: MIGRATIONS,
      querier: (tx) => new Log(tx),
      bigint: true,
    });
    await pool.write('a', (log) => log.add('x'));
    assert.deepEqual(await pool.read('a', (log) => log.count()), { n: 1n });
    assert.deepEqual(await pool.use('a', (db) => db.read((log) => log.count())), { n: 1n });
  });

  it('refuse bad calls before anything is opened', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    const bad = pool as unknown as Record<string, (...values: unknown[]) => Promise<unknown>>;
    for (const method of ['read', 'write', 'use']) {
      await refused(() => bad[method]?.('k', 'no function'), OptionError, `${method} needs a function, got a string`);
    }
    for (const method of ['read', 'use', 'has', 'evict', 'delete']) {
      await refused(() => bad[method]?.('', () => {}), PoolKeyError, /must not be empty/);
    }
    for (const method of ['get', 'one', 'all', 'query', 'run', 'exec']) {
      await refused(() => bad[method]?.('k', 42), StatementError, /must be a string or sql/);
      await refused(() => bad[method]?.('', 'SELECT 1'), PoolKeyError, /must not be empty/);
    }
    const signal = AbortSignal.abort('why');
    const aborted = [
      () => pool.get('k', 'SELECT 1', undefined, { signal }),
      () => pool.run('k', 'SELECT 1', undefined, { signal }),
      () => pool.read('k', () => 1, { signal }),
      () => pool.use('k', () => 1, { signal }),
      () => pool.iterate('k', 'SELECT 1', undefined, { signal }).next(),
    ];
    for (const call of aborted) await refused(call, AbortError, 'the operation was aborted before it started');
    await refused(() => bad['get']?.('k', 'SELECT 1', [], { sginal: 1 }), OptionError, /did you mean "signal"/);
    await refused(() => bad['run']?.('k', 'SELECT 1', [], { timeoutMs: -1 }), OptionError, /timeoutMs/);
    await refused(() => bad['use']?.('k', () => 1, { timeoutMs: 1 }), OptionError, /unknown option "timeoutMs"/);
    assert.deepEqual(readdirSync(scratch.folder.path), []);
    assert.deepEqual(scratch.events, []);
    assert.equal(pool.stats().uses, 0);
  });
});

describe('the encryption keys of a pool', () => {
  it('are asked for once per open, and those of others open nothing', async () => {
    await using scratch = new PoolScratch();
    const asked: string[] = [];
    const pool = await scratch.open({
      keyProvider: async (key) => {
        asked.push(key);
        return keyOf(key);
      },
    });
    await Promise.all(Array.from({ length: 20 }, () => pool.run('a', INSERT, ['x'])));
    await pool.run('b', INSERT, ['y']);
    assert.deepEqual(asked, ['a', 'b']);
    await pool.evict('a');
    await logOf(pool, 'a');
    assert.deepEqual(asked, ['a', 'b', 'a']);
    await pool.close();
    const wrong = await scratch.open({ keyProvider: () => keyOf('b') });
    await refused(() => logOf(wrong, 'a'), WrongKeyError, /cannot be decrypted/);
    assert.deepEqual(await logOf(wrong, 'b'), ['y']);
    await wrong.close();
    const none = await scratch.open();
    await refused(() => logOf(none, 'a'), NotADatabaseError, /encrypted/);
  });

  it('that are not there fail the call alone, and nothing is remembered', async () => {
    await using scratch = new PoolScratch();
    let available = false;
    const broken = new Error('the key store is down');
    const pool = await scratch.open({
      keyProvider: (key) => {
        if (key === 'broken') throw broken;
        return available ? keyOf(key) : null;
      },
    });
    await refused(() => pool.get('a', 'SELECT 1'), KeyNotAvailableError, 'the key provider has no key for "a"');
    const failed = await refused(
      () => pool.get('broken', 'SELECT 1'),
      KeyNotAvailableError,
      /the key provider failed for "broken"/,
    );
    assert.equal(failed.cause, broken);
    assert.deepEqual(readdirSync(scratch.folder.path), []);
    available = true;
    await pool.run('a', INSERT, ['x']);
    assert.equal(pool.stats().uses, 0);
  });

  it('of a wrong size are told with the key they are for', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ keyProvider: () => new Uint8Array(16) });
    await refused(
      () => pool.get('a\n', 'SELECT 1'),
      OptionError,
      'what the key provider gives for "a\\n" must have 32 bytes, got 16',
    );
    assert.equal(pool.stats().failed, 1);
  });

  it('may be one for all', async () => {
    await using scratch = new PoolScratch();
    const key = keyOf('all');
    const pool = await scratch.open({ key });
    for (const each of ['a', 'b']) await pool.run(each, INSERT, [each]);
    await pool.evict('a');
    assert.deepEqual(await logOf(pool, 'a'), ['a']);
    // It was copied.
    assert.deepEqual(key, keyOf('all'));
  });

  it('may be changed, one database at a time', async () => {
    await using scratch = new PoolScratch();
    const changed = new Set<string>();
    const pool = await scratch.open({ keyProvider: (key) => keyOf(changed.has(key) ? `new ${key}` : key) });
    await pool.run('a', INSERT, ['x']);
    await pool.use('a', async (db) => {
      await db.rekey(keyOf('new a'));
      changed.add('a');
    });
    assert.deepEqual(await logOf(pool, 'a'), ['x']);
    await pool.evict('a');
    assert.deepEqual(await logOf(pool, 'a'), ['x']);
  });
});

describe('a folder that exists', () => {
  it('of a Go service opens by its file names, with the history of goose', { skip: noGoFiles }, async () => {
    await using scratch = new Scratch();
    cpSync(join(goFiles, 'pool-plain'), scratch.path, { recursive: true });
    const manifest = JSON.parse(readFileSync(join(goFiles, 'manifest.json'), 'utf8'));
    await using pool = await Pool.open(scratch.path, {
      create: false,
      fileName: {
        encode: (key) => `${key}.db`,
        decode: (name) => (name.endsWith('.db') ? name.slice(0, -3) : undefined),
      },
      migrations: [
        { name: '001_kv.sql', sql: '-- +goose Up\nCREATE TABLE kv (never);' },
        { name: '002_updated_at.sql', sql: '-- +goose Up\nCREATE TABLE kv (never);' },
        { name: '003_seen.sql', sql: '-- +goose Up\nALTER TABLE kv ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;' },
      ],
    });
    const keys: string[] = [];
    for await (const key of pool.keys()) keys.push(key);
    assert.deepEqual(keys.sort(), ['alice', 'bob', 'carol']);
    for (const key of keys) {
      assert.deepEqual(
        await pool.get(key, 'SELECT count(*) AS n, sum(seen) AS seen FROM kv'),
        { n: 23, seen: 0 },
        JSON.stringify(manifest).slice(0, 80),
      );
      assert.deepEqual(
        await pool.all(key, 'SELECT version_id FROM goose_db_version ORDER BY id'),
        [0, 1, 2].map((version_id) => ({ version_id })),
      );
    }
    assert.deepEqual(
      (await pool.migrateAll()).map(({ key, migrations, error }) => [key, migrations.length, error]),
      keys.map((key) => [key, 0, undefined]),
    );
  });

  it('is never left by a symbolic link, of a file or of a folder on the way', async () => {
    await using scratch = new PoolScratch();
    await using elsewhere = new Scratch();
    const fileName = { encode: (key: string) => `${key}.db` };
    const pool = await scratch.open({ fileName });
    await Database.open(elsewhere.file('secret.db'), { key: undefined }).then((db) => db.close());
    symlinkSync(elsewhere.file('secret.db'), scratch.folder.file('linked.db'));
    symlinkSync(elsewhere.path, scratch.folder.file('sub'));
    await refused(
      () => pool.get('linked', 'SELECT 1'),
      CannotOpenError,
      /linked\.db is a symbolic link, and the files of a pool are in its folder/,
    );
    await refused(() => pool.get('sub/new', 'SELECT 1'), CannotOpenError, /sub is a symbolic link/);
    for (const name of ['new.db-wal', 'new.db-journal']) writeFileSync(elsewhere.file(name), 'not ours');
    for (const key of ['sub/new', 'sub/secret']) {
      await refused(() => pool.delete(key), CannotOpenError, /sub is a symbolic link/);
      assert.equal(await pool.has(key), false);
    }
    assert.deepEqual(readdirSync(elsewhere.path).sort(), ['new.db-journal', 'new.db-wal', 'secret.db']);
  });

  it('with two names for one file serves one of them, also when both are opened at once', async () => {
    await using scratch = new PoolScratch();
    const same = await scratch.open({ fileName: { encode: () => 'same.db' } });
    const both = await Promise.allSettled(['a', 'b'].map((key) => same.run(key, INSERT, [key])));
    assert.deepEqual(
      both.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    await same.exec('a', 'DELETE FROM log');
    await same.run('a', INSERT, ['a']);
    await refused(
      () => same.run('b', INSERT, ['b']),
      PoolKeyError,
      'fileName.encode gives "same.db" for the key "b" and for another key, which has it open',
    );
    assert.deepEqual(await logOf(same, 'a'), ['a']);
  });

  it('may have sub-folders, which are made', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({
      fileName: { encode: (key) => `${key.slice(0, 1)}/${key}.db`, decode: (name) => /^.\/(.+)\.db$/.exec(name)?.[1] },
    });
    for (const key of ['alice', 'amy', 'bob']) await pool.run(key, INSERT, [key]);
    await pool.evictAll();
    assert.deepEqual(readdirSync(scratch.folder.file('a')).sort(), ['alice.db', 'amy.db']);
    const keys: string[] = [];
    for await (const key of pool.keys()) keys.push(key);
    assert.deepEqual(keys.sort(), ['alice', 'amy', 'bob']);
    assert.equal(await pool.delete('amy'), true);
    assert.equal(await pool.has('amy'), false);
  });

  it('with a file that is no database says so for that one only', async () => {
    await using scratch = new PoolScratch();
    mkdirSync(scratch.folder.file('folder.db'));
    writeFileSync(scratch.folder.file('broken.db'), 'no database at all, and long enough to be none'.repeat(100));
    const pool = await scratch.open();
    await refused(() => logOf(pool, 'broken'), NotADatabaseError, /broken\.db/);
    await refused(() => logOf(pool, 'folder'), CannotOpenError, /it is a folder/);
    await pool.run('fine', INSERT, ['x']);
  });
});

describe('a pool inside its own closures', () => {
  it('refuses what would wait for them', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ reentrancy: 'refuse' });
    await pool.write('a', async (tx) => {
      await tx.run(INSERT, ['x']);
      for (const call of [
        () => pool.get('a', 'SELECT 1'),
        () => pool.evict('a'),
        () => pool.delete('a'),
        () => pool.evictAll(),
        () => pool.drain(),
        () => pool.close(),
        () => pool.migrateAll(),
      ]) {
        await assert.rejects(async () => call(), ReentrantAccessError, String(call));
      }
      // Another tenant is another database.
      await pool.run('b', INSERT, ['y']);
      assert.equal(await pool.evict('b'), true);
    });
    await pool.use('a', async (db) => {
      await db.run(INSERT, ['z']);
      await pool.run('a', INSERT, ['zz']);
      await refused(
        () => pool.evict('a'),
        ReentrantAccessError,
        'pool.evict was called inside pool.use of a database that it would wait for; call it afterwards',
      );
      await assert.rejects(async () => pool.close(), ReentrantAccessError);
    });
    assert.deepEqual(await logOf(pool, 'a'), ['x', 'z', 'zz']);
  });
});

describe('a test pool', () => {
  it('is in a private folder that goes with it', async () => {
    const pool = await testPool({ migrations: MIGRATIONS });
    const { path } = pool;
    await pool.run('a', INSERT, ['x']);
    assert.ok(existsSync(join(path, 'a.db')));
    await pool.close();
    assert.equal(existsSync(path), false);
    await refused(() => testPool({ readOnly: true } as object), OptionError, /makes no sense/);
  });
});
