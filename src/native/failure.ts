// How a failure travels: as data through the border, made an error where a stack can name the caller.

import * as errors from '../errors.js';
import { MESSAGE_FIELD } from './wire.js';

type ErrorClass = new (message: string, detail: errors.SqlflowErrorDetail) => errors.SqlflowError;

/** Error codes of the wire, by number. */
const CLASSES: readonly (ErrorClass | undefined)[] = [
  undefined,
  errors.SqlError,
  errors.ConstraintError,
  errors.BusyError,
  errors.ReadOnlyTransactionError,
  errors.TransactionClosedError,
  errors.TransactionAbortedError,
  errors.UnfinishedQueryError,
  errors.QueueFullError,
  errors.QueueTimeoutError,
  errors.CommitOutcomeUnknownError,
  errors.DatabaseClosedError,
  errors.OptionsConflictError,
  errors.EnginePanicError,
  errors.CorruptDatabaseError,
  errors.NotADatabaseError,
  errors.ParameterError,
  errors.StatementError,
  errors.StatementNotAllowedError,
  errors.CannotOpenError,
  errors.IoError,
  errors.TransactionTimeoutError,
  errors.AbortError,
  errors.StatementInFlightError,
  errors.ProtocolError,
  errors.ReadOnlyDatabaseError,
  errors.TooLargeError,
  errors.ProcessExitingError,
  errors.OptionError,
  errors.InterruptedError,
  errors.MigrationFailedError,
  errors.MigrationDivergentError,
  errors.MigrationMissingError,
  errors.DatabaseNewerThanCodeError,
  errors.MigrationSourceError,
  errors.WrongKeyError,
  errors.NotEncryptedError,
  errors.ForeignCipherFormatError,
  errors.FileExistsError,
  errors.NoSuchDatabaseError,
];

/** Code of an error of the wire that this side makes as well. */
export const FailureCode = {
  constraint: 2,
  transactionClosed: 5,
  databaseClosed: 11,
  parameter: 16,
  statement: 17,
  transactionTimeout: 21,
  statementInFlight: 23,
  protocol: 24,
  tooLarge: 26,
  /** The first and the last one whose message has fields. */
  migrationFailed: 30,
  migrationSource: 34,
  /** Beyond the wire: only this side makes it. */
  noRows: -1,
  integerOutOfRange: -2,
  savepointOpen: -3,
} as const;

/** An error that has not been made yet: making one captures a stack, which is useless inside the drain. */
export class Failure {
  readonly code: number;
  readonly message: string;
  readonly sqliteCode: number;
  /** Offset into the SQL text in UTF-8 bytes, -1 for none. */
  readonly byteOffset: number;
  /** Which statement of a batch it was, counted from 1; 0 for none. */
  readonly statement: number;

  constructor(code: number, message: string, sqliteCode = 0, byteOffset = -1, statement = 0) {
    this.code = code;
    this.message = message;
    this.sqliteCode = sqliteCode;
    this.byteOffset = byteOffset;
    this.statement = statement;
  }

  /** The same of statement `statement` of a batch; `label` is how the message calls it. */
  within(label: string, statement: number): Failure {
    return new Failure(this.code, `${label}: ${this.message}`, this.sqliteCode, this.byteOffset, statement);
  }

  /** The error itself; `sql` is the statement it happened in, empty for none. */
  toError(sql: string): errors.SqlflowError {
    const { message, ...place } = this.#hasFields ? fieldsOf(this.message) : { message: this.message };
    return new (classOf(this.code))(message, {
      ...place,
      sqliteCode: this.sqliteCode === 0 ? undefined : this.sqliteCode,
      offset: this.byteOffset < 0 || sql === '' ? undefined : indexInText(sql, this.byteOffset),
      sql: sql === '' ? undefined : sql,
    });
  }

  get #hasFields(): boolean {
    return this.code >= FailureCode.migrationFailed && this.code <= FailureCode.migrationSource;
  }
}

function classOf(code: number): ErrorClass {
  if (code === FailureCode.noRows) return errors.NoRowsError;
  if (code === FailureCode.integerOutOfRange) return errors.IntegerOutOfRangeError;
  if (code === FailureCode.savepointOpen) return errors.SavepointOpenError;
  return CLASSES[code] ?? errors.SqlflowError;
}

/** The fields of the message of a migration error. The first one may be anything, so they are taken from the end. */
function fieldsOf(text: string): { message: string; file?: string; line?: number; version?: number | bigint } {
  const fields = text.split(MESSAGE_FIELD);
  if (fields.length < 4) return { message: text };
  const [file = '', line = '', version = ''] = fields.splice(-3);
  return {
    message: fields.join(MESSAGE_FIELD),
    ...(file === '' ? {} : { file }),
    ...(line === '' ? {} : { line: Number(line) }),
    ...(version === '' ? {} : { version: integerOf(version) }),
  };
}

function integerOf(digits: string): number | bigint {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : BigInt(digits);
}

function indexInText(sql: string, byteOffset: number): number {
  return Buffer.from(sql).toString('utf8', 0, byteOffset).length;
}

/**
 * What was thrown on this side, as an error of the statement `sql`. Its stack begins with the caller of `below`: a stack
 * has few frames, and those of the caller are the ones that help.
 */
export function errorOf(thrown: unknown, sql: string, below: CallableFunction = errorOf): unknown {
  if (!(thrown instanceof Failure)) return thrown;
  const error = thrown.toError(sql);
  Error.captureStackTrace(error, below);
  return error;
}

/**
 * A promise to resolve a caller's promise with, so that it rejects with the error of `reason`, usually a `Failure`.
 *
 * V8 finds the caller's frames through the promise that waits for this one. That promise is attached in a microtask of
 * its own, hence the second await: an error thrown after the first would not know who waits.
 */
export async function rejection(reason: unknown, sql: string): Promise<never> {
  await undefined;
  await undefined;
  throw errorOf(reason, sql, rejection);
}
