// Foreign processes that hold the write lock for random times, against many callers that wait for it: nobody fails.

import { spawnSync } from 'node:child_process';
import { Database } from 'sqlflow';
import { Program } from './program.mjs';
import { step } from './step.mjs';
import { must, percentile, round, type Stress } from './stress.mjs';

const CALLERS = 64;
/** Beyond what bad luck takes: with so many at the lock, the timer of each finds it free by chance alone. */
const BUSY_TIMEOUT_MS = 30_000;
const HOLDS_AT_MOST_SECONDS = 0.2;

const KEY = process.env['SQLFLOW_TEST_KEY'];
/** Where the runs are encrypted, another build of SQLCipher. */
const MODULE = KEY === undefined ? 'sqlite3' : 'sqlcipher3';

/** Ends with its standard input; then tells how often it held the lock. */
const HOLDER = `
import random, ${MODULE} as sqlite3, sys, threading, time
path, seed, longest = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(seed)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
db = sqlite3.connect(path, isolation_level=None, timeout=60)
${KEY === undefined ? '' : `db.execute("PRAGMA key = \\"x'${KEY}'\\"")`}
held = 0
print("ready", flush=True)
while not over.is_set():
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO foreign_row DEFAULT VALUES")
    time.sleep(chance.uniform(0, longest))
    db.execute("COMMIT")
    held += 1
    time.sleep(chance.uniform(0, longest))
db.close()
print(held, flush=True)
`;

export const busy: Stress = {
  counts: 'foreign processes',
  full: { count: 8, seconds: 20 },
  async run({ count, seconds, seed, folder }) {
    const { status } = spawnSync('python3', ['-c', `import ${MODULE}`], { stdio: 'ignore' });
    if (status !== 0) return { skipped: `python3 with its module ${MODULE} is not here` };
    const path = folder.file('busy.db');
    const db = await step(Database.open(path, { busyTimeoutMs: BUSY_TIMEOUT_MS }), 'open');
    await db.exec('CREATE TABLE own_row(id INTEGER PRIMARY KEY); CREATE TABLE foreign_row(id INTEGER PRIMARY KEY)');
    const holders = Array.from({ length: count }, (_, holder) => {
      const words = [path, String(seed + holder), String(HOLDS_AT_MOST_SECONDS)];
      return new Program('python3', ['-u', '-c', HOLDER, ...words]);
    });
    try {
      await Promise.all(holders.map((holder) => holder.until('ready')));
      const waits: number[] = [];
      const end = performance.now() + seconds * 1_000;
      await Promise.all(Array.from({ length: CALLERS }, (_, caller) => call(db, caller, end, waits)));
      for (const holder of holders) holder.sign();
      const endings = await Promise.all(holders.map((holder) => holder.end('a foreign process does not end')));
      for (const { code, stderr } of endings) must(code === 0, `a foreign process failed: ${stderr}`);

      const holds = holders.reduce((sum, { lines }) => sum + Number(lines.at(-1)), 0);
      const rows = await step(
        db.one('SELECT (SELECT count(*) FROM own_row) AS own, (SELECT count(*) FROM foreign_row) AS other'),
        'a read at the end',
      );
      must(rows['own'] === waits.length, `${waits.length} writes were acknowledged, ${rows['own']} are there`);
      must(rows['other'] === holds, `${holds} foreign writes were acknowledged, ${rows['other']} are there`);
      return {
        'foreign holds': holds,
        writes: waits.length,
        failed: 0,
        'p50 wait (ms)': percentile(waits, 0.5),
        'p99 wait (ms)': percentile(waits, 0.99),
        'longest wait (ms)': percentile(waits, 1),
      };
    } finally {
      for (const holder of holders) holder.kill();
      await step(db.close(), 'close');
    }
  },
};

/** One caller after the other's answer; half of them with a transaction of their own. */
async function call(db: Database, caller: number, end: number, waits: number[]): Promise<void> {
  const insert = 'INSERT INTO own_row DEFAULT VALUES';
  while (performance.now() < end) {
    const start = performance.now();
    try {
      if (caller % 2 === 0) await step(db.run(insert), 'a run', 2 * BUSY_TIMEOUT_MS);
      else
        await step(
          db.write((tx) => tx.run(insert)),
          'a write',
          2 * BUSY_TIMEOUT_MS,
        );
    } catch (error) {
      must(false, `a write failed after ${round(performance.now() - start)} ms: ${error}`);
    }
    waits.push(performance.now() - start);
  }
}
