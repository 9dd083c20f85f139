// Phase one of encoding: every value is read once, checked, and put where no user code can reach it.

import { types } from 'node:util';
import type { SqlParameters } from '../values.js';
import { Failure, FailureCode } from './failure.js';

const MAX_PARAMETERS = 65_535;
const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

/** A value that may be encoded: nothing in it can run user code. */
export type PlainValue = null | number | bigint | string | boolean | Uint8Array;

/**
 * The parameters of one record.
 *
 * Reading them may run user code (getters, proxies), and that code may encode a record of its own; the second phase
 * runs none, so what is here belongs to one record from the last read to the last byte.
 */
export class Parameters {
  /** The values; only the first `count` of them belong to this record. */
  readonly values: PlainValue[] = [];
  /** The names in the same order, or `undefined` for positional parameters. */
  names: string[] | undefined = undefined;
  count = 0;
  /** An upper bound of the bytes they need. */
  bound = 0;
  #reading = false;

  /** Reads `parameters`; throws a `Failure` that names the one that cannot be bound. */
  read(parameters: SqlParameters | undefined): Parameters {
    if (parameters === undefined) {
      this.names = undefined;
      this.count = 0;
      this.bound = 0;
      return this;
    }
    if (this.#reading) return new Parameters().read(parameters);
    this.#reading = true;
    try {
      if (Array.isArray(parameters)) this.#readPositional(parameters);
      else this.#readNamed(parameters);
    } finally {
      this.#reading = false;
    }
    return this;
  }

  #readPositional(parameters: readonly unknown[]): void {
    const count = parameters.length;
    if (count > MAX_PARAMETERS) throw tooMany(count);
    const values = this.values;
    let bound = 0;
    for (let index = 0; index < count; index++) {
      const value = parameters[index];
      if (typeof value === 'string') {
        values[index] = value;
        bound += 5 + 3 * value.length;
      } else if (typeof value === 'number' && !Number.isNaN(value)) {
        values[index] = value;
        bound += 9;
      } else {
        bound += this.#readOther(value, index, undefined);
      }
    }
    this.names = undefined;
    this.count = count;
    this.bound = bound;
  }

  #readNamed(parameters: unknown): void {
    if (typeof parameters !== 'object' || parameters === null || isNotABag(parameters)) {
      throw new Failure(
        FailureCode.parameter,
        `parameters must be an array or an object of named values, got ${describe(parameters)}` +
          (isScalar(parameters) ? '; write it inside an array' : ''),
      );
    }
    const names = Object.keys(parameters);
    if (names.length > MAX_PARAMETERS) throw tooMany(names.length);
    let bound = 0;
    for (let index = 0; index < names.length; index++) {
      const name = names[index] ?? '';
      if (name.length > 1_000 || !name.isWellFormed()) {
        throw new Failure(FailureCode.parameter, `parameter ${index + 1}: the name is too long or not valid Unicode`);
      }
      const value: unknown = Reflect.get(parameters, name);
      bound += 2 + 3 * name.length + this.#readOther(value, index, name);
    }
    this.names = names;
    this.count = names.length;
    this.bound = bound;
  }

  #readOther(value: unknown, index: number, name: string | undefined): number {
    switch (typeof value) {
      case 'string':
        this.values[index] = value;
        return 5 + 3 * value.length;
      case 'number':
        if (Number.isNaN(value)) throw unsupported(index, name, 'is NaN, which SQLite cannot store');
        this.values[index] = value;
        return 9;
      case 'boolean':
        this.values[index] = value;
        return 9;
      case 'bigint':
        if (value < MIN_INT64 || value > MAX_INT64) {
          throw unsupported(index, name, 'is a bigint beyond the 64 bits of an SQLite integer');
        }
        this.values[index] = value;
        return 9;
      case 'object': {
        if (value === null) {
          this.values[index] = null;
          return 1;
        }
        const bytes = toBytes(value);
        if (bytes === undefined) throw unsupported(index, name, complaint(value));
        if (bytes === 'gone') {
          throw unsupported(index, name, 'is detached, or ends beyond its buffer; bind a copy made before');
        }
        this.values[index] = bytes;
        return 5 + bytes.length;
      }
      default:
        throw unsupported(index, name, complaint(value));
    }
  }
}

