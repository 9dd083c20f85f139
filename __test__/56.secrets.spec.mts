// Keys, passphrases and values are nowhere but in the memory of their owners: not in errors, events, warnings or output, and
// not in any file of an encrypted database.

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { format, inspect } from 'node:util';
import { Database, sql } from 'sqlflow';
import { Scratch } from './fixtures/scratch.mjs';
import { fill } from './fixtures/secrets/failing-statements.mjs';
import { type Failure, Failures } from './fixtures/secrets/failures.mjs';
import { Files, STAGES } from './fixtures/secrets/files.mjs';
import {
  BIGINT,
  BLOB,
  COLUMN,
  KEY,
  leaksInBytes,
  leaksInText,
  leaksInValue,
  NEXT_KEY,
  NUMBER,
  PASSPHRASE,
  TABLE,
  TEXT,
  VALUES,
} from './fixtures/secrets/secrets.mjs';
import { collect } from './fixtures/transactions/ways-of-reading.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const FAILURES = fileURLToPath(new URL('./fixtures/secrets/failures.child.mjs', import.meta.url));

/** The search has to find what it looks for, in every notation. */
describe('the search', () => {
  const notations: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
    hexadecimal: (bytes) => Buffer.from(bytes).toString('hex'),
    'hexadecimal in capitals': (bytes) => `x'${Buffer.from(bytes).toString('hex').toUpperCase()}'`,
    base64: (bytes) => `key: ${Buffer.from(bytes).toString('base64')}`,
    base64url: (bytes) => Buffer.from(bytes).toString('base64url'),
    'base64 of more': (bytes) => Buffer.concat([Buffer.from('{'), bytes]).toString('base64'),
    'the bytes as text': (bytes) => Buffer.from(bytes).toString('latin1'),
    'the bytes': (bytes) => bytes,
    'a part of the bytes': (bytes) => bytes.subarray(11, 24),
    'a buffer': (bytes) => Buffer.from(Uint8Array.from(bytes).buffer),
    'the memory': (bytes) => Uint8Array.from(bytes).buffer,
    JSON: (bytes) => JSON.stringify({ bytes }),
    'JSON of a buffer': (bytes) => JSON.stringify(Buffer.from(bytes)),
    'a hidden property': (bytes) => Object.defineProperty({}, Symbol('s'), { value: bytes, enumerable: false }),
    'a cause of a cause': (bytes) => new Error('a', { cause: new Error('b', { cause: { bytes } }) }),
    'a map in an error': (bytes) => Object.assign(new Error('a'), { map: new Map([[1, [bytes]]]) }),
    'a getter': (bytes) => ({
      get key() {
        return bytes;
      },
    }),
  };

  for (const [notation, write] of Object.entries(notations)) {
    it(`finds secrets as ${notation}`, () => {
      assert.deepEqual(leaksInValue(write(KEY)), ['the key']);
      assert.deepEqual(leaksInValue(write(NEXT_KEY)), ['the next key']);
      assert.deepEqual(leaksInValue(write(Uint8Array.from(Buffer.from(PASSPHRASE)))), ['the passphrase']);
    });
  }

  it('finds values, and nothing in what is harmless', () => {
    for (const [value, name] of [
      [TEXT, 'a text'],
      [`"${TEXT.slice(3, 14)}.."`, 'a text'],
      [NUMBER, 'a number'],
      [{ deep: [BIGINT] }, 'a bigint'],
      [new Set([BLOB]), 'a blob'],
    ] as const) {
      assert.deepEqual(leaksInValue(value), [name]);
    }
    assert.deepEqual(leaksInValue(new Error(`no such column: ${COLUMN} of ${TABLE}`)), []);
    assert.deepEqual(leaksInBytes(Buffer.from(`${TABLE} ${TEXT}`)), ['a text', 'the name of a table']);
  });
});

