// What is wrong with an option: checks of one value each, and the words that say so.

import { OptionError } from './errors.js';
import { nearest } from './spelling.js';

/** Options as they were given; anything may be in them. */
export type Given = Readonly<Record<string, unknown>>;

/** The most a timer takes: 24.8 days. */
export const MAX_MS = 2_147_483_647;

/** The options, none when they were left out. */
export function record(value: unknown, name: string): Given {
  if (value === undefined) return {};
  if (isRecord(value)) return value;
  throw new OptionError(`${name} must be an object, got ${kindOf(value)}`);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Refuses unknown names; a misspelling is answered with the likely one. */
export function checkNames(given: Given, names: readonly string[], what: string): void {
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    const likely = nearest(name, names);
    const hint = likely === undefined ? `; known are ${names.join(', ')}` : `, did you mean "${likely}"?`;
    throw new OptionError(`unknown ${what} "${name}"${hint}`);
  }
}

export function boolean(given: Given, name: string, fallback: boolean): boolean {
  const value = given[name];
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw new OptionError(`${name} must be true or false, got ${shown(value)}`);
}

export function integer(given: Given, name: string, least: number, most: number, fallback: number): number {
  const value = given[name];
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new OptionError(`${name} must be an integer from ${least} to ${most}, got ${shown(value)}`);
}

export function oneOf<T extends string>(given: Given, name: string, accepted: readonly T[], fallback: T): T {
  const value = given[name];
  if (value === undefined) return fallback;
  for (const each of accepted) if (each === value) return each;
  const quoted = accepted.map((each) => `'${each}'`);
  const last = quoted.pop() ?? '';
  throw new OptionError(`${name} must be ${quoted.join(', ')} or ${last}, got ${shown(value)}`);
}

/** A function as an argument of `method`. */
export function callable(fn: unknown, method: string): void {
  if (typeof fn !== 'function') throw new OptionError(`${method} needs a function, got ${kindOf(fn)}`);
}

/** The option `signal`, if it is given. */
export function checkSignal(given: Given): void {
  const { signal } = given;
  if (signal !== undefined && !isSignal(signal)) {
    throw new OptionError(`signal must be an AbortSignal, got ${shown(signal)}`);
  }
}

/** By its shape: one of another realm or of a polyfill is as good. */
function isSignal(value: unknown): value is AbortSignal {
  return (
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    typeof value.aborted === 'boolean' &&
    'addEventListener' in value &&
    typeof value.addEventListener === 'function' &&
    'removeEventListener' in value &&
    typeof value.removeEventListener === 'function'
  );
}

/** A value as a message shows it. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return kindOf(value);
}

export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`;
}
