// The addon's exports as types, and the search for its file.

import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Options of `open`, complete: the engine has no defaults of its own. */
export interface NativeOpenOptions {
  create: boolean;
  readOnly: boolean;
  memory: boolean;
  synchronous: 'full' | 'normal';
  readers: number;
  busyTimeoutMs: number;
  transactionTimeoutMs: number;
  readTimeoutMs: number;
  queueTimeoutMs: number;
  maxQueued: number;
  logLimitBytes: number;
  /** A number given to `defineMigrations`; 0: none. */
  migrations: number;
  migrate: 'always' | 'create';
  migrationHistory: 'sqlflow' | 'goose';
  cipher: NativeCipher | undefined;
  secureDelete: boolean;
  autoVacuum: 'none' | 'full' | 'incremental';
}

/** What a file is encrypted with. `bytes` is a copy that the addon wipes. */
export interface NativeCipher {
  readonly kind: 'raw' | 'passphrase';
  readonly bytes: ArrayBuffer;
  /** The major version of SQLCipher whose settings the file has. */
  readonly compatibility: number;
}

/** Options of `openPool`, complete. */
export interface NativePoolOptions {
  create: boolean;
  maxOpen: number;
  /** 0: no limit. */
  maxOpenBytes: number;
  /** 0: for ever. */
  inactivityTimeoutMs: number;
}

/** The functions of the addon; crates/node/src documents each. */
export interface Native {
  setup(request: ArrayBuffer, response: ArrayBuffer, sync: ArrayBuffer, wake: () => void): void;
  submit(byteLength: number): void;
  submitFrom(buffer: ArrayBuffer, byteLength: number): void;
  /**
   * Takes finished records: the bytes it wrote into the response buffer, or one record too large for that in a buffer of
   * its own. 0: nothing is left, and `wake` is called when there is more. `undefined`: nothing yet, and `wake` will not
   * be called; look again by an immediate.
   */
  drain(): number | ArrayBuffer | undefined;
  sync(byteLength: number): number | ArrayBuffer;
  syncFrom(buffer: ArrayBuffer, byteLength: number): number | ArrayBuffer;
  defineStatement(id: number, text: string): void;
  forgetStatement(id: number): void;
  shape(id: number): string[];
  /** Parses the files of a source. `undefined`: `id` may be used; else an ERROR record that says what is wrong. */
  defineMigrations(id: number, names: readonly string[], texts: readonly string[]): undefined | ArrayBuffer;
  /** Answered by HISTORY. */
  migrations(op: number, handle: number, generation: number): void;
  /** Runs the Down parts above version `to`, the newest first: MIGRATED for each, then DONE. */
  rollbackMigrations(op: number, handle: number, generation: number, to: number): void;
  open(op: number, path: string, options: NativeOpenOptions): void;
  /** `timeoutMs`: 0xffffffff waits for ever. */
  close(op: number, handle: number, generation: number, timeoutMs: number): void;
  /** `mode`: 0 passive, 1 full, 2 restart, 3 truncate. */
  checkpoint(op: number, handle: number, generation: number, mode: number): void;
  /** Numbers of the engine as float64, in the order that crates/node documents. */
  stats(handle: number, generation: number): ArrayBuffer;
  /** `mode`: 0 no records of commits, 1 with tables, 2 with tables and row ids. */
  listen(handle: number, generation: number, mode: number): void;
  rekey(op: number, handle: number, generation: number, cipher: NativeCipher): void;
  /** `pages`: 0 writes the whole file anew. */
  vacuum(op: number, handle: number, generation: number, pages: number): void;
  /** PROGRESS, then DONE. Without a `cipher` the copy is as the source, or plain. */
  backup(
    op: number,
    handle: number,
    generation: number,
    options: { path: string; overwrite: boolean; plain: boolean; cipher: NativeCipher | undefined },
  ): void;
  /** PROGRESS, then VERIFIED. */
  verify(op: number, handle: number, generation: number): void;
  /** PROGRESS, then DONE. */
  convert(op: number, path: string, cipher: NativeCipher, busyTimeoutMs: number): void;
  openPool(op: number, path: string, options: NativePoolOptions): void;
  /** DONE, when what the pools of the folder close by themselves is closed. */
  closePool(op: number, pool: number, generation: number): void;
  /** As `open`, and the first use has begun. */
  openPooled(
    op: number,
    pool: number,
    generation: number,
    name: string,
    options: NativeOpenOptions,
    apart: boolean,
  ): void;
  /** Begins a use: 1, or 0 when the handle is closed. `how`: see `Begin`. */
  acquire(handle: number, generation: number, how: number): number;
  release(handle: number, generation: number): void;
  /** Index and generation of another handle, two u32. */
  share(handle: number, generation: number): ArrayBuffer | undefined;
  /** CHANGES: 1 closed, 0 used again. */
  evict(op: number, pool: number, generation: number, name: string): void;
  /** CHANGES: 1 deleted, 0 there was none. */
  deletePooled(
    op: number,
    pool: number,
    generation: number,
    name: string,
    busyTimeoutMs: number,
    queueTimeoutMs: number,
  ): void;
  relievePool(pool: number, generation: number): void;
  poolStats(pool: number, generation: number): ArrayBuffer | undefined;
  processExit(code: number): void;
  info(): { sqlite: string; cipher: string };
}

/** An addon that was loaded, and the file it came from. */
export interface LoadedAddon {
  native: Native;
  file: string;
}

const LIBC_VARIANTS: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ['-gnu', '-musl'],
  win32: ['-msvc'],
};

/**
 * Loads the addon: the file beside the package (a checkout), else the package of this platform.
 *
 * Goes through `process.dlopen` and not `require`, so that every copy of this module gets exports of its own and with
 * them a bridge of its own, also where a test runner loads it twice in one thread.
 */
export function loadAddon(): LoadedAddon {
  const root = join(__dirname, '..', '..');
  const platform = `${process.platform}-${process.arch}`;
  const variants = LIBC_VARIANTS[process.platform] ?? [''];
  const require = createRequire(__filename);
  const tried: string[] = [];

  for (const variant of variants) {
    const file = join(root, `sqlflow.${platform}${variant}.node`);
    const loaded = existsSync(file) ? open(file, tried) : missing(file, tried);
    if (loaded !== undefined) return loaded;
  }
  for (const variant of variants) {
    const name = `@sqlflow/${platform}${variant}`;
    const file = resolvePackage(require, name);
    const loaded = file === undefined ? missing(name, tried) : open(file, tried);
    if (loaded !== undefined) return loaded;
  }
  throw new Error(
    `sqlflow has no engine for ${platform} on Node.js ${process.versions.node}. Tried:\n  ${tried.join('\n  ')}\n` +
      'Install sqlflow again with optional dependencies allowed (npm install --include=optional); ' +
      'in a checkout run: npm run build',
  );
}

function open(file: string, tried: string[]): LoadedAddon | undefined {
  const holder: { exports: Partial<Native> } = { exports: {} };
  try {
    process.dlopen(holder, file);
  } catch (error) {
    tried.push(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
  const native = holder.exports;
  if (!isNative(native)) {
    tried.push(`${file}: not an engine of this version of sqlflow`);
    return undefined;
  }
  return { native, file: realpathSync(file) };
}

function isNative(exports: Partial<Native>): exports is Native {
  return typeof exports.setup === 'function' && typeof exports.drain === 'function';
}

function missing(what: string, tried: string[]): undefined {
  tried.push(`${what}: not there`);
}

function resolvePackage(require: NodeJS.Require, name: string): string | undefined {
  try {
    return require.resolve(name);
  } catch {
    return undefined;
  }
}
