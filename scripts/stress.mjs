// Makes everything ready, then runs the stresses: `npm run test:stress -- [name ...] [--count N] [--seconds S] [--seed S] [--encrypted]`.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildNative, buildTypeScript, hasAddon, installPackages } from './build.mjs';
import { main, ROOT, run } from './step.mjs';

main(() => {
  installPackages();
  if (!hasAddon()) buildNative();
  buildTypeScript({ specs: true });
  const words = process.argv.slice(2);
  const env = { ...process.env };
  if (words.includes('--encrypted')) {
    const preload = pathToFileURL(join(ROOT, '.build', 'fixtures', 'encrypted.mjs')).href;
    env.NODE_OPTIONS = [env.NODE_OPTIONS ?? '', `--import=${preload}`].join(' ').trim();
  }
  run(process.execPath, ['--enable-source-maps', '.build/stress/main.mjs', ...words], { env });
});
