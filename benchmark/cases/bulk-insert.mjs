// 100,000 inserts in one transaction: on the caller's thread row by row, and in the form that blocks it least.

import { people, ROWS } from '../dataset.mjs';
import { watched } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'INSERT INTO entry (name, city, score) VALUES (?, ?, ?)';

export const cases = [
  {
    name: 'bulk-sync',
    synchronous: 'normal',
    tables: ['entry'],
    metrics: [
      metric('rate', 'bulk insert 100k, on the thread', ' rows/s', 'higher', [{ peer: 'better-sqlite3', ratio: 1.2 }]),
    ],
    prepare: (handle) => (handle.insertSync === undefined ? undefined : inserts(handle, handle.insertSync(SQL))),
  },
  {
    name: 'bulk-async',
    synchronous: 'normal',
    tables: ['entry'],
    metrics: [
      metric('rate', 'bulk insert 100k, asynchronous', ' rows/s', 'higher'),
      metric('pause', 'bulk insert: longest loop block', 'ms', 'lower', [{ atMost: 5 }]),
    ],
    prepare: (handle) => inserts(handle, (rows) => handle.insertAll(SQL, rows)),
  },
];

function inserts(handle, insert) {
  const rows = people();
  let problem;
  return {
    async sample() {
      await handle.exec('DELETE FROM entry');
      const { ms, pauseMs } = await watched(() => insert(rows));
      const [{ count }] = await handle.all('SELECT count(*) AS count FROM entry')();
      if (count !== ROWS) problem = `${count} rows in the file after ${ROWS} inserts`;
      return { rate: (ROWS / ms) * 1000, pause: pauseMs };
    },
    verify: () => problem,
  };
}
