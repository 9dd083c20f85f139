// The results as a person reads them: one line per metric, sqlflow's median, every peer's with the ratio to it, the goals.

import { met, ratio } from './metric.mjs';

/** @param peers names in column order, sqlflow first */
export function table(peers, rows) {
  const [own, ...others] = peers;
  const head = ['', own, ...others, 'goal'];
  const lines = rows.map((row) => [
    row.metric.title,
    amount(row.results[own], row.metric),
    ...others.map((peer) => beside(row, peer)),
    row.metric.goals.map((goal) => verdict(goal, row)).join('  '),
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => line[column].length)));
  const show = (line) =>
    line
      .map((cell, column) => {
        const left = column === 0 || column === line.length - 1;
        return left ? cell.padEnd(widths[column]) : cell.padStart(widths[column]);
      })
      .join('   ')
      .trimEnd();
  return [show(head), widths.map((width) => '-'.repeat(width)).join('   '), ...lines.map(show)].join('\n');
}

function beside(row, peer) {
  const value = amount(row.results[peer], row.metric);
  const factor = ratio(row.results, peer);
  return factor === undefined ? value : `${value} ${times(factor).padStart(7)}`;
}

function verdict(goal, row) {
  const state = met(goal, row.metric, row.results);
  const mark = state === undefined ? '?' : state ? '\u2713' : '\u2717';
  if (goal.atMost !== undefined) return `${mark} <= ${goal.atMost} ${row.metric.unit}`;
  const sign = row.metric.better === 'higher' ? '>=' : '<=';
  return `${mark} ${sign} ${goal.ratio}x ${goal.peer}`;
}

function amount(result, { unit }) {
  if (result === undefined) return '-';
  const value = result.median;
  if (unit === 'ms' || unit === 'us') return `${value.toFixed(value < 100 ? 1 : 0)} ${unit}`;
  return `${short(value)}${unit}`;
}

function short(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)}k`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(1)}k`;
  return value.toFixed(0);
}

function times(factor) {
  return `${factor.toFixed(factor >= 10 ? 1 : 2)}x`;
}
