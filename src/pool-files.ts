// Which file the database of a key is in: names that no two keys share, on any file system, and none that leaves the folder.

import type { Dirent } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { kindOf } from './checks.js';
import { IoError, OptionError, PoolKeyError } from './errors.js';

/** How keys become names of files, where the default does not fit: for existing folders, and to spread them over sub-folders. */
export interface FileNames {
  /**
   * The name of the file of `key`, relative to the folder of the pool, with `/` between the folders on the way to it. No two
   * keys may get the same one, nor two that differ in case or Unicode form only, where the file system does not tell those
   * apart.
   */
  encode: (key: string) => string;
  /**
   * The key of a file by the same kind of name; `undefined` for a file that is none of the pool's. Needed by `pool.keys`,
   * `migrateAll` and `backupAll`; when it is given, a key must come back from its name, so that no two keys share a file.
   */
  decode?: ((name: string) => string | undefined) | undefined;
}

/** Names of files of the pool, by key and back. */
export interface PoolFiles {
  /** The name of the file of `key`; throws `PoolKeyError`. */
  nameOf(key: string): string;
  /** The keys that have a file, in no order. */
  keys(): AsyncGenerator<string, void, undefined>;
}

const EXTENSION = '.db';
/** Most bytes of a file name nearly everywhere, and of what SQLite puts behind it (`-journal`). */
const MOST_BYTES = 255 - '-journal'.length;
/** What SQLite has beside a database, and what a backup or conversion is written to. */
const COMPANION = /(?:-wal|-shm|-journal)$|^sqlflow-[0-9a-f]{16}\.tmp$/;
/** Names that are devices on Windows, whatever their extension. */
const DEVICE = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])$/;

/**
 * The default: `a-z`, `0-9`, `_` and `-` stand for themselves, every other byte of the UTF-8 form is `%` and two small
 * hexadecimal digits. So names differ by more than case, hold no separator and no dot, and Unicode forms stay apart. Of a
 * name that is a device on Windows the first letter is written so as well.
 */
export const escaped: FileNames & { decode: (name: string) => string | undefined } = {
  encode(key) {
    let name = '';
    for (const byte of Buffer.from(key, 'utf8')) {
      const verbatim =
        (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x5f || byte === 0x2d;
      name += verbatim ? String.fromCharCode(byte) : escapeOf(byte);
    }
    if (DEVICE.test(name)) name = escapeOf(name.charCodeAt(0)) + name.slice(1);
    return name + EXTENSION;
  },
  decode(name) {
    if (!name.endsWith(EXTENSION)) return undefined;
    const stem = name.slice(0, -EXTENSION.length);
    if (!/^(?:[a-z0-9_-]|%[0-9a-f]{2})+$/.test(stem)) return undefined;
    const bytes: number[] = [];
    for (let at = 0; at < stem.length; at++) {
      if (stem[at] !== '%') bytes.push(stem.charCodeAt(at));
      else {
        bytes.push(Number.parseInt(stem.slice(at + 1, at + 3), 16));
        at += 2;
      }
    }
    return Buffer.from(bytes).toString('utf8');
  },
};

/** The files of a pool in `folder`. */
export function poolFiles(folder: string, fileName: FileNames | undefined): PoolFiles {
  const { encode, decode } = fileName ?? escaped;
  const nameOf = (key: string): string => {
    checkKey(key);
    const name: unknown = encode(key);
    const why = typeof name === 'string' ? flawOf(name) : `is ${kindOf(name)}`;
    if (why !== undefined) throw refused(key, `its file name ${why}`);
    const back = decode?.(name as string);
    if (decode !== undefined && back !== key) {
      throw refused(key, `fileName.decode gives ${back === undefined ? 'no key' : 'another key'} for its file name`);
    }
    return name as string;
  };
  return {
    nameOf,
    async *keys() {
      if (decode === undefined) {
        throw new OptionError('the keys cannot be told from the files: the option fileName has no decode');
      }
      for await (const name of namesIn(folder, '', fileName !== undefined)) {
        const key = decode(name);
        if (key !== undefined && isNameOf(name, key, encode)) yield key;
      }
    },
  };
}

/** Whether there is a file of that name in the folder. One to which a symbolic link leads is not. */
export async function isThere(folder: string, name: string): Promise<boolean> {
  const path = join(folder, name);
  try {
    if (!(await lstat(path)).isFile()) return false;
    return name.includes('/') ? (await realpath(path)) === path : true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw new IoError(`${path} cannot be looked at`, { cause });
  }
}

/** A file that has the name of another one's key, in another spelling, is nobody's. */
function isNameOf(name: string, key: string, encode: FileNames['encode']): boolean {
  try {
    checkKey(key);
    return encode(key) === name && flawOf(name) === undefined;
  } catch {
    return false;
  }
}

/** The files in the folder, and in those inside it. */
async function* namesIn(folder: string, path: string, deep: boolean): AsyncGenerator<string, void, undefined> {
  let entries: Dirent[];
  try {
    // At once: a worker that ends in the middle of an open directory leaves its descriptor.
    entries = await readdir(join(folder, path), { withFileTypes: true });
  } catch (cause) {
    throw new IoError(`the folder of the pool, ${folder}, cannot be read`, { cause });
  }
  for (const entry of entries) {
    const name = path === '' ? entry.name : `${path}/${entry.name}`;
    if (entry.isDirectory() && deep) yield* namesIn(folder, name, deep);
    else if (entry.isFile() && !COMPANION.test(entry.name)) yield name;
  }
}

function checkKey(key: unknown): void {
  if (typeof key !== 'string') throw new PoolKeyError(`a key of a pool must be a string, got ${kindOf(key)}`);
  if (key === '') throw new PoolKeyError('a key of a pool must not be empty');
  if (!key.isWellFormed()) throw refused(key, 'it is not valid Unicode, but holds a lone surrogate');
}

/** What keeps a name from being that of a file in the folder. */
function flawOf(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.includes('\0')) return 'holds a NUL character';
  if (!name.isWellFormed()) return 'is not valid Unicode';
  if (process.platform === 'win32' && /[\\:]/.test(name)) return 'holds a character that Windows does not take';
  const parts = name.split('/');
  for (const part of parts) {
    if (part === '' || part === '.' || part === '..')
      return 'leads out of the folder of the pool, or has an empty part';
    const bytes = Buffer.byteLength(part);
    if (bytes > MOST_BYTES) return `has ${bytes} bytes, and at most ${MOST_BYTES} are possible; use a shorter key`;
  }
  return COMPANION.test(parts.at(-1) ?? '') ? 'is one that SQLite or a backup uses beside a database' : undefined;
}

function refused(key: string, why: string): PoolKeyError {
  const short = key.length > 80 ? `${key.slice(0, 80)}...` : key;
  return new PoolKeyError(`the key ${JSON.stringify(short.toWellFormed())} cannot be used: ${why}`);
}

function escapeOf(byte: number): string {
  return `%${byte.toString(16).padStart(2, '0')}`;
}
