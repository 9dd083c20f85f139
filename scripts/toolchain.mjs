// The tools a build needs: found, or named with the command that installs them.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Failed, ROOT } from './step.mjs';

const RUST = 'Rust stable: https://rustup.rs (curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh)';
const SYSTEM = {
  linux:
    'Debian, Ubuntu: apt-get install build-essential perl; Fedora: dnf install gcc make perl-core; Alpine: apk add build-base perl linux-headers',
  darwin: 'Xcode command line tools: xcode-select --install',
  win32:
    'Visual Studio Build Tools (C++) and Strawberry Perl: winget install Microsoft.VisualStudio.2022.BuildTools StrawberryPerl.StrawberryPerl',
};

/** Throws, naming everything that is missing, unless this Node.js is one the package supports. */
export function checkNode() {
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).engines.node.replace('>=', '');
  if (!isAtLeast(process.versions.node, wanted)) {
    throw new Failed(
      `Node.js ${process.versions.node} is too old: sqlflow needs ${wanted} or newer (https://nodejs.org)`,
    );
  }
}

/** Throws, naming everything that is missing, unless the addon can be built here. `components`: of the Rust toolchain. */
export function checkToolchain(components = []) {
  checkNode();
  findCargo();
  const missing = [];
  const rust = version('cargo', ['--version']);
  const wanted = /rust-version = "([\d.]+)"/.exec(readFileSync(join(ROOT, 'Cargo.toml'), 'utf8'))?.[1] ?? '0';
  if (rust === undefined) missing.push(`cargo: install ${RUST}`);
  else if (!isAtLeast(rust, wanted)) missing.push(`Rust ${wanted} or newer, found ${rust}: rustup update stable`);
  else {
    for (const component of components) {
      if (version('cargo', [component === 'rustfmt' ? 'fmt' : component, '--version']) === undefined) {
        missing.push(`cargo ${component}: rustup component add ${component}`);
      }
    }
  }
  const absent = systemTools().filter(([name, ...commands]) => !commands.some((command) => exists(command)) && name);
  if (absent.length > 0) {
    const names = absent.map(([name]) => name).join(', ');
    missing.push(`${names}: install ${SYSTEM[process.platform] ?? 'a C compiler, perl and make'}`);
  }
  if (missing.length > 0)
    throw new Failed(`Building sqlflow needs tools that are not here:\n  ${missing.join('\n  ')}`);
}

/** Each tool with the commands that may be it. Apple brings its own cryptography; elsewhere OpenSSL is built. */
function systemTools() {
  if (process.platform === 'win32') return [['perl', 'perl']];
  const compiler = ['a C compiler', ...[process.env.CC].filter(Boolean), 'cc', 'gcc', 'clang'];
  return process.platform === 'darwin' ? [compiler] : [compiler, ['perl', 'perl'], ['make', 'make']];
}

/** rustup's folder is on the path only of shells started after its installation. */
function findCargo() {
  if (exists('cargo')) return;
  const folder = join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'bin');
  process.env.PATH = `${folder}${delimiter}${process.env.PATH}`;
}

function exists(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore', shell: command.includes(' ') }).error === undefined;
}

/** The version a program tells, `undefined` when it does not run. */
function version(program, args) {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8', cwd: ROOT });
  return status === 0 ? (/\d+\.\d+(\.\d+)?/.exec(stdout)?.[0] ?? '0') : undefined;
}

function isAtLeast(found, wanted) {
  const [have, want] = [found, wanted].map((each) => each.split('.').map(Number));
  for (const [index, least] of want.entries()) {
    const part = have[index] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
}
