// The addon's file as the loader of the system sees it: what it shows to the process, and what it asks for.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import 'sqlflow';
import { type Done, type Load, SHARED, sideBySide } from './fixtures/addon/side-by-side.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { within } from './fixtures/transactions/within.mjs';

const present = (tool: string) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0;
const reason =
  process.platform !== 'linux'
    ? 'an ELF file is read here, and this is not Linux'
    : !(present('nm') && present('readelf')) && 'nm and readelf (binutils) are needed';

describe('the addon', { skip: reason }, () => {
  let file = '';
  let symbols: { kind: string; name: string }[] = [];

  before(() => {
    // The package notes the files it has loaded, to warn when there are two.
    const loaded: unknown = Reflect.get(globalThis, Symbol.for('sqlflow.addons'));
    assert.ok(loaded instanceof Set && loaded.size === 1);
    file = String([...loaded][0]);
    const listed = execFileSync('nm', ['-D', '-P', file], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    symbols = listed
      .trim()
      .split('\n')
      .map((line) => {
        const [name = '', kind = ''] = line.split(' ');
        return { kind, name: name.replace(/@.*$/, '') };
      });
  });

  it('exports its entry and nothing else: OpenSSL and SQLite of the process stay apart from those inside', () => {
    const exported = symbols.filter(({ kind }) => !['U', 'w', 'v'].includes(kind)).map(({ name }) => name);
    assert.deepEqual(exported, ['napi_register_module_v1']);
  });

  it('takes nothing of OpenSSL or SQLite from outside', () => {
    const wanted = symbols.filter(({ kind }) => kind === 'U').map(({ name }) => name);
    assert.ok(wanted.includes('napi_create_threadsafe_function'));
    const foreign = wanted.filter((name) => /^(sqlite3|SSL|EVP|OPENSSL|CRYPTO|RAND|HMAC|BIO|ERR|OSSL)_/i.test(name));
    assert.deepEqual(foreign, []);
  });

  it('uses Node-API up to version 8', () => {
    // Functions of later versions are called node_api_*: https://nodejs.org/api/n-api.html#node-api-version-matrix
    const later = symbols.filter(({ name }) => name.startsWith('node_api_'));
    assert.deepEqual(later, []);
  });

  it('needs libraries of the system alone, from no folder of its own, and stays loaded', () => {
    const dynamic = execFileSync('readelf', ['-d', '-W', file], { encoding: 'utf8' });
    const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name ?? '');
    const system = /^(lib(c|m|gcc_s|dl|pthread|rt|atomic)|ld-linux.*|ld-musl.*|libc\.musl.*)\.so(\.\d+)*$/;
    assert.ok(needed.length > 0);
    assert.deepEqual(
      needed.filter((name) => !system.test(name)),
      [],
    );
    assert.doesNotMatch(dynamic, /\((RPATH|RUNPATH|TEXTREL)\)/);
    // Engine threads may outlive the thread that loaded it.
    assert.match(dynamic, /NODELETE/);
  });
});

describe("the addon's OpenSSL beside that of Node.js", () => {
  const FIXTURES = new URL('./fixtures/addon/', import.meta.url);

  it('leaves it alone, and is left alone, on three threads under load', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open(SHARED.name, { passphrase: SHARED.passphrase });
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, thread TEXT NOT NULL, bytes BLOB NOT NULL)');
    const seed = 20_260_731;
    t.diagnostic(`seed ${seed}`);
    const load = (n: number): Load => ({ folder: folder.path, name: `thread ${n}`, seed: seed + n, rounds: 3 });
    const threads = [1, 2].map(async (n): Promise<Done> => {
      const worker = new Worker(new URL('side-by-side.worker.mjs', FIXTURES), { workerData: load(n) });
      t.after(() => worker.terminate());
      // Rejects with what was thrown there.
      const [done]: Done[] = await once(worker, 'message');
      return done ?? assert.fail();
    });
    const all = await within(Promise.all([sideBySide(load(0)), ...threads]), 'the load');
    let rows = 0;
    for (const done of all) {
      assert.ok(done.answers >= 30, `${done.answers} answers of crypto`);
      rows += done.rows;
    }
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: rows });
    assert.deepEqual(await db.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
  });

  it('lets the process end while keys are derived', async (t) => {
    const folder = new Folder(t);
    const program = fileURLToPath(new URL('exit-while-deriving.child.mjs', FIXTURES));
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    for (const ms of [0, 1, 10, 40, 80, 120, 200]) {
      const { status, signal, stderr } = spawnSync(process.execPath, [program, folder.path, String(ms)], {
        env,
        encoding: 'utf8',
      });
      assert.deepEqual({ status, signal, stderr }, { status: 7, signal: null, stderr: '' }, `after ${ms} ms`);
    }
  });
});
