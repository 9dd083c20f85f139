// kill -9 while a database is copied: there is no copy, or what was there before, or a whole one of one moment.

import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { strangers, temporaries } from './leftovers.mjs';
import { named, step } from './step.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';
import { IDS } from './traffic.mjs';
import { anyMoment, type Life, liveUntil, make, mustHold, optionsOf, type Secret, Spans } from './upkeep.mjs';

const LANES = 2;
/** Kills on one source before the next, fresh one. */
const KILLS_PER_FILE = 5;
const ACKNOWLEDGEMENTS = 40;
const KEY = { key: '5c'.repeat(32) };
const OTHER = { key: '6d'.repeat(32) };
const MAGIC = 'SQLite format 3\0';
/** A file that is there before, and is no database. */
const BEFORE = Buffer.from('what was there before\n'.repeat(500));

/** What is copied to what; `'alike'`: the copy is asked for without a key. */
const VARIANTS: readonly { name: string; source: Secret; copy: Secret | 'alike' }[] = [
  { name: 'the same key', source: KEY, copy: 'alike' },
  { name: 'another key', source: KEY, copy: OTHER },
  { name: 'to plain', source: KEY, copy: null },
  { name: 'plain', source: null, copy: 'alike' },
  { name: 'to a key', source: null, copy: KEY },
];

const PLACES = [
  { isTaken: false, overwrite: false },
  { isTaken: false, overwrite: true },
  { isTaken: true, overwrite: true },
] as const;

const SIZES = [1_000_000, 50_000, 4_000_000] as const;

interface Counted {
  kills: number;
  acknowledged: number;
  phases: Record<Life['phase'], number>;
  /** Killed after the copy was checked, before anybody was told that it is done. */
  checked: number;
  absent: number;
  old: number;
  whole: number;
  /** The copy has its name, and nobody was told. */
  untold: number;
  /** Kills that left a temporary file. */
  left: number;
}

export const backup: Stress = {
  counts: 'kills',
  full: { count: 200, seconds: 0 },
  async run(plan) {
    const counted: Counted = {
      kills: 0,
      acknowledged: 0,
      phases: { opening: 0, before: 0, during: 0, after: 0 },
      checked: 0,
      absent: 0,
      old: 0,
      whole: 0,
      untold: 0,
      left: 0,
    };
    await Promise.all(Array.from({ length: LANES }, (_, lane) => killInLane(plan, lane, counted)));
    return figures(counted);
  },
};

function figures({ kills, acknowledged, phases, checked, absent, old, whole, untold, left }: Counted): Figures {
  return {
    kills,
    'acknowledged commits': acknowledged,
    'killed before': phases.opening + phases.before,
    during: phases.during,
    'of these after the check': checked,
    after: phases.after,
    'no copy': absent,
    'the file before': old,
    'a whole copy': whole,
    'of these untold': untold,
    'a temporary file left': left,
    'backups after it': kills,
  };
}

interface Source {
  readonly path: string;
  readonly secret: Secret;
  readonly fill: string;
  readonly acknowledged: number[];
  counted: number;
}

