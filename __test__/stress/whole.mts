// What must be in a file after the process or worker that wrote it was ended.

import type { Database } from 'sqlflow';
import { step } from './step.mjs';
import { must } from './stress.mjs';

const HALF = `SELECT id FROM head WHERE parts <> (SELECT count(*) FROM part WHERE part.head = head.id)
  UNION ALL SELECT head FROM part WHERE head NOT IN (SELECT id FROM head)`;

/** A violation unless every acknowledged transaction is there, and none by half. */
export async function mustBeWhole(db: Database, acknowledged: Iterable<number>, when: string): Promise<void> {
  const found = new Set(await column(db, 'SELECT id FROM head'));
  for (const id of acknowledged) must(found.has(id), `${when}: transaction ${id} was acknowledged and is not there`);
  const halves = await column(db, HALF);
  must(halves.length === 0, `${when}: half of transaction ${halves[0]} is there`);
}

/** A violation unless SQLite finds the file in order. */
export async function mustBeSound(db: Database, when: string): Promise<void> {
  const [answer] = await column(db, 'PRAGMA integrity_check');
  must(answer === 'ok', `${when}: integrity_check: ${answer}`);
}

async function column(db: Database, sql: string): Promise<unknown[]> {
  const rows = await step(db.all(sql, [], { rowMode: 'array' }), sql);
  return rows.flat();
}
