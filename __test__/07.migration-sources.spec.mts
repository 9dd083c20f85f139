// Sources of migrations: their shapes, what is read of a folder, and that each is read and given to the engine once.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import { MigrationSourceError, OptionError } from '../dist/errors.js';
import { checkMigrations, type MigrationSource, MigrationSources } from '../dist/migrations.js';

type Defined = [names: readonly string[], texts: readonly string[]];

/** Sources whose engine takes everything, and what it was given. */
function recording(): { sources: MigrationSources; defined: Defined[] } {
  const defined: Defined[] = [];
  const sources = new MigrationSources((names, texts) => defined.push([names, texts]));
  return { sources, defined };
}

/** What the engine is given of a source. */
async function given(source: unknown): Promise<Defined | undefined> {
  const { sources, defined } = recording();
  const checked = checkMigrations(source);
  assert.ok(checked !== undefined);
  assert.equal(await sources.idOf(checked), 1);
  return defined[0];
}

/** The message of the error of class `as` that a source of this value is refused with at once. */
function refusal(source: unknown, as: typeof OptionError | typeof MigrationSourceError = OptionError): string {
  const { sources, defined } = recording();
  try {
    sources.idOf(source as MigrationSource);
  } catch (error) {
    assert.ok(error instanceof as, String(error));
    assert.deepEqual(defined, []);
    return error.message;
  }
  return assert.fail('nothing was thrown');
}

/** The error that a folder is refused with. */
async function folderRefusal(path: string): Promise<MigrationSourceError> {
  try {
    await recording().sources.idOf(path);
  } catch (error) {
    assert.ok(error instanceof MigrationSourceError, String(error));
    assert.equal(error.code, 'MIGRATION_SOURCE');
    return error;
  }
  return assert.fail('nothing was thrown');
}

describe('a list', () => {
  it('is given in its order, with names and texts as they are', async () => {
    const list = [
      { name: '2_b', sql: '\ufeffSELECT 2;\r\n' },
      { name: './migrations/1_a.sql', sql: '' },
    ];
    assert.deepEqual(await given(list), [
      ['2_b', './migrations/1_a.sql'],
      ['\ufeffSELECT 2;\r\n', ''],
    ]);
    assert.deepEqual(await given([]), [[], []]);
    assert.deepEqual(await given(runInNewContext("[{ name: '1_a', sql: 'x' }]")), [['1_a'], ['x']]);
  });

  it('has a name and a text in each element', () => {
    const good = { name: '1_a', sql: 'x' };
    assert.equal(refusal([good, 'x']), 'migrations[1] must be { name, sql }, got a string');
    assert.equal(refusal([null]), 'migrations[0] must be { name, sql }, got null');
    assert.equal(refusal([['1_a', 'x']]), 'migrations[0] must be { name, sql }, got an array');
    // biome-ignore lint/suspicious/noSparseArray: what is left out is undefined
    assert.equal(refusal([good, , good]), 'migrations[1] must be { name, sql }, got undefined');
    assert.equal(refusal([{ sql: 'x' }]), 'migrations[0].name must be a string, got undefined');
    assert.equal(refusal([{ name: 1, sql: 'x' }]), 'migrations[0].name must be a string, got a number');
    assert.equal(refusal([good, { name: '2_b' }]), 'migrations[1].sql must be a string, got undefined');
    assert.equal(refusal([{ name: '1_a', sql: Buffer.of() }]), 'migrations[0].sql must be a string, got an object');
    assert.equal(refusal([{ ...good, donw: 'x' }]), 'unknown part of migrations[0] "donw"; known are name, sql');
  });

  it('is valid Unicode', () => {
    assert.equal(
      refusal([{ name: '1_\ud800', sql: '' }], MigrationSourceError),
      'the name of the migration "1_\\ud800" holds a lone surrogate, which is not valid Unicode text',
    );
    assert.equal(
      refusal([{ name: '1_a', sql: "SELECT '\udc00'" }], MigrationSourceError),
      'the migration "1_a" holds a lone surrogate, which is not valid Unicode text',
    );
  });
});

