// The errors a caller can meet: one class per reason, each with a code that never changes.

const BRAND = Symbol.for('sqlflow.error');

/**
 * What an error knows beside its message.
 *
 * @internal
 */
export interface SqlflowErrorDetail {
  /** SQLite's extended result code, when SQLite reported one. */
  sqliteCode?: number | undefined;
  /** Where in `sql` SQLite found the mistake, as an index into the string. */
  offset?: number | undefined;
  /** The statement as it was written. */
  sql?: string | undefined;
  /** The migration file it is about, or the folder of migrations. */
  file?: string | undefined;
  /** The line of that file, from 1. */
  line?: number | undefined;
  /** The version of the migration it is about. */
  version?: number | bigint | undefined;
  /** The error or reason behind this one. */
  cause?: unknown;
}

/**
 * What every error of sqlflow extends. It never holds a bound value.
 *
 * `instanceof` also recognizes errors made by another copy of the package.
 */
export class SqlflowError extends Error {
  /** Stable name of the reason; the one thing to branch on beside `instanceof`. */
  readonly code: string = 'SQLFLOW';
  /** SQLite's extended result code (https://sqlite.org/rescode.html); `undefined` when SQLite was not involved. */
  readonly sqliteCode: number | undefined;
  /** Where in `sql` SQLite found the mistake, as an index into the string; `undefined` when it does not say. */
  readonly offset: number | undefined;
  /** The statement as it was written; `undefined` when the error is about none. */
  readonly sql: string | undefined;

  /** @internal */
  constructor(message: string, detail: SqlflowErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.sqliteCode = detail.sqliteCode;
    this.offset = detail.offset;
    this.sql = detail.sql;
  }

  /** @internal */
  static override [Symbol.hasInstance](this: { prototype: unknown }, value: unknown): boolean {
    if (typeof value !== 'object' || value === null) return false;
    // biome-ignore lint/complexity/noThisInStatic: subclasses inherit this, and are asked for themselves
    const { prototype } = this;
    const brand = ownBrand(prototype);
    for (let link: unknown = Object.getPrototypeOf(value); link !== null; link = Object.getPrototypeOf(link)) {
      if (link === prototype || (brand !== undefined && ownBrand(link) === brand)) return true;
    }
    return false;
  }
}

function ownBrand(prototype: unknown): unknown {
  if (typeof prototype !== 'object' || prototype === null) return undefined;
  return Object.getOwnPropertyDescriptor(prototype, BRAND)?.value;
}

/**
 * SQLite refused the statement or failed while running it: a syntax error, a missing table, a type mismatch.
 * `sqliteCode` and `offset` say more.
 */
export class SqlError extends SqlflowError {
  override readonly code = 'SQL_ERROR';
}

/**
 * A constraint failed: UNIQUE, NOT NULL, CHECK, a foreign key (deferred ones at commit). `sqliteCode` tells
 * which kind.
 */
export class ConstraintError extends SqlflowError {
  override readonly code = 'CONSTRAINT';
}

/** Another process held the file for longer than `busyTimeoutMs`. */
export class BusyError extends SqlflowError {
  override readonly code = 'BUSY';
}

/** A statement that writes was run in `db.read`; use `db.write`. */
export class ReadOnlyTransactionError extends SqlflowError {
  override readonly code = 'READ_ONLY_TRANSACTION';
}

/** A transaction, a savepoint, a statement or an iterator was used after its closure had ended. */
export class TransactionClosedError extends SqlflowError {
  override readonly code = 'TRANSACTION_CLOSED';
}

/**
 * The transaction was rolled back underneath its closure: by `OR ROLLBACK`, `RAISE(ROLLBACK)` or a full disk, or
 * together with a neighbour of its group. Nothing of it was written; it may be tried again.
 */
export class TransactionAbortedError extends SqlflowError {
  override readonly code = 'TRANSACTION_ABORTED';
}

/**
 * A closure ended while one of its statements was still running; the transaction was rolled back. Await every
 * statement.
 */
export class UnfinishedQueryError extends SqlflowError {
  override readonly code = 'UNFINISHED_QUERY';
}

/** More than `maxQueued` operations were waiting. */
export class QueueFullError extends SqlflowError {
  override readonly code = 'QUEUE_FULL';
}

/**
 * The operation waited for the writer or a reader for longer than `queueTimeoutMs`, and was never started. The message
 * says who holds them, and for how long.
 */
export class QueueTimeoutError extends SqlflowError {
  override readonly code = 'QUEUE_TIMEOUT';
}

/** COMMIT failed by an I/O error: the transaction may or may not be in the file. */
export class CommitOutcomeUnknownError extends SqlflowError {
  override readonly code = 'COMMIT_OUTCOME_UNKNOWN';
}

/**
 * The database was closed before the call, while an iterator of it was idle, or with a `timeoutMs` that was over before
 * the work was; an open transaction was rolled back then.
 */
export class DatabaseClosedError extends SqlflowError {
  override readonly code = 'DATABASE_CLOSED';
}

