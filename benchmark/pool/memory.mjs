// Part `memory`: what a tenant costs that is open, just used and idle. Linux only, as it reads `/proc`.

import { answerOf } from './child.mjs';
import { descriptorLimit } from './limits.mjs';
import { heading, line, note } from './report.mjs';
import { rounds } from './rounds.mjs';

const OPEN = [1_000, 5_000];
const GOAL_KB = 100;
/** It is bytes, not times: they hardly differ. */
const MOST_ROUNDS = 3;
/** Of a tenant: file, log and index of the log for the writer, and for a reader file and log once more. */
const DESCRIPTORS = { write: 3, read: 5 };
/** For all the rest of a process. */
const SPARE = 200;

export async function memory({ folders, tenants, rounds: count }) {
  heading('memory, threads and descriptors of a process of its own');
  if (process.platform !== 'linux') return note('left out: it is read from /proc');
  const limit = descriptorLimit();
  for (const open of OPEN) {
    const title = `${open.toLocaleString('en')} open`;
    const needs = (use) => open * DESCRIPTORS[use] + SPARE;
    if (open > tenants || needs('write') > limit) {
      note(`${title}: left out, there are ${tenants} tenants, and ulimit -n is ${limit}`);
      continue;
    }
    const use = needs('read') > limit ? 'write' : 'read';
    if (use === 'write') note(`${title}: written, not read, as readers would need ${needs('read')} descriptors`);
    const figures = await rounds(Math.min(count, MOST_ROUNDS), (kind, round) => {
      // Nothing is warm in a process that has just begun.
      return round === 0 ? {} : answerOf('./memory-child.mjs', { folder: folders[kind], kind, open, use });
    });
    show(title, figures);
  }
}

function show(title, figures) {
  line(`${title}, just used: anonymous memory of a tenant`, 'KB', figures.usedKB);
  line(`${title}, idle: anonymous memory of a tenant`, 'KB', figures.idleKB, { atMost: GOAL_KB });
  line(`${title}, idle: of that, in the heap of JavaScript`, 'KB', figures.heapKB);
  line(`${title}: what evictAll leaves of it`, 'KB', figures.leftKB);
  line(`${title}, just used: descriptors of a tenant`, '', figures.usedDescriptors);
  line(`${title}, idle: descriptors of a tenant`, '', figures.idleDescriptors);
  line(`${title}: threads of the process before`, '', figures.threadsBefore);
  line(`${title}, just used: threads of the process`, '', figures.threadsUsed);
  line(`${title}, idle: threads of the process`, '', figures.threadsIdle);
}
