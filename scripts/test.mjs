// Everything that must hold before a change lands, or the steps that are named: format clippy types lint rust models specs encrypted api.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rollUp } from './api.mjs';
import { buildNative, buildTypeScript, hasAddon, installPackages } from './build.mjs';
import { Failed, main, ROOT, run, runPackage, step } from './step.mjs';
import { checkToolchain } from './toolchain.mjs';

/** In the order they run. */
const STEPS = {
  format: () => {
    installPackages();
    checkToolchain(['rustfmt']);
    step('format', () => {
      runPackage('@biomejs/biome/bin/biome', ['check', '--linter-enabled=false', '.']);
      run('cargo', ['fmt', '--all', '--check']);
    });
  },
  clippy: () => {
    checkToolchain(['clippy']);
    step('clippy', () => {
      run('cargo', ['clippy', '--release', '--all-targets', '--locked', '--', '-D', 'warnings']);
      const models = ['-p', 'sqlflow-core', '--features', 'model', '--test', 'models'];
      run('cargo', ['clippy', '--release', '--locked', ...models, '--', '-D', 'warnings']);
    });
  },
  types: () => {
    installPackages();
    step('types', () => runPackage('typescript/bin/tsc', ['--build', 'tsconfig.test.json']));
  },
  lint: () => {
    installPackages();
    step('lint', () => runPackage('@biomejs/biome/bin/biome', ['lint', '--error-on-warnings', '.']));
  },
  rust: () => {
    checkToolchain();
    step('tests of the engine', () => run('cargo', ['test', '--release', '--locked']));
  },
  models: () => {
    checkToolchain();
    step('models of the engine', () => {
      run('cargo', ['test', '--release', '--locked', '-p', 'sqlflow-core', '--features', 'model', '--test', 'models']);
    });
  },
  specs: () => {
    prepareSpecs();
    step('specs', () => runSpecs());
  },
  encrypted: () => {
    prepareSpecs();
    const preload = pathToFileURL(join(ROOT, '.build', 'fixtures', 'encrypted.mjs')).href;
    step('specs, every database encrypted', () => runSpecs({ NODE_OPTIONS: `--import=${preload}` }));
  },
  api: () => {
    installPackages();
    step('index.d.ts and testing.d.ts', () => rollUp({ check: true }));
  },
};

function prepareSpecs() {
  installPackages();
  if (!hasAddon()) buildNative();
  buildTypeScript({ specs: true });
}

function runSpecs(env = {}) {
  const compiled = join(ROOT, '.build');
  const specs = specNames().map((name) => join(compiled, name));
  const flags = ['--enable-source-maps', '--expose-gc', '--test', '--test-concurrency=2', '--test-reporter=spec'];
  run(process.execPath, [...flags, ...specs], { env: { ...process.env, ...env } });
}

/** The specs as they are called once compiled; a compiled one without its source is left out. */
function specNames() {
  const names = readdirSync(join(ROOT, '__test__')).filter((name) => name.endsWith('.spec.mts'));
  return names.sort().map((name) => name.replace(/\.mts$/, '.mjs'));
}

main(() => {
  const named = process.argv.slice(2);
  const unknown = named.find((name) => !Object.hasOwn(STEPS, name));
  if (unknown !== undefined) throw new Failed(`unknown step "${unknown}": ${Object.keys(STEPS).join(', ')}`);
  if (named.length === 0) {
    checkToolchain(['clippy', 'rustfmt']);
    installPackages();
    buildNative();
  }
  for (const [name, runStep] of Object.entries(STEPS)) {
    if (named.length === 0 || named.includes(name)) runStep();
  }
  if (named.length === 0) process.stdout.write(`\nall of it in ${(process.uptime() / 60).toFixed(1)} minutes\n`);
});
