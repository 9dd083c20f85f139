// What `require('sqlflow')` gives; index.mts names the same for `import`.

export { Database } from './database.js';
export * from './errors.js';
export type {
  ArrayRowOptions,
  BatchOptions,
  ObjectRowOptions,
  OpenOptions,
  QueryOptions,
  SplitQuerier,
} from './options.js';
export type { AsyncRows } from './rows.js';
export { Sql, type SqlTag, sql } from './sql.js';
export { Statement, type StatementValues, WriteStatement } from './statement.js';
export { SyncRead, SyncWrite } from './sync.js';
export { ReadTransaction, WriteTransaction } from './transaction.js';
export type { ArrayRow, QueryResult, Row, RunResult, SqlParameter, SqlParameters, SqlValue } from './values.js';