describe('a secret', () => {
  const scratch = new Scratch();
  /** Events and warnings in which something was found. */
  const found: string[] = [];
  const events = { published: 0, warnings: 0 };
  let failures: readonly Failure[] = [];
  let end = () => {};

  before(async () => {
    const listeners = ['sqlflow:transaction', 'sqlflow:statement'].flatMap((name) =>
      ['start', 'end', 'asyncStart', 'asyncEnd', 'error'].map((event) => {
        const listener = (message: unknown) => {
          events.published += 1;
          for (const leak of leaksInValue(message)) found.push(`${leak} at ${event} of ${name}`);
        };
        channel(`tracing:${name}:${event}`).subscribe(listener);
        return () => channel(`tracing:${name}:${event}`).unsubscribe(listener);
      }),
    );
    const warned = (warning: Error) => {
      events.warnings += 1;
      for (const leak of leaksInValue(warning)) found.push(`${leak} in the warning ${warning.message}`);
    };
    process.on('warning', warned);
    end = () => {
      for (const each of listeners) each();
      process.off('warning', warned);
    };
    failures = await Failures.provoke(scratch);
  });

  after(async () => {
    end();
    await scratch[Symbol.asyncDispose]();
  });

  it('is in no error, whatever fails', () => {
    assert.ok(failures.length > 200, `${failures.length} failures`);
    const leaking = failures.flatMap(({ name, error }) => {
      const leaks = new Set([...leaksInValue(error), ...leaksInText(format('%o %s', error, error))]);
      return [...leaks].map((leak) => `${name}: ${leak} in ${error.name}: ${error.message}`);
    });
    assert.deepEqual(leaking, []);
  });

  it('is in no event, of failures or of what succeeds, and in no warning', async () => {
    const db = await scratch.open('traced.db', { passphrase: PASSPHRASE });
    await fill(db);
    const INSERT = `INSERT INTO paths VALUES (?)`;
    const bigint = true;
    for (const value of VALUES) {
      await db.run(INSERT, [value]);
      await db.runMany(INSERT, [[value], [value]]);
      await db.batch([[INSERT, [value]]]);
      await db.batch((tx) => tx.run(INSERT, [value]));
      await db.all('SELECT path FROM paths WHERE path = ?', [value], { bigint });
      await db.one(sql`SELECT ${value} AS value`, undefined, { bigint });
      await collect(db.iterate('SELECT path FROM paths', [], { bigint }));
      await db.write((tx) => tx.sync.query(`${INSERT} RETURNING path`, [value], { bigint }));
      await db.read((tx) => tx.all(`SELECT ${COLUMN} FROM ${TABLE}`, [], { bigint }));
    }
    db.onCommit(() => {
      throw new Error('a listener that fails');
    });
    await db.run(INSERT, [TEXT]);
    await until(() => events.warnings > 0, 'a warning');
    await db.close();
    assert.ok(events.published > 500, `${events.published} events`);
    assert.deepEqual([...new Set(found)], []);
  });

  it('is in nothing that a database shows of itself', async () => {
    for (const [name, options] of Object.entries({
      'shown-key.db': { key: KEY },
      'shown-passphrase.db': { passphrase: PASSPHRASE },
      'shown-provider.db': { key: async () => KEY },
    })) {
      const opening = scratch.open(name, options);
      const shown: unknown[] = [opening];
      const db = await opening;
      await fill(db);
      const running = db.run(`INSERT INTO paths VALUES (?)`, [TEXT]);
      shown.push(db, db.stats(), running, Database, Object.entries(db), db.path, { ...db });
      await running;
      await db.write(async (tx) => {
        const statement = tx.prepare('SELECT ? AS n');
        await statement.all(TEXT);
        shown.push(tx, tx.sync, statement);
        await tx.savepoint((inner) => shown.push(inner));
      });
      shown.push(await db.migrations(), await db.verify());
      const rekeying = db.rekey({ passphrase: PASSPHRASE });
      const backup = db.backup(scratch.file(`${name}.copy`), { key: NEXT_KEY });
      shown.push(db, rekeying, backup);
      await Promise.all([rekeying, backup]);
      await db.close();
      shown.push(db);
      for (const value of shown) assert.deepEqual(leaksInValue(value), [], inspect(value));
    }
  });

  it('is not printed, and SQLCipher prints nothing at all, whatever fails', async () => {
    const { output, messages, code } = await run([]);
    assert.deepEqual(output, { stdout: '', stderr: '' });
    assert.deepEqual(messages, [failures.length]);
    assert.equal(code, 0);
  });

  it('is not printed with an error that nobody has caught', async () => {
    const { output, code } = await run(['uncaught']);
    assert.equal(code, 1);
    assert.equal(output.stdout, '');
    assert.match(output.stderr, /WrongKeyError: /);
    assert.deepEqual(leaksInText(output.stderr), []);
    // The rest is Node's: the place, the stack and the error.
    assert.doesNotMatch(output.stderr, /sqlcipher_|codec|hmac/i);
  });
});

describe('a file', () => {
  it('of an encrypted database has neither keys nor rows nor names in it', async (t) => {
    await using scratch = new Scratch();
    const { leaks, stages } = await Files.of(scratch, 'encrypted');
    assert.deepEqual(stages, STAGES);
    t.diagnostic(`looked into ${Object.keys(leaks).join(', ')}`);
    for (const name of [
      'encrypted.db',
      'encrypted.db-wal',
      'encrypted.db-shm',
      'encrypted.db.copy',
      'encrypted.db.other-copy',
    ]) {
      assert.ok(Object.hasOwn(leaks, name), `${name} was not looked into`);
    }
    assert.deepEqual(
      Object.entries(leaks).filter(([, found]) => found.length > 0),
      [],
    );
  });

  it('of a plain one has rows and names, as the search finds', async () => {
    await using scratch = new Scratch();
    const { leaks, stages } = await Files.of(scratch, 'plain');
    assert.deepEqual(stages, STAGES);
    const all = [
      'a bigint',
      'a blob',
      'a number',
      'a text',
      'the header of SQLite',
      'the name of a column',
      'the name of a table',
    ];
    assert.deepEqual(leaks['plain.db'], all);
    assert.deepEqual(leaks['plain.db.copy'], all);
    assert.ok(leaks['plain.db-wal']?.includes('a text'));
  });
});

/** Runs the program of failures to its end. */
async function run(args: string[]) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child: ChildProcess = fork(FAILURES, args, { execArgv: [], env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const output = { stdout: '', stderr: '' };
  const messages: unknown[] = [];
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  child.on('message', (message) => messages.push(message));
  try {
    const [code] = await within(once(child, 'close'), 'a program in which everything fails');
    return { output, messages, code };
  } finally {
    child.kill('SIGKILL');
  }
}
