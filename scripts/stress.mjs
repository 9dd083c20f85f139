// Makes everything ready, then runs the stresses: `npm run test:stress -- [name ...] [--count N] [--seconds S] [--seed S]`.

import { buildNative, buildTypeScript, hasAddon, installPackages } from './build.mjs';
import { main, run } from './step.mjs';

main(() => {
  installPackages();
  if (!hasAddon()) buildNative();
  buildTypeScript({ specs: true });
  run(process.execPath, ['--enable-source-maps', '.build/stress/main.mjs', ...process.argv.slice(2)]);
});
