// Migrations: a process is killed at a random instant while it runs twenty of them, and processes open a new file at once.
// History and schema agree whenever one looks, a run again completes, and no migration is run twice.

import { rmSync } from 'node:fs';
import { Database, type Row } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { SET, STEPS } from './migrate.set.mjs';
import { Program } from './program.mjs';
import { pause, step } from './step.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';
import { mustBeSound } from './whole.mjs';

const LANES = 2;
/** Processes that open a new file at once. */
const CROWDS = [2, 8] as const;
/** Within which the processes of every second opening come. */
const SPREAD_MS = 80;
/** For so many kills there is an opening of each crowd. */
const KILLS_PER_OPENING = 4;

interface Counted {
  kills: number;
  /** Killed after the first migration and before the last. */
  between: number;
  openings: number;
}

export const migrate: Stress = {
  counts: 'kills during 20 migrations, and a quarter as many files that 2 and 8 processes open at once',
  full: { count: 200, seconds: 0 },
  async run(plan) {
    const counted: Counted = { kills: 0, between: 0, openings: 0 };
    await Promise.all(Array.from({ length: LANES }, (_, lane) => killInLane(plan, lane, counted)));
    for (const crowd of CROWDS) await openTogether(plan, crowd, counted);
    return figures(counted);
  },
};

function figures({ kills, between, openings }: Counted): Figures {
  return { kills, 'between first and last': between, 'openings of 2 and of 8': openings };
}

async function killInLane(plan: Plan, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane);
  const kills = Math.floor((plan.count + LANES - 1 - lane) / LANES);
  for (let round = 0; round < kills; round++) {
    const path = plan.folder.file(`migrated-${lane}-${round}.db`);
    const mode = random.pick(['always', 'create'] as const);
    let finished = false;
    let before = 0;
    // Killed again and again until a run is through: each goes on where the one before was.
    for (let life = 0; !finished && life < 4; life++) {
      const when = `lane ${lane}, round ${round}, life ${life}`;
      const program = Program.start('migrate.child', [path, mode]);
      try {
        await program.until('ready');
        program.say('go');
        // Some at an instant after the call, most at one after a migration that was told.
        const told = random.below(STEPS - before + 2);
        if (told > 0) await program.until('a migration', told, (line) => line !== 'ready');
        if (random.below(2) === 0) await pause(random.below(4));
      } finally {
        program.kill();
      }
      const { signal, code, stderr } = await program.end(`${when}: a process that was killed does not end`);
      must(signal === 'SIGKILL', `${when}: it ended before it was killed, with ${code ?? signal}: ${stderr}`);
      const committed = Math.max(0, ...program.lines.filter((line) => /^\d+$/.test(line)).map(Number));
      const applied = await mustAgree(path, committed, when);
      must(applied >= before, `${when}: ${before} migrations were applied, ${applied} are left`);
      before = applied;
      finished = program.lines.includes('open');
      if (finished) must(applied === STEPS, `${when}: it was open with ${applied} migrations`);
      if (applied > 0 && applied < STEPS) counted.between++;
    }
    counted.kills++;
    const when = `lane ${lane}, round ${round}: the run after the kills`;
    const db = await step(Database.open(path, { migrations: SET, migrate: mode }), when);
    await step(db.close(), when);
    must((await mustAgree(path, 0, when)) === STEPS, `${when}: not all are applied`);
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  }
}

async function openTogether(plan: Plan, crowd: number, counted: Counted): Promise<void> {
  const programs = Array.from({ length: crowd }, () => Program.start('migrate.child', []));
  await Promise.all(programs.map((program) => program.until('ready')));
  const random = new Random(plan.seed + 10 * crowd);
  const openings = Math.ceil(plan.count / KILLS_PER_OPENING);
  for (let opening = 1; opening <= openings; opening++) {
    const when = `opening ${opening} of ${crowd}`;
    const path = plan.folder.file(`opened-${crowd}-${opening}.db`);
    // At once, or all over the time that the migrations take: some come when the last is being committed.
    const spreadMs = opening % 2 === 0 ? SPREAD_MS : 0;
    const start = async (program: Program) => {
      if (spreadMs > 0) await pause(random.below(spreadMs));
      program.say(path);
    };
    await Promise.all(programs.map(start));
    await Promise.all(programs.map((program) => program.until(when, opening, (line) => /^(open|failed)/.test(line))));
    for (const { lines } of programs) {
      const failed = lines.find((line) => line.startsWith('failed'));
      must(failed === undefined, `${when}: ${failed}`);
    }
    const told = programs.flatMap(({ lines }) => lines.filter((line) => /^\d+$/.test(line)));
    must(
      told.length === opening * STEPS,
      `${when}: ${told.length} migrations were told in all, not ${opening * STEPS}`,
    );
    must((await mustAgree(path, STEPS, when)) === STEPS, `${when}: not all are applied`);
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    counted.openings++;
  }
  for (const program of programs) program.sign();
  await Promise.all(programs.map((program) => program.end(`a process of ${crowd} that opened`)));
}

/** How many migrations are applied; a violation unless history, schema and data agree, and those that were told are there. */
async function mustAgree(path: string, told: number, when: string): Promise<number> {
  const db = await step(Database.open(path), `${when}: the file is opened`);
  try {
    await mustBeSound(db, when);
    const applied = (await step(db.migrations(), `${when}: the history`)).map(({ version }) => Number(version));
    const last = applied.length;
    must(applied.join() === numbers(last).join(), `${when}: the history has ${applied.join()}`);
    must(last >= told, `${when}: migration ${told} was told, the history ends with ${last}`);
    const schema = await db.all(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 't[0-9]*'`);
    const expected = numbers(last).map((version) => `t${version}`);
    must(
      texts(schema, 'name') === expected.sort().join(),
      `${when}: tables ${texts(schema, 'name')} with ${last} applied`,
    );
    if (last === 0) return 0;
    const log = await db.one(
      'SELECT count(*) AS rows, count(DISTINCT version) AS versions, max(version) AS last FROM log',
    );
    must(
      log['rows'] === last && log['versions'] === last && log['last'] === last,
      `${when}: the data is that of ${JSON.stringify(log)}, the history ends with ${last}`,
    );
    const marks = await db.all(`SELECT name FROM sqlite_schema WHERE name = 'sqlflow_unfinished_migration'`);
    must(last < STEPS || marks.length === 0, `${when}: the mark of the making is left`);
    return last;
  } finally {
    await step(db.close(), `${when}: close`);
  }
}

function numbers(to: number): number[] {
  return Array.from({ length: to }, (_, index) => index + 1);
}

function texts(rows: readonly Row[], column: string): string {
  return rows
    .map((row) => String(row[column]))
    .sort()
    .join();
}
