// What goes into SQL as a parameter and what comes out of it as a row.

/** A value of a result: NULL, REAL or INTEGER, INTEGER with `bigint: true`, TEXT, BLOB (an own copy). */
export type SqlValue = null | number | bigint | string | Uint8Array;

/**
 * A value that can be bound to a parameter.
 *
 * - `number`: a safe integer other than `-0` is bound as INTEGER, any other number as REAL; `NaN` is an error
 * - `bigint`: INTEGER; beyond 64 bits is an error
 * - `boolean`: INTEGER 1 or 0
 * - `string`: TEXT; a lone surrogate is an error
 * - any view of bytes (`Uint8Array`, `Buffer`, `DataView`, ...) or an `ArrayBuffer`: BLOB
 *
 * `undefined`, `Date`, functions and symbols are errors that name the parameter.
 */
export type SqlParameter = null | number | bigint | string | boolean | ArrayBufferView | ArrayBufferLike;

/**
 * The parameters of one statement: an array for `?` and `?1`, an object for `:name`, `@name` and `$name`
 * (the keys are written without the prefix).
 */
export type SqlParameters = readonly SqlParameter[] | { readonly [name: string]: SqlParameter };

/** A row as a plain object: one property per column; of columns with the same name the last one wins. */
export type Row = Record<string, SqlValue>;

/** A row as an array: one element per column, in the order of the statement. */
export type ArrayRow = SqlValue[];

/** What a statement that writes did. */
export interface RunResult {
  /** Rows inserted, updated or deleted by the statement itself (not by triggers). */
  changes: number;
  /** Row id of the last inserted row, 0 when the statement inserted none; a `bigint` beyond the safe integers. */
  lastInsertRowid: number | bigint;
}

/** All there is to know about a statement of any kind. */
export interface QueryResult<R = Row> extends RunResult {
  /** Column names in the order of the statement; empty for one that gives no rows. */
  columns: string[];
  /** The rows; empty for a statement that gives none. */
  rows: R[];
}
