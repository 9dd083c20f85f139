// A process with a pool, and threads with pools on the same folder: it storms, then looks at what is left, unless it is to end before.

import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { Random } from '../fixtures/random.mjs';
import type { PoolWork, PoolWorked } from './pool.worker.mjs';
import { Baseline, checkFiles } from './pool-check.mjs';
import { Deletes, Model, type Written } from './pool-model.mjs';
import { type Counted, Storm, type Weather } from './pool-storm.mjs';
import { pause, step } from './step.mjs';
import { must } from './stress.mjs';

/** What it is told to do. */
export interface PoolOrders {
  weather: Weather;
  seed: number;
  author: number;
  workers: number;
  /** Each worker is terminated at random moments, and followed by another one. */
  terminates: boolean;
  /** Who deletes knows when, and is the one to look at the files; the other writes down what it knows. */
  role: 'deletes' | 'beside';
  /** Where the other one writes it; `undefined`: there is none. */
  rows: string | undefined;
  /** After so long it ends in that way, with that code. */
  ending: { way: 'exit' | 'exception'; afterMs: number; code: number } | undefined;
}

/** What it has to tell. */
export interface PoolReport {
  counted: Counted;
  longestMs: number;
  mostOver: number;
  files: number;
  rows: number;
  threads: number;
}

const orders: PoolOrders = JSON.parse(process.argv[2] ?? '');
const { weather, seed, author, ending } = orders;
const random = new Random(seed);
const deletes = Deletes.of(weather.tenants);
const model = new Model(author, orders.role === 'deletes' ? deletes : undefined);
const storm = new Storm(weather, model, random);
/** Of the workers that have ended by themselves. */
const models = [model];
const counted: Counted = {};
let longestMs = 0;
let nextAuthor = author + 1;

function add(more: Counted): void {
  for (const [what, number] of Object.entries(more)) counted[what] = (counted[what] ?? 0) + number;
}

/** Works in a thread until `end`, in one after the other when they are terminated. */
async function workInThread(end: number): Promise<void> {
  while (performance.now() < end) {
    const work: PoolWork = {
      weather: {
        ...weather,
        seconds: Math.max(0, end - performance.now()) / 1_000,
        deletes: 0,
        lists: !orders.terminates,
      },
      author: nextAuthor++,
      seed: random.below(2 ** 31),
      deletes: deletes.memory,
    };
    const worker = new Worker(new URL('./pool.worker.mjs', import.meta.url), { workerData: work });
    const told: PoolWorked[] = [];
    const isLoaded = new Promise<void>((resolve) => {
      worker.on('message', (message: PoolWorked | 'loaded') => {
        if (message === 'loaded') resolve();
        else told.push(message);
      });
    });
    const exited = once(worker, 'exit');
    if (orders.terminates) {
      await Promise.race([isLoaded, exited]);
      await pause(random.below(300));
      await step(worker.terminate(), 'a worker is terminated');
      add({ terminated: 1 });
    }
    await exited;
    for (const { rows, counted: more, longestMs: longest } of told) {
      // What the pools have done is told once, by the last one.
      add(Object.fromEntries(Object.entries(more).filter(([what]) => !isOfPool(what))));
      longestMs = Math.max(longestMs, longest);
      models.push(Model.from(work.author, deletes, rows, 'numbers'));
    }
  }
}

function isOfPool(what: string): boolean {
  return what.startsWith('closed: ') || ['opened', 'hits', 'misses', 'failed'].includes(what);
}

function endSoon({ way, afterMs, code }: NonNullable<PoolOrders['ending']>): void {
  setTimeout(() => {
    console.log('ending');
    if (way === 'exit') process.exit(code);
    throw new Error('nobody catches me');
  }, afterMs);
}

// It does not outlive who started it; a line says that the other process is done.
process.stdin.once('end', () => process.exit());
const goesOn = once(process.stdin, 'data');

const baseline = await Baseline.take();
await storm.open();
console.log('ready');
if (ending !== undefined) endSoon(ending);
const end = performance.now() + weather.seconds * 1_000;
await Promise.all([storm.run(), ...Array.from({ length: orders.workers }, () => workInThread(end))]);
await storm.close();
add(storm.counted);
longestMs = Math.max(longestMs, storm.longestMs);
console.log('stormed');

let left = { files: 0, rows: 0 };
if (orders.role === 'beside') {
  if (orders.rows !== undefined) writeFileSync(orders.rows, JSON.stringify(model.all()));
} else {
  if (orders.rows !== undefined) {
    await goesOn;
    const rows: Written[] = JSON.parse(readFileSync(orders.rows, 'utf8'));
    const other = rows[0] === undefined ? author : Model.authorOf(rows[0].id);
    must(other !== author || rows.length === 0, 'two authors with one number');
    if (rows.length > 0) models.push(Model.from(other, deletes, rows, 'clock'));
  }
  left = await checkFiles(weather, models);
}
console.log('checked');
const { threads } = await baseline.mustReturn();
const report: PoolReport = { counted, longestMs, mostOver: storm.mostOver, ...left, threads };
console.log(JSON.stringify(report));
process.exit();
