// One query of 100,000 rows of four columns, and how long the event loop stands still meanwhile.

import { person, ROWS } from '../dataset.mjs';
import { watched } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'SELECT id, name, city, score FROM person ORDER BY id';

export const cases = [
  {
    name: 'read-all',
    synchronous: 'normal',
    tables: ['person'],
    metrics: [
      metric('rate', 'read all 100k x 4', ' rows/s', 'higher', [{ peer: 'better-sqlite3', ratio: 1.5 }]),
      metric('pause', 'read all: longest loop block', 'ms', 'lower', [{ atMost: 3 }]),
    ],
    prepare(handle) {
      const all = handle.all(SQL);
      let problem;
      return {
        async sample() {
          const { result, ms, pauseMs } = await watched(all);
          const last = result.at(-1);
          const [name, city, score] = person(ROWS);
          const right = last?.id === ROWS && last.name === name && last.city === city && last.score === score;
          if (result.length !== ROWS || !right) problem = `${result.length} rows, the last is ${JSON.stringify(last)}`;
          return { rate: (ROWS / ms) * 1000, pause: pauseMs };
        },
        verify: () => problem,
      };
    },
  },
];
