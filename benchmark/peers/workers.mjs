// better-sqlite3 in two worker threads: reads go to the idler thread, writes to the first, so that no two connections contend
// for the write lock.

import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

export const title = 'better-sqlite3 in 2 worker_threads';

const THREADS = 2;
const ROWS_PER_MESSAGE = 1_000;

export function version() {
  return createRequire(import.meta.url)('better-sqlite3/package.json').version;
}

export async function open(path, { synchronous }) {
  const threads = [];
  for (let index = 0; index < THREADS; index += 1) threads.push(await Thread.start({ path, synchronous }));
  const [first] = threads;
  const reader = () => threads.reduce((best, thread) => (thread.pending.size < best.pending.size ? thread : best));

  // A transaction owns the first connection from BEGIN to COMMIT; the next one waits for its end.
  let tail = Promise.resolve();
  const transaction = (work) => {
    const result = tail.then(async () => {
      await first.ask('run', 'BEGIN IMMEDIATE', []);
      try {
        const value = await work();
        await first.ask('run', 'COMMIT', []);
        return value;
      } catch (error) {
        await first.ask('run', 'ROLLBACK', []);
        throw error;
      }
    });
    tail = result.catch(() => {});
    return result;
  };

  return {
    sync: false,
    exec: (sql) => first.ask('exec', sql),
    getter: (sql) => (id) => reader().ask('get', sql, [id]),
    runner:
      (sql) =>
      (...values) =>
        first.ask('run', sql, values),
    writer: (sql) => (value) => transaction(() => first.ask('run', sql, [value])),
    all: (sql) => () => reader().ask('all', sql),
    insertAll: (sql, rows) =>
      transaction(async () => {
        for (let from = 0; from < rows.length; from += ROWS_PER_MESSAGE) {
          await first.ask('many', sql, rows.slice(from, from + ROWS_PER_MESSAGE));
        }
      }),
    close: () => Promise.all(threads.map((thread) => thread.close())),
  };
}

/** One worker and the requests it has not answered. */
class Thread {
  pending = new Map();
  #worker;
  #nextId = 1;

  static async start(workerData) {
    const thread = new Thread();
    const worker = new Worker(new URL('./worker.mjs', import.meta.url), { workerData });
    thread.#worker = worker;
    worker.on('message', ([id, value, error]) => {
      const { resolve, reject } = thread.pending.get(id);
      thread.pending.delete(id);
      if (error === undefined) resolve(value);
      else reject(new Error(error));
    });
    worker.on('error', (error) => {
      for (const { reject } of thread.pending.values()) reject(error);
      thread.pending.clear();
    });
    await thread.ask('exec', 'SELECT 1');
    return thread;
  }

  ask(verb, sql, values) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId += 1;
      this.pending.set(id, { resolve, reject });
      this.#worker.postMessage([id, verb, sql, values]);
    });
  }

  async close() {
    const ended = once(this.#worker, 'exit');
    await this.ask('close');
    await ended;
  }
}
