// A process that acknowledges its commits on a pipe until it is killed.

import { writeSync } from 'node:fs';
import { Database } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import type { KillVariant } from './kill.mjs';
import { SCHEMA, Traffic } from './traffic.mjs';

const [path = '', variant = '', firstId = '', seed = ''] = process.argv.slice(2);

const MODES = ['passive', 'full', 'restart', 'truncate'] as const;

/** At once and whole: a line that was said is in the pipe when the process is killed. */
function say(line: string | number): void {
  writeSync(1, `${line}\n`);
}

const VARIANTS: Record<KillVariant, (db: Database, traffic: Traffic) => Promise<void>> = {
  async plain(_, traffic) {
    await traffic.all();
  },
  async checkpoint(db, traffic) {
    const asked = async () => {
      // One that is asked for beside those by the size of the log; what it could not do is not looked at.
      await db.checkpoint(random.pick(MODES));
      await traffic.write();
    };
    const { write, read } = traffic;
    await Promise.all([write, write, read, asked].map((one) => traffic.repeat(one)));
  },
  async close(db, traffic) {
    let open = db;
    for (;;) {
      // Some are accepted and under way when it closes.
      const under = Array.from({ length: 1 + random.below(8) }, () => traffic.run());
      await traffic.write();
      if (random.below(2) === 0) await Promise.all(under);
      say('closing');
      await Promise.all([open.close(), ...under]);
      say('closed');
      open = await Database.open(path);
      traffic.use(open);
    }
  },
};

// It does not outlive who started it.
process.stdin.resume().once('end', () => process.exit());

const random = new Random(Number(seed));
const db = await Database.open(path);
await db.exec(SCHEMA);
say('ready');
const traffic = new Traffic(db, {
  firstId: Number(firstId),
  random,
  ballastBytes: variant === 'checkpoint' ? 100_000 : 0,
  acknowledge: say,
  inside: () => {},
});
const chosen = Object.entries(VARIANTS).find(([name]) => name === variant);
if (chosen === undefined) throw new RangeError(`no variant "${variant}"`);
await chosen[1](db, traffic);
