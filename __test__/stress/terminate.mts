// worker.terminate() at random instants inside of transactions: no signal, no hang, no lost commit, and the lock is free.

import { Database } from 'sqlflow';
import { Program } from './program.mjs';
import { step } from './step.mjs';
import { must, round, type Stress, Violation } from './stress.mjs';
import type { TerminateReport } from './terminate.child.mjs';
import { mustBeSound, mustBeWhole } from './whole.mjs';

/** All workers of a run. */
const RUN_LIMIT_MS = 600_000;

export const terminate: Stress = {
  counts: 'workers that are terminated',
  full: { count: 500, seconds: 0 },
  async run({ count, seed, hangMs, folder }) {
    const path = folder.file('shared.db');
    const program = Program.start('terminate.child', [path, count, seed, hangMs]);
    try {
      await step(program.ended, 'a process that terminates workers', RUN_LIMIT_MS);
    } finally {
      program.kill();
    }
    const { code, signal, stderr } = await program.ended;
    // Its own violations among them.
    if (code !== 0) throw new Violation(`the process of the workers ended with ${signal ?? code}: ${stderr}`);
    const report: TerminateReport = JSON.parse(program.lines.at(-1) ?? '');
    must(report.terminated === count, `${report.terminated} of ${count} workers were terminated`);

    const db = await step(Database.open(path, { busyTimeoutMs: 1_000 }), 'the file is opened');
    try {
      await step(db.run('REPLACE INTO ballast VALUES (0, zeroblob(10))'), 'a write of another process');
      await mustBeWhole(db, [], 'at the end');
      await mustBeSound(db, 'at the end');
    } finally {
      await step(db.close(), 'close');
    }
    return {
      terminated: report.terminated,
      'acknowledged commits': report.acknowledged,
      'slowest terminate (ms)': round(report.slowestEndMs),
      'slowest write after it (ms)': round(report.slowestWriteMs),
    };
  },
};
