// A worker that works until it is terminated, and asks for that at a random step inside of a transaction.

import { parentPort, workerData } from 'node:worker_threads';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { Traffic } from './traffic.mjs';

/** What it is given. */
export interface Terminated {
  path: string;
  firstId: number;
  seed: number;
  /** How many commits were acknowledged, then their ids, counted from `firstId`. */
  acknowledged: SharedArrayBuffer;
}

const { path, firstId, seed, acknowledged }: Terminated = workerData;
const random = new Random(seed);
const list = new Int32Array(acknowledged);
const db = await Database.open(path);
let steps = 1 + random.below(1_500);

const traffic = new Traffic(db, {
  firstId,
  random,
  acknowledge: (id) => {
    // The count last: what it counts is there.
    const count = Atomics.load(list, 0) + 1;
    if (count >= list.length) throw new RangeError('the list of acknowledged commits is full');
    Atomics.store(list, count, id - firstId);
    Atomics.store(list, 0, count);
  },
  inside: () => {
    steps--;
    if (steps === 0) parentPort?.postMessage('now');
  },
});
await traffic.all();
