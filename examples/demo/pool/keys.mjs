// A key for every database, derived from one that a service keeps in its key store: with the file and the key of one tenant
// nobody reads another.

import { hkdfSync } from 'node:crypto';

/** The `keyProvider` of a pool: 32 bytes for each of its keys, always the same ones, so that none has to be stored. */
export function derivedFrom(master) {
  return (tenant) => new Uint8Array(hkdfSync('sha256', master, '', `tenant ${tenant}`, 32));
}
