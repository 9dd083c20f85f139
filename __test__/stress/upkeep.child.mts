// A process that writes to a database, then has it maintained, and goes on, until it is killed.

import { writeSync } from 'node:fs';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { count } from './counters.mjs';
import { Traffic } from './traffic.mjs';
import { type Orders, optionsOf } from './upkeep.mjs';

/** At once and whole: a line that was said is in the pipe when the process is killed. */
function say(line: string | number): void {
  writeSync(1, `${line}\n`);
}

const orders: Orders = JSON.parse(process.argv[2] ?? '');
const { path, secret, task, traffic, firstId, acknowledgements } = orders;
const random = new Random(orders.seed);

let acknowledged = 0;
let isEnough: () => void = () => {};
const enough = new Promise<void>((resolve) => {
  isEnough = resolve;
});

function acknowledge(line: string | number): void {
  say(line);
  acknowledged++;
  if (acknowledged >= acknowledgements) isEnough();
}

/** All kinds of calls, by several callers each, with the counters among them. */
async function busy(db: Database): Promise<never> {
  const all = new Traffic(db, { firstId, random, acknowledge, inside: () => {} });
  const counting = async () => {
    for (;;) acknowledge(`counted ${await count(db, random)}`);
  };
  await Promise.all([all.all(), counting(), counting()]);
  throw new Error('endless loops have ended');
}

/** What leaves the file as small as it is. */
async function numbered(db: Database): Promise<never> {
  for (let number = firstId + 1; ; number++) {
    await db.exec(`PRAGMA user_version = ${number}`);
    acknowledge(number);
  }
}

async function perform(): Promise<void> {
  let isChecked = false;
  const onProgress = ({ phase, pages, totalPages }: { phase: string; pages: number; totalPages: number }) => {
    if (phase !== 'check' || pages < totalPages || isChecked) return;
    isChecked = true;
    say('checked');
  };
  if (task.kind === 'convert') {
    say('begun');
    await Database.convert(path, { ...optionsOf(secret), onProgress });
    say('done');
    return;
  }
  say('opening');
  const db = await Database.open(path, optionsOf(secret));
  say('ready');
  if (task.kind === 'open') return;
  const working = traffic === 'numbers' ? numbered(db) : busy(db);
  await Promise.race([working, enough]);
  say('begun');
  switch (task.kind) {
    case 'rekey':
      await Promise.race([working, db.rekey(newKey(task.secret))]);
      break;
    case 'backup': {
      const { target, overwrite, copy } = task;
      const key = copy === 'alike' ? {} : optionsOf(copy);
      const none = copy === null ? { key: null } : {};
      await Promise.race([working, db.backup(target, { overwrite, onProgress, ...key, ...none })]);
      break;
    }
    case 'vacuum':
      await Promise.race([working, db.vacuum(task.pages === null ? {} : { incrementalPages: task.pages })]);
  }
  say('done');
  await working;
}

function newKey(given: { key: string } | { passphrase: string }): Uint8Array | { passphrase: string } {
  return 'key' in given ? Buffer.from(given.key, 'hex') : given;
}

// It does not outlive who started it.
process.stdin.resume().once('end', () => process.exit());

try {
  await perform();
} catch (error) {
  say(`failed: ${String(error).replaceAll('\n', ' ')}`);
  throw error;
}
