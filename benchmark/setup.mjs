// Makes ready what a run needs (the peers, a built sqlflow, Node 24) and starts it. Run by `npm run bench`.

import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = fileURLToPath(new URL('./main.mjs', import.meta.url));

/** Figures are compared on one version of Node: better-sqlite3 13 needs 22 and ends the process on 20. */
const MAJOR = 24;
const OLDEST = 22;

function setUp() {
  if (stale()) npm('the peers', ['ci', '--ignore-scripts'], HERE);
  npm('sqlflow', ['run', 'build'], ROOT);
  return node();
}

/** Whether what is installed is older than what the lock file asks for. */
function stale() {
  const installed = `${HERE}node_modules/.package-lock.json`;
  return !existsSync(installed) || statSync(installed).mtimeMs < statSync(`${HERE}package-lock.json`).mtimeMs;
}

/** On Linux the Node of this folder's own dependencies, elsewhere the one that runs this. */
function node() {
  const own = `${HERE}node_modules/node-linux-${process.arch}/bin/node`;
  if (process.platform === 'linux' && existsSync(own)) return own;
  const running = Number(process.versions.node.split('.')[0]);
  if (running < OLDEST)
    throw new Error(`Node ${process.versions.node}: the peers need ${OLDEST} or newer, best ${MAJOR}`);
  if (running !== MAJOR) process.stderr.write(`on Node ${running}; published figures are taken on ${MAJOR}\n`);
  return process.execPath;
}

function npm(what, args, cwd) {
  process.stderr.write(`${what}: npm ${args.join(' ')}\n`);
  const shell = process.platform === 'win32';
  const { status, error } = spawnSync('npm', args, { cwd, shell, stdio: ['ignore', 2, 2] });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`npm ${args.join(' ')} in ${cwd} ended with ${status}`);
}

function start(binary) {
  const { status, signal, error } = spawnSync(binary, [MAIN, ...process.argv.slice(2)], { stdio: 'inherit' });
  if (error !== undefined) throw error;
  return signal === null ? status : 1;
}

process.exitCode = start(setUp());
