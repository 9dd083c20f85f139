// The command line.

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PEERS } from './peers/index.mjs';

/** npm runs a script in the folder of its package; paths are meant from where npm was called. */
const CALLED_FROM = process.env.INIT_CWD ?? process.cwd();

export const USAGE = `npm --prefix benchmark run bench -- [options]

  --only CASE     only this case, or those that begin with it (get, run-full, ...); may be given again
  --peer NAME     only this peer beside sqlflow (better-sqlite3, workers, node:sqlite); may be given again
  --quick         3 rounds of 150 ms instead of 5 of 500 ms: a look, not a figure
  --rounds N      so many rounds
  --ms N          so long each, for the cases that run by time
  --folder DIR    where the databases lie meanwhile (default: benchmark/.data, on the disk of this checkout)
  --json FILE     every sample, for a machine
  --list          the names of the cases
`;

export function parse(args) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true, default: [] },
      peer: { type: 'string', multiple: true, default: [] },
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      ms: { type: 'string' },
      folder: { type: 'string', default: fileURLToPath(new URL('./.data', import.meta.url)) },
      json: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  for (const name of values.peer) {
    if (!(name in PEERS)) throw new Error(`--peer ${name}: no such peer; there are ${Object.keys(PEERS).join(', ')}`);
  }
  return {
    ...values,
    rounds: count('rounds', values.rounds ?? (values.quick ? '3' : '5')),
    ms: count('ms', values.ms ?? (values.quick ? '150' : '500')),
    folder: resolve(CALLED_FROM, values.folder),
    json: values.json === undefined ? undefined : resolve(CALLED_FROM, values.json),
  };
}

function count(name, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} ${text}: a whole number from 1 up is wanted`);
  return value;
}
