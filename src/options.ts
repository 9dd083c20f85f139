// The options a caller can give, checked first and completely.

import { OptionError } from './errors.js';
import type { NativeOpenOptions } from './native/binding.js';
import { Flag } from './native/wire.js';
import { nearest } from './spelling.js';
import type { ReadTransaction, WriteTransaction } from './transaction.js';

/** Options of `Database.open`. */
export interface OpenOptions {
  /** Make the file, and folders on the way to it, when they are missing. Default `true`; `false`: `CannotOpenError`. */
  create?: boolean | undefined;
  /** Open without a writer: `write`, `run` and `exec` fail with `ReadOnlyDatabaseError`. Default `false`. */
  readOnly?: boolean | undefined;
  /**
   * `'full'` (default): a commit survives a power cut. `'normal'`: it survives a crash of the process, but a power cut may
   * take back the last commits; the file stays sound. Must agree with other opens of the same file in this process.
   */
  synchronous?: 'full' | 'normal' | undefined;
  /** Most read transactions at the same time, 1 to 256. Default 4. Must agree with other opens of the same file. */
  readers?: number | undefined;
  /** How long to wait while another process holds the file, in milliseconds. Default 5000; 0: not at all. */
  busyTimeoutMs?: number | undefined;
  /** How long a `write` may stay open, in milliseconds. Default 30000, then it is rolled back; 0: for ever. */
  transactionTimeoutMs?: number | undefined;
  /** Most operations that may wait, from 1. Default 10000; beyond it `QueueFullError`. Must agree with other opens. */
  maxQueued?: number | undefined;
  /** Give integers as `bigint`, unless a call says otherwise. Default `false`: an unsafe one is an error. */
  bigint?: boolean | undefined;
}

/** Makes what closures get from a transaction: one function for both, or one for each. */
export type Querier<R, W> = ((tx: WriteTransaction) => W) | SplitQuerier<R, W>;

/** Two queriers: `read` closures get `R`, `write` closures get `W`. */
export interface SplitQuerier<R, W> {
  /** Makes what a `read` closure gets. */
  read: (tx: ReadTransaction) => R;
  /** Makes what a `write` closure gets. */
  write: (tx: WriteTransaction) => W;
}

/** Options of one statement that gives rows. */
export interface QueryOptions {
  /** Give every INTEGER as `bigint`. Default: as the database was opened. */
  bigint?: boolean | undefined;
  /** Rows as objects or as arrays. Default `'object'`. */
  rowMode?: 'object' | 'array' | undefined;
}

/** Options of a statement whose rows are objects. */
export interface ObjectRowOptions extends QueryOptions {
  rowMode?: 'object' | undefined;
}

/** Options of a statement whose rows are arrays. */
export interface ArrayRowOptions extends QueryOptions {
  rowMode: 'array';
}

/** Options of a statement whose rows are taken batch by batch. */
export interface BatchOptions {
  /** Rows fetched at a time, 1 to 10000. Default 1000. */
  batchRows?: number | undefined;
}

/** Options of `open`, complete. */
export interface CheckedOpenOptions {
  native: NativeOpenOptions;
  bigint: boolean;
  querier: Querier<unknown, unknown> | undefined;
}

const MAX_MS = 2_147_483_647;
const OPEN_NAMES = [
  'create',
  'readOnly',
  'synchronous',
  'readers',
  'busyTimeoutMs',
  'transactionTimeoutMs',
  'maxQueued',
  'bigint',
  'querier',
] as const;

/** Checks the path of `Database.open`; `':memory:'` is left to the caller. */
export function checkPath(path: unknown): string {
  if (typeof path !== 'string') throw new OptionError(`path must be a string, got ${kindOf(path)}`);
  if (path === '') throw new OptionError("path must not be empty; ':memory:' opens a private temporary database");
  if (path.includes('\0')) throw new OptionError(`path must not contain NUL, got ${JSON.stringify(path)}`);
  if (!path.isWellFormed()) throw new OptionError('path must be valid Unicode, but holds a lone surrogate');
  return path;
}

