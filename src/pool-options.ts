// The options of a pool, checked first and completely.

import {
  boolean,
  checkNames,
  checkSignal,
  type Given,
  integer,
  isRecord,
  kindOf,
  MAX_MS,
  record,
  shown,
} from './checks.js';
import { OptionError } from './errors.js';
import type { KeyProvider } from './keys.js';
import type { NativePoolOptions } from './native/binding.js';
import { type CheckedOpenOptions, checkOpenOptions, type OpenOptions } from './options.js';
import type { FileNames } from './pool-files.js';

/** A database of a pool that was opened or closed. */
export interface PoolEvent {
  /** Its key. */
  readonly key: string;
  /** The canonical path of its file. */
  readonly path: string;
  /**
   * Of a close: `'room'`, others were used more or there were too many; `'idle'`, nobody used it for `inactivityTimeoutMs`;
   * `'evict'` and `'delete'`, it was asked for; `'close'`, the pool is being closed. Of an open: `undefined`.
   */
  readonly reason: 'room' | 'idle' | 'evict' | 'delete' | 'close' | undefined;
}

/**
 * Options of `Pool.open`: those of `Database.open`, which every database of it is opened with, and its own.
 *
 * The databases have small caches: 256 KiB of pages and 16 prepared statements per connection.
 */
export interface PoolOptions extends Omit<OpenOptions, 'create' | 'key'> {
  /**
   * Make the file of a key, and the folder, when they are missing: default `true`. `false`, or what the function gives
   * `false` for: `NoSuchDatabaseError`, so that a lookup of an unknown key makes no file.
   */
  create?: boolean | ((key: string) => boolean) | undefined;
  /**
   * One encryption key for all databases, 32 bytes, or a function that is told the path of the file. Prefer `keyProvider`:
   * a key of its own for every database.
   */
  key?: Uint8Array | KeyProvider | undefined;
  /**
   * Gives the encryption key of the database of a key, 32 bytes, now or later; asked once per open. When it has none
   * (`undefined` or `null`), or fails, the calls that needed it reject with `KeyNotAvailableError`, and nothing is remembered.
   * They wait for it for at most `queueTimeoutMs`. It must not use the database that it is asked for.
   */
  keyProvider?: KeyProvider | undefined;
  /**
   * Most databases that stay open, from 1. Default 1000. Which ones is decided by how often and how lately they were used
   * (TinyLFU). One that is in use is never closed; one that is used once is served beside those that are used much, and
   * closed after it. So more are open while they are in use. Must agree with other pools on the same folder in this process,
   * worker threads included, which share one cache.
   */
  maxOpen?: number | undefined;
  /**
   * Most bytes that their page caches hold together; looked at once a second. Beyond it those that were not used for the
   * longest time give their pages back, and are closed when that is not enough. Default 0: no limit but `maxOpen` times
   * 256 KiB per connection. Must agree as `maxOpen`.
   */
  maxOpenBytes?: number | undefined;
  /**
   * Close a database that nobody has used for so long, in milliseconds. Default 300000 (5 minutes); 0: never. Must agree
   * as `maxOpen`. Already after a second without use it gives back its readers, statements and pages.
   */
  inactivityTimeoutMs?: number | undefined;
  /** How keys become file names. Default: `<key>.db`, where all but `a-z`, `0-9`, `_` and `-` is escaped. */
  fileName?: FileNames | undefined;
  /** Called after a database was opened for this pool, in the async context of `Pool.open`. What it throws is a warning. */
  onOpen?: ((event: PoolEvent) => void) | undefined;
  /** Called after a database was given up by this pool, and cannot be used by it any more. As `onOpen`. */
  onClose?: ((event: PoolEvent) => void) | undefined;
}

/** Options of `pool.use`: what bounds the wait for the open of its database. */
export interface UseOptions {
  /** Ends the wait: `AbortError`. What `fn` does is its own to end. */
  signal?: AbortSignal | undefined;
  /** How long to wait, in milliseconds; then `QueueTimeoutError`. 0: for ever. Default: `queueTimeoutMs` of the pool. */
  queueTimeoutMs?: number | undefined;
}

/** Checks the options of `pool.use`. */
export function checkUseOptions(options: unknown): void {
  const given = record(options, 'options');
  checkNames(given, ['signal', 'queueTimeoutMs'], 'option');
  checkSignal(given);
  integer(given, 'queueTimeoutMs', 0, MAX_MS, 0);
}

/** Options of a pool, complete. */
export interface CheckedPoolOptions {
  readonly database: CheckedOpenOptions;
  readonly native: NativePoolOptions;
  readonly create: boolean | ((key: string) => boolean);
  readonly keyProvider: KeyProvider | undefined;
  readonly fileName: FileNames | undefined;
  readonly onOpen: ((event: PoolEvent) => void) | undefined;
  readonly onClose: ((event: PoolEvent) => void) | undefined;
}

const OWN_NAMES = [
  'keyProvider',
  'maxOpen',
  'maxOpenBytes',
  'inactivityTimeoutMs',
  'fileName',
  'onOpen',
  'onClose',
] as const;

/** Checks the options of `Pool.open` and adds the defaults. */
export function checkPoolOptions(options: unknown): CheckedPoolOptions {
  const given = record(options, 'options');
  const { create = true, ...others } = given;
  if (typeof create !== 'function') boolean(given, 'create', true);
  const keyProvider = functionOf<KeyProvider>(given, 'keyProvider');
  const checked = {
    native: {
      create: create !== false && given['readOnly'] !== true,
      maxOpen: integer(given, 'maxOpen', 1, 1_000_000, 1_000),
      maxOpenBytes: integer(given, 'maxOpenBytes', 0, Number.MAX_SAFE_INTEGER, 0),
      inactivityTimeoutMs: integer(given, 'inactivityTimeoutMs', 0, MAX_MS, 300_000),
    },
    create: create as CheckedPoolOptions['create'],
    keyProvider,
    fileName: fileNames(given['fileName']),
    onOpen: functionOf<(event: PoolEvent) => void>(given, 'onOpen'),
    onClose: functionOf<(event: PoolEvent) => void>(given, 'onClose'),
  };
  if (keyProvider === undefined) return { ...checked, database: checkOpenOptions(others, false, OWN_NAMES) };
  for (const name of ['key', 'passphrase'] as const) {
    if (given[name] !== undefined)
      throw new OptionError(`keyProvider and ${name} are both given: a file has one of them`);
  }
  // Checked as if it were the provider of a single file.
  const database = checkOpenOptions({ ...others, key: keyProvider }, false, OWN_NAMES);
  return { ...checked, database };
}

function functionOf<F>(given: Given, name: string): F | undefined {
  const value = given[name];
  if (value === undefined || typeof value === 'function') return value as F | undefined;
  throw new OptionError(`${name} must be a function, got ${shown(value)}`);
}

function fileNames(value: unknown): FileNames | undefined {
  if (value === undefined) return undefined;
  if (!isRecord(value)) throw new OptionError(`fileName must be { encode, decode }, got ${kindOf(value)}`);
  // An instance of a class may have what it likes beside them.
  if (Object.getPrototypeOf(value) === Object.prototype) checkNames(value, ['encode', 'decode'], 'part of fileName');
  const encode = functionOf<FileNames['encode']>(value, 'encode');
  const decode = functionOf<NonNullable<FileNames['decode']>>(value, 'decode');
  if (encode === undefined) throw new OptionError('fileName needs encode, a function');
  return { encode: encode.bind(value), decode: decode?.bind(value) };
}
