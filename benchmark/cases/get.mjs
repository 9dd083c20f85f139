// Single rows by primary key, each read a transaction of its own, from 1, 64 and 256 concurrent callers.
// A synchronous driver serves one caller at a time whatever their number.

import { scattered } from '../dataset.mjs';
import { callers, spin } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'SELECT id, name, city, score FROM person WHERE id = ?';

const GOALS = {
  64: [
    { peer: 'workers', ratio: 2 },
    { peer: 'better-sqlite3', ratio: 0.7 },
  ],
};

export const cases = [1, 64, 256].map((count) => ({
  name: `get-${count}`,
  synchronous: 'normal',
  tables: ['person'],
  metrics: [metric('rate', `get, ${count} caller${count === 1 ? '' : 's'}`, '/s', 'higher', GOALS[count])],
  prepare: (handle) => gets(handle, count),
}));

function gets(handle, count) {
  const get = handle.getter(SQL);
  let asked = 0;
  let wrong = 0;

  const once = handle.sync
    ? (index) => {
        const id = scattered(index);
        if (get(id).id !== id) wrong += 1;
      }
    : async (index) => {
        const id = scattered(index);
        if ((await get(id)).id !== id) wrong += 1;
      };

  return {
    async sample(ms) {
      const { done, perSecond } = handle.sync ? spin(ms, asked, once) : await callers(count, ms, asked, once);
      asked += done;
      return { rate: perSecond };
    },
    verify: () => (wrong === 0 ? undefined : `${wrong} of ${asked} reads answered another row`),
  };
}
