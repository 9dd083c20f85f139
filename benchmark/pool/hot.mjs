// Part `hot`: reads of tenants that are open, while many more are.

import { join } from 'node:path';
import { callers, inTurns, latencies, median, quantile } from '../measure.mjs';
import { heading, line } from './report.mjs';
import { rounds } from './rounds.mjs';
import { Database, databaseOptions, KINDS, keysFrom, Pool, poolOptions, ROWS, SELECT, signature } from './tenants.mjs';

const CALLERS = 64;
const HOT = 64;
const GOAL_PER_SECOND = 150_000;

const POOLED = 'pool.read, tx.sync.get';
const BARE = `beside: db.read, tx.sync.get, ${HOT} databases`;

/** Each reads row `k` of the tenant `n` of those that are hot, and has it checked. */
const cases = {
  [POOLED]: ({ pool, keys }, n, k, check) => pool.read(keys[n], (tx) => check(tx.sync.get(SELECT, [k]))),
  'pool.get': ({ pool, keys }, n, k, check) => pool.get(keys[n], SELECT, [k]).then(check),
  [BARE]: ({ databases }, n, k, check) => databases[n].read((tx) => check(tx.sync.get(SELECT, [k]))),
  [`beside: db.get, ${HOT} databases`]: ({ databases }, n, k, check) => databases[n].get(SELECT, [k]).then(check),
  'beside: db.read, tx.sync.get, one database': ({ one }, _, k, check) =>
    one.read((tx) => check(tx.sync.get(SELECT, [k]))),
};

export async function hot({ folders, tenants, rounds: count, ms, maxOpen }) {
  const all = {};
  for (const kind of KINDS) all[kind] = await opened(folders[kind], kind, tenants, Math.min(tenants - HOT, maxOpen));
  const operation = (name, kind) => {
    const target = all[kind];
    const expected = expectedBy(name, target);
    return (index) => {
      const n = index % HOT;
      const k = 1 + (index % ROWS);
      return cases[name](target, n, k, (row) => {
        if (row?.v !== expected[n][k]) throw new Error(`WRONG: ${name} gave ${JSON.stringify(row)}`);
      });
    };
  };
  const names = Object.keys(cases);
  // All cases in every round: what else the machine does meanwhile is in all of them. Each is warmed up there for as
  // long: tenants of a pool have given their readers back while others had their turn, and open them again as they need them.
  const rates = await rounds(count, async (kind) => {
    const sample = {};
    for (const name of names) {
      const read = operation(name, kind);
      await callers(CALLERS, ms, 0, read);
      sample[name] = (await callers(CALLERS, ms, 0, read)).perSecond;
    }
    return { ...sample, share: (100 * sample[POOLED]) / sample[BARE] };
  });
  const times = await rounds(count, async (kind) => {
    const sample = {};
    for (const name of names) {
      const read = operation(name, kind);
      await latencies(ms / 5, 0, read);
      const sorted = await latencies(ms, 0, read);
      sample[`${name}, p50`] = median(sorted);
      sample[`${name}, p99`] = quantile(sorted, 0.99);
    }
    return sample;
  });
  const open = all.plain.pool.stats().open.toLocaleString('en');
  heading(`hot read, ${CALLERS} callers on ${HOT} tenants, ${open} open`);
  for (const name of names) line(name, '/s', rates[name], name === POOLED ? { atLeast: GOAL_PER_SECOND } : undefined);
  line(`${POOLED}: share of db.read of as many databases`, '%', rates.share);
  heading('hot read, 1 caller');
  for (const [name, figures] of Object.entries(times)) line(name, 'us', figures);
  for (const { pool, databases } of Object.values(all)) {
    await pool.close();
    await Promise.all(databases.map((db) => db.close()));
  }
}

/** A pool with the first tenants open, and databases of the last ones, which are not among them: files share no engine. */
async function opened(folder, kind, tenants, open) {
  const pool = await Pool.open(folder, poolOptions(kind, { maxOpen: 2 * open }));
  await inTurns(16, keysFrom(0, open, tenants), (key) => pool.get(key, SELECT, [1]));
  const own = keysFrom(tenants - HOT, HOT, tenants);
  const databases = [];
  for (const key of own) databases.push(await Database.open(join(folder, `${key}.db`), databaseOptions(kind, key)));
  return { pool, keys: keysFrom(0, HOT, tenants), databases, own, one: databases[0] };
}

/** What a case must read, by tenant and row, made before the clock runs. */
function expectedBy(name, { keys, own }) {
  const rows = (key) => Array.from({ length: ROWS + 1 }, (_, k) => signature(key, k));
  if (name.startsWith('pool')) return keys.map(rows);
  return name.endsWith('one database') ? keys.map(() => rows(own[0])) : own.map(rows);
}
