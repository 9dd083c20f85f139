// Phase two of encoding: one request record written into the request buffer, without running user code.

import { Failure, FailureCode } from './failure.js';
import { nameOf, type Parameters } from './parameters.js';
import type { Target } from './target.js';
import { Flag, HEADER_BYTES, ValueTag, WIRE_FLAGS } from './wire.js';

/** Longer strings are written by one native call; shorter ones faster character by character. */
const LOOP_CHARS = 32;

const MAX_RECORD_BYTES = 0x7fff_fff0;

/** Node's own text writer; on `Buffer.prototype` in every version, not in the types. */
interface TextWriter {
  utf8Write(text: string, offset: number, length: number): number;
}

/** Writes records at the start of one buffer, and those too large for it into a buffer of their own. */
export class Encoder {
  readonly #own: ArrayBuffer;
  readonly #ownBytes: Uint8Array;
  readonly #ownView: DataView;
  readonly #ownText: Buffer & TextWriter;
  #bytes: Uint8Array;
  #view: DataView;
  #text: Buffer & TextWriter;
  /** Where the last record is when it was too large for the request buffer. */
  large: ArrayBuffer | undefined = undefined;

  constructor(buffer: ArrayBuffer) {
    this.#own = buffer;
    this.#bytes = this.#ownBytes = new Uint8Array(buffer);
    this.#view = this.#ownView = new DataView(buffer);
    this.#text = this.#ownText = textWriter(buffer);
  }

  /**
   * Writes one record and returns its size in bytes. Throws a `Failure` for text that is not valid Unicode.
   *
   * Arguments one by one and not as an object: this is the hot path.
   */
  encode(
    op: number,
    kind: number,
    mode: number,
    target: Target,
    statement: number,
    cursor: number,
    limit: number,
    parameters: Parameters | undefined,
  ): number {
    this.large = undefined;
    if (parameters !== undefined && parameters.bound + HEADER_BYTES + 8 > this.#own.byteLength) {
      return this.#encodeLarge(op, kind, mode, target, statement, cursor, limit, parameters);
    }
    return this.#write(op, kind, mode, target, statement, cursor, limit, parameters);
  }

  /** The last record, `size` bytes; valid until the next one. */
  record(size: number): Uint8Array {
    return this.large === undefined ? this.#ownBytes.subarray(0, size) : new Uint8Array(this.large, 0, size);
  }

