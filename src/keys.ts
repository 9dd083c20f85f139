// Keys as a caller gives them: checked, copied for the engine, and wiped.

import { type Given, kindOf, shown } from './checks.js';
import { KeyNotAvailableError, OptionError } from './errors.js';
import type { NativeCipher } from './native/binding.js';

/**
 * Gives the key of the file at `path` (canonical as far as it is known; `':memory:'` for a temporary database), now or
 * later. `undefined` or `null`: there is none.
 */
export type KeyProvider = (path: string) => Uint8Array | null | undefined | PromiseLike<Uint8Array | null | undefined>;

/** What a file is to be encrypted with: 32 bytes, or a passphrase. */
export type NewKey = Uint8Array | { passphrase: string };

/** A key that is there, or somebody who has it. */
export type KeySource = NativeCipher | { readonly provider: KeyProvider; readonly compatibility: number };

/** Bytes of a raw key. */
const KEY_BYTES = 32;

const VERSIONS = [4, 3, 2, 1] as const;

/** Checks `key`, `passphrase` and `cipherCompatibility` among the options of an open; `undefined`: the file is plain. */
export function checkKeyOptions(given: Given): KeySource | undefined {
  const { key, passphrase, cipherCompatibility } = given;
  const compatibility = version(cipherCompatibility);
  if (key === undefined && passphrase === undefined) {
    if (cipherCompatibility === undefined) return undefined;
    throw new OptionError('cipherCompatibility is about an encrypted file: give its key or passphrase as well');
  }
  if (typeof key === 'function') {
    if (passphrase !== undefined) throw both();
    return { provider: key as KeyProvider, compatibility };
  }
  return cipherOf(key, passphrase, compatibility);
}

/** Checks a `key` and a `passphrase` of which one is given, and copies it. */
export function cipherOf(key: unknown, passphrase: unknown, compatibility = 4): NativeCipher {
  if (key !== undefined && passphrase !== undefined) throw both();
  if (key !== undefined) return { kind: 'raw', bytes: keyBytes(key, 'key'), compatibility };
  return { kind: 'passphrase', bytes: passphraseBytes(passphrase), compatibility };
}

/** Checks the argument of `rekey`, and copies it. */
export function checkNewKey(newKey: unknown): NativeCipher {
  if (isBytes(newKey)) return cipherOf(newKey, undefined);
  if (typeof newKey === 'object' && newKey !== null && 'passphrase' in newKey && Object.keys(newKey).length === 1) {
    return cipherOf(undefined, newKey.passphrase);
  }
  throw new OptionError(
    `rekey needs a key, a Uint8Array of ${KEY_BYTES} bytes, or { passphrase }, got ${kindOf(newKey)}`,
  );
}

/** The key of `source`; asks the provider, once. `label`: how messages call what the key is of. */
export function nativeCipher(source: KeySource, path: string, label = path): NativeCipher | Promise<NativeCipher> {
  return 'provider' in source ? provided(source.provider, source.compatibility, path, label) : source;
}

/** A copy for one open, which wipes it. */
export function copyOf(source: KeySource): KeySource {
  return 'provider' in source ? source : { ...source, bytes: source.bytes.slice(0) };
}

/** Makes a copy of a key forget it. */
export function wipe(cipher: KeySource | undefined): void {
  if (cipher !== undefined && 'bytes' in cipher) new Uint8Array(cipher.bytes).fill(0);
}

async function provided(
  provider: KeyProvider,
  compatibility: number,
  path: string,
  label: string,
): Promise<NativeCipher> {
  let key: unknown;
  try {
    key = await provider(path);
  } catch (cause) {
    throw new KeyNotAvailableError(`the key provider failed for ${label}; its error is the cause`, { cause });
  }
  if (key === undefined || key === null) {
    throw new KeyNotAvailableError(`the key provider has no key for ${label}`);
  }
  return { kind: 'raw', bytes: keyBytes(key, `what the key provider gives for ${label}`), compatibility };
}

function keyBytes(key: unknown, name: string): ArrayBuffer {
  if (!isBytes(key)) {
    const hint =
      typeof key === 'string' ? "; Buffer.from(hex, 'hex') makes bytes of digits, and a text is a passphrase" : '';
    throw new OptionError(`${name} must be a Uint8Array of ${KEY_BYTES} bytes, got ${kindOf(key)}${hint}`);
  }
  // By its content, whatever it says of its length.
  const copy = new Uint8Array(key).buffer;
  if (copy.byteLength === KEY_BYTES) return copy;
  new Uint8Array(copy).fill(0);
  throw new OptionError(`${name} must have ${KEY_BYTES} bytes, got ${copy.byteLength}`);
}

function passphraseBytes(passphrase: unknown): ArrayBuffer {
  if (typeof passphrase !== 'string') throw new OptionError(`passphrase must be a string, got ${kindOf(passphrase)}`);
  if (passphrase === '') throw new OptionError('passphrase must not be empty; leave it out for a plain file');
  if (passphrase.includes('\0')) throw new OptionError('passphrase must not contain NUL');
  if (!passphrase.isWellFormed()) throw new OptionError('passphrase must be valid Unicode, but holds a lone surrogate');
  if (/^x'(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{160})'$/i.test(passphrase)) {
    throw new OptionError(
      "passphrase has the form x'..' of a raw key, as which SQLCipher would take it; give its bytes as key",
    );
  }
  const bytes = new TextEncoder().encode(passphrase);
  // Of its own length: the encoder's buffer may be longer.
  const copy = new Uint8Array(bytes).buffer;
  bytes.fill(0);
  return copy;
}

/** By its shape: one of another realm is as good. */
function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && Object.prototype.toString.call(value) === '[object Uint8Array]';
}

function version(given: unknown): number {
  if (given === undefined) return 4;
  for (const known of VERSIONS) if (known === given) return known;
  throw new OptionError(`cipherCompatibility must be 1, 2, 3 or 4, got ${shown(given)}`);
}

function both(): OptionError {
  return new OptionError('key and passphrase are both given: a file has one of them');
}
