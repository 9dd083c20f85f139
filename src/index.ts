// What `require('sqlflow')` gives; index.mts names the same for `import`.

export type { BatchItem } from './batch.js';
export type { Commit, RowChange } from './commits.js';
export type {
  BackupOptions,
  ConvertOptions,
  CopyProgress,
  VacuumOptions,
  VerifyOptions,
  VerifyProblem,
  VerifyProgress,
  VerifyResult,
} from './copies.js';
export { Database } from './database.js';
export * from './errors.js';
export type { KeyProvider, NewKey } from './keys.js';
export type { MigrationInfo, MigrationProgress } from './migration-history.js';
export type { MigrationFile, MigrationSource } from './migrations.js';
export type { Checkpoint, CheckpointMode } from './native/engine.js';
export type {
  ArrayRowOptions,
  BatchOptions,
  CallOptions,
  CloseOptions,
  CommitListenerOptions,
  IterateOptions,
  ObjectRowOptions,
  OpenOptions,
  QueryOptions,
  ResultOptions,
  RollbackOptions,
  SplitQuerier,
  SyncArrayRowOptions,
  SyncObjectRowOptions,
} from './options.js';
export { Pool } from './pool.js';
export type { BackupAllOptions, BackupResult, MigrateAllOptions, MigrateResult, PoolProgress } from './pool-all.js';
export type { FileNames } from './pool-files.js';
export type { PoolEvent, PoolOptions, UseOptions } from './pool-options.js';
export type { PoolStats } from './pool-stats.js';
export type { AsyncRows } from './rows.js';
export { Sql, type SqlTag, sql } from './sql.js';
export { Statement, type StatementValues, WriteStatement } from './statement.js';
export type { DatabaseStats } from './stats.js';
export { SyncRead, SyncWrite } from './sync.js';
export type { StatementTrace, TransactionTrace } from './trace.js';
export { ReadTransaction, WriteTransaction } from './transaction.js';
export type { ArrayRow, QueryResult, Row, RunResult, SqlParameter, SqlParameters, SqlValue } from './values.js';
