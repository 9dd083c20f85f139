// Every case, in the order it is run and printed.
//
// A case: `name`, `synchronous`, `tables` (of dataset.mjs), `metrics` (what one sample answers, see metric.mjs) and
// `prepare(handle)`, which answers undefined where the peer has nothing like it, else
//   sample(ms)  -> one value per metric; cases of a fixed amount of work take the time they take
//   verify()    -> a sentence when the work that was timed is not what was asked for, else undefined

import { cases as bulk } from './bulk-insert.mjs';
import { cases as get } from './get.mjs';
import { cases as latency } from './latency.mjs';
import { cases as readAll } from './read-all.mjs';
import { cases as run } from './run.mjs';
import { cases as syncGet } from './sync-get.mjs';
import { cases as write } from './write.mjs';

export const CASES = [...get, ...latency, ...syncGet, ...run, ...write, ...readAll, ...bulk];

/** The cases whose name is one of `names` or begins with one and a dash; all when none is given. */
export function select(names) {
  if (names.length === 0) return CASES;
  for (const name of names) {
    if (!CASES.some((each) => matches(each.name, name))) {
      const known = CASES.map((each) => each.name).join(', ');
      throw new Error(`--only ${name}: no such case; there are ${known}`);
    }
  }
  return CASES.filter((each) => names.some((name) => matches(each.name, name)));
}

function matches(caseName, name) {
  return caseName === name || caseName.startsWith(`${name}-`);
}
