// Options: defaults, what is accepted, and what the messages say.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import {
  batchMode,
  batchRows,
  checkCallOptions,
  checkCheckpointMode,
  checkCloseOptions,
  checkIterateOptions,
  checkListenerOptions,
  checkOpenOptions,
  checkPath,
  checkRollbackOptions,
  checkSyncOptions,
  queryMode,
} from '../dist/options.js';

/** The message of the `OptionError` that `work` throws. */
function message(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof Error);
    assert.equal(error.name, 'OptionError');
    assert.equal(Reflect.get(error, 'code'), 'INVALID_OPTION');
    return error.message;
  }
  return assert.fail('nothing was thrown');
}

const open = (options: unknown) => message(() => checkOpenOptions(options, false));

describe('options of open', () => {
  it('have defaults', () => {
    assert.deepEqual(checkOpenOptions(undefined, false), {
      native: {
        create: true,
        readOnly: false,
        memory: false,
        synchronous: 'full',
        readers: 4,
        busyTimeoutMs: 5_000,
        transactionTimeoutMs: 30_000,
        readTimeoutMs: 0,
        queueTimeoutMs: 30_000,
        maxQueued: 10_000,
        logLimitBytes: 67_108_864,
        cipher: undefined,
        secureDelete: false,
        autoVacuum: 'none',
        migrations: 0,
        migrate: 'always',
        migrationHistory: 'sqlflow',
      },
      bigint: false,
      captureStacks: false,
      reentrancy: 'auto',
      querier: undefined,
      migrations: undefined,
      onMigration: undefined,
      keys: undefined,
    });
  });

  it('take undefined for the default', () => {
    assert.deepEqual(checkOpenOptions({ readers: undefined, bigint: undefined }, false), checkOpenOptions({}, false));
  });

  it('must be an object', () => {
    assert.equal(open(null), 'options must be an object, got null');
    assert.equal(open([]), 'options must be an object, got an array');
    assert.equal(open('x'), 'options must be an object, got a string');
  });

  it('answer a misspelling with the likely name', () => {
    assert.equal(open({ busyTimeout: 1 }), 'unknown option "busyTimeout", did you mean "busyTimeoutMs"?');
    assert.equal(open({ readonly: true }), 'unknown option "readonly", did you mean "readOnly"?');
    assert.equal(open({ syncronous: 'full' }), 'unknown option "syncronous", did you mean "synchronous"?');
    assert.equal(open({ bigInt: true }), 'unknown option "bigInt", did you mean "bigint"?');
  });

  it('answer an unknown name with all names', () => {
    assert.match(open({ foo: 1 }), /^unknown option "foo"; known are create, readOnly, synchronous, /);
    assert.match(open({ toString: 1 }), /^unknown option "toString"; known are /);
  });

  it('name the option, the value and what is accepted', () => {
    assert.equal(open({ create: 1 }), 'create must be true or false, got 1');
    assert.equal(open({ synchronous: 'off' }), "synchronous must be 'full' or 'normal', got \"off\"");
    assert.equal(open({ readers: 0 }), 'readers must be an integer from 1 to 256, got 0');
    assert.equal(open({ readers: 1.5 }), 'readers must be an integer from 1 to 256, got 1.5');
    assert.equal(open({ readers: '4' }), 'readers must be an integer from 1 to 256, got "4"');
    assert.equal(open({ busyTimeoutMs: Number.NaN }), 'busyTimeoutMs must be an integer from 0 to 2147483647, got NaN');
    assert.equal(open({ busyTimeoutMs: -1 }), 'busyTimeoutMs must be an integer from 0 to 2147483647, got -1');
    assert.match(open({ maxQueued: null }), /^maxQueued must be an integer from 1 to \d+, got null$/);
    assert.equal(open({ bigint: {} }), 'bigint must be true or false, got an object');
    assert.equal(open({ captureStacks: 'yes' }), 'captureStacks must be true or false, got "yes"');
    assert.equal(open({ reentrancy: true }), "reentrancy must be 'auto', 'refuse' or 'allow', got true");
    assert.equal(open({ readTimeoutMs: -1 }), 'readTimeoutMs must be an integer from 0 to 2147483647, got -1');
    assert.equal(open({ queueTimeoutMs: '1' }), 'queueTimeoutMs must be an integer from 0 to 2147483647, got "1"');
    assert.equal(
      open({ logLimitBytes: 65_535 }),
      'logLimitBytes must be an integer from 65536 to 1099511627776, got 65535',
    );
  });

  it('are taken as they are, at their bounds', () => {
    const bounds = [
      { readTimeoutMs: 0, queueTimeoutMs: 0, logLimitBytes: 65_536 },
      { readTimeoutMs: 2_147_483_647, queueTimeoutMs: 2_147_483_647, logLimitBytes: 2 ** 40 },
    ];
    for (const given of bounds) {
      const { readTimeoutMs, queueTimeoutMs, logLimitBytes } = checkOpenOptions(given, false).native;
      assert.deepEqual({ readTimeoutMs, queueTimeoutMs, logLimitBytes }, given);
    }
    const { captureStacks, reentrancy } = checkOpenOptions({ captureStacks: true, reentrancy: 'allow' }, false);
    assert.deepEqual([captureStacks, reentrancy], [true, 'allow']);
  });

  it('take a querier as one function or as two', () => {
    const both = () => 1;
    const pair = { read: () => 1, write: () => 2 };
    assert.equal(checkOpenOptions({ querier: both }, false).querier, both);
    assert.deepEqual(checkOpenOptions({ querier: pair }, false).querier, pair);
    assert.equal(open({ querier: 1 }), 'querier must be a function or { read, write } of two functions, got a number');
    assert.equal(
      open({ querier: { read: both } }),
      'querier must be a function or { read, write } of two functions, got an object',
    );
    assert.match(
      open({ querier: { ...pair, wirte: both } }),
      /unknown part of querier "wirte", did you mean "write"\?/,
    );
  });

  it('take migrations as a folder, a list or an object, as they are', () => {
    const sources = [
      './migrations',
      [],
      [{ name: '1_a', sql: '' }],
      {},
      { '1_a.sql': 'SELECT 1' },
      Object.create(null),
    ];
    for (const source of [...sources, runInNewContext("({ '1_a.sql': 'SELECT 1' })"), runInNewContext('[]')]) {
      const { migrations, native } = checkOpenOptions({ migrations: source }, false);
      assert.equal(migrations, source);
      assert.equal(native.migrations, 0);
    }
    const others = checkOpenOptions({ migrate: 'create', migrationHistory: 'goose' }, true).native;
    assert.deepEqual([others.migrate, others.migrationHistory], ['create', 'goose']);
    const onMigration = () => {};
    assert.equal(checkOpenOptions({ onMigration }, false).onMigration, onMigration);
    checkOpenOptions({ readOnly: true, migrations: [] }, false);
  });

  it('name what is wrong with those of migrations', () => {
    const kinds =
      'migrations must be the path of a folder, an array of { name, sql } or an object of file names to SQL, got ';
    assert.equal(open({ migrations: 1 }), `${kinds}a number`);
    assert.equal(open({ migrations: null }), `${kinds}null`);
    assert.equal(open({ migrations: () => [] }), `${kinds}a function`);
    // None of these has properties of its own, and would be no migrations.
    assert.equal(open({ migrations: new Map([['1_a.sql', '']]) }), `${kinds}an object`);
    assert.equal(open({ migrations: Promise.resolve([]) }), `${kinds}an object`);
    assert.equal(
      open({ migrations: new URL('file:///migrations') }),
      `${kinds}an object of class URL; use fileURLToPath`,
    );
    assert.equal(
      open({ migrations: '' }),
      "migrations must not be empty; './migrations' is a folder, [] is no migrations",
    );
    assert.equal(open({ migrations: 'a\0b' }), 'migrations must not contain NUL, got "a\\u0000b"');
    assert.equal(open({ migrate: true }), "migrate must be 'always' or 'create', got true");
    assert.equal(open({ migrationHistory: 'Goose' }), "migrationHistory must be 'sqlflow' or 'goose', got \"Goose\"");
    assert.equal(open({ onMigration: {} }), 'onMigration must be a function, got an object');
    assert.equal(open({ migration: [] }), 'unknown option "migration", did you mean "migrations"?');
    assert.equal(open({ onMigrations: [] }), 'unknown option "onMigrations", did you mean "onMigration"?');
  });

  it('refuse a temporary database that is never written', () => {
    assert.match(
      message(() => checkOpenOptions({ readOnly: true }, true)),
      /^readOnly: true makes no sense/,
    );
  });
});

