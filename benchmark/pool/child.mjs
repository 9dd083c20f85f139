// A program of this folder in a process of its own, whose memory and descriptors are nobody else's.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/**
 * Runs a program with an argument and resolves with what it prints, both JSON.
 *
 * @param descriptors most file descriptors that it may have; default: as many as this process
 */
export async function answerOf(program, argument, { descriptors } = {}) {
  const file = fileURLToPath(new URL(program, import.meta.url));
  const node = [process.execPath, '--expose-gc', file, JSON.stringify(argument)];
  const [command, ...args] =
    descriptors === undefined ? node : ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...node];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const printed = await text(child.stdout);
  const [status, signal] = await ended;
  if (status !== 0) throw new Error(`${program} ended with ${signal ?? status}: ${printed}`);
  return JSON.parse(printed);
}
