// The stresses of damaged and hostile files: each look at one is right data or an error that says what is wrong.

import { type Job, prepare, runJob, told } from '../fixtures/damage/job.mjs';
import { type Figures, must, type Plan, type Stress } from './stress.mjs';

/** A look at a file that takes longer hangs. */
const LIMIT_MS = 20_000;

type Kind = Pick<Job, 'series' | 'variant' | 'share'>;

/** Does jobs one after the other; a violation of any is one of the stress. */
async function run({ folder, seed, count }: Plan, kinds: readonly Kind[]): Promise<Figures> {
  await prepare(folder.path);
  const figures: Figures = {};
  for (const kind of kinds) {
    const report = await runJob({ ...kind, folder: folder.path, seed, count }, LIMIT_MS);
    const { violations } = report;
    must(violations.length === 0, `${told(report)}\n${violations.join('\n')}`);
    figures[`\n  ${kind.variant}, ${kind.series}:`] = told(report);
  }
  return figures;
}

/** Every byte in turn of a file and of a log, and every page. */
export const damage: Stress = {
  counts: 'bytes changed of each file, all of them when it has fewer',
  full: { count: 1_000_000, seconds: 0 },
  run: (plan) =>
    run(plan, [
      { series: 'pages', variant: 'encrypted', share: 1 },
      { series: 'file', variant: 'encrypted', share: 0.1 },
      { series: 'log', variant: 'encrypted', share: 0.03 },
      { series: 'log', variant: 'plain', share: 0.03 },
    ]),
};

/** Files, logs and journals that somebody has tampered with in any way. */
export const hostile: Stress = {
  counts: 'files tampered with of each kind, plain and encrypted',
  full: { count: 2_000, seconds: 0 },
  run: (plan) =>
    run(plan, [
      { series: 'hostile', variant: 'plain', share: 0.15 },
      { series: 'hostile', variant: 'encrypted', share: 0.15 },
    ]),
};