/** Checks the options of `Database.open` and adds the defaults. */
export function checkOpenOptions(options: unknown, memory: boolean): CheckedOpenOptions {
  const given = record(options, 'options');
  checkNames(given, OPEN_NAMES, 'option');
  const readOnly = boolean(given, 'readOnly', false);
  if (memory && readOnly) throw new OptionError("readOnly: true makes no sense for ':memory:', which is always empty");
  return {
    native: {
      create: boolean(given, 'create', true),
      readOnly,
      memory,
      synchronous: oneOf(given, 'synchronous', ['full', 'normal'], 'full'),
      readers: integer(given, 'readers', 1, 256, 4),
      busyTimeoutMs: integer(given, 'busyTimeoutMs', 0, MAX_MS, 5_000),
      transactionTimeoutMs: integer(given, 'transactionTimeoutMs', 0, MAX_MS, 30_000),
      maxQueued: integer(given, 'maxQueued', 1, 10_000_000, 10_000),
    },
    bigint: boolean(given, 'bigint', false),
    querier: querier(given['querier']),
  };
}

/** `Flag.bigint` and `Flag.arrays` of one call, given those of its target. */
export function queryMode(options: QueryOptions | undefined, mode: number): number {
  if (options === undefined) return mode;
  return checkedMode(options, mode, ['bigint', 'rowMode']);
}

/** The same for a call that fetches batch by batch. */
export function batchMode(options: (QueryOptions & BatchOptions) | undefined, mode: number): number {
  if (options === undefined) return mode;
  return checkedMode(options, mode, ['bigint', 'rowMode', 'batchRows']);
}

/** Rows per batch as asked for; 0 leaves it to the engine. */
export function batchRows(options: BatchOptions | undefined): number {
  if (options?.batchRows === undefined) return 0;
  return integer(record(options, 'options'), 'batchRows', 1, 10_000, 0);
}

function checkedMode(options: unknown, mode: number, names: readonly string[]): number {
  const given = record(options, 'options');
  checkNames(given, names, 'option');
  const bigint = boolean(given, 'bigint', (mode & Flag.bigint) !== 0);
  const rowMode = oneOf(given, 'rowMode', ['object', 'array'], 'object');
  return (bigint ? Flag.bigint : 0) | (rowMode === 'array' ? Flag.arrays : 0);
}

function record(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (value === undefined) return {};
  if (isRecord(value)) return value;
  throw new OptionError(`${name} must be an object, got ${kindOf(value)}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function checkNames(given: Readonly<Record<string, unknown>>, names: readonly string[], what: string): void {
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    const likely = nearest(name, names);
    const hint = likely === undefined ? `; known are ${names.join(', ')}` : `, did you mean "${likely}"?`;
    throw new OptionError(`unknown ${what} "${name}"${hint}`);
  }
}

function boolean(given: Readonly<Record<string, unknown>>, name: string, fallback: boolean): boolean {
  const value = given[name];
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw new OptionError(`${name} must be true or false, got ${shown(value)}`);
}

function integer(
  given: Readonly<Record<string, unknown>>,
  name: string,
  least: number,
  most: number,
  fallback: number,
): number {
  const value = given[name];
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new OptionError(`${name} must be an integer from ${least} to ${most}, got ${shown(value)}`);
}

function oneOf<T extends string>(
  given: Readonly<Record<string, unknown>>,
  name: string,
  accepted: readonly T[],
  fallback: T,
): T {
  const value = given[name];
  if (value === undefined) return fallback;
  for (const each of accepted) if (each === value) return each;
  throw new OptionError(`${name} must be ${accepted.map((each) => `'${each}'`).join(' or ')}, got ${shown(value)}`);
}

function querier(value: unknown): Querier<unknown, unknown> | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'function') return value as (tx: WriteTransaction) => unknown;
  const pair = isRecord(value) ? value : {};
  const { read, write } = pair;
  if (typeof read !== 'function' || typeof write !== 'function') {
    throw new OptionError(`querier must be a function or { read, write } of two functions, got ${kindOf(value)}`);
  }
  checkNames(pair, ['read', 'write'], 'part of querier');
  return {
    read: read as SplitQuerier<unknown, unknown>['read'],
    write: write as SplitQuerier<unknown, unknown>['write'],
  };
}

/** A value as a message shows it. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return kindOf(value);
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`;
}
