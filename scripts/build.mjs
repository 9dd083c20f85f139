// Builds the package in this checkout: `node scripts/build.mjs [native|ts]`, by default both. Cheap when nothing changed.

import { copyFileSync, existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonFile, builtLibrary } from './platform.mjs';
import { Failed, main, ROOT, run, runPackage, step } from './step.mjs';
import { checkNode, checkToolchain } from './toolchain.mjs';

/** Installs the development dependencies unless they are those of the lock file. */
export function installPackages() {
  checkNode();
  const installed = join(ROOT, 'node_modules/.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs) return;
  step('npm packages', () => npm(['ci', '--no-audit', '--no-fund']));
}

/** Builds the addon and puts it where the package looks for it first. */
export function buildNative() {
  step('engine (the first build compiles SQLite, SQLCipher and OpenSSL: some minutes)', () => {
    checkToolchain();
    run('cargo', ['build', '--release', '-p', 'sqlflow-node', '--locked']);
    place(builtLibrary(), addonFile());
  });
}

/** Compiles `src` to `dist`, and with `specs` the specs as well. */
export function buildTypeScript({ specs = false } = {}) {
  step('TypeScript', () => {
    runPackage('typescript/bin/tsc', ['--build', specs ? 'tsconfig.test.json' : 'tsconfig.json']);
  });
}

/** Whether the addon of this platform is here, built or downloaded. */
export function hasAddon() {
  return existsSync(addonFile());
}

/** By renaming: a process that has the old file loaded keeps it. */
function place(built, file) {
  if (!existsSync(built)) throw new Failed(`cargo built no ${built}`);
  const { mtimeMs, size } = statSync(built);
  if (existsSync(file)) {
    const there = statSync(file);
    if (there.size === size && there.mtimeMs >= mtimeMs) return;
  }
  const fresh = `${file}.${process.pid}`;
  try {
    copyFileSync(built, fresh);
    renameSync(fresh, file);
  } finally {
    rmSync(fresh, { force: true });
  }
}

function npm(args) {
  const script = process.env.npm_execpath;
  if (script !== undefined && /npm-cli\.c?js$/.test(script)) run(process.execPath, [script, ...args]);
  else run('npm', args, { shell: process.platform === 'win32' });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(() => {
    const wanted = process.argv[2];
    if (wanted !== undefined && wanted !== 'native' && wanted !== 'ts') {
      throw new Failed(`unknown part "${wanted}": native or ts`);
    }
    if (wanted !== 'ts') buildNative();
    if (wanted === 'native') return;
    installPackages();
    buildTypeScript();
  });
}
