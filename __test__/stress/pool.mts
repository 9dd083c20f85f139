// A storm on the tenants of a pool: reads, writes, evicts and deletes at once, against a model of what each must hold.

import { Random } from '../fixtures/random.mjs';
import type { PoolOrders, PoolReport } from './pool.child.mjs';
import type { Weather } from './pool-storm.mjs';
import { Program } from './program.mjs';
import { step } from './step.mjs';
import { type Figures, must, type Plan, round, type Stress, Violation } from './stress.mjs';

/** What the looks at the end may take, beside the storm. */
const LOOKS_MS = 180_000;
/** The author of the rows of another process; those of threads count from 0. */
const OTHER = 1_000;

type Orders = Omit<PoolOrders, 'seed' | 'rows' | 'role' | 'author'>;

/** By what is loaded before it: `fixtures/encrypted.mts`. */
const encrypted = process.env['SQLFLOW_TEST_KEY'] !== undefined;

function weather(plan: Plan, name: string, more: Partial<Weather>): Weather {
  return {
    folder: plan.folder.file(name),
    seconds: plan.seconds,
    tenants: plan.count,
    callers: 64,
    maxOpen: Math.max(1, Math.floor(plan.count / 20)),
    inactivityTimeoutMs: 5_000,
    evicts: 3,
    deletes: 1,
    encrypted,
    threads: false,
    processes: false,
    lists: true,
    ...more,
  };
}

/** Each is a storm of its own, in a process that begins with nothing. */
const STORMS: Record<string, { share: number; orders: (plan: Plan) => Orders }> = {
  // The one of many tenants.
  many: { share: 1, orders: (plan) => alone(weather(plan, 'many', {})) },
  // Few, so that everybody meets everybody, and closes race with uses.
  few: {
    share: 0.25,
    orders: (plan) =>
      alone(weather(plan, 'few', { tenants: 5, maxOpen: 1, inactivityTimeoutMs: 1, evicts: 20, deletes: 10 })),
  },
  // Idle ones close while they are used again.
  idle: {
    share: 0.25,
    orders: (plan) =>
      alone(weather(plan, 'idle', { tenants: 400, callers: 6, maxOpen: 300, inactivityTimeoutMs: 20, evicts: 0 })),
  },
  // Threads with one cache, and another process that writes beside them.
  shared: {
    share: 0.5,
    orders: (plan) => ({
      ...alone(weather(plan, 'shared', { callers: 20, threads: true, processes: true })),
      workers: 2,
    }),
  },
  // Threads that are terminated at any moment.
  terminated: {
    share: 0.5,
    orders: (plan) => ({
      ...alone(weather(plan, 'terminated', { tenants: 40, maxOpen: 10, callers: 16, threads: true })),
      workers: 2,
      terminates: true,
    }),
  },
};

function alone(weather: Weather): Orders {
  return { weather, workers: 0, terminates: false, ending: undefined };
}

export const pool: Stress = {
  counts: 'tenants',
  full: { count: 2_000, seconds: 30 },
  async run(plan) {
    const counted: PoolReport['counted'] = {};
    let longestMs = 0;
    let rows = 0;
    const reports: Promise<PoolReport>[] = [];
    for (const [at, [name, { share, orders }]] of Object.entries(STORMS).entries()) {
      const { checked, report } = storm(name, orders({ ...plan, seconds: plan.seconds * share }), plan, at);
      reports.push(report);
      // Its threads leave while the next one storms.
      await Promise.race([checked, Promise.all(reports)]);
    }
    for (const report of await Promise.all(reports)) {
      for (const [what, number] of Object.entries(report.counted)) counted[what] = (counted[what] ?? 0) + number;
      longestMs = Math.max(longestMs, report.longestMs);
      rows += report.rows;
    }
    return { ...counted, 'rows at the end': rows, 'longest call (ms)': round(longestMs) } satisfies Figures;
  },
};

/** `checked`: its files were looked at, or it has failed. */
function storm(
  name: string,
  orders: Orders,
  plan: Plan,
  at: number,
): { checked: Promise<void>; report: Promise<PoolReport> } {
  const { processes, seconds } = orders.weather;
  const seed = new Random(plan.seed + at).below(2 ** 30);
  const rows = processes ? plan.folder.file(`${name}.json`) : undefined;
  const begin = (more: Pick<PoolOrders, 'role' | 'author' | 'seed'>, weather: Weather, workers: number) => {
    const all: PoolOrders = { ...orders, ...more, weather, workers, rows };
    return Program.start('pool.child', [JSON.stringify(all)]);
  };
  const first = begin({ role: 'deletes', author: 0, seed }, orders.weather, orders.workers);
  const other = { ...orders.weather, threads: false, deletes: 0 };
  const second = processes ? begin({ role: 'beside', author: OTHER, seed: seed + 1 }, other, 0) : undefined;
  const limitMs = seconds * 1_000 + LOOKS_MS;
  const end = async (program: Program) => {
    const { code, signal, stderr } = await step(program.ended, `${name}: a process does not end`, limitMs);
    // Its own violations among them.
    if (code !== 0) throw new Violation(`${name}: a process ended with ${signal ?? code}: ${stderr}`);
  };
  // A process without an end is for the report to tell.
  const checked = first.until('checked', 1, (line) => line === 'checked', limitMs).catch(() => {});
  const report = async (): Promise<PoolReport> => {
    try {
      const both = async () => {
        if (second === undefined) return;
        await end(second);
        first.say('the other one is done');
      };
      await Promise.all([end(first), both()]);
    } finally {
      first.kill();
      second?.kill();
    }
    const told: PoolReport = JSON.parse(first.lines.at(-1) ?? '');
    must(told.threads >= 0, `${name}: a report without figures`);
    return told;
  };
  return { checked, report: report() };
}
