// kill -9 while the key of a file is changed: either key opens it, and not the other; every acknowledged write is there.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Database, WrongKeyError } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { pausePrecisely } from './instant.mjs';
import { hasLog, type Journal, journalOf, strangers } from './leftovers.mjs';
import { Program } from './program.mjs';
import { named, step } from './step.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';
import { IDS } from './traffic.mjs';
import {
  anyKey,
  anyMoment,
  anySecret,
  type Life,
  liveUntil,
  make,
  mustHold,
  mustVerify,
  type Orders,
  optionsOf,
  type Secret,
  Spans,
} from './upkeep.mjs';

const LANES = 2;
/** Kills on one file before the next, fresh one: each goes on with what the one before has left. */
const KILLS_PER_FILE = 4;
/** Bytes of rows that a file has at first; 0: it is one page and stays so. */
const SIZES = [0, 50_000, 1_000_000, 4_000_000] as const;
/** Before the key is changed. */
const ACKNOWLEDGEMENTS = 40;
/** `user_version` has 32 bits. */
const NUMBERS = 10_000;

interface Counted {
  kills: number;
  acknowledged: number;
  /** Acknowledged after the call of `rekey`. */
  since: number;
  phases: Record<Life['phase'], number>;
  /** How the file was found after those during the change. */
  found: Record<Journal | 'log', number>;
  /** The new key opens it, and nobody was told. */
  untold: number;
  passphrases: number;
  /** A journal that nobody will roll back is still there after the file was opened and closed. */
  cold: number;
  /** Killed again at the next opening, before the file was whole again. */
  again: number;
}

export const rekey: Stress = {
  counts: 'kills',
  full: { count: 200, seconds: 0 },
  async run(plan) {
    const counted: Counted = {
      kills: 0,
      acknowledged: 0,
      since: 0,
      phases: { opening: 0, before: 0, during: 0, after: 0 },
      found: { log: 0, none: 0, empty: 0, begun: 0, hot: 0 },
      untold: 0,
      passphrases: 0,
      cold: 0,
      again: 0,
    };
    await Promise.all(Array.from({ length: LANES }, (_, lane) => killInLane(plan, lane, counted)));
    return figures(counted);
  },
};

function figures({ kills, acknowledged, since, phases, found, untold, passphrases, cold, again }: Counted): Figures {
  return {
    kills,
    'acknowledged writes': acknowledged,
    'after the call': since,
    'killed before': phases.opening + phases.before,
    during: phases.during,
    after: phases.after,
    'found during: log': found.log,
    'neither log nor journal': found.none,
    'journal empty': found.empty,
    'journal begun': found.begun,
    'journal hot': found.hot,
    'new key untold': untold,
    passphrases,
    'cold journal stays': cold,
    'killed again while opening': again,
  };
}

/** A file through its kills. */
interface Subject {
  readonly path: string;
  readonly bytes: number;
  readonly fill: string;
  readonly acknowledged: number[];
  counted: number;
  secret: Exclude<Secret, null>;
}

async function killInLane(plan: Plan, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane);
  const folder = plan.folder.file(`rekey-${lane}`);
  mkdirSync(folder);
  const kills = Math.floor((plan.count + LANES - 1 - lane) / LANES);
  const spans = new Map<string, Spans>();
  let subject: Subject | undefined;
  for (let round = 0; round < kills; round++) {
    const file = Math.floor(round / KILLS_PER_FILE);
    if (round % KILLS_PER_FILE === 0) {
      if (subject !== undefined) remove(subject.path);
      // One after the other, each lane from another one.
      const bytes = SIZES[(file + 2 * lane) % SIZES.length] ?? 0;
      subject = await fresh(join(folder, `rekeyed-${file}.db`), bytes, random);
    }
    if (subject === undefined) throw new Error('no file');
    const when = `lane ${lane}, round ${round}, a file of ${subject.bytes === 0 ? 'one page' : `${subject.bytes} bytes`}`;
    const present = subject;
    await named(when, () => killOnce(present, round, random, spans, counted, when));
  }
}

async function fresh(path: string, bytes: number, random: Random): Promise<Subject> {
  const secret = { key: anyKey(random) };
  if (bytes > 0)
    return { path, bytes, fill: await make(path, { secret, bytes }), acknowledged: [], counted: 0, secret };
  const db = await step(Database.open(path, optionsOf(secret)), 'a file is made');
  await db.exec('PRAGMA user_version = 1');
  await step(db.close(), 'close');
  return { path, bytes, fill: '', acknowledged: [], counted: 0, secret };
}

