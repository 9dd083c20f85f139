// Readers that are cancelled after almost no time, many times each: whoever was not cancelled notices nothing, and what
// needs the file for itself finds it free at once.

import { AbortError, Database, type ReadTransaction } from 'sqlflow';
import { Random } from '../fixtures/random.mjs';
import { step } from './step.mjs';
import { must, type Plan, round, type Stress } from './stress.mjs';

const READERS = 64;
/** Callers beside them that are never cancelled. */
const OTHERS = 2;
/** Connections they share. */
const CONNECTIONS = 32;
const CANCELLED_WITHIN_MS = 3;
const ROWS = 100;

const SCHEMA = `CREATE TABLE t(n INTEGER PRIMARY KEY);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${ROWS}) INSERT INTO t SELECT i FROM n`;
const COUNT = 'SELECT count(*) AS n FROM t';
/** Over before it can be cancelled; a fraction of a millisecond; until it is cancelled. */
const QUERIES = [
  COUNT,
  'SELECT count(*) AS n FROM t AS a, t AS b WHERE a.n + b.n > 0',
  'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS n FROM n',
] as const;

interface Counted {
  aborted: number;
  finished: number;
  others: number;
}

export const cancel: Stress = {
  counts: `cancellations of each of ${READERS} readers`,
  full: { count: 2_000, seconds: 0 },
  async run(plan) {
    const db = await step(Database.open(plan.folder.file('cancelled.db'), { readers: CONNECTIONS }), 'open');
    await db.exec(SCHEMA);
    const counted: Counted = { aborted: 0, finished: 0, others: 0 };
    let isOver = false;
    const others = Array.from({ length: OTHERS }, () => readUndisturbed(db, counted, () => isOver));
    const readers = Array.from({ length: READERS }, (_, reader) => cancelled(db, reader, plan, counted));
    await Promise.race([Promise.all(readers), Promise.all(others)]);
    isOver = true;
    await Promise.all(others);

    const start = performance.now();
    const { busy } = await step(db.checkpoint('truncate'), 'a checkpoint after the last cancellation');
    const checkpointMs = performance.now() - start;
    must(!busy, 'a reader that was cancelled is still in the way of a checkpoint');
    await step(db.close(), 'close after the last cancellation');
    const closeMs = performance.now() - start - checkpointMs;
    for (const [what, tookMs] of Object.entries({ checkpoint: checkpointMs, close: closeMs })) {
      must(tookMs <= plan.hangMs, `${what} after the last cancellation took ${round(tookMs)} ms`);
    }
    return {
      aborted: counted.aborted,
      finished: counted.finished,
      'reads beside them': counted.others,
      'checkpoint (ms)': round(checkpointMs),
      'close (ms)': round(closeMs),
    };
  },
};

async function cancelled(db: Database, reader: number, { count, seed }: Plan, counted: Counted): Promise<void> {
  const random = new Random(seed + reader);
  for (let turn = 0; turn < count; turn++) {
    const controller = new AbortController();
    const reason = new Error(`reader ${reader}, turn ${turn}`);
    const sql = QUERIES[random.below(64) === 0 ? 2 : random.below(2)] ?? COUNT;
    const isAlone = random.below(2) === 0;
    const abort = () => controller.abort(reason);
    const delayMs = random.below(CANCELLED_WITHIN_MS);
    if (delayMs === 0) setImmediate(abort);
    else setTimeout(abort, delayMs);
    const { signal } = controller;
    const read: Promise<unknown> = isAlone
      ? db.get(sql, [], { signal })
      : db.read((tx) => cancelStatement(tx, sql, signal));
    try {
      await step(read, `a read that was cancelled: ${sql}`);
      counted.finished++;
    } catch (error) {
      const isOwn = error instanceof AbortError && error.cause === reason;
      must(isOwn, `${reason.message}: a read that was cancelled failed otherwise: ${error}`);
      counted.aborted++;
    }
  }
}

/** Only the statement is cancelled: the snapshot is still there for the next one. */
async function cancelStatement(tx: ReadTransaction, sql: string, signal: AbortSignal): Promise<void> {
  let reason: unknown;
  try {
    await tx.all(sql, [], { signal });
  } catch (error) {
    reason = error;
  }
  const row = await tx.get(COUNT);
  must(row?.['n'] === ROWS, `a statement after one that was cancelled gave ${JSON.stringify(row)}`);
  if (reason !== undefined) throw reason;
}

async function readUndisturbed(db: Database, counted: Counted, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const row = await step(db.get(QUERIES[1]), 'a read that nobody cancels');
    must(row?.['n'] === ROWS * ROWS, `a read that nobody cancels gave ${JSON.stringify(row)}`);
    counted.others++;
  }
}
