// Files in common with another build of SQLCipher 4: both open, read, write and check what the other has made.

import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { WrongKeyError } from 'sqlflow';
import {
  KEY,
  makeOurs,
  makeTheirs,
  OTHER_KEY,
  ours,
  PASSPHRASE,
  read,
  readByThem,
  refuses,
  theirs,
  verified,
  WAYS,
} from './fixtures/compatibility/both-sides.mjs';
import { changeWithFts5, FILL_WITH_FTS5 } from './fixtures/compatibility/content.mjs';
import type { Secret } from './fixtures/compatibility/secret.mjs';
import { noSqlcipher4, Sqlcipher4 } from './fixtures/compatibility/sqlcipher-4.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';

const PASSPHRASES: Readonly<Record<string, string>> = {
  'one character': 'x',
  'quotes and comments': `it's "so" -- '' /* \\ */ ; x'00' %s $1 ?`,
  'spaces at its ends': '  two words\t',
  'letters beyond ASCII': 'Straße, ñandú, 日本語, 𝄞',
  'a letter that is composed': 'caf\u00e9',
  'the same letter decomposed': 'cafe\u0301',
  'as many hexadecimal digits as a key': '0123456789abcdef'.repeat(4),
  'more than a block of the hash': 'a long one, '.repeat(40),
};

