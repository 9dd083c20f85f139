// One step of a script: a heading, a command whose output is shown, the time it took; the first failure ends the script.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

const COLOR = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const bold = (text) => (COLOR ? `\u001b[1m${text}\u001b[22m` : text);

/** A failure that was told already, or that is told by its message alone: no stack wanted. */
export class Failed extends Error {}

/** Runs `work` under a heading and tells how long it took. */
export function step(title, work) {
  process.stdout.write(`\n${bold(`▶ ${title}`)}\n`);
  const start = performance.now();
  try {
    work();
  } catch (error) {
    process.stdout.write(`${bold(`✖ ${title}`)} failed after ${seconds(start)}\n`);
    throw error;
  }
  process.stdout.write(`✔ ${title} (${seconds(start)})\n`);
}

/** Runs a program in the checkout with its output shown; throws when it fails. */
export function run(program, args, options = {}) {
  const { status, signal, error } = spawnSync(program, args, { cwd: ROOT, stdio: 'inherit', ...options });
  if (error !== undefined) throw new Failed(`${program} cannot be started: ${error.message}`);
  if (signal !== null) throw new Failed(`${program} ${args.join(' ')} was ended by ${signal}`);
  if (status !== 0) throw new Failed(`${program} ${args.join(' ')} ended with ${status}`);
}

/** Runs a program of node_modules on the Node.js that runs this. */
export function runPackage(script, args) {
  run(process.execPath, [`${ROOT}node_modules/${script}`, ...args]);
}

/** The body of a script: tells a failure in one line and sets the exit code. */
export function main(body) {
  try {
    body();
  } catch (error) {
    process.exitCode = 1;
    if (!(error instanceof Failed)) throw error;
    process.stderr.write(`\n${error.message}\n`);
  }
}

function seconds(start) {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}