/**
 * The file is already open in this process with options that cannot differ (`synchronous`, `readers`,
 * `maxQueued`, `logLimitBytes`, `readOnly`, `secureDelete`, `cipherCompatibility`).
 */
export class OptionsConflictError extends SqlflowError {
  override readonly code = 'OPTIONS_CONFLICT';
}

/** The engine failed by a defect of its own; this database accepts no more work. Please report it. */
export class EnginePanicError extends SqlflowError {
  override readonly code = 'ENGINE_PANIC';
}

/** The file is damaged. */
export class CorruptDatabaseError extends SqlflowError {
  override readonly code = 'CORRUPT_DATABASE';
}

/** The file is not an SQLite database, or it is encrypted and was opened without a key; nobody can tell which. */
export class NotADatabaseError extends SqlflowError {
  override readonly code = 'NOT_A_DATABASE';
}

/**
 * A parameter cannot be bound: an unsupported value, a wrong count, an unknown or a missing name. The message
 * names the parameter, never its value.
 */
export class ParameterError extends SqlflowError {
  override readonly code = 'PARAMETER';
}

/** The SQL text is empty, or holds two statements where one is wanted. */
export class StatementError extends SqlflowError {
  override readonly code = 'STATEMENT';
}

/**
 * The statement is not for user SQL: BEGIN, COMMIT, SAVEPOINT, ATTACH, most pragmas. The message names what to
 * use instead.
 */
export class StatementNotAllowedError extends SqlflowError {
  override readonly code = 'STATEMENT_NOT_ALLOWED';
}

/** The file cannot be opened: missing with `create: false`, a folder, no permission. */
export class CannotOpenError extends SqlflowError {
  override readonly code = 'CANNOT_OPEN';
}

/** Reading or writing the file failed, or the disk is full. */
export class IoError extends SqlflowError {
  override readonly code = 'IO';
}

/**
 * It took too long: a transaction was open for longer than `transactionTimeoutMs`, `readTimeoutMs` or `timeoutMs` and was
 * rolled back; a statement took longer than its `timeoutMs`; an iterator of the database was idle for longer than
 * `idleTimeoutMs`.
 */
export class TransactionTimeoutError extends SqlflowError {
  override readonly code = 'TRANSACTION_TIMEOUT';
}

/**
 * The operation was aborted by its `signal`, whose reason is the `cause`. Nothing of it was written; a statement of a
 * `write` takes the whole transaction with it when it writes itself.
 */
export class AbortError extends SqlflowError {
  override readonly code = 'ABORT_ERR';
}

/** `tx.sync` was used before an asynchronous statement of the same transaction was answered; await it first. */
export class StatementInFlightError extends SqlflowError {
  override readonly code = 'STATEMENT_IN_FLIGHT';
}

/**
 * The database was used inside a closure of one of its own transactions, where it would wait for what its caller holds.
 * Use `tx`, `tx.savepoint` for a transaction within it, or `db.outside` for work that is none of the closure's.
 */
export class ReentrantAccessError extends SqlflowError {
  override readonly code = 'REENTRANT_ACCESS';
}

/** A closure that has to be synchronous gave a promise; what it had done was rolled back. */
export class AsyncClosureError extends SqlflowError {
  override readonly code = 'ASYNC_CLOSURE';
}

/** A transaction or a savepoint was used while a savepoint inside it is open; use that one's `tx`. */
export class SavepointOpenError extends SqlflowError {
  override readonly code = 'SAVEPOINT_OPEN';
}

/** The two halves of sqlflow misunderstood each other: a defect. Please report it. */
export class ProtocolError extends SqlflowError {
  override readonly code = 'PROTOCOL';
}

/** The database was opened with `readOnly`, or the file or its folder cannot be written. */
export class ReadOnlyDatabaseError extends SqlflowError {
  override readonly code = 'READ_ONLY_DATABASE';
}

/** A value, a row or a statement is larger than SQLite allows. */
export class TooLargeError extends SqlflowError {
  override readonly code = 'TOO_LARGE';
}

/** The process is ending; nothing new is started. */
export class ProcessExitingError extends SqlflowError {
  override readonly code = 'PROCESS_EXITING';
}

/**
 * An option or an argument is unknown or has a value that is not accepted. The message names it and what is
 * accepted.
 */
export class OptionError extends SqlflowError {
  override readonly code = 'INVALID_OPTION';
}

/** The statement was interrupted because its worker or the process is ending. */
export class InterruptedError extends SqlflowError {
  override readonly code = 'INTERRUPTED';
}

/** `one` found no row; `get` gives `undefined` instead. */
export class NoRowsError extends SqlflowError {
  override readonly code = 'NO_ROWS';
}

/** A column holds an integer that a JavaScript number cannot hold; ask with `bigint: true`. */
export class IntegerOutOfRangeError extends SqlflowError {
  override readonly code = 'INTEGER_OUT_OF_RANGE';
}

/** What errors of migrations know beside. */
abstract class MigrationError extends SqlflowError {
  /** The name of the file it is about, or of the entry of a list; `undefined` when it is about none. */
  readonly file: string | undefined;
  /** The line of the file, from 1; `undefined` when it is about no line. */
  readonly line: number | undefined;
  /** The version of the migration it is about, a `bigint` beyond the safe integers; `undefined` when it is about none. */
  readonly version: number | bigint | undefined;

