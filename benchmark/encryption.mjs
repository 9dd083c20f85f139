// What encryption costs: reads, writes and opens of an encrypted file beside a plain one. Run by
// `npm --prefix benchmark run encryption`.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, machine } from './machine.mjs';
import { median } from './measure.mjs';

const require = createRequire(new URL('../package.json', import.meta.url));
const { Database } = require('sqlflow');

const DATA = fileURLToPath(new URL('./.data/', import.meta.url));
const ROUNDS = 7;
const MS = 300;
const CALLERS = 64;
/** Fits into the page cache of a connection, 8 MiB, and does not. */
const HOT_ROWS = 20_000;
const COLD_ROWS = 200_000;
const OPENS = 100;
const OPEN_GOAL_MS = 0.5;

const kinds = { plain: {}, encrypted: { key: new Uint8Array(32).fill(7) } };

async function filled(path, options, rows) {
  const db = await Database.open(path, { ...options, synchronous: 'normal' });
  await db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, at INTEGER)');
  const values = Array.from({ length: rows }, (_, n) => [`name of ${n} `.repeat(8), n]);
  await db.runMany('INSERT INTO t (name, at) VALUES (?, ?)', values);
  await db.checkpoint('truncate');
  return db;
}

/** Calls per second of so many callers for some time. */
async function rate(callers, call) {
  let calls = 0;
  const started = performance.now();
  const until = started + MS;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < until) {
        await call();
        calls += 1;
      }
    }),
  );
  return (calls / (performance.now() - started)) * 1_000;
}

async function opens(path, options, count) {
  const times = [];
  for (let open = 0; open < count; open += 1) {
    const started = performance.now();
    const db = await Database.open(path, options);
    times.push(performance.now() - started);
    await db.close();
  }
  return median(times);
}

/** The cases; each gives a figure for an open database of a kind, more of it being better unless it is a time. */
const cases = {
  'get by key, 64 callers, pages in the cache (calls/s)': ({ hot }) =>
    rate(CALLERS, () => hot.get('SELECT * FROM t WHERE id = ?', [1 + Math.trunc(Math.random() * HOT_ROWS)])),
  'get by key, 64 callers, 200,000 rows, most pages not in the cache (calls/s)': ({ cold }) =>
    rate(CALLERS, () => cold.get('SELECT * FROM t WHERE id = ?', [1 + Math.trunc(Math.random() * COLD_ROWS)])),
  'sync get in a transaction, pages in the cache (calls/s)': ({ hot }) =>
    hot.read((tx) => {
      const started = performance.now();
      let calls = 0;
      while (performance.now() - started < MS) {
        for (let n = 0; n < 100; n += 1)
          tx.sync.get('SELECT * FROM t WHERE id = ?', [1 + ((calls + n * 37) % HOT_ROWS)]);
        calls += 100;
      }
      return (calls / (performance.now() - started)) * 1_000;
    }),
  'scan of 200,000 rows, 27 MB (scans/s)': ({ cold }) => rate(1, () => cold.get('SELECT sum(length(name)) FROM t')),
  'run of an insert, NORMAL, 64 callers (calls/s)': ({ hot }) =>
    rate(CALLERS, () => hot.run('INSERT INTO t (name, at) VALUES (?, 1)', ['name of somebody '.repeat(8)])),
  'run of an insert, NORMAL, 1 caller (calls/s)': ({ hot }) =>
    rate(1, () => hot.run('INSERT INTO t (name, at) VALUES (?, 1)', ['name of somebody '.repeat(8)])),
};

mkdirSync(DATA, { recursive: true });
const folder = mkdtempSync(join(DATA, 'encryption-'));
try {
  console.log(describe(machine(folder)));
  const open = {};
  for (const [kind, options] of Object.entries(kinds)) {
    open[kind] = {
      hot: await filled(join(folder, `${kind}-hot.db`), options, HOT_ROWS),
      cold: await filled(join(folder, `${kind}-cold.db`), options, COLD_ROWS),
    };
  }
  console.log(`${'case'.padEnd(78)} ${'plain'.padStart(10)} ${'encrypted'.padStart(10)}   ratio`);
  for (const [name, run] of Object.entries(cases)) {
    const figures = { plain: [], encrypted: [] };
    for (let round = 0; round <= ROUNDS; round += 1) {
      const order = round % 2 === 0 ? ['plain', 'encrypted'] : ['encrypted', 'plain'];
      for (const kind of order) {
        const figure = await run(open[kind]);
        if (round > 0) figures[kind].push(figure);
      }
    }
    const ratio = median(figures.encrypted.map((figure, round) => figure / figures.plain[round]));
    const shown = (kind) => Math.round(median(figures[kind])).toLocaleString('en').padStart(10);
    console.log(`${name.padEnd(78)} ${shown('plain')} ${shown('encrypted')}   ${ratio.toFixed(2)}x`);
  }
  for (const { hot, cold } of Object.values(open)) await Promise.all([hot.close(), cold.close()]);

  const times = { plain: [], encrypted: [], join: [], passphrase: [] };
  const path = (kind) => join(folder, `${kind}-hot.db`);
  const secret = { passphrase: 'correct horse battery staple' };
  await (await filled(path('passphrase'), secret, 100)).close();
  const held = await Database.open(path('passphrase'), secret);
  for (let round = 0; round <= ROUNDS; round += 1) {
    const sample = {
      plain: await opens(path('plain'), {}, OPENS),
      encrypted: await opens(path('encrypted'), kinds.encrypted, OPENS),
      join: await opens(path('passphrase'), secret, OPENS),
    };
    if (round > 0) for (const [kind, time] of Object.entries(sample)) times[kind].push(time);
  }
  await held.close();
  times.passphrase.push(await opens(path('passphrase'), secret, 10));
  const encrypted = median(times.encrypted);
  console.log(`open a plain file, p50                       ${median(times.plain).toFixed(3)} ms`);
  console.log(
    `open with a raw key, p50                     ${encrypted.toFixed(3)} ms   goal: ${OPEN_GOAL_MS} ms ${encrypted <= OPEN_GOAL_MS ? '✓' : '✗'}`,
  );
  console.log(`open with a passphrase, p50                  ${median(times.passphrase).toFixed(1)} ms`);
  console.log(`join an open file with its passphrase, p50   ${median(times.join).toFixed(3)} ms`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