  #encodeLarge(
    op: number,
    kind: number,
    mode: number,
    target: Target,
    statement: number,
    cursor: number,
    limit: number,
    parameters: Parameters,
  ): number {
    const needed = HEADER_BYTES + 8 + exactBytes(parameters);
    if (needed > MAX_RECORD_BYTES) {
      throw new Failure(FailureCode.tooLarge, 'the parameters together are larger than 2 GiB');
    }
    if (needed <= this.#own.byteLength) {
      return this.#write(op, kind, mode, target, statement, cursor, limit, parameters);
    }
    const buffer = new ArrayBuffer(needed);
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#text = textWriter(buffer);
    try {
      const size = this.#write(op, kind, mode, target, statement, cursor, limit, parameters);
      this.large = buffer;
      return size;
    } finally {
      this.#bytes = this.#ownBytes;
      this.#view = this.#ownView;
      this.#text = this.#ownText;
      parameters.values.length = 0;
    }
  }

  #write(
    op: number,
    kind: number,
    mode: number,
    target: Target,
    statement: number,
    cursor: number,
    limit: number,
    parameters: Parameters | undefined,
  ): number {
    const view = this.#view;
    let at = HEADER_BYTES;
    let count = 0;
    let flags = (mode & WIRE_FLAGS) | target.flag;
    if (parameters !== undefined) {
      count = parameters.count;
      const { names } = parameters;
      if (names === undefined) {
        for (let index = 0; index < count; index++) at = this.#value(at, parameters, index);
      } else {
        flags |= Flag.named;
        for (let index = 0; index < count; index++) {
          at = this.#name(at, names[index] ?? '');
          at = this.#value(at, parameters, index);
        }
      }
    }
    const size = (at + 7) & ~7;
    while (at < size) view.setUint8(at++, 0);
    view.setUint32(0, size, true);
    view.setUint32(4, op, true);
    view.setUint32(8, kind | (flags << 8) | (count << 16), true);
    view.setUint32(12, target.index, true);
    view.setUint32(16, target.generation, true);
    view.setUint32(20, statement, true);
    view.setUint32(24, cursor, true);
    view.setUint32(28, limit, true);
    return size;
  }

  #value(at: number, parameters: Parameters, index: number): number {
    const value = parameters.values[index];
    const view = this.#view;
    if (typeof value === 'number') {
      if ((value | 0) === value && (value !== 0 || 1 / value > 0)) {
        view.setUint8(at, ValueTag.int32);
        view.setInt32(at + 1, value, true);
        return at + 5;
      }
      view.setUint8(at, Number.isSafeInteger(value) && value !== 0 ? ValueTag.int : ValueTag.real);
      view.setFloat64(at + 1, value, true);
      return at + 9;
    }
    if (typeof value === 'string') {
      view.setUint8(at, ValueTag.text);
      const written = this.#characters(at + 5, value);
      if (written < 0) {
        throw new Failure(
          FailureCode.parameter,
          `${nameOf(index, parameters.names?.[index])} holds a lone surrogate, which is not valid Unicode text`,
        );
      }
      view.setUint32(at + 1, written, true);
      return at + 5 + written;
    }
    if (value === null || value === undefined) {
      view.setUint8(at, ValueTag.null);
      return at + 1;
    }
    if (typeof value === 'boolean') {
      view.setUint8(at, ValueTag.int32);
      view.setInt32(at + 1, value ? 1 : 0, true);
      return at + 5;
    }
    if (typeof value === 'bigint') {
      view.setUint8(at, ValueTag.int64);
      view.setBigInt64(at + 1, value, true);
      return at + 9;
    }
    view.setUint8(at, ValueTag.blob);
    view.setUint32(at + 1, value.length, true);
    this.#bytes.set(value, at + 5);
    return at + 5 + value.length;
  }

  #name(at: number, name: string): number {
    const written = this.#characters(at + 2, name);
    this.#view.setUint16(at, written, true);
    return at + 2 + written;
  }

  /** Writes text as UTF-8 and returns its bytes, -1 when it is not valid Unicode. */
  #characters(at: number, text: string): number {
    const { length } = text;
    if (length <= LOOP_CHARS) {
      const bytes = this.#bytes;
      let index = 0;
      for (; index < length; index++) {
        const unit = text.charCodeAt(index);
        if (unit > 0x7f) break;
        bytes[at + index] = unit;
      }
      if (index === length) return length;
    }
    if (!text.isWellFormed()) return -1;
    return this.#text.utf8Write(text, at, this.#bytes.length - at);
  }
}

function exactBytes(parameters: Parameters): number {
  let bytes = 0;
  for (let index = 0; index < parameters.count; index++) {
    const value = parameters.values[index];
    const name = parameters.names?.[index];
    if (name !== undefined) bytes += 2 + Buffer.byteLength(name);
    if (typeof value === 'string') bytes += 5 + Buffer.byteLength(value);
    else if (value instanceof Uint8Array) bytes += 5 + value.length;
    else bytes += 9;
  }
  return bytes;
}

function textWriter(buffer: ArrayBuffer): Buffer & TextWriter {
  const writer = Buffer.from(buffer);
  if (!hasTextWriter(writer)) throw new TypeError('this Node.js has no Buffer.prototype.utf8Write');
  return writer;
}

function hasTextWriter(buffer: Buffer): buffer is Buffer & TextWriter {
  return typeof Reflect.get(buffer, 'utf8Write') === 'function';
}
