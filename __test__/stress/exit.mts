// process.exit and uncaught exceptions at random instants inside of transactions: the exit code of the process, no signal,
// no hang, and every acknowledged commit.

import { rmSync } from 'node:fs';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { Program } from './program.mjs';
import { step } from './step.mjs';
import { must, type Plan, round, type Stress } from './stress.mjs';
import { IDS } from './traffic.mjs';
import { mustBeSound, mustBeWhole } from './whole.mjs';

const WAYS = [
  { way: 'exit', code: 7 },
  { way: 'exception', code: 1 },
] as const;
/** Ends on one file before the next, fresh one. */
const ENDS_PER_FILE = 20;

interface Counted {
  ends: number;
  acknowledged: number;
  slowestMs: number;
}

export const exit: Stress = {
  counts: 'ends of each way: process.exit, an uncaught exception',
  full: { count: 200, seconds: 0 },
  async run(plan) {
    const counted: Counted = { ends: 0, acknowledged: 0, slowestMs: 0 };
    await Promise.all(WAYS.map((_, lane) => endInLane(plan, lane, counted)));
    return {
      ends: counted.ends,
      'acknowledged commits': counted.acknowledged,
      'slowest end (ms)': round(counted.slowestMs),
    };
  },
};

async function endInLane(plan: Plan, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane);
  const path = plan.folder.file(`ended-${lane}.db`);
  const acknowledged: number[] = [];
  for (let turn = 0; turn < plan.count; turn++) {
    // Both lanes take both ways, so that what one costs does not fall on the other alone.
    const { way, code } = WAYS[(turn + lane) % WAYS.length] ?? WAYS[0];
    const when = `${way}, lane ${lane}, turn ${turn}`;
    const program = Program.start('exit.child', [path, way, turn * IDS, random.below(2 ** 31), code]);
    await program.until('ending', 1, (line) => line === 'ending');
    const ending = performance.now();
    const ended = await program.end(`${when}: the process does not end`);
    must(
      ended.signal === null && ended.code === code,
      `${when}: ended with ${ended.signal ?? ended.code}, not ${code}: ${ended.stderr}`,
    );
    if (way === 'exception') must(/nobody catches me/.test(ended.stderr), `${when}: ${ended.stderr}`);
    const tookMs = ended.at - ending;
    must(tookMs <= plan.hangMs, `${when}: the end took ${round(tookMs)} ms`);
    counted.slowestMs = Math.max(counted.slowestMs, tookMs);
    acknowledged.push(...program.lines.filter((line) => /^\d+$/.test(line)).map(Number));
    counted.ends++;

    const db = await step(Database.open(path, { busyTimeoutMs: 1_000 }), `${when}: the file is opened`);
    try {
      await step(db.run('REPLACE INTO ballast VALUES (0, zeroblob(10))'), `${when}: a write after it`);
      await mustBeWhole(db, acknowledged, when);
      await mustBeSound(db, when);
    } finally {
      await step(db.close(), `${when}: close`);
    }
    if (turn % ENDS_PER_FILE === ENDS_PER_FILE - 1 || turn === plan.count - 1) {
      counted.acknowledged += acknowledged.length;
      acknowledged.length = 0;
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    }
  }
}
