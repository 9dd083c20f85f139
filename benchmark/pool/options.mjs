// The command line of the bench of pools.

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** npm runs a script in the folder of its package; paths are meant from where npm was called. */
const CALLED_FROM = process.env.INIT_CWD ?? process.cwd();

export const PARTS = ['create', 'open', 'hot', 'hits', 'memory', 'descriptors'];

export const USAGE = `npm --prefix benchmark run pool -- [options]

  --only PART     only this part (${PARTS.join(', ')}); may be given again
  --quick         1,000 tenants, 2 rounds of 150 ms: a look, not a figure
  --tenants N     so many tenants (default: 10000)
  --rounds N      so many rounds (default: 5)
  --ms N          so long each, for what runs by time (default: 500)
  --folder DIR    where the databases lie meanwhile (default: benchmark/.data, on the disk of this checkout)
`;

export function parse(args) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true, default: [] },
      quick: { type: 'boolean', default: false },
      tenants: { type: 'string' },
      rounds: { type: 'string' },
      ms: { type: 'string' },
      folder: { type: 'string', default: fileURLToPath(new URL('../.data', import.meta.url)) },
      help: { type: 'boolean', default: false },
    },
  });
  for (const part of values.only) {
    if (!PARTS.includes(part)) throw new Error(`--only ${part}: no such part; there are ${PARTS.join(', ')}`);
  }
  const { quick } = values;
  return {
    help: values.help,
    parts: values.only.length === 0 ? PARTS : values.only,
    tenants: count('tenants', values.tenants ?? (quick ? '1000' : '10000'), 500),
    rounds: count('rounds', values.rounds ?? (quick ? '2' : '5'), 1),
    ms: count('ms', values.ms ?? (quick ? '150' : '500'), 1),
    sample: quick ? 100 : 500,
    folder: resolve(CALLED_FROM, values.folder),
  };
}

function count(name, text, least) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw new Error(`--${name} ${text}: a whole number from ${least} up is wanted`);
  }
  return value;
}
