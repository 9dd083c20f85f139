// Files of older versions of SQLCipher, and of a Go service: opened as they are, and made current ones.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Database, ForeignCipherFormatError, WrongKeyError } from 'sqlflow';
import {
  KEY,
  makeOurs,
  makeTheirs,
  OTHER_KEY,
  ours,
  read,
  readByThem,
  refuses,
  theirs,
  verified,
  WAYS,
} from './fixtures/compatibility/both-sides.mjs';
import { change, changeWithFts5, comparable, FILL, FILL_WITH_FTS5, LINES } from './fixtures/compatibility/content.mjs';
import { noSqlcipher3, sqlcipher3 } from './fixtures/compatibility/sqlcipher-3.mjs';
import { noSqlcipher4, Sqlcipher4 } from './fixtures/compatibility/sqlcipher-4.mjs';
import { goFiles, noGoFiles } from './fixtures/migrating.mjs';
import { digest } from './fixtures/scratch.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { within } from './fixtures/transactions/within.mjs';

describe('cipherCompatibility', { skip: noSqlcipher4 }, () => {
  for (const version of [1, 2, 3] as const) {
    for (const [way, secret] of Object.entries(WAYS)) {
      it(`${version} opens files of that version, and a backup makes current ones of them: ${way}`, async (t) => {
        const folder = new Folder(t);
        const made = await makeTheirs(t, folder, secret, version);
        const before = digest(readFileSync(folder.file()));
        await assert.rejects(folder.open('test.db', secret), WrongKeyError);
        assert.equal(digest(readFileSync(folder.file())), before, 'a refused open has changed the file');

        const db = await folder.open('test.db', { ...secret, cipherCompatibility: version });
        assert.deepEqual(await read(ours(db)), made);
        await verified(db);
        await db.exec(changeWithFts5('us'));
        const changed = await read(ours(db));
        await db.close();

        const other = await Sqlcipher4.open(t, folder.file(), secret, version);
        assert.deepEqual(await read(theirs(other)), changed);
        assert.deepEqual(await other.all('PRAGMA integrity_check'), [['ok']]);
        // The first version has no checksums to look at.
        if (version > 1) assert.deepEqual(await other.all('PRAGMA cipher_integrity_check'), []);
        await other.exec(changeWithFts5('them'));
        const last = await read(theirs(other));
        await other.close();

        const old = await folder.open('test.db', { ...secret, cipherCompatibility: version });
        await old.backup(folder.file('current.db'), { key: OTHER_KEY });
        assert.deepEqual(await read(ours(old)), last, 'the backup has changed its source');
        await old.close();
        await readByThem(t, folder.file('current.db'), { key: OTHER_KEY }, last);
        const current = await folder.open('current.db', { key: OTHER_KEY });
        assert.deepEqual(await read(ours(current)), last);
        await verified(current);
      });
    }

    it(`${version} makes files of that version`, async (t) => {
      const folder = new Folder(t);
      const made = await makeOurs(folder, { key: KEY, cipherCompatibility: version });
      await assert.rejects(folder.open('test.db', { key: KEY }), WrongKeyError);
      await refuses(await Sqlcipher4.open(t, folder.file(), { key: KEY }));
      const other = await Sqlcipher4.open(t, folder.file(), { key: KEY }, version);
      assert.deepEqual(await read(theirs(other)), made);
    });

    it(`${version} reads a log that was left behind`, async (t) => {
      const folder = new Folder(t);
      const other = await Sqlcipher4.open(t, folder.file(), { key: KEY }, version);
      assert.deepEqual(await other.lines('PRAGMA journal_mode = WAL'), ['wal']);
      await other.exec('PRAGMA wal_autocheckpoint = 0');
      await other.exec(FILL_WITH_FTS5);
      const made = await read(theirs(other));
      await other.kill();
      assert.ok(statSync(folder.file('test.db-wal')).size > 4_096, 'nothing was left behind');
      const db = await folder.open('test.db', { key: KEY, cipherCompatibility: version });
      assert.deepEqual(await read(ours(db)), made);
    });
  }

  it('4 is the default', async (t) => {
    const folder = new Folder(t);
    const made = await makeOurs(folder, { key: KEY, cipherCompatibility: 4 });
    await readByThem(t, folder.file(), { key: KEY }, made);
    const db = await folder.open('test.db', { key: KEY });
    assert.deepEqual(await read(ours(db)), made);
  });
});

