// One step of a stress, which hangs when it takes longer than anything but a hang does.

import { Violation } from './stress.mjs';

const HANGS_AFTER_MS = 30_000;

/** The outcome of `promise`; a violation when it does not settle. */
export async function step<T>(promise: PromiseLike<T>, what: string, limitMs = HANGS_AFTER_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Violation(`it hangs: ${what}`)), limitMs);
  });
  try {
    return await Promise.race([promise, hang]);
  } finally {
    clearTimeout(timer);
  }
}

/** What `work` gives; whatever it fails with is a violation, which says when. */
export async function named<T>(when: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Violation) throw error;
    throw new Violation(`${when}: ${error}`, { cause: error });
  }
}

/** Resolves after a time of which the test is: a random instant. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
