// Platforms: how the addon is called on each, and where cargo puts it here.

import { join } from 'node:path';
import { ROOT } from './step.mjs';

/** The platforms that have a package of their own. */
export const PLATFORMS = [
  { os: 'darwin', cpu: 'arm64' },
  { os: 'darwin', cpu: 'x64' },
  { os: 'linux', cpu: 'arm64', libc: 'glibc', suffix: '-gnu' },
  { os: 'linux', cpu: 'arm64', libc: 'musl', suffix: '-musl' },
  { os: 'linux', cpu: 'x64', libc: 'glibc', suffix: '-gnu' },
  { os: 'linux', cpu: 'x64', libc: 'musl', suffix: '-musl' },
  { os: 'win32', cpu: 'arm64', suffix: '-msvc' },
  { os: 'win32', cpu: 'x64', suffix: '-msvc' },
];

/** The name of a platform, as it stands in package and file names. */
export function nameOf({ os, cpu, suffix = '' }) {
  return `${os}-${cpu}${suffix}`;
}

/** The addon of this platform in the checkout. */
export function addonFile() {
  return join(ROOT, `sqlflow.${nameOf({ os: process.platform, cpu: process.arch, suffix: libcSuffix() })}.node`);
}

/** The library cargo builds here. */
export function builtLibrary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
  const names = { win32: 'sqlflow_node.dll', darwin: 'libsqlflow_node.dylib' };
  return join(target, 'release', names[process.platform] ?? 'libsqlflow_node.so');
}

function libcSuffix() {
  if (process.platform === 'win32') return '-msvc';
  if (process.platform !== 'linux') return '';
  return process.report.getReport().header.glibcVersionRuntime === undefined ? '-musl' : '-gnu';
}
