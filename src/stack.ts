// Where a transaction was taken, as text.

import { sep } from 'node:path';

/** What every file of sqlflow begins with. */
const OWN = `${__dirname}${sep}`;

/** The stack of the caller of `below`, one frame a line, without the frames of sqlflow; empty when there is none. */
export function stackOf(below: CallableFunction): string {
  const holder: { stack?: unknown } = {};
  Error.captureStackTrace(holder, below);
  const { stack } = holder;
  if (typeof stack !== 'string') return '';
  const frames = stack.split('\n').slice(1);
  return frames.filter((frame) => !frame.includes(OWN)).join('\n');
}