describe('the path', () => {
  it('is non-empty text without NUL', () => {
    assert.equal(checkPath('a b/ü.db'), 'a b/ü.db');
    assert.equal(
      message(() => checkPath(1)),
      'path must be a string, got a number',
    );
    assert.equal(
      message(() => checkPath(undefined)),
      'path must be a string, got undefined',
    );
    assert.match(
      message(() => checkPath('')),
      /^path must not be empty; ':memory:'/,
    );
    assert.equal(
      message(() => checkPath('a\0b')),
      'path must not contain NUL, got "a\\u0000b"',
    );
    assert.match(
      message(() => checkPath('\udc00')),
      /lone surrogate/,
    );
  });
});

describe('options of a statement', () => {
  it('start from those of the database', () => {
    assert.equal(queryMode(undefined, 1), 1);
    assert.equal(queryMode({}, 1), 1);
    assert.equal(queryMode({ bigint: false }, 1), 0);
    assert.equal(queryMode({ bigint: true }, 0), 1);
    assert.equal(queryMode({ rowMode: 'array' }, 1), 257);
    assert.equal(queryMode({ rowMode: 'object' }, 0), 0);
  });

  it('are checked', () => {
    const wrong = { rowMode: 'map' } as object;
    assert.equal(
      message(() => queryMode(wrong, 0)),
      "rowMode must be 'object' or 'array', got \"map\"",
    );
    const misspelled: object = { rowmode: 'array' };
    assert.equal(
      message(() => queryMode(misspelled, 0)),
      'unknown option "rowmode", did you mean "rowMode"?',
    );
    assert.match(
      message(() => queryMode({ batchRows: 5 } as object, 0)),
      /^unknown option "batchRows"; known are bigint/,
    );
  });

  it('may say when it is to end', () => {
    const { signal } = new AbortController();
    assert.equal(queryMode({ signal, timeoutMs: 1, queueTimeoutMs: 0 }, 1), 1);
    assert.equal(
      message(() => queryMode({ signal: 1 } as object, 0)),
      'signal must be an AbortSignal, got 1',
    );
  });

  it('on this thread may not: nothing could end it', () => {
    checkSyncOptions({ rowMode: 'array', signal: undefined });
    assert.equal(
      message(() => checkSyncOptions({ signal: AbortSignal.abort() })),
      'signal has no effect on this thread; leave it out',
    );
    assert.equal(
      message(() => checkSyncOptions({ timeoutMs: 5 })),
      'timeoutMs has no effect on this thread; leave it out',
    );
  });

  it('may say how many rows a batch has', () => {
    assert.equal(batchRows(undefined), 0);
    assert.equal(batchRows({ batchRows: 10 }), 10);
    assert.equal(batchMode({ batchRows: 10, bigint: true }, 0), 1);
    assert.match(
      message(() => batchRows({ batchRows: 0 })),
      /^batchRows must be an integer from 1 to/,
    );
  });
});