  /** @internal */
  constructor(message: string, detail: SqlflowErrorDetail = {}) {
    super(message, detail);
    this.file = detail.file;
    this.line = detail.line;
    this.version = detail.version;
  }
}

/**
 * A migration could not be run, up or down: SQLite refused a statement of it (`sqliteCode`; the message has its words), it
 * breaks foreign keys, it ends its own transaction, or it has no Down part. That migration was rolled back, those before
 * it are applied. One with `NO TRANSACTION` may be half done; the message says so then.
 */
export class MigrationFailedError extends MigrationError {
  override readonly code = 'MIGRATION_FAILED';
}

/** A migration that was applied has been changed since: its text or its name. Nothing was run. */
export class MigrationDivergentError extends MigrationError {
  override readonly code = 'MIGRATION_DIVERGENT';
}

/**
 * The migrations and those that were applied do not fit: one that was applied is not there any more, or a new one has a
 * version below the last that was applied. Nothing was run.
 */
export class MigrationMissingError extends MigrationError {
  override readonly code = 'MIGRATION_MISSING';
}

/** The database has migrations from after the last one that the code has: a newer program has opened it. Nothing was run. */
export class DatabaseNewerThanCodeError extends MigrationError {
  override readonly code = 'DATABASE_NEWER_THAN_CODE';
}

/**
 * The migrations themselves are wrong: a folder or a file that cannot be read or has nothing in it, a name without a
 * version, a version that is there twice, annotations that make no sense. No database was opened.
 */
export class MigrationSourceError extends MigrationError {
  override readonly code = 'MIGRATION_SOURCE';
}

/**
 * An encrypted file could not be decrypted: the key or passphrase is wrong (or `cipherCompatibility`), or the file is
 * damaged or no database; nobody can tell which. The file is untouched. Of an open file only the caller with the wrong key
 * is told.
 */
export class WrongKeyError extends SqlflowError {
  override readonly code = 'WRONG_KEY';
}

/** The key provider has no key for the file, or failed; then its error is the `cause`. Nothing was opened. */
export class KeyNotAvailableError extends SqlflowError {
  override readonly code = 'KEY_NOT_AVAILABLE';
}

/** A key was given for a file that is not encrypted. Open it without; `db.backup(path, { key })` makes an encrypted copy. */
export class NotEncryptedError extends SqlflowError {
  override readonly code = 'NOT_ENCRYPTED';
}

/**
 * The file was encrypted by SQLite3 Multiple Ciphers (scheme `sqlcipher`, `legacy` 0), whose first page SQLCipher cannot
 * read. `Database.convert` makes it a SQLCipher 4 file.
 */
export class ForeignCipherFormatError extends SqlflowError {
  override readonly code = 'FOREIGN_CIPHER_FORMAT';
}

/** The target of a backup exists. Nothing was written; `overwrite: true` replaces it. */
export class FileExistsError extends SqlflowError {
  override readonly code = 'FILE_EXISTS';
}

/** A pool has no database for the key, and `create` says that none is made. */
export class NoSuchDatabaseError extends SqlflowError {
  override readonly code = 'NO_SUCH_DATABASE';
}

/** A key of a pool that cannot be the name of a file: empty, too long, no valid Unicode, or refused by `fileName`. */
export class PoolKeyError extends SqlflowError {
  override readonly code = 'POOL_KEY';
}

const classes = {
  SqlflowError,
  SqlError,
  ConstraintError,
  BusyError,
  ReadOnlyTransactionError,
  TransactionClosedError,
  TransactionAbortedError,
  UnfinishedQueryError,
  QueueFullError,
  QueueTimeoutError,
  CommitOutcomeUnknownError,
  DatabaseClosedError,
  OptionsConflictError,
  EnginePanicError,
  CorruptDatabaseError,
  NotADatabaseError,
  ParameterError,
  StatementError,
  StatementNotAllowedError,
  CannotOpenError,
  IoError,
  TransactionTimeoutError,
  AbortError,
  StatementInFlightError,
  ReentrantAccessError,
  AsyncClosureError,
  SavepointOpenError,
  ProtocolError,
  ReadOnlyDatabaseError,
  TooLargeError,
  ProcessExitingError,
  OptionError,
  InterruptedError,
  NoRowsError,
  IntegerOutOfRangeError,
  MigrationFailedError,
  MigrationDivergentError,
  MigrationMissingError,
  DatabaseNewerThanCodeError,
  MigrationSourceError,
  WrongKeyError,
  KeyNotAvailableError,
  NotEncryptedError,
  ForeignCipherFormatError,
  FileExistsError,
  NoSuchDatabaseError,
  PoolKeyError,
};

for (const [name, { prototype }] of Object.entries(classes)) {
  Object.defineProperty(prototype, 'name', { value: name, configurable: true, writable: true });
  Object.defineProperty(prototype, BRAND, { value: name });
}
