// Part `create`: tenants that have no file yet. Leaves those that the other parts read.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inTurns, median, oneByOne, quantile } from '../measure.mjs';
import { heading, line } from './report.mjs';
import { rounds } from './rounds.mjs';
import { KINDS, keysFrom, Pool, poolOptions, sign } from './tenants.mjs';

const CALLERS = 16;
/** With FULL every one of them waits for the disk several times. */
const FULL_SAMPLE = 50;

const made = (pool) => (key) => pool.use(key, () => {});

export async function create({ folders, tenants, rounds: count, sample, maxOpen, tells }) {
  const pools = await opened(folders, { maxOpen });
  const share = Math.floor(tenants / count);
  const alone = Math.min(sample, share >> 1);
  const normal = await rounds(count, async (kind, round) => {
    const pool = pools[kind];
    // What warms up are tenants that nobody else reads.
    if (round === 0)
      return await rate(
        pool,
        Array.from({ length: 50 }, (_, index) => `warm-up-${index}`),
      );
    const from = (round - 1) * share;
    const until = round === count ? tenants : from + share;
    return {
      ...(await times(pool, keysFrom(from, alone, tenants))),
      ...(await rate(pool, keysFrom(from + alone, until - from - alone, tenants))),
    };
  });
  await finish(pools);
  if (tells) {
    heading(`cold create, 3 migrations: ${tenants.toLocaleString('en')} tenants`);
    show('NORMAL', normal);
    show('FULL', await durable(join(folders.plain, '..', 'full'), count));
  }
  await signed(folders, keysFrom(0, tenants, tenants), maxOpen);
}

/** The same with `synchronous: 'full'`, which takes longer: of a few, that are not kept. */
async function durable(folder, count) {
  mkdirSync(folder);
  const folders = Object.fromEntries(KINDS.map((kind) => [kind, join(folder, kind)]));
  const pools = await opened(folders, { synchronous: 'full' });
  const keys = (from) => Array.from({ length: FULL_SAMPLE }, (_, index) => `${from}-${index}`);
  const figures = await rounds(count, async (kind, round) => ({
    ...(await times(pools[kind], keys(`alone-${round}`))),
    ...(await rate(pools[kind], keys(`among-${round}`))),
  }));
  await finish(pools);
  rmSync(folder, { recursive: true, force: true });
  return figures;
}

function show(synchronous, { p50, p99, perSecond }) {
  line(`${synchronous}, one at a time, p50`, 'ms', p50);
  line(`${synchronous}, one at a time, p99`, 'ms', p99);
  line(`${synchronous}, ${CALLERS} callers`, '/s', perSecond);
}

async function times(pool, keys) {
  const sorted = await oneByOne(keys, made(pool));
  return { p50: median(sorted), p99: quantile(sorted, 0.99) };
}

async function rate(pool, keys) {
  return { perSecond: await inTurns(CALLERS, keys, made(pool)) };
}

async function signed(folders, keys, maxOpen) {
  const pools = await opened(folders, { maxOpen });
  for (const pool of Object.values(pools)) await inTurns(CALLERS, keys, (key) => sign(pool, key));
  await finish(pools);
}

async function opened(folders, own) {
  const pools = {};
  for (const kind of KINDS) pools[kind] = await Pool.open(folders[kind], poolOptions(kind, own));
  return pools;
}

async function finish(pools) {
  await Promise.all(Object.values(pools).map((pool) => pool.close()));
}
