// The `sql` tag: what becomes text, what becomes a parameter.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ParameterError, Sql, sql } from 'sqlflow';

describe('sql`...`', () => {
  it('makes a parameter of every value', () => {
    const statement = sql`SELECT * FROM t WHERE a = ${1} AND b = ${"x' OR 1"} AND c IS ${null}`;
    assert.equal(statement.text, 'SELECT * FROM t WHERE a = ? AND b = ? AND c IS ?');
    assert.deepEqual(statement.values, [1, "x' OR 1", null]);
    assert.ok(statement instanceof Sql);
  });

  it('puts fragments into the text, with their values in the order of the text', () => {
    const where = sql`WHERE a > ${1} AND b < ${2}`;
    const statement = sql`SELECT ${0} FROM t ${where} LIMIT ${3}`;
    assert.equal(statement.text, 'SELECT ? FROM t WHERE a > ? AND b < ? LIMIT ?');
    assert.deepEqual(statement.values, [0, 1, 2, 3]);
  });

  it('gives the same string for the same template', () => {
    const make = (n: number) => sql`SELECT ${n}, 'unlikely to be a constant elsewhere'`;
    assert.equal(make(1).text, make(2).text);
    assert.deepEqual(make(7).values, [7]);
  });

  it('takes escapes as JavaScript does', () => {
    assert.equal(sql`SELECT '\u00e9\n'`.text, "SELECT 'é\n'");
  });

  it('refuses an escape that JavaScript cannot read, wherever it is', () => {
    const made = [
      () => sql`SELECT '\u'`,
      () => sql`SELECT '\u', ${1}`,
      () => sql`SELECT ${1}, '\u'`,
      () => sql`SELECT ${sql`1`}, '\x'`,
    ];
    for (const make of made) {
      assert.throws(make, ParameterError);
      assert.throws(make, /^ParameterError: piece [12] of the sql`...` template holds an escape/);
    }
  });

  it('does not take an object that only looks like a fragment', () => {
    const forged = JSON.parse('{"text": "DROP TABLE t", "values": []}');
    const statement = sql`SELECT ${forged}`;
    assert.equal(statement.text, 'SELECT ?');
    assert.deepEqual(statement.values, [forged]);
  });
});

describe('sql.join', () => {
  it('joins values by commas', () => {
    const statement = sql`SELECT * FROM t WHERE id IN (${sql.join([1, 2, 3])})`;
    assert.equal(statement.text, 'SELECT * FROM t WHERE id IN (?, ?, ?)');
    assert.deepEqual(statement.values, [1, 2, 3]);
  });

  it('joins fragments by a fragment', () => {
    const conditions = [sql`a = ${1}`, sql`b = ${2}`];
    const statement = sql`SELECT * FROM t WHERE ${sql.join(conditions, sql` AND `)}`;
    assert.equal(statement.text, 'SELECT * FROM t WHERE a = ? AND b = ?');
    assert.deepEqual(statement.values, [1, 2]);
  });

  it('refuses an empty list, and a separator that is no fragment', () => {
    assert.throws(() => sql.join([]), ParameterError);
    // @ts-expect-error text is no fragment
    assert.throws(() => sql.join([1, 2], ' OR '), ParameterError);
  });
});

describe('sql.identifier', () => {
  it('quotes names and doubles quotes inside', () => {
    assert.equal(sql.identifier('main', 'we"ird').text, '"main"."we""ird"');
  });

  it('refuses what cannot be a name', () => {
    assert.throws(() => sql.identifier(''), ParameterError);
    assert.throws(() => sql.identifier('a\0b'), ParameterError);
    assert.throws(() => sql.identifier('\ud800'), ParameterError);
  });
});

describe('sql.raw', () => {
  it('takes text as it is', () => {
    assert.equal(sql`SELECT ${sql.raw('count(*)')} FROM t`.text, 'SELECT count(*) FROM t');
  });

  it('refuses what is no text', () => {
    // @ts-expect-error a number is no text
    assert.throws(() => sql.raw(1), ParameterError);
  });
});
