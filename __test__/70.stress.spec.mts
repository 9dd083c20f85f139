// Every stress of `npm run test:stress`, a little of it: its watchdogs are those of a test, its figures are not judged.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Folder } from './fixtures/border/folder.mjs';

const MAIN = fileURLToPath(new URL('./stress/main.mjs', import.meta.url));

/** A stress that is still running then hangs, beyond the watchdogs of its own. */
const LIMIT = { timeout: 60_000 };

const LITTLE: Record<string, { count: number; seconds: number }> = {
  history: { count: 4, seconds: 0.5 },
  kill: { count: 4, seconds: 0 },
  exit: { count: 6, seconds: 0 },
  terminate: { count: 16, seconds: 0 },
  busy: { count: 4, seconds: 1 },
  cancel: { count: 50, seconds: 0 },
  migrate: { count: 8, seconds: 0 },
  rekey: { count: 4, seconds: 0 },
  backup: { count: 4, seconds: 0 },
  vacuum: { count: 4, seconds: 0 },
  convert: { count: 6, seconds: 0 },
  damage: { count: 20, seconds: 0 },
  hostile: { count: 60, seconds: 0 },
  pool: { count: 60, seconds: 0.6 },
};

for (const [name, { count, seconds }] of Object.entries(LITTLE)) {
  test(name, LIMIT, async (t) => {
    using folder = new Folder();
    const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
    const words = [MAIN, name, '--count', String(count), '--seconds', String(seconds), '--hang-ms', '30000'];
    const child = spawn(process.execPath, ['--enable-source-maps', ...words], {
      env: { ...inherited, TMPDIR: folder.path, TEMP: folder.path, TMP: folder.path },
      signal: t.signal,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let told = '';
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding('utf8').on('data', (text: string) => {
        told += text;
      });
    }
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, signal) => resolve(signal ?? status));
    });
    t.diagnostic(told.trim());
    assert.equal(code, 0, told);
    assert.match(told, new RegExp(`^${name}: seed \\d+, `), 'what it takes to repeat it is told');
    assert.deepEqual(readdirSync(folder.path), [], 'files were left behind');
  });
}
