// A process of its own for one peer: nothing another one compiled, allocated or left running touches its figures.
// It does what it is told over the channel of `fork`, one order at a time, and answers each.

import { CASES } from './cases/index.mjs';
import { seed } from './dataset.mjs';

const [peerUrl] = process.argv.slice(2);

let peer;
let handle;
let session;

const orders = {
  async load() {
    peer = await import(peerUrl);
    return { title: peer.title, version: peer.version() };
  },
  async open({ name, path }) {
    const chosen = CASES.find((each) => each.name === name);
    handle = await peer.open(path, { synchronous: chosen.synchronous });
    await seed(handle, chosen.tables);
    session = chosen.prepare(handle);
    return { able: session !== undefined };
  },
  async sample({ ms }) {
    globalThis.gc?.();
    return session.sample(ms);
  },
  async close() {
    const problem = await session?.verify?.();
    session = undefined;
    await handle.close();
    handle = undefined;
    return { problem };
  },
};

process.on('message', async ({ order, ...rest }) => {
  let reply;
  try {
    reply = { value: await orders[order](rest) };
  } catch (error) {
    reply = { error: error?.stack ?? String(error) };
  }
  process.send(reply);
});