describe('SQLCipher 3 itself', { skip: noSqlcipher3 }, () => {
  for (const [way, secret] of Object.entries(WAYS)) {
    it(`made a file that we open, and reads what we write there: ${way}`, async (t) => {
      const folder = new Folder(t);
      const made = comparable(sqlcipher3(folder.file(), secret, `${FILL}\n${LINES};`));
      assert.ok(made.length > 1_000, `${made.length} lines`);
      await assert.rejects(folder.open('test.db', secret), WrongKeyError);

      const db = await folder.open('test.db', { ...secret, cipherCompatibility: 3 });
      assert.deepEqual(comparable(await ours(db)(LINES)), made);
      await verified(db);
      await db.exec(change('us'));
      const changed = comparable(await ours(db)(LINES));
      await db.close();

      const checked = sqlcipher3(folder.file(), secret, `PRAGMA integrity_check;\n${change('them')}\n${LINES};`);
      assert.equal(checked[0], 'ok');
      const again = await folder.open('test.db', { ...secret, cipherCompatibility: 3 });
      const last = comparable(await ours(again)(LINES));
      assert.deepEqual(comparable(checked.slice(1)), last);
      assert.notDeepEqual(last, changed);

      await again.backup(folder.file('current.db'), { key: OTHER_KEY });
      const current = await folder.open('current.db', { key: OTHER_KEY });
      assert.deepEqual(comparable(await ours(current)(LINES)), last);
      await verified(current);
    });

    it(`opens what we make for it: ${way}`, async (t) => {
      const folder = new Folder(t);
      const made = await makeOurs(folder, { ...secret, cipherCompatibility: 3 }, FILL);
      assert.deepEqual(comparable(sqlcipher3(folder.file(), secret, `${LINES};`)), made);
    });
  }

  it('is refused the files of the current version', async (t) => {
    const folder = new Folder(t);
    await makeOurs(folder, { key: KEY }, FILL);
    assert.throws(() => sqlcipher3(folder.file(), { key: KEY }, `${LINES};`), /file is encrypted or is not a database/);
  });
});

describe('an encrypted database that a Go service has made', { skip: noGoFiles }, () => {
  interface Expected {
    readonly kv_rows: number;
    readonly kv_values_sha256: string;
    readonly goose_db_version: number[][];
  }

  const key =
    noGoFiles === false ? Buffer.from(readFileSync(join(goFiles, 'encrypted.key.txt'), 'utf8').trim(), 'hex') : KEY;

  /** Fails unless the database has what the manifest says of the file `name`. */
  async function asExpected(db: Database, name: string): Promise<void> {
    const manifest: Record<string, Expected> = JSON.parse(readFileSync(join(goFiles, 'manifest.json'), 'utf8'));
    const expected = manifest[name] ?? assert.fail(`the manifest says nothing of ${name}`);
    const values = (await db.all('SELECT val FROM kv ORDER BY key')).map(({ val }) => val);
    assert.equal(values.length, expected.kv_rows);
    assert.equal(createHash('sha256').update(values.join('|')).digest('hex'), expected.kv_values_sha256);
    const history = 'SELECT id, version_id, is_applied FROM goose_db_version ORDER BY id';
    assert.deepEqual(await db.all(history, [], { rowMode: 'array' }), expected.goose_db_version);
    await verified(db);
  }

  it('is opened as it is, when it is a file of SQLCipher 4', async (t) => {
    const folder = new Folder(t);
    copyFileSync(join(goFiles, 'encrypted-legacy4.db'), folder.file());
    await assert.rejects(folder.open('test.db', { key: OTHER_KEY }), WrongKeyError);
    const db = await folder.open('test.db', { key });
    await asExpected(db, 'encrypted-legacy4.db');
    await db.run('INSERT INTO kv(key, val) VALUES (?, ?)', ['ours', 'written']);
    await db.close();
    const again = await folder.open('test.db', { key });
    assert.deepEqual(await again.get("SELECT val FROM kv WHERE key = 'ours'"), { val: 'written' });
  });

  it('is refused when it is one of SQLite3 Multiple Ciphers, until it has been converted', async (t) => {
    const folder = new Folder(t);
    copyFileSync(join(goFiles, 'encrypted.db'), folder.file());
    const before = digest(readFileSync(folder.file()));
    for (let n = 0; n < 2; n++) {
      await assert.rejects(folder.open('test.db', { key }), ForeignCipherFormatError);
      assert.equal(digest(readFileSync(folder.file())), before, 'a refused open has changed the file');
    }
    await within(Database.convert(folder.file(), { key }), 'a conversion');
    for (let n = 0; n < 2; n++) {
      const db = await folder.open('test.db', { key });
      await asExpected(db, 'encrypted.db');
      await db.close();
    }
    if (noSqlcipher4 !== false) return t.diagnostic(`not read by another build: ${noSqlcipher4}`);
    const other = await Sqlcipher4.open(t, folder.file(), { key });
    await other.check();
    assert.equal((await other.all('SELECT key FROM kv')).length > 0, true);
    assert.equal(existsSync(folder.file('test.db-journal')), false);
  });
});
