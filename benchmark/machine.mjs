// The line that makes figures comparable: processor, memory, system, Node, and what one fsync costs in the folder used.

import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { median } from './measure.mjs';

const TMPFS = 0x01021994;
const PROBES = 50;

export function machine(folder) {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model.trim() ?? 'unknown processor',
    cores: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.versions.node,
    fsyncUs: Math.round(fsyncUs(folder)),
    inMemory: process.platform === 'linux' && statfsSync(folder).type === TMPFS,
  };
}

export function describe({ cpu, cores, memoryGiB, system, node, fsyncUs: us, inMemory }) {
  const disk = inMemory
    ? 'the folder is in memory: FULL costs nothing here'
    : `an append with fdatasync takes ${us} us`;
  return `${cores} x ${cpu}, ${memoryGiB} GiB, ${system}, Node ${node}; ${disk}`;
}

/** Median time of a 4 KiB append with fdatasync, what a durable commit waits for at least. */
function fsyncUs(folder) {
  const path = join(folder, 'fsync-probe');
  const page = Buffer.alloc(4096, 1);
  const file = openSync(path, 'w');
  try {
    const times = [];
    for (let probe = 0; probe < PROBES; probe += 1) {
      const started = performance.now();
      writeSync(file, page);
      fdatasyncSync(file);
      times.push((performance.now() - started) * 1000);
    }
    return median(times);
  } finally {
    closeSync(file);
    rmSync(path);
  }
}
