// Column lists and the functions that build rows of them.

import type { Reader } from './reader.js';

/** Builds `count` rows at the reader's position and appends them to `into`. */
export type RowsBuilder = (reader: Reader, count: number, into: unknown[]) => void;

/** Builds the one row at the reader's position. */
export type RowBuilder = (reader: Reader) => unknown;

/** Rows after which a shape gets functions compiled for it; a column list seen once or twice is not worth it. */
const ROWS_BEFORE_COMPILING = 32;

/** Compiled code grows with the columns; beyond this many the plain builder is as good. */
const MAX_COMPILED_COLUMNS = 128;

let codeGeneration = true;

/** A list of column names. Two statements with the same list share one. */
export class Shape {
  readonly names: readonly string[];
  readonly #plain: PlainBuilder;
  #compiled: { row: RowBuilder; rows: RowsBuilder } | undefined = undefined;
  #untilCompiled = ROWS_BEFORE_COMPILING;

  constructor(names: readonly string[]) {
    this.names = names;
    this.#plain = new PlainBuilder(names);
    if (names.length > MAX_COMPILED_COLUMNS) this.#untilCompiled = Number.POSITIVE_INFINITY;
  }

  /** The row at the reader's position as an object. */
  row(reader: Reader): unknown {
    if (this.#compiled !== undefined) return this.#compiled.row(reader);
    this.#count(1);
    return this.#plain.row(reader);
  }

  /** Appends the next `count` rows as objects. */
  rows(reader: Reader, count: number, into: unknown[]): void {
    if (this.#compiled === undefined) this.#count(count);
    if (this.#compiled !== undefined) this.#compiled.rows(reader, count, into);
    else for (let row = 0; row < count; row++) into.push(this.#plain.row(reader));
  }

  #count(rows: number): void {
    this.#untilCompiled -= rows;
    if (this.#untilCompiled > 0) return;
    this.#untilCompiled = Number.POSITIVE_INFINITY;
    this.#compiled = compile(this.names);
  }
}

/** Appends the next `count` rows as arrays; needs no names. */
export function arrayRows(reader: Reader, columns: number, count: number, into: unknown[]): void {
  for (let row = 0; row < count; row++) {
    const cells: unknown[] = [];
    for (let column = 0; column < columns; column++) cells.push(reader.cell(column));
    into.push(cells);
  }
}

/** Builds rows without generated code. */
class PlainBuilder {
  readonly #names: readonly string[];
  readonly #ordinary: boolean;

  constructor(names: readonly string[]) {
    this.#names = names;
    this.#ordinary = !names.includes('__proto__');
  }

  row(reader: Reader): unknown {
    const row: Record<string, unknown> = {};
    const names = this.#names;
    for (let column = 0; column < names.length; column++) {
      const name = names[column] ?? '';
      const value = reader.cell(column);
      if (this.#ordinary || name !== '__proto__') row[name] = value;
      else Object.defineProperty(row, name, { value, writable: true, enumerable: true, configurable: true });
    }
    return row;
  }
}

/** `undefined` where the process does not allow code to be made of strings. */
function compile(names: readonly string[]): { row: RowBuilder; rows: RowsBuilder } | undefined {
  if (!codeGeneration) return undefined;
  const last = new Map(names.map((name, column) => [name, column]));
  const cells = names.map((_, column) => cellCode(column)).join('\n');
  const object = `{${Array.from(last, ([name, column]) => `${keyCode(name)}: v${column}`).join(', ')}}`;
  const body = `${names.map((_, column) => `let v${column} = null;`).join(' ')}\n${cells}`;
  const head =
    'const tags = r.bytes, numbers = r.numbers, words = r.words, text = r.text; let t = r.tag, s = r.slot, at = 0;';
  try {
    return {
      row: new Function('r', `${head}\n${body}\nreturn ${object};`) as RowBuilder,
      rows: new Function(
        'r',
        'count',
        'into',
        `${head}\nfor (let i = 0; i < count; i++) {\n${body}\ninto.push(${object});\nt += ${names.length}; s += ${names.length};\n}`,
      ) as RowsBuilder,
    };
  } catch {
    codeGeneration = false;
    return undefined;
  }
}

/** A literal `__proto__` key would set the prototype; a computed one makes a property. */
function keyCode(name: string): string {
  return name === '__proto__' ? '["__proto__"]' : JSON.stringify(name);
}

function cellCode(column: number): string {
  const tag = column === 0 ? 't' : `t + ${column}`;
  const slot = column === 0 ? 's' : `s + ${column}`;
  return (
    `switch (tags[${tag}]) { case 0: break; case 1: v${column} = numbers[${slot}]; break; ` +
    `case 3: v${column} = text.substring(at, at += words[(${slot}) << 1]); break; ` +
    `default: v${column} = r.rare(tags[${tag}], ${slot}, ${column}); }`
  );
}
