// Interactive write transactions of one statement: BEGIN IMMEDIATE, the caller's code, its UPDATE, COMMIT.

import { COUNTERS, scattered } from '../dataset.mjs';
import { callers, spin } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'UPDATE counter SET value = value + 1 WHERE id = ?';

const GOALS = { 1: [{ peer: 'workers', ratio: 1.5 }] };

export const cases = [1, 64].map((count) => ({
  name: `write-${count}`,
  synchronous: 'normal',
  tables: ['counter'],
  metrics: [
    metric('rate', `write of one statement, ${count} caller${count === 1 ? '' : 's'}`, '/s', 'higher', GOALS[count]),
  ],
  prepare: (handle) => writes(handle, count),
}));

function writes(handle, count) {
  const write = handle.writer(SQL);
  let acknowledged = 0;
  const once = (index) => write(scattered(index, COUNTERS));

  return {
    async sample(ms) {
      const work = handle.sync ? spin(ms, acknowledged, once) : await callers(count, ms, acknowledged, once);
      acknowledged += work.done;
      return { rate: work.perSecond };
    },
    async verify() {
      const [{ total }] = await handle.all('SELECT sum(value) AS total FROM counter')();
      return total === acknowledged ? undefined : `the counters sum to ${total}, ${acknowledged} writes acknowledged`;
    },
  };
}
