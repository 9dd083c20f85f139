// What watching costs: the detection of reentrant calls, and the tracing channels with nobody and with somebody listening.
// `npm --prefix benchmark run contract`, on the Node it is started with.

import diagnosticsChannel from 'node:diagnostics_channel';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../package.json', import.meta.url));
const { Database } = require('sqlflow');

const ROUNDS = 7;
const ROUND_MS = 200;

/** Median of rounds, per second. */
async function rate(work) {
  const rates = [];
  for (let round = 0; round < ROUNDS; round++) {
    const since = performance.now();
    let count = 0;
    while (performance.now() - since < ROUND_MS) {
      await work();
      count++;
    }
    rates.push((count / (performance.now() - since)) * 1000);
  }
  return rates.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

async function measure(name, options, subscriber) {
  const db = await Database.open(':memory:', options);
  await db.exec('CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 2)');
  const channels = ['sqlflow:transaction', 'sqlflow:statement'].map((each) => diagnosticsChannel.tracingChannel(each));
  if (subscriber !== undefined) for (const channel of channels) channel.subscribe(subscriber);
  const get = await rate(() => db.get('SELECT b FROM t WHERE a = 1'));
  const read = await rate(() => db.read((tx) => tx.sync.get('SELECT b FROM t WHERE a = 1')));
  const inside = await rate(() =>
    db.read(async () => {
      for (let turn = 0; turn < 1000; turn++) await undefined;
    }),
  );
  if (subscriber !== undefined) for (const channel of channels) channel.unsubscribe(subscriber);
  await db.close();
  const ns = (1e9 / inside / 1000).toFixed(0);
  console.log(
    `${name.padEnd(28)} get ${(get / 1000).toFixed(0)}k/s   read ${(read / 1000).toFixed(0)}k/s   await ${ns} ns`,
  );
}

const nobody = { start() {}, end() {}, asyncStart() {}, asyncEnd() {}, error() {} };
console.log(process.version);
await measure('nothing watched', { reentrancy: 'allow' });
await measure("reentrancy: 'refuse'", { reentrancy: 'refuse' });
await measure('channels with a subscriber', { reentrancy: 'allow' }, nobody);
await measure('nothing watched, again', { reentrancy: 'allow' });