describe('another build of SQLCipher 4', { skip: noSqlcipher4 }, () => {
  for (const [way, secret] of Object.entries(WAYS)) {
    it(`opens what we make, and we what it writes there: ${way}`, async (t) => {
      const folder = new Folder(t);
      const made = await makeOurs(folder, secret);
      const other = await Sqlcipher4.open(t, folder.file(), secret);
      assert.deepEqual(await read(theirs(other)), made);
      await other.check();
      await other.exec(changeWithFts5('them'));
      const changed = await read(theirs(other));
      await other.close();

      const db = await folder.open('test.db', secret);
      assert.deepEqual(await read(ours(db)), changed);
      await verified(db);
      await db.exec(changeWithFts5('us again'));
      const changedAgain = await read(ours(db));
      await db.close();
      await readByThem(t, folder.file(), secret, changedAgain);
    });

    it(`makes what we open, and opens what we write there: ${way}`, async (t) => {
      const folder = new Folder(t);
      const made = await makeTheirs(t, folder, secret);
      const db = await folder.open('test.db', secret);
      assert.deepEqual(await read(ours(db)), made);
      await verified(db);
      await db.exec(changeWithFts5('us'));
      const changed = await read(ours(db));
      assert.notDeepEqual(changed, made);
      await db.close();
      await readByThem(t, folder.file(), secret, changed);
    });

    it(`reads the log that we left behind: ${way}`, async (t) => {
      const folder = new Folder(t);
      const us = await OtherProcess.with(t, folder.file(), secret);
      await us.ask({ do: 'exec', sql: FILL_WITH_FTS5 });
      await us.ask({ do: 'exec', sql: changeWithFts5('us') });
      await us.kill();
      assert.ok(statSync(folder.file('test.db-wal')).size > 4_096, 'nothing was left behind');
      const other = await Sqlcipher4.open(t, folder.file(), secret);
      const found = await read(theirs(other));
      await other.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      await other.check();
      await other.close();
      const db = await folder.open('test.db', secret);
      assert.deepEqual(await read(ours(db)), found);
      assert.deepEqual(await db.all("SELECT count(*) AS n FROM t WHERE v = 'us'"), [{ n: 1 }]);
    });

    it(`left a log behind that we read: ${way}`, async (t) => {
      const folder = new Folder(t);
      const other = await Sqlcipher4.open(t, folder.file(), secret);
      assert.deepEqual(await other.lines('PRAGMA journal_mode = WAL'), ['wal']);
      await other.exec('PRAGMA wal_autocheckpoint = 0');
      await other.exec(FILL_WITH_FTS5);
      await other.exec(changeWithFts5('them'));
      const made = await read(theirs(other));
      await other.kill();
      assert.ok(statSync(folder.file('test.db-wal')).size > 4_096, 'nothing was left behind');
      const db = await folder.open('test.db', secret);
      assert.deepEqual(await read(ours(db)), made);
      await verified(db);
    });

    it(`has a file open beside us: ${way}`, async (t) => {
      // we                   they
      // make the file
      //                      open, read
      // write
      //                      read what we wrote, write
      // read what they wrote ... three rounds
      // close
      //                      read, write, close
      // open, read
      const folder = new Folder(t);
      const db = await folder.database(FILL_WITH_FTS5, secret);
      const other = await Sqlcipher4.open(t, folder.file(), secret);
      for (let round = 0; round < 3; round++) {
        await db.exec(changeWithFts5('us'));
        assert.deepEqual(await read(theirs(other)), await read(ours(db)));
        await other.exec(changeWithFts5('them'));
        assert.deepEqual(await read(ours(db)), await read(theirs(other)));
      }
      await db.close();
      await other.exec(changeWithFts5('them alone'));
      const left = await read(theirs(other));
      await other.close();
      const again = await folder.open('test.db', secret);
      assert.deepEqual(await read(ours(again)), left);
      await verified(again);
    });

    it(`is refused with another secret, as we are: ${way}`, async (t) => {
      const folder = new Folder(t);
      await makeOurs(folder, secret);
      for (const wrong of [{ key: OTHER_KEY }, { passphrase: `${PASSPHRASE} ` }]) {
        await refuses(await Sqlcipher4.open(t, folder.file(), wrong));
        await assert.rejects(folder.open('test.db', wrong), WrongKeyError);
      }
    });

    it(`opens a backup of ours: ${way}`, async (t) => {
      const folder = new Folder(t);
      const made = await makeOurs(folder, { key: OTHER_KEY });
      const db = await folder.open('test.db', { key: OTHER_KEY });
      await db.backup(folder.file('copy.db'), secret);
      await readByThem(t, folder.file('copy.db'), secret, made);
    });
  }

  for (const [name, passphrase] of Object.entries(PASSPHRASES)) {
    it(`takes a passphrase for the same as we do: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.open('ours.db', { passphrase });
      await db.exec('CREATE TABLE t AS SELECT 7 AS n');
      await db.close();
      const reader = await Sqlcipher4.open(t, folder.file('ours.db'), { passphrase });
      assert.deepEqual(await reader.all('SELECT n FROM t'), [[7]]);

      const writer = await Sqlcipher4.open(t, folder.file('theirs.db'), { passphrase });
      await writer.exec('CREATE TABLE t AS SELECT 8 AS n');
      await writer.close();
      const opened = await folder.open('theirs.db', { passphrase });
      assert.deepEqual(await opened.all('SELECT n FROM t'), [{ n: 8 }]);
    });
  }

  it('opens by the new secret alone what we have given one, and the other way round', async (t) => {
    const folder = new Folder(t);
    const made = await makeOurs(folder, { key: KEY });
    const changes: readonly (readonly [old: Secret, next: Secret])[] = [
      [{ key: KEY }, { key: OTHER_KEY }],
      [{ key: OTHER_KEY }, { passphrase: PASSPHRASE }],
      [{ passphrase: PASSPHRASE }, { key: KEY }],
    ];
    for (const [old, next] of changes) {
      const db = await folder.open('test.db', old);
      await db.rekey('key' in next ? next.key : next);
      assert.deepEqual(await read(ours(db)), made);
      await db.close();
      await refuses(await Sqlcipher4.open(t, folder.file(), old));
      await readByThem(t, folder.file(), next, made);
    }
    const other = await Sqlcipher4.open(t, folder.file(), { key: KEY });
    await other.exec("PRAGMA journal_mode = DELETE; PRAGMA rekey = 'theirs'");
    await other.close();
    await assert.rejects(folder.open('test.db', { key: KEY }), WrongKeyError);
    const db = await folder.open('test.db', { passphrase: 'theirs' });
    assert.deepEqual(await read(ours(db)), made);
    await verified(db);
  });

  it('opens a plain backup of an encrypted database without a key', async (t) => {
    const folder = new Folder(t);
    const made = await makeOurs(folder, { key: KEY });
    const db = await folder.open('test.db', { key: KEY });
    await db.backup(folder.file('plain.db'), { key: null });
    assert.equal(readFileSync(folder.file('plain.db')).toString('latin1', 0, 15), 'SQLite format 3');
    await readByThem(t, folder.file('plain.db'), undefined, made);
  });
});
