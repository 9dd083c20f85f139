// A process that ends itself at a random instant inside of its transactions, by `process.exit` or by what nobody catches.

import { writeSync } from 'node:fs';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { SCHEMA, Traffic } from './traffic.mjs';

const [path = '', way = '', firstId = '', seed = '', code = ''] = process.argv.slice(2);
const random = new Random(Number(seed));
let isEnding = false;

/** At once and whole, also at the very end. */
function say(line: string | number): void {
  writeSync(1, `${line}\n`);
}

function end(): void {
  if (isEnding) return;
  isEnding = true;
  say('ending');
  if (way === 'exit') process.exit(Number(code));
  queueMicrotask(() => {
    throw new Error('nobody catches me');
  });
}

// It does not outlive who started it.
process.stdin.resume().once('end', () => process.exit());

const db = await Database.open(path);
await db.exec(SCHEMA);
say('ready');

/** After so many steps inside of transactions; or, from outside of them, after so long. */
let steps = random.below(2) === 0 ? random.below(1_500) : Number.POSITIVE_INFINITY;
if (steps === Number.POSITIVE_INFINITY) setTimeout(end, random.below(150));

const traffic = new Traffic(db, {
  firstId: Number(firstId),
  random,
  acknowledge: say,
  inside: () => {
    steps--;
    if (steps < 0) end();
  },
});
await traffic.all();
