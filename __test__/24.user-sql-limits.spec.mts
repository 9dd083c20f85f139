// What SQL may ask for: hostile text is refused by SQLite's own limits before it costs much.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { SqlError, type SqlflowError, StatementNotAllowedError, TooLargeError } from 'sqlflow';
import { refused } from './fixtures/refusal.mjs';
import { assertUntouched, test } from './fixtures/user-sql.mjs';

const ones = (count: number, between: string) => Array(count).fill('1').join(between);

describe('the limits of a statement', () => {
  const limits: [what: string, most: string, more: string, as: new (message: string) => SqlflowError, says: RegExp][] =
    [
      ['columns', `SELECT ${ones(2_000, ',')}`, `SELECT ${ones(2_001, ',')}`, SqlError, /too many columns/],
      ['depth', `SELECT ${ones(999, '+')}`, `SELECT ${ones(1_001, '+')}`, SqlError, /Expression tree is too large/],
      [
        'compounds',
        `SELECT ${ones(500, ' UNION ALL SELECT ')}`,
        `SELECT ${ones(501, ' UNION ALL SELECT ')}`,
        SqlError,
        /too many terms in compound SELECT/,
      ],
      ['parameters', 'SELECT ?32766', 'SELECT ?32767', SqlError, /variable number must be between \?1 and \?32766/],
    ];
  for (const [what, most, more, as, says] of limits) {
    test(`are met at the documented number: ${what}`, async (db) => {
      const parameters = what === 'parameters' ? Array(32_766).fill(1) : [];
      assert.ok((await db.all(most, parameters, { rowMode: 'array' })).length > 0);
      await refused(() => db.all(more), as, says);
      await refused(() => db.write((tx) => tx.all(more)), as, says);
      await refused(() => db.read((tx) => tx.sync.all(more)), as, says);
      await assertUntouched(db);
    });
  }

  test('are met by its length: 64 MiB', async (db) => {
    const comment = (bytes: number) => `SELECT 1 AS one -- ${' '.repeat(bytes)}`;
    assert.deepEqual(await db.get(comment(1_000_000)), { one: 1 });
    await refused(() => db.get(comment(64 * 1024 * 1024)), TooLargeError, /too (?:big|long)/);
    assert.deepEqual(await db.get('SELECT 1 AS one'), { one: 1 });
  });

  test('leave no database to attach, by whatever name', async (db, scratch) => {
    for (const name of [scratch.file('other.db'), ':memory:', '', 'file:other.db?mode=memory']) {
      await refused(
        () => db.exec(`ATTACH '${name}' AS other`),
        StatementNotAllowedError,
        /ATTACH and DETACH are not allowed/,
      );
    }
    assert.deepEqual(
      Object.keys(scratch.contents()).filter((name) => name.startsWith('other')),
      [],
    );
  });
});
