// Part `hits`: reads of which so many find their tenant open, the others having it opened and another one closed.

import { callers, quantile } from '../measure.mjs';
import { heading, line } from './report.mjs';
import { rounds } from './rounds.mjs';
import { check, KINDS, keyOf, Pool, poolOptions, ROWS, SELECT } from './tenants.mjs';

const CALLERS = 64;
const RATES = [0.5, 0.9, 0.99];

export async function hits({ folders, tenants, rounds: count, ms, maxOpen }) {
  // A pool of a twentieth; half of it is a hot set that the cache is to keep, all others are equally rare.
  const open = Math.min(maxOpen, Math.floor(tenants / 20));
  const hot = open >> 1;
  const byLuck = (open - hot) / (tenants - hot);
  const pools = {};
  for (const kind of KINDS) pools[kind] = await Pool.open(folders[kind], poolOptions(kind, { maxOpen: open }));
  heading(`read at hit rates, ${CALLERS} callers, maxOpen ${open} of ${tenants.toLocaleString('en')} tenants`);
  for (const rate of RATES) {
    const ofHot = (rate - byLuck) / (1 - byLuck);
    const random = randomFrom(1);
    const pick = () => (random() < ofHot ? random() * hot : hot + random() * (tenants - hot)) | 0;
    const figures = await rounds(count, (kind) => sampled(pools[kind], 2 * ms, pick));
    const title = `${rate * 100} % hits asked for`;
    line(`${title}: measured`, '%', figures.hits);
    line(`${title}: pool.read, tx.sync.get`, '/s', figures.perSecond);
    line(`${title}: a read that hits or misses, p50`, 'ms', figures.p50);
    line(`${title}: a read that hits or misses, p99`, 'ms', figures.p99);
  }
  for (const pool of Object.values(pools)) await pool.close();
}

async function sampled(pool, ms, pick) {
  const times = [];
  const before = pool.stats();
  const { perSecond } = await callers(CALLERS, ms, 0, async (index) => {
    const key = keyOf(pick());
    const k = 1 + (index % ROWS);
    const asked = performance.now();
    const row = await pool.read(key, (tx) => tx.sync.get(SELECT, [k]));
    times.push(performance.now() - asked);
    check(row, key, k);
  });
  const after = pool.stats();
  const [hit, missed] = [after.hits - before.hits, after.misses - before.misses];
  const sorted = Float64Array.from(times).sort();
  return { perSecond, hits: (100 * hit) / (hit + missed), p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}

/** mulberry32 (Tommy Ettinger): the same sequence in every run. */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
