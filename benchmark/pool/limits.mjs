// How many file descriptors a process may have here.

import { execFileSync } from 'node:child_process';

/** As this process has it: Node raises it to what the system allows at most, so a shell of its own is asked. */
export function descriptorLimit() {
  if (process.platform === 'win32') return Number.POSITIVE_INFINITY;
  const said = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim();
  return said === 'unlimited' ? Number.POSITIVE_INFINITY : Number(said);
}
