// A table with a column for each result, and how its figures look.

const COLUMN = 16;
const TITLE = 28;
/** Problems of one result. */
const SHOWN = 10;

/** Makes the lines of a table; each takes its figures from a result by the function it is given. */
export function table(results) {
  const line = (title, value) =>
    `  ${title.padEnd(TITLE)}${results.map((each) => value(each).padStart(COLUMN)).join('')}`;
  return {
    line,
    head: (title) => style.bold(`  ${title}`),
    rule: style.dim('─'.repeat(TITLE + 2 + results.length * COLUMN)),
    names: style.bold(line('', ({ title }) => title)),
    requests: (title, requests) => [
      line(`${title} per second`, (each) => whole(requests(each).perSecond)),
      line('  p50', (each) => time(requests(each).p50Ms)),
      line('  p99', (each) => time(requests(each).p99Ms)),
    ],
    loop: (phase) => [
      line('event loop delay, p99', (each) => time(phase(each).p99Ms)),
      line('event loop, longest pause', (each) => time(phase(each).longestMs)),
    ],
  };
}

/** What follows the tables: what was proven of a result, or what is wrong with it. */
export function verdict({ title, problems }, proven) {
  if (problems.length > 0) {
    const more = problems.length > SHOWN ? [`and ${whole(problems.length - SHOWN)} more`] : [];
    return [...problems.slice(0, SHOWN), ...more].map((problem) => style.red(`  ✗ ${title}: ${problem}`));
  }
  return proven.map((text, at) => (at === 0 ? `  ${style.green('✓')} ${title}: ${text}` : `    ${text}`));
}

export function whole(value) {
  return Math.round(value).toLocaleString('en');
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

export function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

function time(ms) {
  if (ms === undefined) return '-';
  return ms < 1 ? `${Math.round(ms * 1000)} µs` : `${ms.toFixed(1)} ms`;
}

const coloured = process.stdout.isTTY === true && !process.env.NO_COLOR;
const paint = (code) => (text) => (coloured ? `\u001b[${code}m${text}\u001b[0m` : text);

/** Colours, where somebody sees them. */
export const style = { bold: paint(1), dim: paint(2), red: paint(31), green: paint(32) };
