// One buffer of completion records, and the cells of the rows record at its current position.

import { Failure, FailureCode } from './failure.js';
import { CellTag, HEADER_BYTES, ReplyFlag } from './wire.js';

/** ASCII blocks up to this size are made by JavaScript itself: a native call costs more. */
const SHORT_TEXT = 16;

/** Node's own text readers; on `Buffer.prototype` in every version, not in the types. */
interface TextReader {
  latin1Slice(start: number, end: number): string;
  utf8Slice(start: number, end: number): string;
}

/** Typed views over one buffer, made once, and the position of the record that is being decoded. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly numbers: Float64Array;
  readonly words: Uint32Array;
  readonly #signed: Int32Array;
  readonly #longs: BigInt64Array;
  readonly #texts: Buffer & TextReader;

  /** Columns and rows of the rows record entered last, and the names of its columns. */
  columns = 0;
  names: readonly string[] = [];
  rows = 0;
  /** Index of the tag of the next row's first cell, in bytes. */
  tag = 0;
  /** Index of its slot, in units of eight bytes. */
  slot = 0;
  /** The text of all cells of the record, one after the other. */
  text = '';
  #textAt = 0;
  #blobAt = 0;
  #trailer = 0;
  #bigint = false;

  constructor(buffer: ArrayBuffer) {
    const eights = buffer.byteLength >> 3;
    this.bytes = new Uint8Array(buffer);
    this.numbers = new Float64Array(buffer, 0, eights);
    this.words = new Uint32Array(buffer, 0, eights * 2);
    this.#signed = new Int32Array(buffer, 0, eights * 2);
    this.#longs = new BigInt64Array(buffer, 0, eights);
    this.#texts = textReader(buffer);
  }

  /** The unsigned 32-bit field at `offset` of the record at `base`. */
  field(base: number, offset: number): number {
    return this.words[(base + offset) >> 2] ?? 0;
  }

  /** The same, signed. */
  signedField(base: number, offset: number): number {
    return this.#signed[(base + offset) >> 2] ?? 0;
  }

  /** An unsigned 32-bit number at any byte position. */
  unalignedField(at: number): number {
    const { bytes } = this;
    const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    return low + (bytes[at + 3] ?? 0) * 0x100_0000;
  }

  /** A 64-bit integer at any byte position, as `integer` gives it. */
  unalignedInteger(at: number): number | bigint {
    const low = this.unalignedField(at);
    const high = this.unalignedField(at + 4) | 0;
    const value = high * 0x1_0000_0000 + low;
    return Number.isSafeInteger(value) ? value : (BigInt(high) << 32n) | BigInt(low);
  }

  /** Moves to the first row of the rows record at `base`. `bigint`: integers were asked for as `bigint`. */
  enter(base: number, bigint: boolean): void {
    const head = this.field(base, 8);
    const columns = head >>> 16;
    const rows = this.field(base, 12);
    const textBytes = this.field(base, 20);
    const tags = base + HEADER_BYTES;
    const slots = tags + padded(columns * rows);
    const text = slots + columns * rows * 8;
    this.columns = columns;
    this.rows = rows;
    this.tag = tags;
    this.slot = slots >> 3;
    this.#textAt = 0;
    this.#blobAt = text + padded(textBytes);
    this.#trailer = this.#blobAt + padded(this.field(base, 24));
    this.#bigint = bigint;
    if (textBytes === 0) this.text = '';
    else if (((head >>> 8) & ReplyFlag.utf8) !== 0) this.text = this.#texts.utf8Slice(text, text + textBytes);
    else if (textBytes <= SHORT_TEXT) this.text = shortText(this.bytes, text, textBytes);
    else this.text = this.#texts.latin1Slice(text, text + textBytes);
  }

  /** The next cell; after the last one of a row the position is at the next row. */
  cell(column: number): unknown {
    const slot = this.slot++;
    const tag = this.bytes[this.tag++];
    switch (tag) {
      case CellTag.null:
        return null;
      case CellTag.number:
        return this.numbers[slot];
      case CellTag.text: {
        const start = this.#textAt;
        this.#textAt = start + (this.words[slot << 1] ?? 0);
        return this.text.substring(start, this.#textAt);
      }
      default:
        return this.rare(tag, slot, column);
    }
  }

  /** A cell of a kind that generated code leaves to this class. Throws a `Failure`. */
  rare(tag: number | undefined, slot: number, column: number): unknown {
    if (tag === CellTag.blob) {
      const start = this.#blobAt;
      this.#blobAt = start + (this.words[slot << 1] ?? 0);
      return this.bytes.slice(start, this.#blobAt);
    }
    if (tag !== CellTag.int64) {
      throw new Failure(FailureCode.protocol, `a cell of unknown kind ${tag}; this is a defect of sqlflow`);
    }
    if (this.#bigint) return this.#longs[slot];
    throw new Failure(
      FailureCode.integerOutOfRange,
      `column ${column + 1} (${this.names[column]}) holds an integer that a number cannot hold; ask with { bigint: true }`,
    );
  }

  /** Names that came with the record, for a column list that is not shared; `hasChanges`: the counts come before. */
  inlineNames(hasChanges: boolean): string[] {
    const names: string[] = [];
    let at = this.#trailer + (hasChanges ? 16 : 0);
    for (let column = 0; column < this.columns; column++) {
      const length = this.unalignedField(at);
      names.push(this.#texts.utf8Slice(at + 4, at + 4 + length));
      at += 4 + length;
    }
    return names;
  }

  /** Where the counts of the rows record entered last are. */
  get trailer(): number {
    return this.#trailer;
  }

  /** A 64-bit integer as a number, or as a `bigint` where a number cannot hold it. */
  integer(at: number): number | bigint {
    const value = this.signedField(at, 4) * 0x1_0000_0000 + this.field(at, 0);
    return Number.isSafeInteger(value) ? value : (this.#longs[at >> 3] ?? 0n);
  }

  /** UTF-8 text at a byte position. */
  utf8(start: number, byteLength: number): string {
    return this.#texts.utf8Slice(start, start + byteLength);
  }
}

function padded(byteLength: number): number {
  return (byteLength + 7) & ~7;
}

/** Up to 16 ASCII characters; bytes behind the text belong to the padding of the block or to what follows it. */
function shortText(bytes: Uint8Array, at: number, length: number): string {
  const b = bytes;
  if (length <= 8) {
    return String.fromCharCode(
      b[at] ?? 0,
      b[at + 1] ?? 0,
      b[at + 2] ?? 0,
      b[at + 3] ?? 0,
      b[at + 4] ?? 0,
      b[at + 5] ?? 0,
      b[at + 6] ?? 0,
      b[at + 7] ?? 0,
    ).substring(0, length);
  }
  return String.fromCharCode(
    b[at] ?? 0,
    b[at + 1] ?? 0,
    b[at + 2] ?? 0,
    b[at + 3] ?? 0,
    b[at + 4] ?? 0,
    b[at + 5] ?? 0,
    b[at + 6] ?? 0,
    b[at + 7] ?? 0,
    b[at + 8] ?? 0,
    b[at + 9] ?? 0,
    b[at + 10] ?? 0,
    b[at + 11] ?? 0,
    b[at + 12] ?? 0,
    b[at + 13] ?? 0,
    b[at + 14] ?? 0,
    b[at + 15] ?? 0,
  ).substring(0, length);
}

function textReader(buffer: ArrayBuffer): Buffer & TextReader {
  const reader = Buffer.from(buffer);
  if (!hasTextReader(reader)) throw new TypeError('this Node.js has no Buffer.prototype.latin1Slice');
  return reader;
}

function hasTextReader(buffer: Buffer): buffer is Buffer & TextReader {
  return (
    typeof Reflect.get(buffer, 'latin1Slice') === 'function' && typeof Reflect.get(buffer, 'utf8Slice') === 'function'
  );
}
