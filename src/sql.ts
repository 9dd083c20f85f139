// The `sql` tag: SQL text and its values side by side, composable, with nothing pasted into the text by accident.

import { ParameterError } from './errors.js';
import type { SqlParameter } from './values.js';

const BRAND = Symbol.for('sqlflow.sql');

/** SQL text with the values of its parameters, made by {@link sql}. It can be run, or put into another one. */
export class Sql {
  /** The text, with `?` for every value. */
  readonly text: string;
  /** The values, in the order of the text. */
  readonly values: readonly SqlParameter[];
  /** No other object with the same properties is one. */
  declare private readonly nominal: true;

  private constructor(text: string, values: readonly SqlParameter[]) {
    this.text = text;
    this.values = values;
  }

  /** @internal */
  static of(text: string, values: readonly SqlParameter[]): Sql {
    return new Sql(text, values);
  }

  /** @internal */
  get [BRAND](): true {
    return true;
  }
}

/** Whether `value` was made by the `sql` tag, of this or of another copy of the package. */
export function isSql(value: unknown): value is Sql {
  return typeof value === 'object' && value !== null && BRAND in value;
}

/** The `sql` tag and the functions that make parts of a statement. */
export interface SqlTag {
  /**
   * SQL text with its values: every `${value}` becomes a parameter, and a nested `sql` fragment becomes part of the text.
   *
   * ```ts
   * const where = sql`WHERE country = ${country}`;
   * await db.all(sql`SELECT name FROM city ${where} LIMIT ${10}`);
   * ```
   */
  (strings: TemplateStringsArray, ...values: readonly (SqlParameter | Sql)[]): Sql;

  /**
   * Values or fragments one after the other, for `IN (...)` and lists of columns.
   *
   * @param parts values become parameters, fragments become text; an empty list is an error
   * @param separator what stands between them, by default a comma
   */
  join(parts: readonly (SqlParameter | Sql)[], separator?: Sql): Sql;

  /** A quoted name of a table or column, or several joined by a dot; quotes inside are doubled. */
  identifier(...names: readonly [string, ...string[]]): Sql;

  /** Text taken as it is. Never give it anything a user has written. */
  raw(text: string): Sql;
}

/** Texts of templates without fragments: the same template gives the same string, which the SQL table finds faster. */
const texts = new WeakMap<TemplateStringsArray, string>();

function tag(strings: TemplateStringsArray, ...values: readonly (SqlParameter | Sql)[]): Sql {
  if (!values.some(isSql)) {
    let text = texts.get(strings);
    if (text === undefined) {
      text = piece(strings, 0);
      for (let index = 1; index < strings.length; index++) text += `?${piece(strings, index)}`;
      texts.set(strings, text);
    }
    return Sql.of(text, values as readonly SqlParameter[]);
  }
  let text = piece(strings, 0);
  const bound: SqlParameter[] = [];
  for (let index = 0; index < values.length; index++) {
    text += place(values[index], bound) + piece(strings, index + 1);
  }
  return Sql.of(text, bound);
}

/** A piece of a template. JavaScript makes it `undefined`, not an error, when it holds an escape that has no meaning. */
function piece(strings: readonly (string | undefined)[], index: number): string {
  const text = strings[index];
  if (text === undefined) {
    throw new ParameterError(
      `piece ${index + 1} of the sql\`...\` template holds an escape that JavaScript cannot read, such as \\u without ` +
        'four digits; write the backslash twice',
    );
  }
  return text;
}

/** The text of one part; its values go to `bound`. */
function place(part: SqlParameter | Sql | undefined, bound: SqlParameter[]): string {
  if (isSql(part)) {
    for (const value of part.values) bound.push(value);
    return part.text;
  }
  bound.push(part as SqlParameter);
  return '?';
}

function join(parts: readonly (SqlParameter | Sql)[], separator?: Sql): Sql {
  if (parts.length === 0) throw new ParameterError('sql.join of an empty list makes no SQL; handle that case before');
  if (separator !== undefined && !isSql(separator))
    throw new ParameterError('the separator of sql.join must be an sql`...` fragment');
  const bound: SqlParameter[] = [];
  let text = place(parts[0], bound);
  for (let index = 1; index < parts.length; index++) {
    text += separator === undefined ? ', ' : place(separator, bound);
    text += place(parts[index], bound);
  }
  return Sql.of(text, bound);
}

function identifier(...names: readonly string[]): Sql {
  if (names.length === 0) throw new ParameterError('sql.identifier needs a name');
  return Sql.of(names.map(quoted).join('.'), []);
}

function quoted(name: string): string {
  if (typeof name !== 'string' || name === '' || name.includes('\0') || !name.isWellFormed()) {
    throw new ParameterError('sql.identifier needs names that are non-empty text without NUL');
  }
  return `"${name.replaceAll('"', '""')}"`;
}

function raw(text: string): Sql {
  if (typeof text !== 'string') throw new ParameterError(`sql.raw needs a string, got ${typeof text}`);
  return Sql.of(text, []);
}

/** SQL text with values that become parameters: see {@link SqlTag}. */
export const sql: SqlTag = Object.freeze(Object.assign(tag, { join, identifier, raw }));
