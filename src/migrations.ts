// Where migrations come from: the option `migrations`, read, checked in its shape and given to the engine once.

import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { checkNames, isRecord, kindOf } from './checks.js';
import { MigrationSourceError, OptionError } from './errors.js';

/** One migration of a list. */
export interface MigrationFile {
  /** As a file would be called: `001_init.sql` or `V1__init.sql`; `.sql` may be left out. */
  readonly name: string;
  /** What the file would hold. */
  readonly sql: string;
}

/**
 * Where migrations come from: the path of a folder, a list, or an object of file names to texts, which is what the glob
 * import of a bundler gives (`import.meta.glob('./migrations/*.sql', { query: '?raw', eager: true })`; a value may be the
 * text or a module with the text as its default export).
 *
 * Order is that of the versions, which are the digits a name begins with; folders in a name do not count.
 */
export type MigrationSource =
  | string
  | readonly MigrationFile[]
  | { readonly [fileName: string]: string | { readonly default: string } };

/** Gives the engine the files of a source and tells the number the source has from then on; throws `MigrationSourceError`. */
export type Define = (names: readonly string[], texts: readonly string[]) => number;

/** Files that are read at the same time. */
const READ_AT_ONCE = 32;

/** Names and texts, index by index. */
interface Files {
  readonly names: readonly string[];
  readonly texts: readonly string[];
}

/**
 * The sources a thread has met. Each is read, hashed and parsed once: a folder by its path, a list or an object by its
 * identity, and what has the same names and texts is one source. One that failed is tried anew the next time.
 */
export class MigrationSources {
  readonly #define: Define;
  readonly #folders = new Map<string, number | Promise<number>>();
  readonly #objects = new WeakMap<object, number>();
  readonly #contents = new Map<string, number>();

  constructor(define: Define) {
    this.#define = define;
  }

  /** The number of a source; a promise while its folder is being read. Throws `OptionError` and `MigrationSourceError`. */
  idOf(source: MigrationSource): number | Promise<number> {
    if (typeof source === 'string') return this.#folder(resolve(source));
    const known = this.#objects.get(source);
    if (known !== undefined) return known;
    const id = this.#idOf(Array.isArray(source) ? listed(source) : named(source));
    this.#objects.set(source, id);
    return id;
  }

  #folder(path: string): number | Promise<number> {
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    const reading = this.#read(path);
    this.#folders.set(path, reading);
    return reading;
  }

  async #read(path: string): Promise<number> {
    try {
      const id = this.#idOf(await readFolder(path));
      this.#folders.set(path, id);
      return id;
    } catch (error) {
      this.#folders.delete(path);
      throw error;
    }
  }

  #idOf({ names, texts }: Files): number {
    const digest = createHash('sha256')
      .update(JSON.stringify([names, texts]))
      .digest('base64');
    let id = this.#contents.get(digest);
    if (id === undefined) {
      id = this.#define(names, texts);
      this.#contents.set(digest, id);
    }
    return id;
  }
}

/** Checks what kind of value the option `migrations` has; what is in it is checked when it is first used. */
export function checkMigrations(value: unknown): MigrationSource | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string') {
    if (value === '')
      throw new OptionError("migrations must not be empty; './migrations' is a folder, [] is no migrations");
    if (value.includes('\0')) throw new OptionError(`migrations must not contain NUL, got ${JSON.stringify(value)}`);
    return value;
  }
  if (Array.isArray(value)) return value;
  if (isPlain(value)) return value as MigrationSource;
  const hint = value instanceof URL ? ' of class URL; use fileURLToPath' : '';
  throw new OptionError(
    `migrations must be the path of a folder, an array of { name, sql } or an object of file names to SQL, got ${kindOf(value)}${hint}`,
  );
}

/** The `*.sql` files of a folder, by name. What begins with a dot, and what is in folders inside, is none of them. */
async function readFolder(path: string): Promise<Files> {
  let entries: Dirent[];
  try {
    entries = await readdir(path, { withFileTypes: true });
  } catch (error) {
    throw new MigrationSourceError(`the folder of the migrations ${path} cannot be read: ${reasonOf(error)}`, {
      file: path,
      cause: error,
    });
  }
  const names = entries.filter(isMigration).map(({ name }) => name);
  if (names.length === 0) {
    throw new MigrationSourceError(
      `the folder of the migrations ${path} has no .sql file; pass the folder that has them, or [] for no migrations`,
      { file: path },
    );
  }
  // By code units, so that it is the same everywhere.
  names.sort();
  const texts: string[] = [];
  for (let from = 0; from < names.length; from += READ_AT_ONCE) {
    const some = names.slice(from, from + READ_AT_ONCE);
    texts.push(...(await Promise.all(some.map((name) => readText(path, name)))));
  }
  return { names, texts };
}

/** A name in capitals is one as well: the engine tells what is wrong with it, and it is not left out in silence. */
function isMigration(entry: Dirent): boolean {
  return (entry.isFile() || entry.isSymbolicLink()) && /^[^.].*\.sql$/is.test(entry.name);
}

async function readText(folder: string, name: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(join(folder, name));
  } catch (error) {
    throw new MigrationSourceError(`the migration ${join(folder, name)} cannot be read: ${reasonOf(error)}`, {
      file: name,
      cause: error,
    });
  }
  if (!isUtf8(bytes)) {
    throw new MigrationSourceError(`the migration ${join(folder, name)} is not UTF-8 text; save it as UTF-8`, {
      file: name,
    });
  }
  return bytes.toString('utf8');
}

function listed(source: readonly unknown[]): Files {
  const names: string[] = [];
  const texts: string[] = [];
  for (const [index, entry] of source.entries()) {
    const where = `migrations[${index}]`;
    if (!isRecord(entry)) throw new OptionError(`${where} must be { name, sql }, got ${kindOf(entry)}`);
    const { name, sql } = entry;
    if (typeof name !== 'string') throw new OptionError(`${where}.name must be a string, got ${kindOf(name)}`);
    if (typeof sql !== 'string') throw new OptionError(`${where}.sql must be a string, got ${kindOf(sql)}`);
    checkNames(entry, ['name', 'sql'], `part of ${where}`);
    names.push(name);
    texts.push(sql);
  }
  return checked({ names, texts });
}

function named(source: object): Files {
  const names: string[] = [];
  const texts: string[] = [];
  for (const [name, value] of Object.entries(source)) {
    names.push(name);
    texts.push(textOf(name, value));
  }
  return checked({ names, texts });
}

function textOf(name: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (isRecord(value) && typeof value['default'] === 'string') return value['default'];
  // A glob import that is not eager gives functions that import.
  const hint = typeof value === 'function' ? '; a glob import must be eager' : '';
  throw new OptionError(
    `migrations[${JSON.stringify(name)}] must be a string or { default: string }, got ${kindOf(value)}${hint}`,
  );
}

/** The engine takes text, which JavaScript's strings need not be. */
function checked(files: Files): Files {
  for (const [index, name] of files.names.entries()) {
    if (!name.isWellFormed()) {
      throw new MigrationSourceError(
        `the name of the migration ${JSON.stringify(name)} holds a lone surrogate, which is not valid Unicode text`,
        { file: name },
      );
    }
    if (files.texts[index]?.isWellFormed() === false) {
      throw new MigrationSourceError(
        `the migration ${JSON.stringify(name)} holds a lone surrogate, which is not valid Unicode text`,
        { file: name },
      );
    }
  }
  return files;
}

/** Written as a literal, made by a bundler or a module; not an instance of a class, whose properties would be none. */
function isPlain(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
