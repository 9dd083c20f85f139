// The command line of the stresses: runs those that are named, or all, and tells each in one line.

import { parseArgs } from 'node:util';
import { Folder } from '../fixtures/border/folder.mjs';
import { backup } from './backup.mjs';
import { busy } from './busy.mjs';
import { cancel } from './cancel.mjs';
import { convert } from './convert.mjs';
import { exit } from './exit.mjs';
import { history } from './history.mjs';
import { kill } from './kill.mjs';
import { migrate } from './migrate.mjs';
import { damage, hostile } from './mutants.mjs';
import { pool } from './pool.mjs';
import { rekey } from './rekey.mjs';
import { type Figures, type Plan, type Stress, Violation } from './stress.mjs';
import { terminate } from './terminate.mjs';
import { vacuum } from './vacuum.mjs';

const STRESSES: ReadonlyMap<string, Stress> = new Map(
  Object.entries({
    history,
    kill,
    exit,
    terminate,
    busy,
    cancel,
    migrate,
    rekey,
    backup,
    vacuum,
    convert,
    damage,
    hostile,
    pool,
  }),
);

const USAGE = `npm run test:stress -- [name ...] [options]

  --count N     so many instead of the full count
  --seconds S   so long each, for those that run by time
  --seed S      the seed to repeat the choices of a run
  --hang-ms MS  an end that takes longer fails (default: 1000)
  --encrypted   every database that a run opens without a key is an encrypted one

${[...STRESSES].map(([name, { counts, full }]) => `  ${name.padEnd(10)} count: ${counts} (${full.count})${full.seconds > 0 ? `, ${full.seconds} s` : ''}`).join('\n')}
`;

/** By what is loaded before it: `fixtures/encrypted.mts`. */
const isEncrypted = process.env['SQLFLOW_TEST_KEY'] !== undefined;

function number(name: string, text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} ${text}: a number from 0 up is wanted`);
  return value;
}

function told(figures: Figures): string {
  return Object.entries(figures)
    .map(([name, figure]) => `${name} ${figure}`)
    .join(', ');
}

async function run(name: string, stress: Stress, plan: Omit<Plan, 'folder'>): Promise<void> {
  const folder = new Folder();
  const start = performance.now();
  const kind = isEncrypted ? 'encrypted, ' : '';
  const head = () => `${name}: seed ${plan.seed}, ${kind}${((performance.now() - start) / 1_000).toFixed(1)} s`;
  try {
    const figures = await stress.run({ ...plan, folder });
    folder[Symbol.dispose]();
    console.log(`${head()}: ${told(figures)}`);
  } catch (error) {
    console.log(`${head()}: ${error instanceof Violation ? `VIOLATION: ${error.message}` : 'failed'}`);
    if (!(error instanceof Violation)) console.error(error);
    console.error(`its files are kept: ${folder.path}`);
    const words = [name, '--seed', plan.seed, '--count', plan.count, '--seconds', plan.seconds];
    console.error(`to repeat it: npm run test:stress -- ${words.join(' ')}${isEncrypted ? ' --encrypted' : ''}`);
    // At once: what hangs would keep the process, and what it started ends with it.
    process.exit(1);
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    'hang-ms': { type: 'string' },
    encrypted: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(USAGE);
} else {
  if (values.encrypted && !isEncrypted) throw new Error('--encrypted is for npm run test:stress, which prepares it');
  const seed = number('seed', values.seed, Math.floor(Math.random() * 2 ** 31));
  const hangMs = number('hang-ms', values['hang-ms'], 1_000);
  for (const name of positionals.length > 0 ? positionals : STRESSES.keys()) {
    const stress = STRESSES.get(name);
    if (stress === undefined) throw new Error(`no stress "${name}": ${[...STRESSES.keys()].join(', ')}`);
    const count = number('count', values.count, stress.full.count);
    const seconds = number('seconds', values.seconds, stress.full.seconds);
    await run(name, stress, { count, seconds, seed, hangMs });
  }
}
