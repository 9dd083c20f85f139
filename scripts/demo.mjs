// Makes everything ready, then runs the demo: `npm run demo [-- --seconds N]`.

import { buildNative, buildTypeScript, installPackages } from './build.mjs';
import { main, run } from './step.mjs';
import { checkToolchain } from './toolchain.mjs';

main(() => {
  checkToolchain();
  installPackages();
  buildNative();
  buildTypeScript();
  run(process.execPath, ['examples/demo.mjs', ...process.argv.slice(2)]);
});
