// Who is compared: sqlflow and its peers, each in a file that exports `title`, `version()` and `open(path, { synchronous })`.
//
// A handle: `sync` (operations answer values, not promises), `exec(sql)`, `insertAll(sql, rows)`, `close()`, and the
// operations under test, each absent where the driver has nothing like it:
//   getter(sql)         -> (id) => row, each in a transaction of its own
//   runner(sql)         -> (a, b, c), the same for a statement that writes three values
//   writer(sql)         -> (value), in an interactive transaction: BEGIN IMMEDIATE, the statement, COMMIT
//   reader(sql)         -> (loop): loop(get) runs in one read transaction, get(id) answers at once
//   all(sql)            -> () => every row
//   insertSync(sql)     -> (rows): rows of three values, one transaction, row by row, on the caller's thread
//   insertAll(sql, rows)   the same in the way the driver blocks its caller least

/** In the order of the table's columns; sqlflow first. */
export const PEERS = {
  sqlflow: new URL('./sqlflow.mjs', import.meta.url),
  'better-sqlite3': new URL('./better-sqlite3.mjs', import.meta.url),
  workers: new URL('./workers.mjs', import.meta.url),
  'node:sqlite': new URL('./node-sqlite.mjs', import.meta.url),
};

/** What sqlflow tells its connections, told to every other driver too; the two about `fullfsync` matter on macOS only. */
export function pragmas(synchronous) {
  const full = synchronous === 'full' ? 'ON' : 'OFF';
  return [
    'journal_mode = WAL',
    `synchronous = ${synchronous}`,
    `fullfsync = ${full}`,
    `checkpoint_fullfsync = ${full}`,
    'foreign_keys = ON',
    'cache_size = -8192',
    'temp_store = MEMORY',
    'trusted_schema = OFF',
    `journal_size_limit = ${64 * 1024 * 1024}`,
  ];
}