describe('an object', () => {
  it('of file names to texts, or to modules with a text, is what a glob import gives', async () => {
    const module = Object.assign(Object.create(null), { default: 'two', other: 1 });
    assert.deepEqual(await given({ './migrations/001_a.sql': 'one', './migrations/002_b.sql': module }), [
      ['./migrations/001_a.sql', './migrations/002_b.sql'],
      ['one', 'two'],
    ]);
    assert.deepEqual(await given({}), [[], []]);
    const bare: unknown = Object.assign(Object.create(null), { '1_a.sql': 'x' });
    assert.deepEqual(await given(bare), [['1_a.sql'], ['x']]);
    assert.deepEqual(await given(runInNewContext("({ '1_a.sql': { default: 'x' } })")), [['1_a.sql'], ['x']]);
  });

  it('names the value that is no text', () => {
    const must = 'migrations["./1_a.sql"] must be a string or { default: string }, got ';
    assert.equal(refusal({ './1_a.sql': 1 }), `${must}a number`);
    assert.equal(refusal({ './1_a.sql': undefined }), `${must}undefined`);
    assert.equal(refusal({ './1_a.sql': { default: 1 } }), `${must}an object`);
    assert.equal(refusal({ './1_a.sql': ['x'] }), `${must}an array`);
    assert.equal(refusal({ './1_a.sql': () => import('node:fs') }), `${must}a function; a glob import must be eager`);
    assert.match(refusal({ '1_\ud800': '' }, MigrationSourceError), /^the name of the migration .* lone surrogate/);
  });
});

describe('a list or an object', () => {
  it('is looked at once, whatever becomes of it', () => {
    const { sources, defined } = recording();
    const list = [{ name: '1_a', sql: 'x' }];
    const object: Record<string, string> = { '1_a.sql': 'x' };
    assert.equal(sources.idOf(list), 1);
    assert.equal(sources.idOf(object), 2);
    list.push({ name: '2_b', sql: 'y' });
    object['2_b.sql'] = 'y';
    for (let again = 0; again < 10_000; again++) assert.deepEqual([sources.idOf(list), sources.idOf(object)], [1, 2]);
    assert.equal(defined.length, 2);
  });

  it('that is written anew in every call is the same source when it says the same', () => {
    const { sources, defined } = recording();
    for (let call = 0; call < 100; call++) assert.equal(sources.idOf([{ name: '1_a', sql: 'x' }]), 1);
    assert.equal(sources.idOf({ '1_a': 'x' }), 1);
    assert.equal(sources.idOf([{ name: '1_', sql: 'ax' }]), 2);
    assert.equal(sources.idOf([{ name: '1_a', sql: 'y' }]), 3);
    assert.equal(defined.length, 3);
  });

  it('that the engine refuses is tried anew', () => {
    let refuses = true;
    const sources = new MigrationSources(() => {
      if (refuses) throw new MigrationSourceError('empty Up');
      return 5;
    });
    const list = [{ name: '1_a', sql: '' }];
    assert.throws(() => sources.idOf(list), MigrationSourceError);
    refuses = false;
    assert.equal(sources.idOf(list), 5);
  });
});

