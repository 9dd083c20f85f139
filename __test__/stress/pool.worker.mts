// A thread with a pool of its own on the folder of others.

import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../fixtures/random.mjs';
import { Deletes, Model, type Written } from './pool-model.mjs';
import { type Counted, Storm, type Weather } from './pool-storm.mjs';

/** What it is given. */
export interface PoolWork {
  weather: Weather;
  author: number;
  seed: number;
  /** Of `Deletes`. */
  deletes: SharedArrayBuffer;
}

/** What it tells when it has ended. */
export interface PoolWorked {
  rows: Written[];
  counted: Counted;
  longestMs: number;
}

const { weather, author, seed, deletes }: PoolWork = workerData;
const model = new Model(author, new Deletes(deletes));
const storm = new Storm(weather, model, new Random(seed));
// What Node.js has open while it loads modules stays open when it is terminated meanwhile.
parentPort?.postMessage('loaded');
await storm.open();
await storm.run();
await storm.close();
const worked: PoolWorked = { rows: model.all(), counted: storm.counted, longestMs: storm.longestMs };
parentPort?.postMessage(worked);
