// What a closed pool leaves in its folder: files that tell nothing without their keys, and nothing else.

import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Database, NotADatabaseError, WrongKeyError } from 'sqlflow';
import { inParallel } from '../parallel.mjs';

/** How a file of SQLite begins that is not encrypted. */
const PLAIN = 'SQLite format 3\0';

/** How many files, their bytes together, and sentences about what should not be. `strangeKey` is that of none of them. */
export async function inspectFiles(folder, strangeKey) {
  const problems = [];
  const expect = async (file, how, key, expected) => {
    const outcome = await Database.open(file, { create: false, key }).then(
      (db) => db.close(),
      (error) => error,
    );
    if (outcome instanceof expected) return;
    problems.push(`${file} with ${how}: ${outcome ?? 'it was opened'}`);
  };

  const names = await readdir(folder);
  let bytes = 0;
  await inParallel(names, async (name) => {
    const path = join(folder, name);
    const { size, start } = await beginning(path);
    bytes += size;
    if (!name.endsWith('.db')) return problems.push(`${name} was left behind`);
    if (start === PLAIN) problems.push(`${name} is not encrypted`);
    await expect(path, 'no key', undefined, NotADatabaseError);
    await expect(path, 'the key of another', strangeKey, WrongKeyError);
  });
  return { files: names.length, bytes, problems };
}

async function beginning(path) {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(PLAIN.length), 0, PLAIN.length, 0);
    return { size: (await file.stat()).size, start: buffer.toString('latin1') };
  } finally {
    await file.close();
  }
}
