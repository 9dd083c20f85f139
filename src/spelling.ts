// The name somebody probably meant: the nearest of a list by edit distance.

/** A name may differ by this part of its letters and still be taken for a misspelling. */
const TOLERANCE = 0.4;

/** The one of `names` that `written` most likely stands for, if any is near enough. Letter case does not count. */
export function nearest(written: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  const lower = written.toLowerCase().slice(0, 64);
  for (const name of names) {
    const candidate = name.toLowerCase();
    const distance = candidate.startsWith(lower) && lower.length >= 4 ? 0.5 : editDistance(lower, candidate);
    if (distance < least && distance <= Math.max(candidate.length, lower.length) * TOLERANCE) {
      best = name;
      least = distance;
    }
  }
  return best;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    above = current;
  }
  return above[b.length] ?? 0;
}
