// The checker of histories finds every anomaly in a history made by hand, and none in those that have none.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Anomaly, check, type History, type Logged, type Operation } from './stress/history-checker.mjs';

type Part = Pick<Operation, 'start' | 'end'> & Partial<Operation>;

function write(part: Part): Operation {
  return { process: 1, kind: 'write', outcome: 'committed', seen: [], appended: [], ...part };
}

function read(part: Part): Operation {
  return { process: 1, kind: 'read', outcome: 'committed', seen: [], appended: [], ...part };
}

/** `[version, key, value]` of each append. */
function logged(...entries: [version: number, key: number, value: number][]): Logged[] {
  return entries.map(([version, key, value]) => ({ version, key, value }));
}

/** The lists by the log, for histories in which they are right. */
function listsOf(log: readonly Logged[]): History['lists'] {
  const lists = new Map<number, string>();
  for (const { key, value } of log) {
    const before = lists.get(key);
    lists.set(key, before === undefined ? String(value) : `${before},${value}`);
  }
  return [...lists];
}

function anomalies(operations: Operation[], log: Logged[], lists = listsOf(log)): Anomaly[] {
  return [...new Set(check({ operations, log, lists }).map(({ anomaly }) => anomaly))];
}

/** Three commits, one after the other: 11 to list 1, 12 to list 1 and 21 to list 2, 22 to list 2. */
const LOG = logged([1, 1, 11], [2, 1, 12], [2, 2, 21], [3, 2, 22]);
const WRITES = [
  write({ start: 0, end: 10, appended: [{ key: 1, value: 11 }] }),
  write({
    start: 20,
    end: 30,
    process: 2,
    seen: [[1, '11']],
    appended: [
      { key: 1, value: 12 },
      { key: 2, value: 21 },
    ],
  }),
  write({ start: 40, end: 50, appended: [{ key: 2, value: 22 }] }),
];

describe('a history that can be explained', () => {
  it('of nothing', () => {
    assert.deepEqual(anomalies([], []), []);
  });

  it('of writes alone', () => {
    assert.deepEqual(anomalies(WRITES, LOG), []);
  });

  const explained: Record<string, Operation> = {
    'a read before everything': read({ start: -2, end: -1, seen: [[1, '']] }),
    'a read between two commits': read({
      start: 31,
      end: 39,
      seen: [
        [1, '11,12'],
        [2, '21'],
      ],
    }),
    'a read of lists that say less than the commit they are of': read({ start: 31, end: 39, seen: [[1, '11,12']] }),
    'a read beside a commit, before it': read({
      start: 21,
      end: 29,
      seen: [
        [1, '11'],
        [2, ''],
      ],
    }),
    'a read beside a commit, after it': read({
      start: 21,
      end: 29,
      seen: [
        [1, '11,12'],
        [2, '21'],
      ],
    }),
    'a read that ends long after its snapshot': read({
      start: 15,
      end: 100,
      seen: [
        [1, '11'],
        [2, ''],
      ],
    }),
    'a read of a list that is never there': read({ start: 60, end: 70, seen: [[3, '']] }),
    'a rolled back write': write({ start: 60, end: 70, outcome: 'rolled back', appended: [{ key: 1, value: 13 }] }),
  };
  for (const [name, operation] of Object.entries(explained)) {
    it(name, () => assert.deepEqual(anomalies([...WRITES, operation], LOG), []));
  }

  it('writes at the same time, in either order', () => {
    const operations = [
      write({ start: 0, end: 10, appended: [{ key: 1, value: 11 }] }),
      write({ start: 0, end: 10, process: 2, appended: [{ key: 1, value: 12 }] }),
    ];
    assert.deepEqual(anomalies(operations, logged([1, 1, 11], [2, 1, 12])), []);
    assert.deepEqual(anomalies(operations, logged([1, 1, 12], [2, 1, 11])), []);
  });
});