/** The parameter as an error names it. */
export function nameOf(index: number, name: string | undefined): string {
  return name === undefined ? `parameter ${index + 1}` : `parameter :${name}`;
}

function unsupported(index: number, name: string | undefined, why: string): Failure {
  return new Failure(FailureCode.parameter, `${nameOf(index, name)} ${why}`);
}

function tooMany(count: number): Failure {
  return new Failure(FailureCode.parameter, `${count} parameters; at most ${MAX_PARAMETERS} are possible`);
}

function complaint(value: unknown): string {
  if (value === undefined) return 'is undefined; bind null for NULL';
  if (types.isDate(value)) return 'is a Date; convert it first, for example with toISOString() or getTime()';
  if (Array.isArray(value)) return 'is an array; bind its elements one by one (sql.join does), or JSON text';
  return `is ${describe(value)}, which cannot be bound`;
}

/** The kind of a value in words, without running code of its own. */
function describe(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'object') {
    if (types.isDate(value)) return 'a Date';
    if (types.isMap(value)) return 'a Map';
    if (types.isSet(value)) return 'a Set';
    if (types.isPromise(value)) return 'a Promise; await it first';
    if (types.isBoxedPrimitive(value)) return 'a boxed primitive';
    if (types.isRegExp(value)) return 'a RegExp';
    if (types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)) return 'a view of bytes';
    return 'an object';
  }
  return typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`;
}

function isScalar(value: unknown): boolean {
  if (value === undefined || value === null || typeof value === 'function' || typeof value === 'symbol') return false;
  return typeof value !== 'object' || ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value);
}

/** Objects whose own properties are not what their user means. */
function isNotABag(value: object): boolean {
  return (
    ArrayBuffer.isView(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isDate(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    types.isPromise(value) ||
    types.isRegExp(value) ||
    types.isBoxedPrimitive(value)
  );
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
const arrayAccess = {
  buffer: getter(typedArray, 'buffer'),
  byteOffset: getter(typedArray, 'byteOffset'),
  byteLength: getter(typedArray, 'byteLength'),
};
const dataViewAccess = {
  buffer: getter(DataView.prototype, 'buffer'),
  byteOffset: getter(DataView.prototype, 'byteOffset'),
  byteLength: getter(DataView.prototype, 'byteLength'),
};

function getter(prototype: unknown, name: string): (this: unknown) => unknown {
  const get = Object.getOwnPropertyDescriptor(prototype, name)?.get;
  if (get === undefined) throw new TypeError(`no getter ${name}`);
  return get;
}

/**
 * The bytes of a view or buffer; `undefined` when it is neither, `'gone'` when they were transferred or cut off.
 *
 * Node 20 cannot ask a buffer whether it is detached; making a view of one throws, and so does measuring a `DataView`.
 */
function toBytes(value: object): Uint8Array | 'gone' | undefined {
  try {
    if (types.isAnyArrayBuffer(value)) return new Uint8Array(value);
    return ArrayBuffer.isView(value) ? bytesOfView(value) : undefined;
  } catch {
    return 'gone';
  }
}

/** Read through the language's own getters: a subclass may have overridden them. */
function bytesOfView(value: ArrayBufferView): Uint8Array | undefined {
  const access = types.isDataView(value) ? dataViewAccess : arrayAccess;
  const buffer = access.buffer.call(value);
  const byteOffset = access.byteOffset.call(value);
  const byteLength = access.byteLength.call(value);
  if (!types.isAnyArrayBuffer(buffer) || typeof byteOffset !== 'number' || typeof byteLength !== 'number') {
    return undefined;
  }
  // A view that was cut off says it is empty; only the language's own methods tell the two apart, by throwing.
  if (byteLength === 0 && !types.isDataView(value)) typedArray.keys.call(value);
  return new Uint8Array(buffer, byteOffset, byteLength);
}
