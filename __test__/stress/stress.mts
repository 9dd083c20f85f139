// What a stress is: bounded, seeded, told by one line of figures, failed by a violation.

import type { Folder } from '../fixtures/border/folder.mjs';

/** How much of it, and by which seed. */
export interface Plan {
  /** How often, or how many; each stress says of what. */
  readonly count: number;
  /** How long, for those that run by time. */
  readonly seconds: number;
  /** The same seed gives the same choices; the moments they fall on are those of the machine. */
  readonly seed: number;
  /** An end that takes longer than this is a violation. */
  readonly hangMs: number;
  /** Where it works; gone when all went well, kept with a violation. */
  readonly folder: Folder;
}

/** What happened, by name, in the order it is told. */
export type Figures = Record<string, number | string>;

export interface Stress {
  /** What `count` counts. */
  readonly counts: string;
  /** What the full run does. */
  readonly full: { readonly count: number; readonly seconds: number };
  /** Runs it; rejects with {@link Violation} when a promise was broken. */
  run(plan: Plan): Promise<Figures>;
}

/** A promise of sqlflow that was not kept. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** Fails the stress unless it `holds`. */
export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what);
}

/** The duration that all but the longest are not above, in milliseconds; `share` is how many those are. */
export function percentile(durations: readonly number[], share: number): number {
  const sorted = [...durations].sort((a, b) => a - b);
  return round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}

/** One decimal. */
export function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