describe('a read that cannot be explained', () => {
  const broken: Record<string, [operation: Operation, anomaly: Anomaly]> = {
    'fractured: one list before a commit, the other after it': [
      read({
        start: 21,
        end: 29,
        seen: [
          [1, '11'],
          [2, '21'],
        ],
      }),
      'fractured read',
    ],
    'fractured, in a transaction that was rolled back': [
      write({
        start: 21,
        end: 29,
        outcome: 'rolled back',
        seen: [
          [1, '11,12'],
          [2, ''],
        ],
      }),
      'fractured read',
    ],
    'not a prefix: a value without the one before it': [
      read({ start: 31, end: 39, seen: [[1, '12']] }),
      'unknown state',
    ],
    'not a prefix: values in another order': [read({ start: 31, end: 39, seen: [[1, '12,11']] }), 'unknown state'],
    'a value nobody has written': [read({ start: 31, end: 39, seen: [[1, '11,99']] }), 'unknown state'],
    'stale: before what its own process had been acknowledged': [
      read({ start: 51, end: 60, process: 1, seen: [[2, '21']] }),
      'stale read',
    ],
    'stale: before what another process had been acknowledged': [
      read({ start: 31, end: 39, process: 3, seen: [[1, '11']] }),
      'stale read',
    ],
    'from the future: what was begun after it had ended': [
      read({ start: 11, end: 19, seen: [[1, '11,12']] }),
      'read from the future',
    ],
  };
  for (const [name, [operation, anomaly]] of Object.entries(broken)) {
    it(name, () => assert.deepEqual(anomalies([...WRITES, operation], LOG), [anomaly]));
  }

  it('stale: older than a read that had ended before it', () => {
    const operations = [
      ...WRITES.slice(0, 2),
      // The last commit is not acknowledged for long, and one reader has seen it.
      write({ start: 40, end: 100, appended: [{ key: 2, value: 22 }] }),
      read({ start: 51, end: 55, process: 3, seen: [[2, '21,22']] }),
      read({ start: 56, end: 60, process: 4, seen: [[2, '21']] }),
    ];
    assert.deepEqual(anomalies(operations, LOG), ['stale read']);
  });

  it('an intermediate state of a transaction', () => {
    const operations = [
      write({
        start: 0,
        end: 10,
        appended: [
          { key: 1, value: 11 },
          { key: 1, value: 12 },
        ],
      }),
      read({ start: 5, end: 6, seen: [[1, '11']] }),
    ];
    assert.deepEqual(anomalies(operations, logged([1, 1, 11], [1, 1, 12])), ['unknown state']);
  });
});

describe('writes that cannot be explained', () => {
  it('lost update: both read the same state', () => {
    // T1: list 1: 11, appends 12      T2: list 1: 11, appends 13
    const operations = [
      write({ start: 0, end: 10, appended: [{ key: 1, value: 11 }] }),
      write({ start: 20, end: 30, seen: [[1, '11']], appended: [{ key: 1, value: 12 }] }),
      write({ start: 20, end: 30, process: 2, seen: [[1, '11']], appended: [{ key: 1, value: 13 }] }),
    ];
    assert.deepEqual(anomalies(operations, logged([1, 1, 11], [2, 1, 12], [3, 1, 13])), ['lost update']);
  });

  it('lost update: the later one has overwritten the list', () => {
    const log = logged([1, 1, 11], [2, 1, 12]);
    const operations = [
      write({ start: 0, end: 10, appended: [{ key: 1, value: 11 }] }),
      write({ start: 20, end: 30, appended: [{ key: 1, value: 12 }] }),
    ];
    assert.deepEqual(anomalies(operations, log, [[1, '12']]), ['lost update']);
  });

  it('lost update: two are the same commit', () => {
    const operations = [
      write({ start: 0, end: 10, appended: [{ key: 1, value: 11 }] }),
      write({ start: 0, end: 10, process: 2, appended: [{ key: 2, value: 21 }] }),
    ];
    assert.deepEqual(anomalies(operations, logged([1, 1, 11], [1, 2, 21])), ['broken transaction', 'lost update']);
  });

  it('write skew: each read what the other wrote', () => {
    const operations = [
      write({ start: 0, end: 10, seen: [[2, '']], appended: [{ key: 1, value: 11 }] }),
      write({ start: 0, end: 10, process: 2, seen: [[1, '']], appended: [{ key: 2, value: 21 }] }),
    ];
    assert.deepEqual(anomalies(operations, logged([1, 1, 11], [2, 2, 21])), ['lost update']);
  });

  it('an acknowledged append that is gone', () => {
    const operations = [...WRITES, write({ start: 60, end: 70, appended: [{ key: 1, value: 13 }] })];
    assert.deepEqual(anomalies(operations, LOG), ['lost append']);
  });

  it('an append that is there although it was rolled back', () => {
    const operations = [
      ...WRITES,
      write({ start: 60, end: 70, outcome: 'rolled back', appended: [{ key: 1, value: 13 }] }),
    ];
    assert.deepEqual(anomalies(operations, [...LOG, ...logged([4, 1, 13])]), ['aborted append']);
  });

  it('half a transaction', () => {
    const log = logged([1, 1, 11], [2, 1, 12], [3, 2, 22]);
    assert.deepEqual(anomalies(WRITES, log), ['lost append', 'broken transaction']);
  });

  it('an order of commits that is not that of time', () => {
    const operations = [
      write({ start: 0, end: 10, appended: [{ key: 1, value: 11 }] }),
      write({ start: 20, end: 30, appended: [{ key: 1, value: 12 }] }),
    ];
    assert.deepEqual(anomalies(operations, logged([1, 1, 12], [2, 1, 11])), ['order against time']);
  });
});
