// The SQL table: a text crosses the border once, and the table stays bounded.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Failure } from '../dist/native/failure.js';
import { Statements } from '../dist/native/statements.js';

/** The engine's side of the table; throws when an id is used twice or forgotten without being known. */
class Registry {
  readonly texts = new Map<number, string>();
  readonly seen = new Set<number>();

  defineStatement(id: number, text: string): void {
    assert.ok(!this.seen.has(id), `id ${id} was used before`);
    this.seen.add(id);
    this.texts.set(id, text);
  }

  forgetStatement(id: number): void {
    assert.ok(this.texts.delete(id), `id ${id} is not known`);
  }
}

describe('the SQL table', () => {
  it('defines a text once', () => {
    const registry = new Registry();
    const table = new Statements(registry);
    const [a, b] = [table.id('SELECT 1'), table.id('SELECT 2')];
    assert.notEqual(a, b);
    assert.deepEqual([table.id('SELECT 1'), table.id('SELECT 1'), table.id('SELECT 2')], [a, a, b]);
    assert.equal(registry.texts.size, 2);
  });

  it('forgets the least recently used texts beyond 2,000', () => {
    const registry = new Registry();
    const table = new Statements(registry);
    const kept = table.id('SELECT 0');
    for (let n = 1; n <= 10_000; n++) {
      const id = table.id(`SELECT ${n}`);
      assert.equal(registry.texts.get(id), `SELECT ${n}`);
      if (n % 100 === 0) assert.equal(table.id('SELECT 0'), kept);
      assert.ok(registry.texts.size <= 2_001);
    }
    assert.equal(registry.texts.get(kept), 'SELECT 0');
    const again = table.id('SELECT 1');
    assert.equal(registry.texts.get(again), 'SELECT 1');
  });

  it('forgets texts when they are too long together', () => {
    const registry = new Registry();
    const table = new Statements(registry);
    for (let n = 0; n < 500; n++) table.id(`SELECT ${n} -- ${'x'.repeat(50_000)}`);
    const chars = [...registry.texts.values()].reduce((sum, text) => sum + text.length, 0);
    assert.ok(chars <= 4 * 1024 * 1024 + 64 * 1024, `${chars} characters`);
  });

  it('does not keep a long script', () => {
    const registry = new Registry();
    const table = new Statements(registry);
    const id = table.id('x'.repeat(100_000));
    assert.ok(registry.texts.has(id));
    table.id('SELECT 1');
    assert.ok(!registry.texts.has(id));
  });

  it('refuses text that is not valid Unicode', () => {
    assert.throws(() => new Statements(new Registry()).id("SELECT '\ud800'"), Failure);
  });

  it('keeps every number valid while it is held, whatever is used meanwhile', () => {
    const registry = new Registry();
    const table = new Statements(registry);
    table.hold();
    const held = [table.id(`SELECT '${'x'.repeat(100_000)}'`), table.id('SELECT 0')];
    table.hold();
    for (let n = 1; n <= 3_000; n++) table.id(`SELECT ${n}`);
    table.release();
    assert.ok(held.every((id) => registry.texts.has(id)));
    table.release();
    assert.ok(held.every((id) => !registry.texts.has(id)));
    assert.ok(registry.texts.size <= 2_001);
  });
});