describe('a folder', () => {
  let folder = '';
  const write = (name: string, text: string | Uint8Array) => writeFileSync(join(folder, name), text);

  beforeEach(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'sqlflow-sources-')));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('has its .sql files read, sorted by name, to the byte', async () => {
    write('010_c.sql', '\ufeffSELECT 3;\r\n');
    write('002_add-users täble.sql', "SELECT 'ä😀\0'");
    write('001_a.sql', '');
    write('V3__d.SQL', 'd');
    assert.deepEqual(await given(folder), [
      ['001_a.sql', '002_add-users täble.sql', '010_c.sql', 'V3__d.SQL'],
      ['', "SELECT 'ä😀\0'", '\ufeffSELECT 3;\r\n', 'd'],
    ]);
  });

  it('may hold other files, hidden ones and folders, which are none of it', async () => {
    write('001_a.sql', 'a');
    for (const name of ['README.md', '002_b.sql.bak', '003_c.sql~', '004_d.go', '.005_e.sql', '.sql', '._001_a.sql']) {
      write(name, 'no');
    }
    mkdirSync(join(folder, '006_f.sql'));
    mkdirSync(join(folder, 'old'));
    writeFileSync(join(folder, 'old', '000_z.sql'), 'no');
    assert.deepEqual(await given(folder), [['001_a.sql'], ['a']]);
  });

  it('may link to files elsewhere', { skip: process.platform === 'win32' }, async () => {
    write('text', 'a');
    symlinkSync('text', join(folder, '001_a.sql'));
    assert.deepEqual(await given(folder), [['001_a.sql'], ['a']]);
  });

  it('of many files is read completely', async () => {
    const names = Array.from({ length: 500 }, (_, index) => `${String(index + 1).padStart(4, '0')}_step.sql`);
    for (const name of names) write(name, `-- ${name}`);
    assert.deepEqual(await given(folder), [names, names.map((name) => `-- ${name}`)]);
  });

  it('is read once, also when asked for while it is being read, and under whatever name', async () => {
    write('001_a.sql', 'a');
    const { sources, defined } = recording();
    const other = relative(process.cwd(), folder);
    const both = [sources.idOf(folder), sources.idOf(`${other}/`)];
    assert.ok(both[0] instanceof Promise);
    assert.deepEqual(await Promise.all(both), [1, 1]);
    write('002_b.sql', 'b');
    // A number at once: opens after the first wait for nothing.
    assert.equal(sources.idOf(folder), 1);
    assert.equal(sources.idOf(join(folder, '..', folder.slice(folder.lastIndexOf('sqlflow-')))), 1);
    assert.equal(defined.length, 1);
  });

  it('of the same files as another, or as a list, is the same source', async () => {
    write('001_a.sql', 'a');
    const { sources, defined } = recording();
    assert.equal(await sources.idOf(folder), 1);
    assert.equal(sources.idOf([{ name: '001_a.sql', sql: 'a' }]), 1);
    assert.equal(defined.length, 1);
  });

  it('that is not there is an error, and looked for anew the next time', async () => {
    const missing = join(folder, 'missing');
    const error = await folderRefusal(missing);
    assert.match(error.message, /^the folder of the migrations .*missing cannot be read: ENOENT: /);
    assert.equal(error.file, missing);
    assert.deepEqual([error.line, error.version], [undefined, undefined]);
    assert.ok(error.cause instanceof Error && Reflect.get(error.cause, 'code') === 'ENOENT');

    const { sources, defined } = recording();
    await assert.rejects(async () => sources.idOf(missing), MigrationSourceError);
    write('001_a.sql', 'a');
    renameSync(folder, `${folder}-moved`);
    mkdirSync(folder);
    renameSync(`${folder}-moved`, missing);
    assert.equal(await sources.idOf(missing), 1);
    assert.deepEqual(defined, [[['001_a.sql'], ['a']]]);
  });

  it('that is a file is an error', async () => {
    write('001_a.sql', 'a');
    const error = await folderRefusal(join(folder, '001_a.sql'));
    assert.match(error.message, /001_a\.sql cannot be read: ENOTDIR: /);
  });

  it('without a .sql file is an error: most likely it is the wrong one', async () => {
    write('README.md', '');
    const { message, file } = await folderRefusal(folder);
    assert.equal(
      message,
      `the folder of the migrations ${folder} has no .sql file; pass the folder that has them, or [] for no migrations`,
    );
    assert.equal(file, folder);
  });

  it('with a file that cannot be read is an error that names it', { skip: process.platform === 'win32' }, async () => {
    write('001_a.sql', 'a');
    symlinkSync('nowhere', join(folder, '002_b.sql'));
    const { message, file } = await folderRefusal(folder);
    assert.ok(message.startsWith(`the migration ${join(folder, '002_b.sql')} cannot be read: ENOENT: `), message);
    assert.equal(file, '002_b.sql');
  });

  it('with a file that is not UTF-8 is an error that names it', async () => {
    write('001_a.sql', 'a');
    write('002_b.sql', Buffer.from('\ufeffSELECT 1', 'utf16le'));
    const { message, file } = await folderRefusal(folder);
    assert.equal(message, `the migration ${join(folder, '002_b.sql')} is not UTF-8 text; save it as UTF-8`);
    assert.equal(file, '002_b.sql');
  });
});
