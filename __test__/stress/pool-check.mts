// What is left of a storm on a pool: its files, each with what the models say, and nothing that the process still has.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Database } from 'sqlflow';
import type { Model } from './pool-model.mjs';
import { keyOf, secretOf, type Weather } from './pool-storm.mjs';
import { pause, step } from './step.mjs';
import { must } from './stress.mjs';

/** The engine's threads leave after ten seconds without work. */
const LEAVE_WITHIN_MS = 40_000;
const LOOK_EACH_MS = 50;
/** The engine's one thread that stays, begun with the first open. */
const SCHEDULERS = 1;
/** Files that are looked at at a time. */
const AT_A_TIME = 8;

/** The file of a key, by the rule of pool-files.ts, made anew here. */
function fileOf(key: string): string {
  return `${[...Buffer.from(key)].map((byte) => (/[a-z0-9_-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, '0')}`)).join('')}.db`;
}

/** Opens every file of the folder; a violation unless it is sound and holds what `models` say. Gives how many rows there are. */
export async function checkFiles(weather: Weather, models: readonly Model[]): Promise<{ files: number; rows: number }> {
  const there = new Set(readdirSync(weather.folder));
  const tenants = Array.from({ length: weather.tenants }, (_, tenant) => tenant);
  const counted = { files: 0, rows: 0 };
  const look = async (): Promise<void> => {
    for (let tenant = tenants.pop(); tenant !== undefined; tenant = tenants.pop()) {
      const name = fileOf(keyOf(tenant));
      const isThere = there.delete(name);
      const reads = models.map((model) => model.read(tenant));
      const ids = isThere ? await idsOf(weather, tenant, name) : [];
      for (const read of reads) read(ids, 'all');
      counted.rows += ids.length;
      if (isThere) counted.files++;
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, look));
  must(there.size === 0, `files of nobody: ${[...there].slice(0, 5).join(', ')}`);
  return counted;
}

async function idsOf(weather: Weather, tenant: number, name: string): Promise<number[]> {
  const key = weather.encrypted ? { key: secretOf(keyOf(tenant)) } : {};
  const when = `the file ${name} at the end`;
  const db = await step(Database.open(join(weather.folder, name), { create: false, ...key }), `${when}: open`);
  try {
    const { ok, problems } = await step(db.verify(), `${when}: verify`);
    must(ok, `${when}: ${JSON.stringify(problems.slice(0, 3))}`);
    const has = await db.get("SELECT 1 FROM sqlite_schema WHERE name = 'row'");
    if (has === undefined) return [];
    const rows = await db.all<[number, number]>('SELECT id, tenant FROM row', [], { rowMode: 'array' });
    for (const [id, of] of rows) must(of === tenant, `${when}: row ${id} is of tenant ${of}`);
    return rows.map(([id]) => id);
  } finally {
    await step(db.close(), `${when}: close`);
  }
}

/** What a process has of what it can run out of; where the system does not tell, nothing. */
export class Baseline {
  readonly #threads: number;
  readonly #files: readonly string[];

  private constructor() {
    this.#threads = threads().length + SCHEDULERS;
    this.#files = files();
  }

  /** Of now, when all that the loop itself starts later is there. */
  static async take(): Promise<Baseline> {
    const own = await Promise.all(Array.from({ length: 16 }, () => open(process.execPath)));
    await Promise.all(own.map((file) => file.close()));
    return new Baseline();
  }

  /** A violation unless they come down to it. */
  async mustReturn(): Promise<{ threads: number; files: number }> {
    const end = performance.now() + LEAVE_WITHIN_MS;
    const most = this.#files.length;
    const isBack = () => threads().length <= this.#threads && files().length <= most;
    while (!isBack() && performance.now() < end) await pause(LOOK_EACH_MS);
    const left = files();
    const told = () => `before ${this.#files.join(', ')}; after ${left.join(', ')}`;
    must(left.length <= most, `${left.length} files are open, ${most} were: ${told()}`);
    const running = threads();
    must(running.length <= this.#threads, `${running.length} threads, ${this.#threads} were: ${running.join(', ')}`);
    return { threads: this.#threads, files: most };
  }
}

/** What its threads are called. */
function threads(): string[] {
  return named('/proc/self/task', (thread) => readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim());
}

/** What its descriptors are. */
function files(): string[] {
  return named('/proc/self/fd', (file) => readlinkSync(`/proc/self/fd/${file}`));
}

function named(folder: string, nameOf: (entry: string) => string): string[] {
  return list(folder).flatMap((entry) => {
    try {
      return [nameOf(entry)];
    } catch {
      // Gone meanwhile, as the descriptor of the list itself.
      return [];
    }
  });
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
