// What is done to a database as a whole: copies, checks, conversions; what is asked of them and what they tell.

import {
  boolean,
  callable,
  checkNames,
  checkSignal,
  type Given,
  integer,
  isRecord,
  kindOf,
  MAX_MS,
  record,
} from './checks.js';
import { OptionError } from './errors.js';
import { cipherOf } from './keys.js';
import type { NativeCipher } from './native/binding.js';
import type { Reader } from './native/reader.js';
import { HEADER_BYTES } from './native/wire.js';

/** How far a `backup` or `convert` is. */
export interface CopyProgress {
  /** `'copy'`: pages are copied; `'check'`: the copy is read once, before it gets its name. */
  readonly phase: 'copy' | 'check';
  /** Pages that are done in this phase, about. */
  readonly pages: number;
  /** Pages in all. */
  readonly totalPages: number;
}

/** How far a `verify` is. */
export interface VerifyProgress {
  /** The check that is on. */
  readonly check: 'cipher' | 'integrity' | 'foreignKeys';
  /** Pages that it has read, about; the check of the cipher tells its beginning only. */
  readonly pages: number;
  /** Pages in all. */
  readonly totalPages: number;
}

/** Something that is wrong with a database. */
export interface VerifyProblem {
  /**
   * What has found it: `'cipher'`, a page of an encrypted file is not what was written with its key; `'integrity'`,
   * SQLite's `integrity_check`; `'foreignKeys'`, its `foreign_key_check`.
   */
  readonly check: 'cipher' | 'integrity' | 'foreignKeys';
  /** What it is, in the words of SQLite and SQLCipher. */
  readonly message: string;
}

/** What a `verify` has found. */
export interface VerifyResult {
  /** Nothing is wrong. */
  readonly ok: boolean;
  /** What is, at most 100 of each check. */
  readonly problems: VerifyProblem[];
}

/** Options of `db.backup`. */
export interface BackupOptions {
  /** What the copy is encrypted with. Default: as the source. `null`: with nothing. */
  key?: Uint8Array | null | undefined;
  /** A passphrase instead of a `key`. */
  passphrase?: string | undefined;
  /** Replace a file of that name. Default `false`: `FileExistsError`. */
  overwrite?: boolean | undefined;
  /** Told how far it is, at most every 20 ms, in the async context of the call. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
  /** Ends it: `AbortError`, and nothing is left of the copy. */
  signal?: AbortSignal | undefined;
}

/** Options of `db.verify`. */
export interface VerifyOptions {
  /** Told how far it is, at most every 20 ms, in the async context of the call. */
  onProgress?: ((progress: VerifyProgress) => void) | undefined;
  /** Ends it with `AbortError`, the check of the cipher as a whole. */
  signal?: AbortSignal | undefined;
}

/** Options of `db.vacuum`. */
export interface VacuumOptions {
  /**
   * Give back at most so many free pages instead of writing the file anew, 1 to 2147483647; for files made with
   * `autoVacuum: 'incremental'`.
   */
  incrementalPages?: number | undefined;
}

/** Options of `Database.convert`. */
export interface ConvertOptions {
  /** The key of the file, 32 bytes. */
  key?: Uint8Array | undefined;
  /** Its passphrase, instead of a key. */
  passphrase?: string | undefined;
  /** Told how far it is, at most every 20 ms, in the async context of the call. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
  /** How long to wait while another process has the file open, in milliseconds. Default 5000; 0: not at all. */
  busyTimeoutMs?: number | undefined;
}

/** A PROGRESS record. */
export interface Step {
  readonly phase: number;
  readonly pages: number;
  readonly totalPages: number;
}

const CHECKS = ['cipher', 'integrity', 'foreignKeys'] as const;

/** Reads the PROGRESS record at `base`. */
export function readStep(reader: Reader, base: number): Step {
  const body = base + HEADER_BYTES;
  return {
    phase: reader.field(base, 12),
    pages: Number(reader.integer(body)),
    totalPages: Number(reader.integer(body + 8)),
  };
}

/** What the VERIFIED record at `base` lists. */
export function readProblems(reader: Reader, base: number): VerifyResult {
  const problems: VerifyProblem[] = [];
  let at = base + HEADER_BYTES;
  for (let left = reader.field(base, 12); left > 0; left--) {
    const bytes = reader.unalignedField(at + 4);
    const check = CHECKS[reader.unalignedField(at)] ?? 'integrity';
    problems.push({ check, message: reader.utf8(at + 8, bytes) });
    at += 8 + bytes;
  }
  return { ok: problems.length === 0, problems };
}

/** A step of a copy as its listener sees it. */
export function copyProgress({ phase, pages, totalPages }: Step): CopyProgress {
  return { phase: phase === 0 ? 'copy' : 'check', pages, totalPages };
}

/** A step of a check as its listener sees it. */
export function verifyProgress({ phase, pages, totalPages }: Step): VerifyProgress {
  return { check: CHECKS[phase] ?? 'integrity', pages, totalPages };
}

/** Options of `db.backup`, complete. */
export interface CheckedBackupOptions {
  /** `undefined`: as the source. */
  cipher: NativeCipher | undefined;
  plain: boolean;
  overwrite: boolean;
}

/** Checks the options of `db.backup`. */
export function checkBackupOptions(options: unknown): CheckedBackupOptions {
  const given = record(options, 'options');
  checkNames(given, ['key', 'passphrase', 'overwrite', 'onProgress', 'signal'], 'option');
  const { key, passphrase } = given;
  checkListener(given);
  checkSignal(given);
  const plain = key === null && passphrase === undefined;
  const overwrite = boolean(given, 'overwrite', false);
  const isAsSource = key === undefined && passphrase === undefined;
  return { cipher: plain || isAsSource ? undefined : cipherOf(key, passphrase), plain, overwrite };
}

/** Checks the options of `db.verify`. */
export function checkVerifyOptions(options: unknown): void {
  const given = record(options, 'options');
  checkNames(given, ['onProgress', 'signal'], 'option');
  checkListener(given);
  checkSignal(given);
}

/** Checks the options of `db.vacuum`; 0: the whole file. */
export function checkVacuumOptions(options: unknown): number {
  const given = record(options, 'options');
  checkNames(given, ['incrementalPages'], 'option');
  return integer(given, 'incrementalPages', 1, MAX_MS, 0);
}

/** Checks the options of `Database.convert`. */
export function checkConvertOptions(options: unknown): { cipher: NativeCipher; busyTimeoutMs: number } {
  if (!isRecord(options)) throw new OptionError(`convert needs { key } or { passphrase }, got ${kindOf(options)}`);
  checkNames(options, ['key', 'passphrase', 'onProgress', 'busyTimeoutMs'], 'option');
  const { key, passphrase } = options;
  if (key === undefined && passphrase === undefined)
    throw new OptionError('convert needs the key of the file: key or passphrase');
  checkListener(options);
  return { busyTimeoutMs: integer(options, 'busyTimeoutMs', 0, MAX_MS, 5_000), cipher: cipherOf(key, passphrase) };
}

function checkListener(given: Given): void {
  if (given['onProgress'] !== undefined) callable(given['onProgress'], 'onProgress');
}
