// kill -9: a process acknowledges commits on a pipe and is killed at a random instant; what it acknowledged is there.

import { rmSync } from 'node:fs';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { isInCheckpoint } from './leftovers.mjs';
import { Program } from './program.mjs';
import { pause, step } from './step.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';
import { IDS } from './traffic.mjs';
import { mustBeSound, mustBeWhole } from './whole.mjs';

/** What the process is at: anything; commits so large that the log is checkpointed all the time; closing and opening. */
export type KillVariant = 'plain' | 'checkpoint' | 'close';

const VARIANTS: readonly KillVariant[] = ['plain', 'checkpoint', 'close'];
/** Kills on one file before the next, fresh one. */
const KILLS_PER_FILE = 20;
const LANES = 2;

interface Counted {
  kills: number;
  acknowledged: number;
  /** Killed before the file was open. */
  opening: number;
  checkpointing: number;
  closing: number;
}

export const kill: Stress = {
  counts: 'kills of each variant',
  full: { count: 500, seconds: 0 },
  async run(plan) {
    const counted: Counted = { kills: 0, acknowledged: 0, opening: 0, checkpointing: 0, closing: 0 };
    for (const variant of VARIANTS) {
      const lanes = Array.from({ length: LANES }, (_, lane) => killInLane(plan, variant, lane, counted));
      await Promise.all(lanes);
    }
    return figures(counted);
  },
};

function figures(counted: Counted): Figures {
  return {
    kills: counted.kills,
    'acknowledged commits': counted.acknowledged,
    'killed while opening': counted.opening,
    'in a checkpoint': counted.checkpointing,
    'in a close': counted.closing,
  };
}

async function killInLane(plan: Plan, variant: KillVariant, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane + 10 * VARIANTS.indexOf(variant));
  const path = plan.folder.file(`killed-${variant}-${lane}.db`);
  const acknowledged: number[] = [];
  const kills = Math.floor((plan.count + LANES - 1 - lane) / LANES);
  for (let round = 0; round < kills; round++) {
    const words = [path, variant, round * IDS, random.below(2 ** 31)];
    const program = Program.start('kill.child', words);
    try {
      await atRandomInstant(program, variant, random);
    } finally {
      program.kill();
    }
    const { code, signal, stderr } = await program.end('a process that was killed does not end');
    must(signal === 'SIGKILL', `${variant}: the process ended before it was killed, with ${code ?? signal}: ${stderr}`);
    const said = program.lines.filter((line) => /^\d+$/.test(line)).map(Number);
    acknowledged.push(...said);
    counted.kills++;
    counted.acknowledged += said.length;
    if (!program.lines.includes('ready')) counted.opening++;
    else if (isInCheckpoint(path)) counted.checkpointing++;
    if (program.lines.lastIndexOf('closing') > program.lines.lastIndexOf('closed')) counted.closing++;

    const when = `${variant}, lane ${lane}, round ${round}`;
    const db = await step(Database.open(path), `${when}: the file is opened`);
    try {
      if (acknowledged.length > 0) await mustBeWhole(db, acknowledged, when);
      await mustBeSound(db, when);
    } finally {
      await step(db.close(), `${when}: close`);
    }
    if (round % KILLS_PER_FILE === KILLS_PER_FILE - 1) {
      acknowledged.length = 0;
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    }
  }
}

async function atRandomInstant(program: Program, variant: KillVariant, random: Random): Promise<void> {
  if (random.below(10) === 0) {
    await pause(random.below(200));
    return;
  }
  await program.until('ready');
  const isAwaited = (line: string) => (variant === 'close' ? line === 'closing' : /^\d/.test(line));
  const lines = random.below(variant === 'close' ? 5 : 60);
  if (lines > 0) await program.until('an acknowledgement', lines, isAwaited);
  // Half of them without leaving this turn of the loop.
  if (random.below(2) === 0) await pause(random.below(5));
}
