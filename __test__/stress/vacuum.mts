// kill -9 while a file is written anew without its holes: every acknowledged write is there, and nothing else is left.

import { copyFileSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { isInCheckpoint, strangers } from './leftovers.mjs';
import { named, step } from './step.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';
import { IDS } from './traffic.mjs';
import { anyMoment, type Life, liveUntil, type Making, make, mustHold, optionsOf, Spans } from './upkeep.mjs';

const LANES = 2;
/** Kills on one file before the next, fresh one. */
const KILLS_PER_FILE = 2;
const ACKNOWLEDGEMENTS = 40;
const KEY = { key: '5c'.repeat(32) };
const BYTES = 2_000_000;

interface Variant extends Making {
  readonly name: string;
  readonly pages: number | null;
}

const VARIANTS: readonly Variant[] = [
  { name: 'plain', secret: null, bytes: BYTES, holes: true, pages: null },
  { name: 'encrypted', secret: KEY, bytes: BYTES, holes: true, pages: null },
  { name: 'small and encrypted', secret: KEY, bytes: 50_000, holes: true, pages: null },
  { name: 'incremental', secret: null, bytes: BYTES, holes: true, autoVacuum: 'incremental', pages: 400 },
];

interface Counted {
  kills: number;
  acknowledged: number;
  phases: Record<Life['phase'], number>;
  checkpointing: number;
  /** The file is smaller than it was, and nobody was told. */
  untold: number;
}

export const vacuum: Stress = {
  counts: 'kills',
  full: { count: 100, seconds: 0 },
  async run(plan) {
    const counted: Counted = {
      kills: 0,
      acknowledged: 0,
      phases: { opening: 0, before: 0, during: 0, after: 0 },
      checkpointing: 0,
      untold: 0,
    };
    await Promise.all(Array.from({ length: LANES }, (_, lane) => killInLane(plan, lane, counted)));
    return figures(counted);
  },
};

function figures({ kills, acknowledged, phases, checkpointing, untold }: Counted): Figures {
  return {
    kills,
    'acknowledged commits': acknowledged,
    'killed before': phases.opening + phases.before,
    during: phases.during,
    after: phases.after,
    'in a checkpoint': checkpointing,
    'smaller untold': untold,
  };
}

async function killInLane(plan: Plan, lane: number, counted: Counted): Promise<void> {
  const random = new Random(plan.seed + lane);
  const folder = plan.folder.file(`vacuum-${lane}`);
  mkdirSync(folder);
  const templates = await Promise.all(
    VARIANTS.map(async (variant, at) => {
      const template = plan.folder.file(`vacuum-${lane}-${at}.db`);
      return { ...variant, template, fill: await make(template, variant), spans: new Spans() };
    }),
  );
  const kills = Math.floor((plan.count + LANES - 1 - lane) / LANES);
  const acknowledged: number[] = [];
  let counts = 0;
  for (let round = 0; round < kills; round++) {
    const file = Math.floor(round / KILLS_PER_FILE);
    const variant = templates[(file + lane) % templates.length];
    if (variant === undefined) throw new Error('no variant');
    const { name, secret, pages, template, fill, spans } = variant;
    const path = join(folder, `vacuumed-${file}.db`);
    if (round % KILLS_PER_FILE === 0) {
      copyFileSync(template, path);
      acknowledged.length = 0;
      counts = 0;
    }
    const when = `lane ${lane}, round ${round}, ${name}`;
    const orders = {
      path,
      secret,
      task: { kind: 'vacuum', pages } as const,
      traffic: 'rows' as const,
      firstId: round * IDS,
      seed: random.below(2 ** 31),
      acknowledgements: 1 + random.below(ACKNOWLEDGEMENTS),
    };
    const size = statSync(path).size;
    const life = await liveUntil(
      anyMoment(random, spans, orders.acknowledgements, ['begun', 'log']),
      orders,
      spans,
      when,
    );
    acknowledged.push(...life.acknowledged);
    counts = Math.max(counts, life.counted);
    counted.kills++;
    counted.acknowledged += life.acknowledged.length;
    counted.phases[life.phase]++;
    if (isInCheckpoint(path)) counted.checkpointing++;

    const found = `${when}, killed ${life.phase}`;
    const db = await named(found, () => step(Database.open(path, optionsOf(secret)), `${found}: the file is opened`));
    try {
      await mustHold(db, { acknowledged, counted: counts }, fill, found);
    } finally {
      await step(db.close(), `${found}: close`);
    }
    if (life.phase === 'during' && statSync(path).size < size) counted.untold++;
    const left = strangers(path);
    must(left.length === 0, `${found}: ${left.join()} is left`);
    if (round % KILLS_PER_FILE === KILLS_PER_FILE - 1) rmSync(path, { force: true });
  }
}
