// The engine of this copy of the package: the addon is loaded once, here.

import { isMainThread } from 'node:worker_threads';
import { loadAddon } from './binding.js';
import { Bridge } from './bridge.js';
import type { Engine } from './engine.js';

/** Files of addons loaded in this thread, by all copies of the package. */
const LOADED = Symbol.for('sqlflow.addons');

function start(): Engine {
  const { native, file } = loadAddon();
  const files = loadedFiles();
  if (files.size > 0 && !files.has(file)) {
    process.emitWarning(
      `Two copies of sqlflow are loaded (${[...files].join(', ')} and ${file}). Their engines do not know of each other: ` +
        'a file opened by both can lose committed data. Make the dependency tree use one version.',
      { code: 'SQLFLOW_TWO_COPIES' },
    );
  }
  if (isMainThread && !files.has(file)) process.on('exit', (code) => native.processExit(code));
  files.add(file);
  return new Bridge(native);
}

function loadedFiles(): Set<string> {
  const known: unknown = Reflect.get(globalThis, LOADED);
  if (isFiles(known)) return known;
  const files = new Set<string>();
  Object.defineProperty(globalThis, LOADED, { value: files });
  return files;
}

function isFiles(value: unknown): value is Set<string> {
  return value instanceof Set;
}

export const engine: Engine = start();
