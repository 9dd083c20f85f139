// A process that terminates its workers in the midst of their transactions, and writes at once after each.

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { pause, step } from './step.mjs';
import { must, round } from './stress.mjs';
import type { Terminated } from './terminate.worker.mjs';
import { IDS, SCHEMA } from './traffic.mjs';
import { mustBeWhole } from './whole.mjs';

/** What it has to tell. */
export interface TerminateReport {
  terminated: number;
  acknowledged: number;
  slowestEndMs: number;
  slowestWriteMs: number;
}

const LANES = 2;
const [path = '', count = '', seed = '', hangMs = ''] = process.argv.slice(2);
const report: TerminateReport = { terminated: 0, acknowledged: 0, slowestEndMs: 0, slowestWriteMs: 0 };

/** How long `work` took; what takes too long fails, with who was in the way when it had become too long. */
async function timed(work: Promise<unknown>, what: string): Promise<number> {
  const start = performance.now();
  let inTheWay = '';
  const tooLong = setTimeout(() => {
    inTheWay = JSON.stringify(db.stats());
  }, Number(hangMs));
  await step(work, what);
  clearTimeout(tooLong);
  const tookMs = performance.now() - start;
  must(tookMs <= Number(hangMs), `${what} took ${round(tookMs)} ms: ${inTheWay}`);
  return tookMs;
}

/** Removes what one worker has written. */
function forget(firstId: number): string {
  const own = `BETWEEN ${firstId} AND ${firstId + IDS - 1}`;
  return `DELETE FROM part WHERE head ${own}; DELETE FROM head WHERE id ${own}`;
}

async function terminateInLane(db: Database, lane: number): Promise<void> {
  const random = new Random(Number(seed) + lane);
  for (let turn = lane; turn < Number(count); turn += LANES) {
    const firstId = turn * IDS;
    const acknowledged = new SharedArrayBuffer(4 * IDS);
    const workerData: Terminated = { path, firstId, seed: random.below(2 ** 31), acknowledged };
    const worker = new Worker(new URL('./terminate.worker.mjs', import.meta.url), { workerData });
    let failure: unknown;
    worker.once('error', (error) => {
      failure = error;
    });
    const exited = once(worker, 'exit');
    await step(Promise.race([once(worker, 'message'), exited]), `turn ${turn}: a worker comes to work`);
    if (random.below(2) === 0) await pause(random.below(4));
    must(failure === undefined, `turn ${turn}: a worker failed: ${failure}`);

    const endMs = await timed(worker.terminate(), `turn ${turn}: terminate`);
    const writeMs = await timed(
      db.write(async (tx) => tx.run('REPLACE INTO ballast VALUES (?, zeroblob(10))', [lane])),
      `turn ${turn}: a write after it`,
    );
    await exited;
    must(failure === undefined, `turn ${turn}: a worker failed: ${failure}`);

    const list = new Int32Array(acknowledged);
    const ids = list.subarray(1, 1 + Atomics.load(list, 0));
    await mustBeWhole(
      db,
      [...ids].map((id) => firstId + id),
      `turn ${turn}`,
    );
    report.terminated++;
    report.acknowledged += ids.length;
    report.slowestEndMs = Math.max(report.slowestEndMs, endMs);
    report.slowestWriteMs = Math.max(report.slowestWriteMs, writeMs);
    // What was looked at goes, so that a look costs the same in the last turn as in the first.
    await step(db.exec(forget(firstId)), `turn ${turn}: a delete`);
  }
}

const db = await Database.open(path);
await db.exec(SCHEMA);
try {
  await Promise.all(Array.from({ length: LANES }, (_, lane) => terminateInLane(db, lane)));
} catch (error) {
  // Who waits for what when something hangs.
  console.error(JSON.stringify(db.stats()));
  throw error;
}
await step(db.close(), 'close after the last worker');
console.log(JSON.stringify(report));