async function killOnce(
  subject: Subject,
  round: number,
  random: Random,
  spansOf: Map<string, Spans>,
  counted: Counted,
  when: string,
): Promise<void> {
  const { path, secret: old } = subject;
  const isNumbered = subject.bytes === 0;
  const next = anySecret(random);
  const isSlow = 'passphrase' in next;
  const kind = `${subject.bytes} ${isSlow}`;
  const spans = spansOf.get(kind) ?? new Spans();
  spansOf.set(kind, spans);
  const orders = {
    path,
    secret: old,
    traffic: isNumbered ? ('numbers' as const) : ('rows' as const),
    firstId: round * (isNumbered ? NUMBERS : IDS),
    seed: random.below(2 ** 31),
    acknowledgements: 1 + random.below(ACKNOWLEDGEMENTS),
  };
  // Most when there is a journal: that is where the file is neither.
  const moment = anyMoment(random, spans, orders.acknowledgements, ['begun', 'journal', 'journal']);
  const isAgain = random.below(4) === 0;
  const isOldFirst = random.below(2) === 0;
  const isNewAgain = random.below(2) === 0;
  const againShare = random.next();

  const life = await liveUntil(moment, { ...orders, task: { kind: 'rekey', secret: next } }, spans, when);
  subject.acknowledged.push(...life.acknowledged);
  subject.counted = Math.max(subject.counted, life.counted);
  counted.kills++;
  counted.acknowledged += life.acknowledged.length;
  if (life.phase === 'during' || life.phase === 'after')
    counted.since += life.acknowledged.length - life.before.acknowledged.length;
  counted.phases[life.phase]++;
  if (isSlow) counted.passphrases++;
  if (life.phase === 'during') counted.found[hasLog(path) ? 'log' : journalOf(path)]++;
  const found = `${when}, killed ${life.phase}${hasLog(path) ? ', with a log' : ''}, journal ${journalOf(path)}`;

  if (isAgain && journalOf(path) !== 'none') {
    const opening = { ...orders, secret: isNewAgain ? next : old, task: { kind: 'open' } as const };
    await killWhileOpening(opening, againShare * spans.of('opening').ms, found);
    counted.again++;
  }

  const secrets = isOldFirst ? [old, next] : [next, old];
  const opened: Secret[] = [];
  for (const secret of secrets) {
    if (await opens(subject, secret, `${found}, with the ${secret === old ? 'old' : 'new'} key`)) opened.push(secret);
  }
  must(opened.length === 1, `${found}: ${opened.length === 0 ? 'neither key opens' : 'both keys open'} the file`);
  const isNew = opened[0] === next;
  must(isNew || life.phase !== 'after', `${found}: the new key was acknowledged, and the old one opens the file`);
  must(
    !isNew || life.phase === 'during' || life.phase === 'after',
    `${found}: the new key opens a file that was not rekeyed`,
  );
  if (isNew && life.phase === 'during') counted.untold++;
  const left = strangers(path);
  must(left.length === 0, `${found}: ${left.join()} is left`);
  const journal = journalOf(path);
  must(journal !== 'hot', `${found}: a hot journal is left after the file was opened and closed`);
  if (journal !== 'none') counted.cold++;
  if (isNew) subject.secret = next;
}

/** Whether the key is that of the file; then all of it must be there. */
async function opens(subject: Subject, secret: Secret, when: string): Promise<boolean> {
  let db: Database;
  try {
    db = await step(Database.open(subject.path, optionsOf(secret)), `${when}: the file is opened`);
  } catch (error) {
    if (error instanceof WrongKeyError) return false;
    must(false, `${when}: ${error}`);
  }
  try {
    if (subject.bytes > 0) {
      await mustHold(db, subject, subject.fill, when);
    } else {
      const { user_version: number } = await step(db.one<{ user_version: number }>('PRAGMA user_version'), when);
      const last = subject.acknowledged.at(-1) ?? 1;
      must(number >= last, `${when}: number ${last} was acknowledged, ${number} is there`);
      await mustVerify(db, when);
    }
    return true;
  } finally {
    await step(db.close(), `${when}: close`);
  }
}

/** Of either key: the journal is rolled back before the key is found to be wrong. */
async function killWhileOpening(orders: Orders, afterMs: number, when: string): Promise<void> {
  const program = Program.start('upkeep.child', [JSON.stringify(orders)]);
  try {
    await program.until('opening');
    await pausePrecisely(afterMs);
  } finally {
    program.kill();
  }
  await program.end(`${when}: a process that was killed while it opened the file`);
  const failed = program.lines.find((line) => line.startsWith('failed'));
  must(failed === undefined || /WrongKeyError/.test(failed), `${when}, opened: ${failed}`);
}

function remove(path: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
}
