// What a transaction promises, step by step: a batch, a savepoint, a signal, and who is told of a commit.
// Run by `node examples/contract.mjs` after `npm run build`.

import { strict as assert } from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { AbortError, Database } from 'sqlflow';

const db = await Database.open(':memory:');
await db.exec(`
  CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
  CREATE TABLE refusal (account INTEGER NOT NULL, cents INTEGER NOT NULL)`);
const balances = async () => (await db.all('SELECT balance FROM account ORDER BY id')).map(({ balance }) => balance);

const stop = db.onCommit(({ tables }) => console.log('committed:', [...tables].join(', ')));

// Statements that belong together, all of them or none.
await db.batch([
  ['INSERT INTO account VALUES (?, ?)', [1, 100]],
  ['INSERT INTO account VALUES (?, ?)', [2, 0]],
]);

// Many small transactions that share one commit and fail one by one. The closure is synchronous.
const deposits = [5, -500, 7].map((cents) =>
  db.batch((tx) => tx.run('UPDATE account SET balance = balance + ? WHERE id = 2', [cents])),
);
console.log('deposits:', (await Promise.allSettled(deposits)).map(({ status }) => status).join(', '));
assert.deepEqual(await balances(), [100, 12]);

// A part of a transaction that is taken back alone.
await db.write(async (tx) => {
  tx.onCommit(() => console.log('told once it is in the file'));
  const transfer = tx.savepoint(async (inner) => {
    await inner.run('UPDATE account SET balance = balance + 200 WHERE id = 2');
    await inner.run('UPDATE account SET balance = balance - 200 WHERE id = 1');
  });
  await transfer.catch(() => tx.run('INSERT INTO refusal VALUES (1, 200)'));
});
assert.deepEqual(await balances(), [100, 12]);

// A transaction that is given up from outside. What it waits for beside the database is told by `tx.signal`.
const patience = AbortSignal.timeout(50);
const slow = db.write(
  async (tx) => {
    await tx.run('UPDATE account SET balance = 0');
    await sleep(60_000, undefined, { signal: tx.signal });
  },
  { signal: patience },
);
await assert.rejects(slow, (error) => error instanceof AbortError && error.cause === patience.reason);
assert.deepEqual(await balances(), [100, 12]);

stop();
await db.close();
