// The rounds of a part: every kind in every round, beginning with another one each time.

import { KINDS } from './tenants.mjs';

/**
 * Runs `work(kind, round)` for each; round 0 warms up and is not counted.
 *
 * @returns by name of a figure, the samples of each kind
 */
export async function rounds(count, work) {
  const figures = {};
  for (let round = 0; round <= count; round += 1) {
    const order = round % 2 === 0 ? KINDS : KINDS.toReversed();
    for (const kind of order) {
      const sample = await work(kind, round);
      if (round === 0) continue;
      for (const [name, figure] of Object.entries(sample)) {
        figures[name] ??= Object.fromEntries(KINDS.map((each) => [each, []]));
        figures[name][kind].push(figure);
      }
    }
  }
  return figures;
}
