// What migrations cost an open that has none to run, and a database for a test. Run by `npm --prefix benchmark run migrations`.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, machine } from './machine.mjs';
import { median } from './measure.mjs';

const require = createRequire(new URL('../package.json', import.meta.url));
const { Database } = require('sqlflow');
const { testDatabase } = require('sqlflow/testing');

const DATA = fileURLToPath(new URL('./.data/', import.meta.url));
const MIGRATIONS = 60;
const ROUNDS = 15;
const OPENS = 100;
const GOAL_MS = 0.3;
const TEST_GOAL_MS = 10;

const migrations = Array.from({ length: MIGRATIONS }, (_, index) => {
  const table = `t${index + 1}`;
  const sql = `-- +goose Up
CREATE TABLE ${table} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, at INTEGER);
CREATE INDEX ${table}_by_name ON ${table} (name, at);
INSERT INTO ${table} (name, at) VALUES ('a', 1), ('b', 2);
-- +goose Down
DROP TABLE ${table};`;
  return { name: `${String(index + 1).padStart(5, '0')}_${table}.sql`, sql };
});

/** Milliseconds that each of so many opens took; the closes between them are not counted. */
async function opens(path, options) {
  const times = [];
  for (let open = 0; open < OPENS; open += 1) {
    const started = performance.now();
    const db = await Database.open(path, options);
    times.push(performance.now() - started);
    await db.close();
  }
  return median(times);
}

/** Milliseconds of a test database, from the call to the end of its close. */
async function tests(options) {
  const times = [];
  for (let test = 0; test < OPENS; test += 1) {
    const started = performance.now();
    const db = await testDatabase(options);
    await db.close();
    times.push(performance.now() - started);
  }
  return median(times);
}

/** The median of each kind; every round asks every kind, beginning with another one each time. The first round warms up. */
async function rounds(kinds) {
  const names = Object.keys(kinds);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(round + turn) % names.length];
      const sample = await kinds[name]();
      if (round > 0) samples[name].push(sample);
    }
  }
  return samples;
}

function line(name, figure, goal) {
  const judged = goal === undefined ? '' : `   goal: under ${goal} ms ${figure < goal ? '✓' : '✗'}`;
  console.log(`${name.padEnd(58)} ${figure.toFixed(3).padStart(8)} ms${judged}`);
}

mkdirSync(DATA, { recursive: true });
const folder = mkdtempSync(join(DATA, 'migrations-'));
try {
  console.log(describe(machine(folder)));
  const path = join(folder, 'opened.db');
  let started = performance.now();
  const made = await Database.open(path, { migrations });
  const makingMs = performance.now() - started;
  if ((await made.migrations()).filter(({ state }) => state === 'applied').length !== MIGRATIONS)
    throw new Error('WRONG');
  await made.close();

  const { bare, migrated, create, beside } = await rounds({
    bare: () => opens(path, {}),
    migrated: () => opens(path, { migrations }),
    create: () => opens(path, { migrations, migrate: 'create' }),
    beside: async () => {
      const held = await Database.open(path, {});
      const time = await opens(path, { migrations });
      await held.close();
      return time;
    },
  });
  const differences = migrated.map((time, round) => time - bare[round]);
  line(`a new database, ${MIGRATIONS} migrations run`, makingMs);
  line('open without migrations', median(bare));
  line(`open with ${MIGRATIONS} migrations, all applied`, median(migrated));
  line('  what migrations cost (median of the rounds)', median(differences), GOAL_MS);
  line("  with migrate: 'create'", median(create));
  line('  the file being open in this process', median(beside));

  started = performance.now();
  await (await testDatabase({ migrations, logLimitBytes: 2 ** 26 })).close();
  const firstMs = performance.now() - started;
  const { plain, withMigrations } = await rounds({
    plain: () => tests({}),
    withMigrations: () => tests({ migrations }),
  });
  line('testDatabase and close, the first with its migrations', firstMs);
  line('testDatabase and close, without migrations', median(plain));
  line(`testDatabase and close, ${MIGRATIONS} migrations`, median(withMigrations), TEST_GOAL_MS);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
