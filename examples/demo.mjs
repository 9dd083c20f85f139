// A service on real data: loads 171,075 cities, then serves 64 readers beside a writer, and tells what it cost the event loop;
// first from one database, then from a pool that has an encrypted one for each country.
// Run by `npm run demo`; `--seconds N` says how long it serves from the one.

import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { check } from './demo/check.mjs';
import { readCities, sample } from './demo/cities.mjs';
import { collect } from './demo/collect.mjs';
import { load } from './demo/load.mjs';
import { runPool } from './demo/pool/run.mjs';
import { Progress } from './demo/progress.mjs';
import { report } from './demo/report.mjs';
import { serve } from './demo/serve.mjs';
import { openSqlflow } from './demo/sqlflow-store.mjs';
import { findDriver, openSynchronous } from './demo/synchronous-store.mjs';

const PLACES = 2_003;
/** How long the pool serves, of what one database does. */
const POOL_SHARE = 0.4;

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '5' } } });
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds}: a number above 0 is wanted`);

const progress = new Progress();
const folder = await mkdtemp(join(tmpdir(), 'sqlflow-demo-'));
process.once('SIGINT', () => {
  rmSync(folder, { recursive: true, force: true });
  process.exit(130);
});

try {
  const driver = await findDriver();
  const results = [await contend('sqlflow', await openSqlflow(join(folder, 'sqlflow.db')))];
  if (driver.reason === undefined) {
    results.push(await contend(driver.title, openSynchronous(driver, join(folder, 'synchronous.db'))));
  }
  const pool = await runPool(join(folder, 'countries'), Number((seconds * POOL_SHARE).toPrecision(2)), progress);
  progress.clear();
  process.stdout.write(`${report(results, pool, { seconds, absent: driver.reason })}\n`);
  process.exitCode = [...results, pool].some(({ problems }) => problems.length > 0) ? 1 : 0;
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Both halves and the check on one store; the cities are let go of before serving. */
async function contend(title, store) {
  try {
    let cities = readCities();
    const total = cities.length;
    const places = sample(cities, PLACES);
    progress.step(`${title}: loading ${total.toLocaleString('en')} cities`);
    collect();
    const loaded = await load(store, cities, (done) => progress.bar(`${title}: loading`, done, total));
    cities = undefined;
    collect();
    progress.step(`${title}: serving for ${seconds} s`);
    const served = await serve(() => store, places, { seconds, writers: 1 });
    progress.step(`${title}: checking`);
    const problems = await check(store, { cities: total, acknowledged: served.visited.length, wrong: served.wrong });
    return { title, cities: total, load: loaded, serve: served, problems };
  } finally {
    await store.close();
  }
}
