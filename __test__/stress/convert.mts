// kill -9 while a file of SQLite3 Multiple Ciphers is made one of ours: it is either, and has all of its rows.

import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Database, ForeignCipherFormatError } from 'sqlflow';
import {
  FOREIGN_KEY,
  type ForeignName,
  foreignFile,
  foreignTables,
  makeForeign,
  type Tables,
  tablesOf,
} from '../fixtures/convert/foreign.mjs';
import { Random } from '../fixtures/random.mjs';
import { strangers, temporaries } from './leftovers.mjs';
import { named, step } from './step.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';
import { anyMoment, type Life, liveUntil, make, mustVerify, Spans } from './upkeep.mjs';

const LANES = 2;
/** Before it is another one's turn: the first measures. */
const KILLS_PER_SUBJECT = 3;
const SECRET = { key: Buffer.from(FOREIGN_KEY).toString('hex') };
/** Of the one that no other program has made. */
const BYTES = 4_000_000;

interface Subject {
  readonly name: string;
  readonly tables: Tables;
  readonly spans: Spans;
  /** Puts a fresh one there. */
  put(path: string): void;
}

interface Counted {
  kills: number;
  phases: Record<Life['phase'], number>;
  withLog: number;
  foreign: number;
  converted: number;
  untold: number;
  left: number;
  /** A second kill in a second try. */
  again: number;
}

export const convert: Stress = {
  counts: 'kills',
  full: { count: 100, seconds: 0 },
  async run(plan) {
    const counted: Counted = {
      kills: 0,
      phases: { opening: 0, before: 0, during: 0, after: 0 },
      withLog: 0,
      foreign: 0,
      converted: 0,
      untold: 0,
      left: 0,
      again: 0,
    };
    await Promise.all(Array.from({ length: LANES }, (_, lane) => killInLane(plan, lane, counted)));
    return figures(counted);
  },
};

function figures({ kills, phases, withLog, foreign, converted, untold, left, again }: Counted): Figures {
  return {
    kills,
    'killed before': phases.opening + phases.before,
    during: phases.during,
    after: phases.after,
    'still foreign': foreign,
    'with a log': withLog,
    converted,
    'of these untold': untold,
    'a temporary file left': left,
    'in a second try': again,
  };
}

async function subjects(plan: Plan, lane: number): Promise<Subject[]> {
  const made = plan.folder.file(`convert-${lane}.db`);
  await make(made, { secret: SECRET, bytes: BYTES });
  const db = await step(Database.open(made, { key: FOREIGN_KEY }), 'a file is opened');
  const tables = await tablesOf(db);
  await step(db.close(), 'close');
  makeForeign(made, FOREIGN_KEY);
  const given = (name: ForeignName): Subject => {
    const file = foreignFile(name);
    const put = (path: string) => {
      for (const [suffix, bytes] of file) writeFileSync(path + suffix, bytes);
    };
    return { name, tables: foreignTables(name), spans: new Spans(), put };
  };
  const large = { name: 'large', tables, spans: new Spans(), put: (path: string) => copyFileSync(made, path) };
  return [given('log'), large, given('log'), given('holes')];
}

async function killInLane(plan: Plan, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane);
  const folder = plan.folder.file(`convert-${lane}`);
  mkdirSync(folder);
  const all = await subjects(plan, lane);
  const kills = Math.floor((plan.count + LANES - 1 - lane) / LANES);
  for (let round = 0; round < kills; round++) {
    const subject = all[(Math.floor(round / KILLS_PER_SUBJECT) + lane) % all.length];
    if (subject === undefined) throw new Error('no file');
    const path = join(folder, `converted-${round}.db`);
    subject.put(path);
    // A second try is killed as well, now and then a third: each finds what the one before has left.
    let isConverted = false;
    const lives = 1 + random.below(3);
    for (let life = 0; !isConverted && life < lives; life++) {
      isConverted = await killOnce(
        subject,
        path,
        random,
        counted,
        `lane ${lane}, round ${round}, life ${life}, ${subject.name}`,
      );
      if (life > 0) counted.again++;
    }
    counted.kills++;
    const when = `lane ${lane}, round ${round}, ${subject.name}: after the kills`;
    await named(when, () => step(Database.convert(path, { key: FOREIGN_KEY }), `${when}: convert`));
    must(await isOurs(subject, path, when), `${when}: the file is not converted`);
    for (const suffix of ['-wal', '-journal']) must(!existsSync(path + suffix), `${when}: ${suffix} is left`);
    for (const name of [...temporaries(path), `converted-${round}.db`]) rmSync(join(folder, name));
  }
}

/** Whether it is converted after that. */
async function killOnce(
  subject: Subject,
  path: string,
  random: Random,
  counted: Counted,
  when: string,
): Promise<boolean> {
  const { spans } = subject;
  const orders = {
    path,
    secret: SECRET,
    task: { kind: 'convert' } as const,
    traffic: 'rows' as const,
    firstId: 0,
    seed: 0,
    acknowledgements: 1,
  };
  const moment = anyMoment(random, spans, 1, ['begun', 'begun', 'checked']);
  const life = await liveUntil(moment.at === 'traffic' ? { at: 'begun', share: 0 } : moment, orders, spans, when);
  counted.phases[life.phase]++;
  const found = `${when}, killed ${life.phase}${life.isChecked ? ', checked' : ''}`;
  const hasLog = existsSync(`${path}-wal`);
  const left = temporaries(path);
  if (left.length > 0) counted.left++;
  const foreign = strangers(path).filter((name) => !left.includes(name));
  must(foreign.length === 0, `${found}: ${foreign.join()} is left`);
  const isConverted = await isOurs(subject, path, found);
  must(isConverted || life.phase !== 'after', `${found}: it was acknowledged, and the file is the foreign one`);
  if (isConverted) counted.converted++;
  else counted.foreign++;
  if (!isConverted && hasLog) counted.withLog++;
  if (isConverted && life.phase === 'during') counted.untold++;
  return isConverted;
}

/** Whether the file is one of ours; then it has all its rows. Otherwise it says what it is. */
async function isOurs({ tables }: Subject, path: string, when: string): Promise<boolean> {
  let db: Database;
  try {
    db = await step(Database.open(path, { key: FOREIGN_KEY, create: false }), `${when}: the file is opened`);
  } catch (error) {
    if (error instanceof ForeignCipherFormatError) return false;
    must(false, `${when}: ${error}`);
  }
  try {
    const found = await named(when, () => step(tablesOf(db), `${when}: the rows`));
    must(JSON.stringify(found) === JSON.stringify(tables), `${when}: the rows are ${JSON.stringify(found)}`);
    await named(when, () => mustVerify(db, when));
    return true;
  } finally {
    await step(db.close(), `${when}: close`);
  }
}
