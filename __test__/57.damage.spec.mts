// Damage is never data: an encrypted file of which a byte or a page is not what was written is answered with what was
// written, or with an error that says so, by every API. The whole of it, byte by byte: `npm run test:stress -- damage`.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Folder } from './fixtures/border/folder.mjs';
import { type Job, prepare, runJob, told } from './fixtures/damage/job.mjs';

/** A look at a file that takes longer hangs. */
const LIMIT_MS = 10_000;
const SEED = Number(process.env['SQLFLOW_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

describe('a file that is damaged', () => {
  const folder = new Folder();
  let isWhole = true;
  before(() => prepare(folder.path));
  // With a violation its files are kept, since an encrypted file is another one in every run.
  after(() => {
    if (isWhole) folder[Symbol.dispose]();
  });

  const check = (name: string, job: Pick<Job, 'series' | 'variant' | 'count' | 'share'>) => {
    it(name, async (t) => {
      const report = await runJob({ ...job, folder: folder.path, seed: SEED }, LIMIT_MS);
      t.diagnostic(`seed ${SEED}: ${told(report)}`);
      isWhole &&= report.violations.length === 0;
      assert.deepEqual(report.violations, [], `seed ${SEED}, files in ${folder.path}`);
      assert.ok(report.mutants > 0 && report.answers > 0, 'nothing was looked at');
    });
  };

  check('in any byte of it gives what was written, or an error', {
    series: 'file',
    variant: 'encrypted',
    count: 200,
    share: 0.1,
  });
  check('in any page of it gives what was written, or an error', {
    series: 'pages',
    variant: 'encrypted',
    count: 108,
    share: 0.25,
  });
  check('in any byte of the log gives the commits before it', {
    series: 'log',
    variant: 'encrypted',
    count: 160,
    share: 0.03,
  });
  check('in any byte of the log gives the commits before it, without encryption', {
    series: 'log',
    variant: 'plain',
    count: 160,
    share: 0.03,
  });
});
