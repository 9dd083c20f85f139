// Files, logs and journals that somebody has tampered with: data or a typed error, no crash and no hang; and what is
// encrypted gives right data or an error. More of them: `npm run test:stress -- hostile`.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Folder } from './fixtures/border/folder.mjs';
import { prepare, runJob, told } from './fixtures/damage/job.mjs';
import type { VariantName } from './fixtures/damage/variants.mjs';

/** A look at a file that takes longer hangs. */
const LIMIT_MS = 10_000;
/** Of each variant: every way to tamper at least four times. */
const COUNT = 210;
const SEED = Number(process.env['SQLFLOW_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

describe('a hostile file', () => {
  const folder = new Folder();
  let isWhole = true;
  before(() => prepare(folder.path));
  // With a violation its files are kept, since an encrypted file is another one in every run.
  after(() => {
    if (isWhole) folder[Symbol.dispose]();
  });

  const check = (name: string, variant: VariantName) => {
    it(name, async (t) => {
      const job = { series: 'hostile', variant, folder: folder.path, seed: SEED, count: COUNT, share: 0.1 } as const;
      const report = await runJob(job, LIMIT_MS);
      t.diagnostic(`seed ${SEED}: ${told(report)}`);
      isWhole &&= report.violations.length === 0;
      assert.deepEqual(report.violations, [], `seed ${SEED}, files in ${folder.path}`);
      assert.equal(report.mutants, COUNT);
    });
  };

  check('that is plain gives data or an error of ours', 'plain');
  check('that is encrypted gives right data or an error of ours', 'encrypted');
});