describe('options of a call', () => {
  const wrong = (options: unknown) => message(() => checkCallOptions(options));

  it('may be left out, each of them', () => {
    checkCallOptions(undefined);
    checkCallOptions({});
    checkCallOptions({ signal: undefined, timeoutMs: undefined, queueTimeoutMs: undefined });
    checkCallOptions({ signal: AbortSignal.abort(), timeoutMs: 0, queueTimeoutMs: 2_147_483_647 });
  });

  it('take a signal by its shape, of whichever realm', () => {
    const { signal } = new AbortController();
    checkCallOptions({ signal });
    checkCallOptions({
      signal: runInNewContext('({ aborted: false, addEventListener() {}, removeEventListener() {} })'),
    });
    checkCallOptions({ signal: { aborted: true, reason: 1, addEventListener() {}, removeEventListener() {} } });
    for (const [given, shown] of [
      [null, 'null'],
      [true, 'true'],
      [{}, 'an object'],
      [new AbortController(), 'an object'],
      [{ aborted: 'no', addEventListener() {} }, 'an object'],
      [{ aborted: false, addEventListener: true }, 'an object'],
      [() => {}, 'a function'],
    ]) {
      assert.equal(wrong({ signal: given }), `signal must be an AbortSignal, got ${shown}`);
    }
  });

  it('are checked', () => {
    assert.equal(wrong(null), 'options must be an object, got null');
    assert.equal(wrong({ timeout: 1 }), 'unknown option "timeout", did you mean "timeoutMs"?');
    assert.equal(wrong({ Signal: 1 }), 'unknown option "Signal", did you mean "signal"?');
    assert.equal(wrong({ rowMode: 'array' }), 'unknown option "rowMode"; known are signal, timeoutMs, queueTimeoutMs');
    assert.equal(wrong({ timeoutMs: 1.5 }), 'timeoutMs must be an integer from 0 to 2147483647, got 1.5');
    assert.equal(
      wrong({ queueTimeoutMs: Number.POSITIVE_INFINITY }),
      'queueTimeoutMs must be an integer from 0 to 2147483647, got Infinity',
    );
  });
});

