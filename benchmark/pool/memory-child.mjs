// Opens so many tenants and prints what each costs. Run with --expose-gc.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { inTurns } from '../measure.mjs';
import { check, keysFrom, Pool, poolOptions, SELECT } from './tenants.mjs';

const CALLERS = 16;
/** Enough to have every part of the engine and of the code here in memory before the count begins. */
const WARM_UP = 64;
/** The engine takes memory back after a second without use, and looks once a second. */
const IDLE_MS = 2_500;

const { folder, kind, open, use } = JSON.parse(process.argv[2]);
// More than it has to keep: which ones a full cache closes is not the matter here.
const pool = await Pool.open(folder, poolOptions(kind, { maxOpen: 2 * open }));
const uses = {
  read: async (key) => check(await pool.read(key, (tx) => tx.sync.get(SELECT, [1])), key, 1),
  write: (key) => pool.run(key, 'UPDATE t SET v = v WHERE k = 1'),
};
const keys = keysFrom(0, open, open);

await inTurns(CALLERS, keys.slice(0, WARM_UP), uses[use]);
await pool.evictAll();
// What those have left is taken back with the rest of this one.
await uses[use](keys[0]);
await setTimeout(IDLE_MS);
await pool.evictAll();
const before = reading();
await inTurns(CALLERS, keys, uses[use]);
// Those that were opened first are idle by now.
await inTurns(CALLERS, keys, uses[use]);
const used = reading();
if (pool.stats().open !== open) throw new Error(`WRONG: ${pool.stats().open} are open`);
await setTimeout(IDLE_MS);
const idle = reading();
if (pool.stats().open !== open) throw new Error(`WRONG: ${pool.stats().open} are open`);
await pool.evictAll();
const left = reading();
await pool.close();

const each = (of, what) => (of[what] - before[what]) / open;
console.log(
  JSON.stringify({
    usedKB: each(used, 'bytes') / 1_000,
    idleKB: each(idle, 'bytes') / 1_000,
    leftKB: each(left, 'bytes') / 1_000,
    heapKB: each(idle, 'heapBytes') / 1_000,
    usedDescriptors: each(used, 'descriptors'),
    idleDescriptors: each(idle, 'descriptors'),
    threadsBefore: before.threads,
    threadsUsed: used.threads,
    threadsIdle: idle.threads,
  }),
);

function reading() {
  globalThis.gc();
  globalThis.gc();
  const [, kilobytes] = /^Anonymous:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'));
  return {
    bytes: Number(kilobytes) * 1_024,
    heapBytes: process.memoryUsage().heapUsed,
    threads: readdirSync('/proc/self/task').length,
    descriptors: readdirSync('/proc/self/fd').length,
  };
}
