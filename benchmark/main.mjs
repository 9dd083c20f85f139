// The run: every case over every peer that this machine has, rounds interleaved, medians printed beside the goals.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CASES, select } from './cases/index.mjs';
import { Lane } from './lane.mjs';
import { describe, machine } from './machine.mjs';
import { median } from './measure.mjs';
import { parse, USAGE } from './options.mjs';
import { PEERS } from './peers/index.mjs';
import { table } from './table.mjs';

const { options, cases } = commandLine();

if (options === undefined) {
  process.exitCode = 2;
} else if (options.help) {
  process.stdout.write(USAGE);
} else if (options.list) {
  process.stdout.write(`${CASES.map((each) => each.name).join('\n')}\n`);
} else {
  process.exitCode = await bench(options, cases);
}

function commandLine() {
  try {
    const parsed = parse(process.argv.slice(2));
    return { options: parsed, cases: select(parsed.only) };
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    return {};
  }
}

async function bench({ peer: wanted, rounds, ms, folder, json }, cases) {
  mkdirSync(folder, { recursive: true });
  const data = mkdtempSync(join(folder, 'run-'));
  const lanes = [];
  process.once('SIGINT', () => {
    rmSync(data, { recursive: true, force: true });
    process.exit(130);
  });
  try {
    const where = machine(data);
    say(`${describe(where)}\n`);
    const { missing } = await load(lanes, wanted);
    for (const lane of lanes) say(`${lane.title} ${lane.version}\n`);
    for (const reason of missing) say(`${reason}\n`);

    const rows = [];
    const problems = [];
    for (const each of cases) rows.push(...(await measure(each, lanes, { rounds, ms, data, problems })));

    const kind = `medians of ${rounds} rounds of ${ms} ms, interleaved`;
    say(`\n${kind}; beside a peer: sqlflow / peer\n\n`);
    say(
      `${table(
        Object.keys(PEERS).filter((name) => lanes.some((lane) => lane.name === name)),
        rows,
      )}\n`,
    );
    for (const problem of problems) say(`WRONG: ${problem}\n`);
    if (json !== undefined) write(json, { machine: where, rounds, ms, peers: versions(lanes), rows, problems });
    return problems.length === 0 && lanes.some((lane) => lane.name === 'sqlflow') ? 0 : 1;
  } finally {
    for (const lane of lanes) lane.end();
    rmSync(data, { recursive: true, force: true });
  }
}

async function load(lanes, wanted) {
  const missing = [];
  for (const [name, url] of Object.entries(PEERS)) {
    if (wanted.length > 0 && name !== 'sqlflow' && !wanted.includes(name)) continue;
    const lane = new Lane(name, url);
    try {
      await lane.load();
      lanes.push(lane);
    } catch (error) {
      lane.end();
      missing.push(`not measured, ${error.message.split('\n')[0]}`);
    }
  }
  return { missing };
}

/** One case: opened everywhere, warmed once, then round by round over all peers, the first one moving on by one each round. */
async function measure(each, lanes, { rounds, ms, data, problems }) {
  const samples = new Map();
  /** A peer that fails is told of and left out of this case; the others go on. */
  const attempt = async (lane, step) => {
    try {
      await step();
    } catch (error) {
      samples.delete(lane);
      problems.push(`${each.name}, ${error.message}`);
    }
  };
  for (const lane of lanes) {
    const path = join(data, `${each.name}-${lane.name.replace(':', '-')}.db`);
    await attempt(lane, async () => {
      if (await lane.open(each.name, path)) samples.set(lane, []);
      else await lane.close();
    });
  }
  for (const lane of [...samples.keys()]) await attempt(lane, () => lane.sample(ms));
  for (let round = 0; round < rounds; round += 1) {
    progress(`${each.name}: round ${round + 1} of ${rounds}`);
    const able = [...samples.keys()];
    for (let turn = 0; turn < able.length; turn += 1) {
      const lane = able[(turn + round) % able.length];
      await attempt(lane, async () => samples.get(lane).push(await lane.sample(ms)));
    }
  }
  progress('');
  for (const lane of [...samples.keys()]) {
    await attempt(lane, async () => {
      const problem = await lane.close();
      if (problem !== undefined) problems.push(`${each.name}, ${lane.title}: ${problem}`);
    });
  }
  return each.metrics.map((metric) => ({
    case: each.name,
    metric,
    results: Object.fromEntries([...samples].map(([lane, taken]) => [lane.name, summary(taken, metric.key)])),
  }));
}

function summary(samples, key) {
  const values = samples.map((sample) => sample[key]);
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), values };
}

function versions(lanes) {
  return Object.fromEntries(lanes.map((lane) => [lane.name, { title: lane.title, version: lane.version }]));
}

function say(text) {
  process.stdout.write(text);
}

/** One line that is written over, or none when nobody watches. */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

function write(path, value) {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