async function killInLane(plan: Plan, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane);
  const folder = plan.folder.file(`backup-${lane}`);
  mkdirSync(folder);
  const kills = Math.floor((plan.count + LANES - 1 - lane) / LANES);
  const spansOf = new Map<string, Spans>();
  let source: Source | undefined;
  for (let round = 0; round < kills; round++) {
    const file = Math.floor(round / KILLS_PER_FILE);
    const { name, source: secret, copy } = VARIANTS[(file + 2 * lane) % VARIANTS.length] ?? VARIANTS[0] ?? never();
    const bytes = SIZES[(file + lane) % SIZES.length] ?? 0;
    if (round % KILLS_PER_FILE === 0 || source === undefined) {
      if (source !== undefined) rmSync(source.path);
      const path = join(folder, `source-${file}.db`);
      source = { path, secret, fill: await make(path, { secret, bytes }), acknowledged: [], counted: 0 };
    }
    const place = PLACES[(round + lane) % PLACES.length] ?? PLACES[0];
    const kind = `${name} ${bytes}`;
    const spans = spansOf.get(kind) ?? new Spans();
    spansOf.set(kind, spans);
    const when = `lane ${lane}, round ${round}, ${name}, ${bytes} bytes, ${place.isTaken ? 'over a file' : place.overwrite ? 'over nothing' : 'to a free name'}`;
    const target = join(folder, `copy-${round}.db`);
    if (place.isTaken) writeFileSync(target, BEFORE);
    const orders = {
      path: source.path,
      secret,
      task: { kind: 'backup', target, overwrite: place.overwrite, copy } as const,
      traffic: 'rows' as const,
      firstId: round * IDS,
      seed: random.below(2 ** 31),
      acknowledgements: 1 + random.below(ACKNOWLEDGEMENTS),
    };
    // Every third at the instants at which the copy gets its name.
    const moment = anyMoment(random, spans, orders.acknowledgements, ['begun', 'begun', 'checked']);
    const earlier = [...source.acknowledged];
    const earlierCounted = source.counted;
    const life = await liveUntil(moment, orders, spans, when);
    source.acknowledged.push(...life.acknowledged);
    source.counted = Math.max(source.counted, life.counted);
    counted.kills++;
    counted.acknowledged += life.acknowledged.length;
    counted.phases[life.phase]++;
    if (life.phase === 'during' && life.isChecked) counted.checked++;

    const found = `${when}, killed ${life.phase}${life.isChecked ? ', checked' : ''}`;
    const known = {
      acknowledged: [...earlier, ...life.before.acknowledged],
      counted: Math.max(earlierCounted, life.before.counted),
    };
    const copied: Copied = { target, secret: copy === 'alike' ? secret : copy, fill: source.fill };
    const state = await named(found, () => mustBeAllOrNothing(copied, place.isTaken, known, found));
    counted[state]++;
    must(state === 'whole' || life.phase !== 'after', `${found}: the backup was acknowledged, and there is none`);
    if (state === 'whole' && life.phase === 'during') counted.untold++;
    const left = temporaries(target);
    if (left.length > 0) counted.left++;
    mustHide(folder, left, copied, found);
    const foreign = strangers(source.path, target).filter((name) => !left.includes(name));
    must(foreign.length === 0, `${found}: ${foreign.join()} is left`);

    const present = source;
    await named(found, () => mustGoOn(present, copied, copy, found));
    for (const name of [...left, `copy-${round}.db`]) rmSync(join(folder, name));
  }
}

interface Copied {
  readonly target: string;
  readonly secret: Secret;
  readonly fill: string;
}

/** What the target is, which is never half of anything. */
async function mustBeAllOrNothing(
  copied: Copied,
  isTaken: boolean,
  known: { acknowledged: readonly number[]; counted: number },
  when: string,
): Promise<'absent' | 'old' | 'whole'> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(copied.target);
  } catch {
    must(!isTaken, `${when}: the file that was there is gone`);
    return 'absent';
  }
  if (isTaken && bytes.equals(BEFORE)) return 'old';
  await mustBeCopy(copied, known, when);
  return 'whole';
}

/** A violation unless the copy is whole, of one moment, encrypted as it was asked for, and for its owner alone. */
async function mustBeCopy(
  { target, secret, fill }: Copied,
  known: { acknowledged: readonly number[]; counted: number },
  when: string,
): Promise<void> {
  const isPlain = readFileSync(target).subarray(0, 16).toString('latin1') === MAGIC;
  must(isPlain === (secret === null), `${when}: the copy is ${isPlain ? 'plain' : 'encrypted'}`);
  if (process.platform !== 'win32') {
    const rights = statSync(target).mode & 0o777;
    must(rights === 0o600, `${when}: the copy has the rights ${rights.toString(8)}`);
  }
  const db = await step(Database.open(target, { ...optionsOf(secret), create: false }), `${when}: the copy is opened`);
  try {
    await mustHold(db, known, fill, `${when}: the copy`);
  } finally {
    await step(db.close(), `${when}: the copy is closed`);
  }
}

/** A violation if what is left of an encrypted copy has anything in clear. */
function mustHide(folder: string, left: readonly string[], { secret }: Copied, when: string): void {
  if (secret === null) return;
  for (const name of left) {
    if (!name.endsWith('.tmp')) continue;
    const bytes = readFileSync(join(folder, name));
    must(!bytes.includes(MAGIC) && !bytes.includes('CREATE TABLE'), `${when}: ${name} is in clear`);
  }
}

/** A violation unless the source has everything, and a backup after the kill is a whole one, whatever was left. */
async function mustGoOn(source: Source, copied: Copied, copy: Secret | 'alike', when: string): Promise<void> {
  const db = await step(Database.open(source.path, optionsOf(source.secret)), `${when}: the source is opened`);
  try {
    await mustHold(db, source, source.fill, `${when}: the source`);
    const key = copy === 'alike' ? {} : copy === null ? { key: null } : optionsOf(copy);
    await step(db.backup(copied.target, { overwrite: true, ...key }), `${when}: the next backup`);
  } finally {
    await step(db.close(), `${when}: the source is closed`);
  }
  await mustBeCopy(copied, source, `${when}: the next backup`);
}

function never(): never {
  throw new Error('no variant');
}
