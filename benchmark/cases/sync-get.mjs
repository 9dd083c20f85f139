// Single rows by primary key inside one read transaction, on the caller's thread (`tx.sync`).

import { scattered } from '../dataset.mjs';
import { spin } from '../measure.mjs';
import { metric } from '../metric.mjs';

const SQL = 'SELECT id, name, city, score FROM person WHERE id = ?';

export const cases = [
  {
    name: 'sync-get',
    synchronous: 'normal',
    tables: ['person'],
    metrics: [metric('rate', 'sync get in a transaction', '/s', 'higher', [{ peer: 'better-sqlite3', ratio: 1 }])],
    prepare(handle) {
      if (handle.reader === undefined) return undefined;
      const read = handle.reader(SQL);
      let asked = 0;
      let wrong = 0;
      return {
        async sample(ms) {
          const { done, perSecond } = await read((get) =>
            spin(ms, asked, (index) => {
              const id = scattered(index);
              if (get(id).id !== id) wrong += 1;
            }),
          );
          asked += done;
          return { rate: perSecond };
        },
        verify: () => (wrong === 0 ? undefined : `${wrong} of ${asked} reads answered another row`),
      };
    },
  },
];
