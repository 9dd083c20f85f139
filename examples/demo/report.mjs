// The table at the end.

import os from 'node:os';
import { KNOWN } from './cities.mjs';
import { READERS } from './serve.mjs';

const COLUMN = 16;
const TITLE = 28;

/** @param results one per contender: `{ title, cities, load, serve, problems }` */
export function report(results, { seconds, absent }) {
  const style = styles();
  const rule = style.dim('─'.repeat(TITLE + 2 + results.length * COLUMN));
  const line = (title, value) =>
    `  ${title.padEnd(TITLE)}${results.map((each) => value(each).padStart(COLUMN)).join('')}`;
  const head = (title) => style.bold(`  ${title}`);
  const cpus = os.cpus();

  return [
    '',
    style.bold(line('', ({ title }) => title)),
    rule,
    head(`loading ${whole(results[0].cities)} cities`),
    line('rows per second', ({ load }) => whole(load.rowsPerSecond)),
    ...loop(line, ({ load }) => load),
    rule,
    head(`serving ${READERS} readers and a writer, ${seconds} s`),
    line('reads per second', ({ serve }) => whole(serve.reads.perSecond)),
    line('  p50', ({ serve }) => time(serve.reads.p50Ms)),
    line('  p99', ({ serve }) => time(serve.reads.p99Ms)),
    line('durable writes per second', ({ serve }) => whole(serve.writes.perSecond)),
    line('  p50', ({ serve }) => time(serve.writes.p50Ms)),
    line('  p99', ({ serve }) => time(serve.writes.p99Ms)),
    ...loop(line, ({ serve }) => serve),
    rule,
    ...results.flatMap((each) => verdict(each, style)),
    ...(absent === undefined ? [] : [style.dim(`  nothing to compare with: ${absent}`)]),
    style.dim(`  ${cpus.length} x ${cpus[0]?.model.trim()}, Node ${process.versions.node}`),
    style.dim('  cities: GeoNames, geonames.org, CC-BY 4.0'),
    '',
  ].join('\n');
}

function loop(line, phase) {
  return [
    line('event loop delay, p99', (each) => time(phase(each).p99Ms)),
    line('event loop, longest pause', (each) => time(phase(each).longestMs)),
  ];
}

function verdict({ title, cities, serve, problems }, style) {
  if (problems.length > 0) return problems.map((problem) => style.red(`  ✗ ${title}: ${problem}`));
  return [
    `  ${style.green('✓')} ${title}: ${whole(cities)} cities and places counted, ${KNOWN.length} of ${KNOWN.length} known ones found,`,
    `    ${whole(serve.acknowledged)} of ${whole(serve.acknowledged)} acknowledged updates in the counters`,
  ];
}

function whole(value) {
  return Math.round(value).toLocaleString('en');
}

function time(ms) {
  return ms < 1 ? `${Math.round(ms * 1000)} µs` : `${ms.toFixed(1)} ms`;
}

function styles() {
  const coloured = process.stdout.isTTY === true && !process.env.NO_COLOR;
  const paint = (code) => (text) => (coloured ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { bold: paint(1), dim: paint(2), red: paint(31), green: paint(32) };
}
