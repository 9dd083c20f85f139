// Migrations as they cross the border: sources by number, progress in microtasks, history and rollback.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { MigrationFailedError, MigrationSourceError } from '../dist/errors.js';
import { guardedListener } from '../dist/listener.js';
import type { MigrationProgress } from '../dist/migration-history.js';
import type { NativeOpenOptions } from '../dist/native/binding.js';
import { Bridge } from '../dist/native/bridge.js';
import { Target } from '../dist/native/engine.js';
import { checkOpenOptions } from '../dist/options.js';
import { buffer, done, error, history, migrated, opened } from './completion-records.mjs';
import { FakeAddon } from './fake-addon.mjs';

const handle = new Target(1, 2, 0, 0);
const first = { version: 1n, name: 'init', index: 1, total: 2, ms: 3 };
const second = { version: 2n ** 60n, name: 'add-users täble', index: 2, total: 2, ms: 0 };

function options(migrations: number): NativeOpenOptions {
  return { ...checkOpenOptions({}, false).native, migrations };
}

/** The operation of the last call that is none of a record. */
function lastOp(addon: FakeAddon): number {
  return Number(addon.calls.at(-1)?.[1]);
}

describe('a source', () => {
  it('has a number of its own, which is never used again', () => {
    const addon = new FakeAddon();
    const bridge = new Bridge(addon);
    assert.equal(bridge.defineMigrations(['1_a'], ['SELECT 1']), 1);
    assert.equal(bridge.defineMigrations([], []), 2);
    assert.deepEqual(addon.calls, [
      ['defineMigrations', 1, ['1_a'], ['SELECT 1']],
      ['defineMigrations', 2, [], []],
    ]);
    addon.answerDefinition = () => buffer([error(34, 'empty Up\u001f1_a\u001f3\u001f')]);
    assert.throws(() => bridge.defineMigrations(['1_a'], ['']));
    addon.answerDefinition = () => undefined;
    assert.equal(bridge.defineMigrations(['1_a'], ['SELECT 2']), 4);
  });

  it('that is wrong is an error with file and line, whose stack names the caller', () => {
    const addon = new FakeAddon();
    addon.answerDefinition = () => buffer([error(34, 'empty Up\u001f1_a.sql\u001f3\u001f1')]);
    try {
      new Bridge(addon).defineMigrations(['1_a.sql'], ['']);
      assert.fail('nothing was thrown');
    } catch (thrown) {
      assert.ok(thrown instanceof MigrationSourceError);
      const { message, code, file, line, version, stack } = thrown;
      assert.deepEqual([message, code, file, line, version], ['empty Up', 'MIGRATION_SOURCE', '1_a.sql', 3, 1]);
      assert.match(stack ?? '', /06\.migrations\.spec/);
    }
  });
});

describe('an open', () => {
  it('tells of each migration after the drain and before it resolves', async () => {
    const addon = new FakeAddon();
    const heard: unknown[] = [];
    const opening = new Bridge(addon).open('a.db', options(7), false, (progress) => heard.push(progress));
    opening.then(() => heard.push('open'));
    const [name, op, path, given] = addon.calls.at(-1) ?? [];
    assert.deepEqual([name, path, given], ['open', 'a.db', options(7)]);
    addon.answer(migrated(first, Number(op)), migrated(second, Number(op)), opened(1, 2, '/a.db', 3, Number(op)));
    assert.deepEqual(heard, [], 'user code ran inside the drain');
    const { target, path: canonical } = await opening;
    assert.deepEqual([target.index, target.generation, target.engineId, canonical], [1, 2, 3, '/a.db']);
    await undefined;
    assert.deepEqual(heard, [{ ...first, version: 1 }, second, 'open']);
  });

  it('tells nobody of migrations when nobody asked, nor the operation that has its slot next', async () => {
    const addon = new FakeAddon();
    const bridge = new Bridge(addon);
    const opening = bridge.open('a.db', options(1), false);
    const op = lastOp(addon);
    addon.answer(migrated(first, op), opened(1, 2, '/a.db', 3, op));
    await opening;

    const heard: MigrationProgress[] = [];
    const told = bridge.open('b.db', options(1), false, (progress) => heard.push(progress));
    addon.answer(opened(1, 3, '/b.db', 4, lastOp(addon)));
    await told;
    const silent = bridge.open('c.db', options(1), false);
    addon.answer(migrated(first, lastOp(addon)), opened(1, 4, '/c.db', 5, lastOp(addon)));
    await silent;
    assert.deepEqual(heard, []);
  });

  it('that fails has told of the migrations before', async () => {
    const addon = new FakeAddon();
    const heard: (number | bigint)[] = [];
    const opening = new Bridge(addon).open('a.db', options(1), false, ({ version }) => heard.push(version));
    const op = lastOp(addon);
    addon.answer(migrated(first, op), error(30, 'no such table: t\u001f002_b.sql\u001f4\u001f2', 1, -1, op));
    await assert.rejects(opening, (thrown) => {
      assert.ok(thrown instanceof MigrationFailedError);
      assert.deepEqual([thrown.file, thrown.line, thrown.version, thrown.sqliteCode], ['002_b.sql', 4, 2, 1]);
      return true;
    });
    assert.deepEqual(heard, [1]);
  });
});

describe('an open database', () => {
  it('lists its migrations', async () => {
    const addon = new FakeAddon();
    const listing = new Bridge(addon).migrations(handle);
    const op = lastOp(addon);
    assert.deepEqual(addon.calls, [['migrations', op, 1, 2]]);
    addon.answer(history([{ version: 5n, state: 0, name: 'five', appliedAt: 0n }], op));
    assert.deepEqual(await listing, [{ version: 5, name: 'five', state: 'pending' }]);
  });

  it('rolls back to a version, and tells of each Down part', async () => {
    const addon = new FakeAddon();
    const heard: unknown[] = [];
    const rollback = new Bridge(addon).rollbackMigrations(handle, 20_240_131_120_000, ({ name }) => heard.push(name));
    const op = lastOp(addon);
    assert.deepEqual(addon.calls, [['rollbackMigrations', op, 1, 2, 20_240_131_120_000]]);
    addon.answer(migrated(second, op), migrated(first, op), done(op));
    assert.equal(await rollback, undefined);
    assert.deepEqual(heard, ['add-users täble', 'init']);
  });
});

describe('a listener', () => {
  it('that throws or rejects becomes a warning, and nobody else notices', async () => {
    const listen = (listener: (event: number) => unknown) =>
      guardedListener(listener, 'onMigration', 'the migrations go on');
    const failing = listen(() => {
      throw new Error('told one');
    });
    const rejecting = listen(async () => {
      throw new Error('told two');
    });
    for (const [listener, reason] of [
      [failing, 'told one'],
      [rejecting, 'told two'],
    ] as const) {
      const warned = once(process, 'warning');
      listener(1);
      const [warning] = await warned;
      assert.ok(warning instanceof Error && 'code' in warning);
      assert.equal(warning.code, 'SQLFLOW_LISTENER_FAILED');
      assert.ok(
        warning.message.startsWith(`A listener of onMigration failed; the migrations go on: Error: ${reason}\n`),
        warning.message,
      );
    }
  });
});
