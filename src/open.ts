// How a database is opened: its options checked, its migrations read, its key asked for.

import { resolve } from 'node:path';
import { nativeCipher, wipe } from './keys.js';
import { guardedListener } from './listener.js';
import type { MigrationProgress } from './migration-history.js';
import { MigrationSources } from './migrations.js';
import { engine } from './native/addon.js';
import type { Opened } from './native/engine.js';
import { type CheckedOpenOptions, checkOpenOptions, checkPath, type OpenOptions } from './options.js';
import { type Queriers, queriersOf } from './querier.js';
import { detects } from './reentrancy.js';
import { Session } from './session.js';

/** The migrations that databases of this thread are opened with. */
export const sources = new MigrationSources((names, texts) => engine.defineMigrations(names, texts));

/** An open database as its class keeps it. */
export interface OpenSession {
  readonly session: Session;
  readonly queriers: Queriers;
  /** The number of the migrations it was opened with; 0: none. */
  readonly migrations: number;
}

/** Opens the file at `path`; see `Database.open`. */
export async function openSession(path: string, options: OpenOptions | undefined): Promise<OpenSession> {
  const memory = checkPath(path) === ':memory:';
  const checked = checkOpenOptions(options, memory);
  const { native, querier, captureStacks, reentrancy } = checked;
  const opened = await openFile(memory ? path : resolve(path), checked);
  const session = new Session(engine, opened.target, memory ? path : opened.path, {
    captureStacks,
    detects: detects(reentrancy),
  });
  return { session, queriers: queriersOf(querier), migrations: native.migrations };
}

async function openFile(file: string, checked: CheckedOpenOptions): Promise<Opened> {
  const { native, bigint, keys } = checked;
  const onMigration = told(checked.onMigration);
  try {
    const id = migrationsOf(checked);
    native.migrations = typeof id === 'number' ? id : await id;
    if (keys !== undefined) {
      const cipher = nativeCipher(keys, file);
      native.cipher = cipher instanceof Promise ? await cipher : cipher;
    }
    return await engine.open(file, native, bigint, onMigration);
  } finally {
    wipe(keys);
    wipe(native.cipher);
  }
}

/** The number of the migrations of an open; 0: none. */
export function migrationsOf({ migrations }: CheckedOpenOptions): number | Promise<number> {
  return migrations === undefined ? 0 : sources.idOf(migrations);
}

/** The listener as it is called; in the async context of this call. */
export function told(listener: OpenOptions['onMigration']): ((progress: MigrationProgress) => void) | undefined {
  if (listener === undefined) return undefined;
  return guardedListener(listener, 'onMigration', 'the migrations go on');
}
