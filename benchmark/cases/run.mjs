// Single-row inserts, each a transaction of its own, from 1, 64 and 256 concurrent callers: `synchronous=NORMAL` (survives a
// crash of the process) and `FULL` (survives a power cut).

import { person } from '../dataset.mjs';
import { callers, spin } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'INSERT INTO entry (name, city, score) VALUES (?, ?, ?)';

const GOALS = {
  'full-64': [{ peer: 'better-sqlite3', ratio: 20 }],
  'full-256': [{ peer: 'better-sqlite3', ratio: 50 }],
};

export const cases = ['normal', 'full'].flatMap((synchronous) =>
  [1, 64, 256].map((count) => ({
    name: `run-${synchronous}-${count}`,
    synchronous,
    tables: ['entry'],
    metrics: [
      metric(
        'rate',
        `insert ${synchronous.toUpperCase()}, ${count} caller${count === 1 ? '' : 's'}`,
        '/s',
        'higher',
        GOALS[`${synchronous}-${count}`],
      ),
    ],
    prepare: (handle) => inserts(handle, count),
  })),
);

function inserts(handle, count) {
  const run = handle.runner(SQL);
  let acknowledged = 0;

  const once = (index) => {
    const [name, city, score] = person(index);
    return run(name, city, score);
  };

  return {
    async sample(ms) {
      const work = handle.sync ? spin(ms, acknowledged, once) : await callers(count, ms, acknowledged, once);
      acknowledged += work.done;
      return { rate: work.perSecond };
    },
    async verify() {
      const [{ rows }] = await handle.all('SELECT count(*) AS rows FROM entry')();
      return rows === acknowledged ? undefined : `${rows} rows in the file, ${acknowledged} inserts acknowledged`;
    },
  };
}
