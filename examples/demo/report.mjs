// What is printed at the end.

import os from 'node:os';
import { KNOWN } from './cities.mjs';
import { poolTable, poolVerdict } from './pool/report.mjs';
import { READERS } from './serve.mjs';
import { style, table, verdict, whole } from './table.mjs';

/**
 * @param results one per contender: `{ title, cities, load, serve, problems }`
 * @param pool what `runPool` gives
 */
export function report(results, pool, { seconds, absent }) {
  const cpus = os.cpus();
  return [
    '',
    ...contest(results, seconds),
    '',
    ...poolTable(pool),
    ...results.flatMap(contestVerdict),
    ...poolVerdict(pool),
    ...(absent === undefined ? [] : [style.dim(`  nothing to compare with: ${absent}`)]),
    style.dim(`  ${cpus.length} x ${cpus[0]?.model.trim()}, Node ${process.versions.node}`),
    style.dim('  cities: GeoNames, geonames.org, CC-BY 4.0'),
    '',
  ].join('\n');
}

function contest(results, seconds) {
  const { names, rule, head, line, requests, loop } = table(results);
  return [
    names,
    rule,
    head(`loading ${whole(results[0].cities)} cities`),
    line('rows per second', ({ load }) => whole(load.rowsPerSecond)),
    ...loop(({ load }) => load),
    rule,
    head(`serving ${READERS} readers and a writer, ${seconds} s`),
    ...requests('reads', ({ serve }) => serve.reads),
    ...requests('durable writes', ({ serve }) => serve.writes),
    ...loop(({ serve }) => serve),
    rule,
  ];
}

function contestVerdict(result) {
  const visits = whole(result.serve.visited.length);
  return verdict(result, [
    `${whole(result.cities)} cities and places counted, ${KNOWN.length} of ${KNOWN.length} known ones found,`,
    `${visits} of ${visits} acknowledged updates in the counters`,
  ]);
}