describe('options of db.iterate', () => {
  it('are taken apart: what the cursor needs, what its transaction needs, and how long it may be idle', () => {
    const { signal } = new AbortController();
    assert.deepEqual(checkIterateOptions(undefined), { request: undefined, call: undefined, idleTimeoutMs: 60_000 });
    assert.deepEqual(checkIterateOptions({ rowMode: 'array', batchRows: 2, signal, timeoutMs: 5, idleTimeoutMs: 0 }), {
      request: { rowMode: 'array', batchRows: 2 },
      call: { signal, timeoutMs: 5, queueTimeoutMs: undefined },
      idleTimeoutMs: 0,
    });
  });

  it('are checked', () => {
    const wrong = (options: unknown) => message(() => checkIterateOptions(options));
    assert.equal(wrong({ idleTimeout: 1 }), 'unknown option "idleTimeout", did you mean "idleTimeoutMs"?');
    assert.equal(wrong({ idleTimeoutMs: -1 }), 'idleTimeoutMs must be an integer from 0 to 2147483647, got -1');
    assert.equal(wrong({ batchRows: 0 }), 'batchRows must be an integer from 1 to 10000, got 0');
    assert.equal(wrong({ signal: 'x' }), 'signal must be an AbortSignal, got "x"');
  });
});

describe('what else is given to a database', () => {
  it('is checked: options of close, of onCommit, of rollback, and the mode of a checkpoint', () => {
    assert.equal(checkCloseOptions(undefined), undefined);
    assert.equal(checkCloseOptions({}), undefined);
    assert.equal(checkCloseOptions({ timeoutMs: 0 }), 0);
    assert.equal(
      message(() => checkCloseOptions({ timeout: 5 })),
      'unknown option "timeout", did you mean "timeoutMs"?',
    );
    assert.equal(
      message(() => checkCloseOptions({ timeoutMs: 'x' })),
      'timeoutMs must be an integer from 0 to 2147483647, got "x"',
    );
    assert.equal(checkListenerOptions(undefined), false);
    assert.equal(checkListenerOptions({ rowIds: true }), true);
    assert.equal(
      message(() => checkListenerOptions({ rowids: true })),
      'unknown option "rowids", did you mean "rowIds"?',
    );
    const onMigration = () => {};
    assert.deepEqual(checkRollbackOptions({ to: 0 }), { to: 0, onMigration: undefined });
    assert.deepEqual(checkRollbackOptions({ to: 20_240_131_120_000, onMigration }), {
      to: 20_240_131_120_000,
      onMigration,
    });
    for (const [given, says] of [
      [undefined, 'rollback needs { to: version }, got undefined'],
      [3, 'rollback needs { to: version }, got a number'],
      [{}, 'rollback needs { to: version }; 0 undoes all migrations'],
      [{ to: -1 }, 'to must be an integer from 0 to 9007199254740991, got -1'],
      [{ to: '3' }, 'to must be an integer from 0 to 9007199254740991, got "3"'],
      [{ to: 1, version: 1 }, 'unknown option "version"; known are to, onMigration'],
      [{ to: 1, onMigration: 1 }, 'onMigration must be a function, got 1'],
    ] as const) {
      assert.equal(
        message(() => checkRollbackOptions(given)),
        says,
      );
    }
    checkCheckpointMode('truncate');
    assert.equal(
      message(() => checkCheckpointMode('FULL')),
      "mode must be 'passive', 'full', 'restart' or 'truncate', got \"FULL\"",
    );
  });
});
