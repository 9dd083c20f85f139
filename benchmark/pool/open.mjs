// Part `open`: tenants that have a file and are not open. The pages of the file may be in the system's cache.

import { join } from 'node:path';
import { inTurns, median, oneByOne, quantile } from '../measure.mjs';
import { heading, line } from './report.mjs';
import { rounds } from './rounds.mjs';
import { check, Database, databaseOptions, keysFrom, Pool, poolOptions, SELECT } from './tenants.mjs';

const CALLERS = 16;
const GOAL_MS = 1;

export async function open({ folders, tenants, rounds: count, sample, maxOpen }) {
  const open = Math.min(sample, Math.floor(maxOpen / 3), Math.floor(tenants / 3));
  const { p50, p99, readP50, readP99, perSecond, bareP50, bareP99 } = await rounds(count, async (kind, round) => {
    const keys = (part) => keysFrom((round * 3 + part) * open, open, tenants);
    const pool = await Pool.open(folders[kind], poolOptions(kind, { maxOpen: 2 * maxOpen }));
    const opened = await oneByOne(keys(0), (key) => pool.use(key, () => {}));
    const read = await oneByOne(keys(1), async (key) => check(await pool.get(key, SELECT, [7]), key, 7));
    const rate = await inTurns(CALLERS, keys(2), (key) => pool.use(key, () => {}));
    await pool.close();
    const bare = await databases(folders[kind], kind, keys(0));
    return {
      p50: median(opened),
      p99: quantile(opened, 0.99),
      readP50: median(read),
      readP99: quantile(read, 0.99),
      perSecond: rate,
      bareP50: median(bare),
      bareP99: quantile(bare, 0.99),
    };
  });
  heading(`cold open of a tenant that is there, migrations checked, ${open} a round`);
  line('pool.use, p50', 'ms', p50, { atMost: GOAL_MS });
  line('pool.use, p99', 'ms', p99);
  line('pool.get, the first of a tenant, p50', 'ms', readP50);
  line('pool.get, the first of a tenant, p99', 'ms', readP99);
  line(`pool.use, ${CALLERS} callers`, '/s', perSecond);
  line('beside: Database.open of the same files, p50', 'ms', bareP50);
  line('beside: Database.open of the same files, p99', 'ms', bareP99);
}

/** Of `Database.open`; as in the pool, nothing is closed meanwhile. */
async function databases(folder, kind, keys) {
  const opened = [];
  const times = await oneByOne(keys, async (key) => {
    opened.push(await Database.open(join(folder, `${key}.db`), databaseOptions(kind, key)));
  });
  await Promise.all(opened.map((db) => db.close()));
  return times;
}
