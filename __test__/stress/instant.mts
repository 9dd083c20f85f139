// The instant of a kill: a share of a span whose length was measured, after something that was waited for.

import { statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { pause } from './step.mjs';

/** A timer fires up to so much late; what is left is waited for turn by turn of the loop. */
const TIMER_MS = 2;

/** How long something takes, by what it took lately. */
export class Span {
  readonly #tookMs: number[] = [];

  /** It took so long. */
  took(ms: number): void {
    this.#tookMs.push(ms);
    if (this.#tookMs.length > 9) this.#tookMs.shift();
  }

  get isMeasured(): boolean {
    return this.#tookMs.length > 0;
  }

  /** The median of the last ones. */
  get ms(): number {
    const sorted = [...this.#tookMs].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  }
}

/** Resolves after a time that is shorter than what a timer can tell apart. */
export async function pausePrecisely(ms: number): Promise<void> {
  const end = performance.now() + ms;
  if (ms > TIMER_MS) await pause(ms - TIMER_MS);
  while (performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
}

/** Resolves when the file at `path` has so many bytes, or when `otherwise` does. */
export async function growth(path: string, bytes: number, otherwise: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const seen = new Promise<void>((resolve) => {
    const look = () => {
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? -1;
      if (size >= bytes) resolve();
    };
    watch(dirname(path), { signal: over.signal }, (_, name) => {
      if (name === basename(path)) look();
    });
    look();
  });
  try {
    await Promise.race([seen, otherwise]);
  } finally {
    over.abort();
  }
}
