// Uses more tenants than there are file descriptors for, and prints which calls failed, then and afterwards.

import { inTurns } from '../measure.mjs';
import { check, keysFrom, Pool, poolOptions, SELECT } from './tenants.mjs';

const { folder, kind, tenants, tried, maxOpen } = JSON.parse(process.argv[2]);
const CALLERS = 16;
const OTHERS = 100;
/** A goal of calls that need no more than idle databases could give back. */
const NONE = { atMost: 0 };

const keys = keysFrom(0, tried, tenants);
const others = keysFrom(tried, OTHERS, tenants);
const steps = [];

for (const play of [idle, busy, held]) {
  const pool = await Pool.open(folder, poolOptions(kind, { maxOpen }));
  await play({
    pool,
    open: (key) => pool.use(key, () => {}),
    read: async (key) => check(await pool.get(key, SELECT, [1]), key, 1),
    write: (key) => pool.run(key, 'UPDATE t SET v = v WHERE k = 1'),
  });
  await pool.close();
}
console.log(JSON.stringify(steps));

/** One after the other, so that all but the last one are idle. */
async function idle({ pool, open, read, write }) {
  const opened = await step('idle: opened one after the other', keys, open);
  // The longest idle go first.
  const still = opened.slice(-pool.stats().open);
  await step('idle: then writes of those open', still, write, { goal: NONE });
  await step('idle: then reads of those open', still, read, { goal: NONE });
  await step('idle: then others opened', others, open, { goal: NONE });
}

/** Several callers, each of whom uses one at a time. */
async function busy({ read }) {
  const order = Array.from({ length: tried * 10 }, (_, n) => keys[(n * 7_919) % tried]);
  await step(`busy: reads by ${CALLERS} callers`, order, read, { callers: CALLERS });
}

/** Each is kept by a scope, so that none may be closed; then all scopes end. */
async function held({ pool, open, read, write }) {
  let end;
  const ended = new Promise((resolve) => {
    end = resolve;
  });
  const scopes = [];
  const hold = (key) =>
    new Promise((opened, failed) => {
      const scope = pool.use(key, () => {
        opened();
        return ended;
      });
      scope.catch(failed);
      scopes.push(scope);
    });
  const still = await step('held: opened for scopes that stay', keys, hold);
  await step('held: then writes of those open', still, write, { goal: NONE });
  await step('held: then reads of those open', still, read);
  end();
  await Promise.allSettled(scopes);
  await step('held: reads of those open, the scopes being over', still, read, { goal: NONE });
  await step('held: others opened, the scopes being over', others, open, { goal: NONE });
}

/** Notes how many failed, the first error, and how many may. Resolves with the items that did not. */
async function step(title, items, operation, { callers = 1, goal } = {}) {
  const noted = { title, goal, tried: items.length, failed: 0, first: undefined };
  const done = [];
  await inTurns(callers, items, async (item) => {
    try {
      await operation(item);
      done.push(item);
    } catch (error) {
      noted.failed += 1;
      noted.first ??= { name: error.name, message: error.message };
    }
  });
  steps.push(noted);
  return done;
}
