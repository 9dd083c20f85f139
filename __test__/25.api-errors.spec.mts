// Errors: their classes and codes, what they know, and that another copy of the package recognizes them.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import * as sqlflow from 'sqlflow';
import { ConstraintError, type Database, NoRowsError, SqlError, SqlflowError, sql } from 'sqlflow';
import { forEachForm } from './fixtures/forms.mjs';
import { refusal, refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

const CODES: Record<string, string> = {
  AbortError: 'ABORT_ERR',
  AsyncClosureError: 'ASYNC_CLOSURE',
  BusyError: 'BUSY',
  CannotOpenError: 'CANNOT_OPEN',
  CommitOutcomeUnknownError: 'COMMIT_OUTCOME_UNKNOWN',
  ConstraintError: 'CONSTRAINT',
  CorruptDatabaseError: 'CORRUPT_DATABASE',
  DatabaseClosedError: 'DATABASE_CLOSED',
  DatabaseNewerThanCodeError: 'DATABASE_NEWER_THAN_CODE',
  EnginePanicError: 'ENGINE_PANIC',
  FileExistsError: 'FILE_EXISTS',
  NoSuchDatabaseError: 'NO_SUCH_DATABASE',
  PoolKeyError: 'POOL_KEY',
  ForeignCipherFormatError: 'FOREIGN_CIPHER_FORMAT',
  KeyNotAvailableError: 'KEY_NOT_AVAILABLE',
  NotEncryptedError: 'NOT_ENCRYPTED',
  WrongKeyError: 'WRONG_KEY',
  IntegerOutOfRangeError: 'INTEGER_OUT_OF_RANGE',
  InterruptedError: 'INTERRUPTED',
  IoError: 'IO',
  MigrationDivergentError: 'MIGRATION_DIVERGENT',
  MigrationFailedError: 'MIGRATION_FAILED',
  MigrationMissingError: 'MIGRATION_MISSING',
  MigrationSourceError: 'MIGRATION_SOURCE',
  NoRowsError: 'NO_ROWS',
  NotADatabaseError: 'NOT_A_DATABASE',
  OptionError: 'INVALID_OPTION',
  OptionsConflictError: 'OPTIONS_CONFLICT',
  ParameterError: 'PARAMETER',
  ProcessExitingError: 'PROCESS_EXITING',
  ProtocolError: 'PROTOCOL',
  QueueFullError: 'QUEUE_FULL',
  QueueTimeoutError: 'QUEUE_TIMEOUT',
  ReadOnlyDatabaseError: 'READ_ONLY_DATABASE',
  ReadOnlyTransactionError: 'READ_ONLY_TRANSACTION',
  ReentrantAccessError: 'REENTRANT_ACCESS',
  SavepointOpenError: 'SAVEPOINT_OPEN',
  SqlError: 'SQL_ERROR',
  SqlflowError: 'SQLFLOW',
  StatementError: 'STATEMENT',
  StatementInFlightError: 'STATEMENT_IN_FLIGHT',
  StatementNotAllowedError: 'STATEMENT_NOT_ALLOWED',
  TooLargeError: 'TOO_LARGE',
  TransactionAbortedError: 'TRANSACTION_ABORTED',
  TransactionClosedError: 'TRANSACTION_CLOSED',
  TransactionTimeoutError: 'TRANSACTION_TIMEOUT',
  UnfinishedQueryError: 'UNFINISHED_QUERY',
};

type ErrorClass = new (message: string) => SqlflowError;

/** The error classes among the names of a copy of the package. */
function classesOf(copy: object): Map<string, ErrorClass> {
  const classes = new Map<string, ErrorClass>();
  for (const [name, value] of Object.entries(copy)) if (name.endsWith('Error')) classes.set(name, value);
  return classes;
}

/** Another copy of the error classes, as another version in the dependency tree brings it. */
function anotherCopy(): Map<string, ErrorClass> {
  const require = createRequire(import.meta.url);
  const file = require.resolve('../dist/errors.js');
  const loaded = require.cache[file];
  delete require.cache[file];
  try {
    return classesOf(require(file));
  } finally {
    if (loaded === undefined) delete require.cache[file];
    else require.cache[file] = loaded;
  }
}

describe('the classes', () => {
  const classes = classesOf(sqlflow);

  it('have a code each, that does not change', () => {
    assert.deepEqual([...classes.keys()].sort(), Object.keys(CODES).sort());
    for (const [name, Class] of classes) {
      const error = new Class('what happened');
      assert.equal(error.code, CODES[name]);
      assert.equal(error.name, name);
      assert.equal(String(error), `${name}: what happened`);
      assert.match(error.stack ?? '', new RegExp(`^${name}: what happened\n`));
      assert.ok(error instanceof Class && error instanceof SqlflowError && error instanceof Error);
      assert.deepEqual([error.sqliteCode, error.offset, error.sql, error.cause], Array(4).fill(undefined));
    }
  });

  it('are told apart', () => {
    for (const [name, Class] of classes) {
      for (const [other, Other] of classes) {
        assert.equal(new Class('') instanceof Other, other === name || other === 'SqlflowError', `${name} ${other}`);
      }
    }
    for (const value of [null, undefined, 'SqlError', 1, {}, new Error('x'), { code: 'SQL_ERROR', name: 'SqlError' }]) {
      assert.equal((value as unknown) instanceof SqlflowError, false);
      assert.equal((value as unknown) instanceof SqlError, false);
    }
  });

  it('of another copy of the package are recognized, by each other', () => {
    const others = anotherCopy();
    for (const [name, Class] of classes) {
      const Other = others.get(name);
      assert.ok(Other !== undefined && Other !== Class);
      assert.ok(new Other('') instanceof Class && new Class('') instanceof Other, name);
      assert.ok(new Other('') instanceof SqlflowError);
      if (name === 'SqlflowError') continue;
      const Different = name === 'SqlError' ? ConstraintError : SqlError;
      assert.ok(!(new Other('') instanceof Different), name);
    }
  });

  it('can be extended', () => {
    class Mine extends SqlError {}
    assert.ok(new Mine('') instanceof Mine && new Mine('') instanceof SqlError);
    assert.ok(!(new SqlError('') instanceof Mine));
    assert.ok(!(new ConstraintError('') instanceof Mine));
  });
});

describe('an error of a statement', () => {
  async function guarded(scratch: Scratch): Promise<Database> {
    const db = await scratch.open();
    await db.exec(`CREATE TABLE parent (id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 0, c CHECK (c < 10));
      CREATE TABLE child (parent REFERENCES parent, later REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
      CREATE TABLE strict (i INTEGER) STRICT;
      CREATE TRIGGER raising BEFORE DELETE ON parent BEGIN SELECT RAISE(ABORT, 'parents stay'); END;
      INSERT INTO parent (id, u) VALUES (1, 'taken')`);
    return db;
  }

  it('has the code of SQLite, extended', async () => {
    await using scratch = new Scratch();
    const db = await guarded(scratch);
    const cases: [text: string, Class: ErrorClass, sqliteCode: number, message: string | RegExp][] = [
      ['INSERT INTO parent (id) VALUES (1)', ConstraintError, 1555, 'UNIQUE constraint failed: parent.id'],
      ["INSERT INTO parent (u) VALUES ('taken')", ConstraintError, 2067, 'UNIQUE constraint failed: parent.u'],
      ['INSERT INTO parent (n) VALUES (NULL)', ConstraintError, 1299, 'NOT NULL constraint failed: parent.n'],
      ['INSERT INTO parent (c) VALUES (10)', ConstraintError, 275, 'CHECK constraint failed: c < 10'],
      ['INSERT INTO child (parent) VALUES (5)', ConstraintError, 787, 'FOREIGN KEY constraint failed'],
      ["INSERT INTO strict VALUES ('x')", ConstraintError, 3091, 'cannot store TEXT value in INTEGER column strict.i'],
      ['DELETE FROM parent', ConstraintError, 1811, 'parents stay'],
      ["INSERT INTO parent (id) VALUES ('x')", SqlError, 20, 'datatype mismatch'],
      ['SELECT * FROM nowhere', SqlError, 1, 'no such table: nowhere'],
      ['SELECT abs(-9223372036854775808)', SqlError, 1, 'integer overflow'],
      ["SELECT sum(value) OVER (ROWS -1 PRECEDING) FROM json_each('[1]')", SqlError, 1, /frame starting offset/],
    ];
    for (const [text, Class, sqliteCode, message] of cases) {
      const asked = [
        () => db.get(text),
        () => db.run(text),
        () => db.exec(text),
        () => db.write((tx) => tx.all(text)),
        () => db.write((tx) => tx.sync.run(text)),
      ];
      for (const ask of asked) {
        const error = await refused(ask, Class, message, text);
        assert.equal(error.sqliteCode, sqliteCode, text);
        assert.equal(error.sql, text);
      }
    }
  });

  it('that comes with the commit is one of the write, and nothing of it stays', async () => {
    await using scratch = new Scratch();
    const db = await guarded(scratch);
    const insert = 'INSERT INTO child (later) VALUES (5)';
    const commit = await refused(
      () => db.write((tx) => tx.run(insert)),
      ConstraintError,
      'FOREIGN KEY constraint failed',
    );
    assert.equal(commit.sqliteCode, 787);
    const alone = await refused(() => db.run(insert), ConstraintError, /FOREIGN KEY constraint failed/);
    assert.equal(alone.sqliteCode, 787);
    assert.deepEqual(await db.all('SELECT * FROM child'), []);
  });

  it('says where the mistake is, as an index into the string', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    const cases: [text: string, at: string][] = [
      ['SELECT 1 FRM t', 't'],
      ['SELEC 1', 'SELEC'],
      ["SELECT 'é漢😀', nope", 'nope'],
      ['SELECT no_such(1)', 'no_such'],
      ["-- 😀😀\nSELECT 'ü' AS a,\n  missing", 'missing'],
    ];
    for (const [text, at] of cases) {
      await forEachForm(db, async (form) => {
        const error = await refusal(() => form.rows(text), text);
        assert.equal(error.offset, text.lastIndexOf(at), `${form.name}: ${text}`);
      });
      const tagged = await refusal(() => db.get(sql`${sql.raw(text)}`));
      assert.deepEqual([tagged.offset, tagged.sql], [text.lastIndexOf(at), text]);
    }
    const script = "SELECT 'é'; /* 😀 */ SELECT 1; SELECT missing; SELECT 2";
    for (const run of [() => db.exec(script), () => db.write((tx) => tx.sync.exec(script))]) {
      const error = await refused(run, SqlError, 'no such column: missing');
      assert.equal(error.offset, script.indexOf('missing'));
      assert.equal(error.sql, script);
    }
  });

  it('without a place has none', async () => {
    await using scratch = new Scratch();
    const db = await guarded(scratch);
    for (const text of ["INSERT INTO parent (u) VALUES ('taken')", 'SELECT abs(-9223372036854775808)']) {
      assert.equal((await refusal(() => db.run(text))).offset, undefined);
    }
    const none = await refused(() => db.one('SELECT 1 WHERE 0'), NoRowsError, /gave no row/);
    assert.deepEqual([none.sqliteCode, none.offset, none.sql], [undefined, undefined, 'SELECT 1 WHERE 0']);
  });

  it('names the file of its caller in its stack', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    await forEachForm(db, async (form) => {
      const error = await refusal(() => form.rows('SELECT nope'));
      assert.match(error.stack ?? '', /forms\.m[jt]s/, `${form.name}: ${error.stack}`);
      assert.match(error.stack ?? '', /^SqlError: no such column: nope\n/);
    });
  });
});
