// What is done to a database as a whole: its calls, from their checks to the engine.

import { resolve } from 'node:path';
import {
  type BackupOptions,
  type ConvertOptions,
  checkBackupOptions,
  checkConvertOptions,
  checkVerifyOptions,
  copyProgress,
  type Step,
  type VerifyOptions,
  type VerifyResult,
  verifyProgress,
} from './copies.js';
import { OptionError } from './errors.js';
import { checkNewKey, type NewKey, wipe } from './keys.js';
import { guardedListener } from './listener.js';
import { engine } from './native/addon.js';
import { checkPath } from './options.js';
import type { Session } from './session.js';

/** `db.backup`. */
export async function backup(session: Session, path: string, options: BackupOptions | undefined): Promise<void> {
  const target = resolve(checkTarget(path));
  const checked = checkBackupOptions(options);
  try {
    const steps = watched(options?.onProgress, copyProgress, 'the backup goes on');
    await session.engine.backup(session.handle, target, checked, { steps, signal: options?.signal });
  } finally {
    wipe(checked.cipher);
  }
}

/** `db.rekey`. */
export async function rekey(session: Session, newKey: NewKey): Promise<void> {
  const cipher = checkNewKey(newKey);
  try {
    session.refuseReentrance('rekey');
    await session.engine.rekey(session.handle, cipher);
  } finally {
    wipe(cipher);
  }
}

/** `db.verify`. */
export async function verify(session: Session, options: VerifyOptions | undefined): Promise<VerifyResult> {
  checkVerifyOptions(options);
  const steps = watched(options?.onProgress, verifyProgress, 'the verify goes on');
  return await session.engine.verify(session.handle, { steps, signal: options?.signal });
}

/** `Database.convert`. */
export async function convert(path: string, options: ConvertOptions): Promise<void> {
  const file = resolve(checkTarget(path));
  const { cipher, busyTimeoutMs } = checkConvertOptions(options);
  try {
    const steps = watched(options.onProgress, copyProgress, 'the convert goes on');
    await engine.convert(file, cipher, busyTimeoutMs, steps);
  } finally {
    wipe(cipher);
  }
}

/** The path of a file that a copy goes to, or that is converted. */
function checkTarget(path: unknown): string {
  const checked = checkPath(path);
  if (checked === ':memory:') throw new OptionError("path must be that of a file, got ':memory:'");
  return checked;
}

/** The listener of a copy or a check as it is called; in the async context of this call. */
function watched<T>(
  listener: ((progress: T) => void) | undefined,
  progressOf: (step: Step) => T,
  stands: string,
): ((step: Step) => void) | undefined {
  if (listener === undefined) return undefined;
  const guarded = guardedListener(listener, 'onProgress', stands);
  return (step) => guarded(progressOf(step));
}
