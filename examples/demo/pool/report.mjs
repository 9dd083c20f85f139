// The table of the pool.

import { READERS } from '../serve.mjs';
import { megabytes, percent, table, verdict, whole } from '../table.mjs';

export function poolTable(pool) {
  const { names, rule, head, line, requests, loop } = table([pool]);
  const turnover = (phase) => [
    line('databases opened', (each) => whole(phase(each).opens)),
    line('  evicted', (each) => whole(phase(each).evictions)),
  ];
  return [
    names,
    rule,
    line('encrypted databases', ({ databases }) => whole(databases)),
    line('  kept open, at most', ({ maxOpen }) => whole(maxOpen)),
    line('  size on disk', ({ bytes }) => megabytes(bytes)),
    rule,
    head(`loading ${whole(pool.cities)} cities`),
    line('rows per second', ({ load }) => whole(load.rowsPerSecond)),
    ...turnover(({ load }) => load),
    ...loop(({ load }) => load),
    rule,
    head(`serving ${READERS} readers and ${pool.writers} writers, ${pool.seconds} s`),
    ...requests('reads', ({ serve }) => serve.reads),
    ...requests('durable writes', ({ serve }) => serve.writes),
    line('hit rate', ({ serve }) => percent(serve.hitRate)),
    ...turnover(({ serve }) => serve),
    ...loop(({ serve }) => serve),
    rule,
  ];
}

export function poolVerdict(pool) {
  const visits = whole(pool.serve.visited.length);
  return verdict(pool, [
    `${whole(pool.cities)} cities in ${pool.databases} databases compared with their source,`,
    `${visits} of ${visits} acknowledged updates in the counters,`,
    `${whole(pool.files)} of ${whole(pool.databases)} files did not open without their key, nor with another one`,
  ]);
}
