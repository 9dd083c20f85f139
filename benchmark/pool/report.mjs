// What is printed: a line per figure, plain beside encrypted, with the goal.

import { median } from '../measure.mjs';
import { KINDS } from './tenants.mjs';

const TITLE = 70;
const UNITS = {
  ms: (value) => value.toFixed(value < 10 ? 3 : 1),
  us: (value) => value.toFixed(1),
  KB: (value) => value.toFixed(1),
  '%': (value) => value.toFixed(1),
  '/s': (value) => Math.round(value).toLocaleString('en'),
  '': (value) => value.toLocaleString('en', { maximumFractionDigits: 1 }),
};

export function heading(text) {
  console.log(
    `\n${text.padEnd(TITLE)} ${KINDS.map((kind) => kind.padStart(11)).join(' ')}    ratio   goal, met by each`,
  );
}

/**
 * One figure: the median of its rounds.
 *
 * @param samples of each kind, one figure a round
 * @param goal `{ atMost }` or `{ atLeast }`
 */
export function line(title, unit, samples, goal) {
  const figures = KINDS.map((kind) => median(samples[kind]));
  const shown = figures.map((figure) => UNITS[unit](figure).padStart(11)).join(' ');
  const [plain, encrypted] = KINDS.map((kind) => samples[kind]);
  const ratio = median(encrypted.map((figure, round) => figure / plain[round]));
  const factor = Number.isFinite(ratio) && unit !== '%' ? `${ratio.toFixed(2)}x` : '';
  const label = unit === '' ? title : `${title} (${unit})`;
  const judged = goal === undefined ? '' : `   ${verdict(goal, unit, figures)}`;
  console.log(`${label.padEnd(TITLE)} ${shown} ${factor.padStart(8)}${judged}`.trimEnd());
}

/** What cannot be said by a figure. */
export function note(text) {
  console.log(`  ${text}`);
}

function verdict({ atMost, atLeast }, unit, figures) {
  const marks = figures.map((figure) => (figure <= (atMost ?? figure) && figure >= (atLeast ?? figure) ? '✓' : '✗'));
  const sign = atMost === undefined ? `>= ${atLeast.toLocaleString('en')}` : `<= ${atMost}`;
  return [unit === '/s' ? `${sign}/s` : `${sign} ${unit}`.trimEnd(), ...marks].join(' ');
}
