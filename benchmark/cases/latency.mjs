// How long one lone caller waits for a row.

import { scattered } from '../dataset.mjs';
import { latencies, quantile } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'SELECT id, name, city, score FROM person WHERE id = ?';

export const cases = [
  {
    name: 'latency',
    synchronous: 'normal',
    tables: ['person'],
    metrics: [
      metric('p50', 'get, 1 caller: p50', 'us', 'lower', [{ peer: 'workers', ratio: 0.5 }]),
      metric('p99', 'get, 1 caller: p99', 'us', 'lower'),
    ],
    prepare(handle) {
      const get = handle.getter(SQL);
      let asked = 0;
      return {
        async sample(ms) {
          const times = await latencies(ms, asked, (index) => get(scattered(index)));
          asked += times.length;
          return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
        },
      };
    },
  },
];
