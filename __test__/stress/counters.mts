// Counters that only transactions change, each together with their sum: a copy that is not one snapshot tells by them.

import type { Database } from 'sqlflow';
import type { Random } from '../fixtures/random.mjs';
import { step } from './step.mjs';
import { must } from './stress.mjs';

const COUNTERS = 200;

/** They are spread over many pages. */
export const COUNTER_SCHEMA = `
  CREATE TABLE counter(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, body BLOB NOT NULL);
  INSERT INTO counter WITH RECURSIVE c(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM c LIMIT ${COUNTERS})
    SELECT id, 0, randomblob(900) FROM c;
  CREATE TABLE total(n INTEGER NOT NULL);
  INSERT INTO total VALUES (0);`;

/** Counts some up, those at both ends of the table among them; gives the new sum. */
export async function count(db: Database, random: Random): Promise<number> {
  return db.write(async (tx) => {
    const counted = [0, COUNTERS - 1, random.below(COUNTERS)];
    for (const id of counted) await tx.run('UPDATE counter SET n = n + 1 WHERE id = ?', [id]);
    const { n } = await tx.one<{ n: number }>('UPDATE total SET n = n + ? RETURNING n', [counted.length]);
    return n;
  });
}

/** A violation unless the counters are those of one moment, at which so much or more was counted. */
export async function mustAgree(db: Database, acknowledged: number, when: string): Promise<void> {
  const sql = 'SELECT (SELECT sum(n) FROM counter) AS sum, (SELECT n FROM total) AS total';
  const { sum, total } = await step(db.one<{ sum: number; total: number }>(sql), `${when}: the counters`);
  must(sum === total, `${when}: the counters are ${sum} together, their sum says ${total}`);
  must(total >= acknowledged, `${when}: ${acknowledged} was acknowledged, ${total} is counted`);
}
