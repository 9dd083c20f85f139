// What a pool of many tenants costs, plain and encrypted: creates, opens, reads, memory, and its ways out of descriptors. Run by
// `npm --prefix benchmark run pool`.

import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, machine } from './machine.mjs';
import { create } from './pool/create.mjs';
import { descriptors } from './pool/descriptors.mjs';
import { hits } from './pool/hits.mjs';
import { hot } from './pool/hot.mjs';
import { descriptorLimit } from './pool/limits.mjs';
import { memory } from './pool/memory.mjs';
import { open } from './pool/open.mjs';
import { parse, USAGE } from './pool/options.mjs';
import { KINDS } from './pool/tenants.mjs';

const DEFAULT_MAX_OPEN = 1_000;
/** Of one tenant at most, in each of the two pools that are open at a time. */
const DESCRIPTORS = 2 * 5;
/** For the rest of the process and the databases that are measured beside the pools. */
const SPARE = 1_000;

const parts = { open, hot, hits, memory, descriptors };
const options = parse(process.argv.slice(2));

if (options.help) console.log(USAGE);
else await run();

async function run() {
  mkdirSync(options.folder, { recursive: true });
  const folder = mkdtempSync(join(options.folder, 'pool-'));
  try {
    console.log(describe(machine(folder)));
    const limit = descriptorLimit();
    const maxOpen = Math.min(DEFAULT_MAX_OPEN, Math.max(100, Math.floor((limit - SPARE) / DESCRIPTORS)));
    console.log(`ulimit -n ${limit}; pools with maxOpen ${maxOpen} where nothing else is said`);
    const folders = Object.fromEntries(KINDS.map((kind) => [kind, join(folder, kind)]));
    const setting = { ...options, folders, maxOpen };
    await create({ ...setting, tells: options.parts.includes('create') });
    for (const [name, part] of Object.entries(parts)) if (options.parts.includes(name)) await part(setting);
  } finally {
    remove(folder);
  }
}

/** After a run that failed the engine may delete files itself meanwhile, and one of those ends a pass early. */
function remove(folder) {
  for (let pass = 0; pass < 10 && existsSync(folder); pass += 1) {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
