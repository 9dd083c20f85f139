// A process that opens files with migrations when it is told, and says which of them it has run.

import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Database } from 'sqlflow';
import { SET } from './migrate.set.mjs';

const [path, mode] = process.argv.slice(2);

/** At once and whole: a line that was said is in the pipe when the process is killed. */
function say(line: string | number | bigint): void {
  writeSync(1, `${line}\n`);
}

/** Opens the file; it stays open. */
async function open(file: string): Promise<Database> {
  return Database.open(file, {
    migrations: SET,
    migrate: mode === 'create' ? 'create' : 'always',
    onMigration: ({ version }) => say(version),
  });
}

say('ready');
// One line for each file; with a path of its own any line is the sign. It ends with its standard input.
for await (const line of createInterface(process.stdin)) {
  try {
    const db = await open(path ?? line);
    say('open');
    if (path === undefined) await db.close();
  } catch (error) {
    say(`failed: ${String(error).replaceAll('\n', ' ')}`);
    if (path !== undefined) process.exit(1);
  }
}
