// Part `descriptors`: what a pool does that may keep more open than the system has file descriptors for.

import { join } from 'node:path';
import { answerOf } from './child.mjs';
import { heading, line, note } from './report.mjs';
import { KINDS } from './tenants.mjs';

const LIMIT = 200;
const MAX_OPEN = 1_000;
const TRIED = 300;

export async function descriptors({ folders, tenants }) {
  heading(`ulimit -n ${LIMIT}, maxOpen ${MAX_OPEN.toLocaleString('en')}: calls that failed`);
  if (process.platform === 'win32') return note('left out: there is no such limit');
  const answers = {};
  for (const kind of KINDS) {
    const argument = { folder: folders[kind], kind, tenants, tried: TRIED, maxOpen: MAX_OPEN };
    answers[kind] = await answerOf('./descriptors-child.mjs', argument, { descriptors: LIMIT });
  }
  for (const [step, { title, goal }] of answers.plain.entries()) {
    const failed = (kind) => answers[kind][step].failed;
    const tried = [...new Set(KINDS.map((kind) => answers[kind][step].tried))].join(' and ');
    line(`${title}, of ${tried}`, '', Object.fromEntries(KINDS.map((kind) => [kind, [failed(kind)]])), goal);
  }
  const noted = new Set();
  for (const kind of KINDS) {
    for (const { title, first } of answers[kind].filter((step) => step.first !== undefined)) {
      const said = `${first.name}: ${first.message.replaceAll(join(folders[kind], '/'), '')}`;
      const shape = said.replace(/tenant-\d+/g, '');
      if (!noted.has(shape)) note(`${kind}, ${title}, the first error: ${said}`);
      noted.add(shape);
    }
  }
}
