// Request records: the bytes of every kind of value, the errors of the rest, and user code that runs while values are read.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { Encoder } from '../dist/native/encode.js';
import { Target } from '../dist/native/engine.js';
import { Failure } from '../dist/native/failure.js';
import { Parameters } from '../dist/native/parameters.js';
import { Flag, HEADER_BYTES, Kind, NO_REPLY, REQUEST_BYTES } from '../dist/native/wire.js';
import type { SqlParameters } from '../dist/values.js';

const request = new ArrayBuffer(REQUEST_BYTES);
const encoder = new Encoder(request);
const target = new Target(7, 9, Flag.transaction, 0);

/** A record with the given parameters, as bytes. */
function record(parameters?: SqlParameters): Buffer {
  const values = parameters === undefined ? undefined : new Parameters().read(parameters);
  const size = encoder.encode(3, Kind.get, Flag.bigint | Flag.arrays, target, 11, 12, 13, values);
  return Buffer.from(encoder.large ?? request, 0, size);
}

/** The encoded parameters of a record, without the padding that must be zero. */
function body(parameters: SqlParameters, length: number): Buffer {
  const bytes = record(parameters);
  const end = HEADER_BYTES + length;
  assert.equal(bytes.length, Math.ceil(end / 8) * 8);
  assert.ok(bytes.subarray(end).every((byte) => byte === 0));
  return bytes.subarray(HEADER_BYTES, end);
}

/** The message for a value that cannot be bound; given as `unknown`, for it is none by its type. */
function refused(parameters: unknown): string {
  try {
    record(parameters as SqlParameters);
  } catch (error) {
    assert.ok(error instanceof Failure);
    return error.message;
  }
  return assert.fail('nothing was thrown');
}

describe('a request record', () => {
  it('begins with what is asked of whom', () => {
    const bytes = record([null]);
    assert.equal(bytes.readUInt32LE(0), 40);
    assert.equal(bytes.readUInt32LE(4), 3);
    assert.equal(bytes[8], Kind.get);
    assert.equal(bytes[9], Flag.bigint | Flag.transaction);
    assert.equal(bytes.readUInt16LE(10), 1);
    assert.deepEqual(
      [12, 16, 20, 24, 28].map((at) => bytes.readUInt32LE(at)),
      [7, 9, 11, 12, 13],
    );
  });

  it('has a header only when there are no parameters', () => {
    assert.equal(record().length, HEADER_BYTES);
    assert.equal(record([]).length, HEADER_BYTES);
    assert.equal(encoder.encode(NO_REPLY, Kind.closeCursor, 0, target, 0, 1, 0, undefined), HEADER_BYTES);
    assert.equal(new DataView(request).getUint32(4, true), 0xffff_ffff);
  });

  it('leaves nothing of the record before it in the padding', () => {
    record(['\x7f'.repeat(100)]);
    body([null], 1);
  });
});

describe('values', () => {
  const int32 = (value: number) => [1, ...Buffer.from(Int32Array.of(value).buffer)];
  const float = (tag: number, value: number) => [tag, ...Buffer.from(Float64Array.of(value).buffer)];

  it('null, booleans and small integers', () => {
    assert.deepEqual([...body([null], 1)], [0]);
    assert.deepEqual([...body([true], 5)], int32(1));
    assert.deepEqual([...body([false], 5)], int32(0));
    for (const value of [0, 1, -1, 2_147_483_647, -2_147_483_648])
      assert.deepEqual([...body([value], 5)], int32(value));
  });

  it('larger safe integers are integers, everything else is real', () => {
    for (const value of [2_147_483_648, -2_147_483_649, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
      assert.deepEqual([...body([value], 9)], float(2, value));
    }
    for (const value of [0.5, -0, 2 ** 53, 1e300, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      assert.deepEqual([...body([value], 9)], float(4, value));
    }
  });

  it('bigints of 64 bits', () => {
    for (const value of [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
      assert.deepEqual([...body([value], 9)], [3, ...Buffer.from(BigInt64Array.of(value).buffer)]);
    }
  });

  it('text of any length and kind', () => {
    const texts = ['', 'a', 'with \0 inside', 'é', '€', '😀', 'a'.repeat(31), 'a'.repeat(32), 'a'.repeat(33)];
    for (const text of [...texts, `${'a'.repeat(20)}é`, 'ÿ'.repeat(100), '漢'.repeat(5_000)]) {
      const bytes = Buffer.from(text);
      const encoded = body([text], 5 + bytes.length);
      assert.equal(encoded[0], 5);
      assert.equal(encoded.readUInt32LE(1), bytes.length);
      assert.deepEqual(encoded.subarray(5), bytes);
    }
  });

  it('bytes of every view', () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const expected = (part: Uint8Array) => [6, part.length, 0, 0, 0, ...part];
    assert.deepEqual([...body([bytes], 13)], expected(bytes));
    assert.deepEqual([...body([bytes.buffer], 13)], expected(bytes));
    assert.deepEqual([...body([bytes.subarray(2, 5)], 8)], expected(bytes.subarray(2, 5)));
    assert.deepEqual([...body([Buffer.from(bytes)], 13)], expected(bytes));
    assert.deepEqual([...body([new Uint16Array(bytes.buffer, 2, 2)], 9)], expected(bytes.subarray(2, 6)));
    assert.deepEqual([...body([new DataView(bytes.buffer, 1, 2)], 7)], expected(bytes.subarray(1, 3)));
    assert.deepEqual([...body([new Uint8Array()], 5)], expected(new Uint8Array()));
    assert.deepEqual([...body([new SharedArrayBuffer(2)], 7)], expected(new Uint8Array(2)));
  });

  it('of another realm', () => {
    const context = createContext({});
    assert.deepEqual([...body([runInContext('Uint8Array.of(9)', context)], 6)], [6, 1, 0, 0, 0, 9]);
    assert.deepEqual([...body([runInContext('Uint8Array.of(9).buffer', context)], 6)], [6, 1, 0, 0, 0, 9]);
    assert.match(refused([runInContext('new Date()', context)]), /^parameter 1 is a Date; convert it first/);
    assert.deepEqual([...body(runInContext('[true]', context), 5)], [...body([true], 5)]);
  });

  it('that a subclass lies about', () => {
    class Liar extends Uint8Array {
      override get byteLength(): number {
        return 1_000_000;
      }
      override get length(): number {
        return 1_000_000;
      }
    }
    assert.deepEqual([...body([new Liar([1, 2])], 7)], [6, 2, 0, 0, 0, 1, 2]);
  });
});

describe('named parameters', () => {
  it('carry their names', () => {
    const bytes = body({ a: 1, größe: null }, 2 + 1 + 5 + (2 + 7) + 1);
    assert.equal(new DataView(request).getUint8(9) & Flag.named, Flag.named);
    assert.equal(bytes.readUInt16LE(0), 1);
    assert.equal(bytes.toString('utf8', 2, 3), 'a');
    assert.equal(bytes.readUInt16LE(8), 7);
    assert.equal(bytes.toString('utf8', 10, 17), 'größe');
  });

  it('are own properties only', () => {
    const inherited: Record<string, number> = Object.create({ b: 2 });
    inherited['a'] = 1;
    assert.equal(body(inherited, 8).length, 8);
  });
});

describe('what cannot be bound', () => {
  it('is named by position or by name, never by value', () => {
    assert.equal(refused([1, undefined]), 'parameter 2 is undefined; bind null for NULL');
    assert.equal(refused({ name: undefined }), 'parameter :name is undefined; bind null for NULL');
    assert.equal(refused([Number.NaN]), 'parameter 1 is NaN, which SQLite cannot store');
    assert.equal(refused({ n: Number.NaN }), 'parameter :n is NaN, which SQLite cannot store');
    assert.equal(refused([2n ** 63n]), 'parameter 1 is a bigint beyond the 64 bits of an SQLite integer');
    assert.equal(refused([-(2n ** 63n) - 1n]), 'parameter 1 is a bigint beyond the 64 bits of an SQLite integer');
    assert.match(refused([new Date()]), /^parameter 1 is a Date; convert it first/);
    assert.match(refused([[1]]), /^parameter 1 is an array; /);
    assert.equal(refused([{}]), 'parameter 1 is an object, which cannot be bound');
    assert.equal(refused([() => 1]), 'parameter 1 is a function, which cannot be bound');
    assert.equal(refused([Symbol('secret')]), 'parameter 1 is a symbol, which cannot be bound');
    assert.match(refused([new Map()]), /^parameter 1 is a Map/);
    assert.match(refused([Promise.resolve(1)]), /^parameter 1 is a Promise; await it first/);
    assert.match(refused([Object('boxed')]), /^parameter 1 is a boxed primitive/);
    // A hole reads as undefined.
    assert.equal(refused(new Array(1)), 'parameter 1 is undefined; bind null for NULL');
  });

  it('includes bytes that were transferred', () => {
    const buffer = new ArrayBuffer(8);
    const views = [new Uint8Array(8), new Float64Array(1), new DataView(new ArrayBuffer(8))];
    structuredClone(null, { transfer: [buffer, ...views.map((view) => view.buffer)] });
    for (const gone of [buffer, ...views]) {
      assert.match(refused([1, gone]), /^parameter 2 is detached, or ends beyond its buffer; /);
      assert.match(refused({ b: gone }), /^parameter :b is detached, /);
    }
  });

  it('includes a view that a shrinking buffer has cut off, and not one that is empty', () => {
    const [buffer, views] = runInContext(
      `{ const buffer = new ArrayBuffer(8, { maxByteLength: 8 });
         [buffer, [new Uint8Array(buffer, 4, 4), new DataView(buffer, 4, 4)]] }`,
      createContext(),
    );
    for (const view of views) assert.equal(body([view], 9).readUInt8(), 6);
    buffer.resize(2);
    for (const view of views) assert.match(refused([view]), /^parameter 1 is detached, or ends beyond its buffer; /);
    for (const empty of [new ArrayBuffer(0), new Uint8Array(0), new DataView(new ArrayBuffer(0))]) body([empty], 5);
  });

  it('includes lone surrogates, short and long', () => {
    assert.match(refused(['\ud800']), /^parameter 1 holds a lone surrogate/);
    assert.match(refused({ s: `${'x'.repeat(100)}\udfff` }), /^parameter :s holds a lone surrogate/);
    assert.match(refused([`${'x'.repeat(100_000)}\udfff`]), /^parameter 1 holds a lone surrogate/);
  });

  it('includes values that are not in an array or object', () => {
    assert.match(
      refused(5),
      /^parameters must be an array or an object of named values, got a number; write it inside/,
    );
    assert.match(refused(Uint8Array.of(1)), /got a view of bytes; write it inside an array$/);
    assert.match(refused(null), /got null$/);
    assert.match(refused(new Map()), /got a Map$/);
    assert.match(refused(new Date()), /got a Date$/);
  });

  it('includes more parameters than a record can count', () => {
    assert.equal(refused(new Array(65_536).fill(1)), '65536 parameters; at most 65535 are possible');
  });
});

describe('a record larger than the request buffer', () => {
  it('gets a buffer of its own', () => {
    const bytes = record([new Uint8Array(REQUEST_BYTES).fill(7), 'é'.repeat(40_000), 5]);
    assert.notEqual(encoder.large, undefined);
    assert.equal(bytes.readUInt32LE(0), bytes.length);
    assert.equal(bytes.readUInt32LE(HEADER_BYTES + 1), REQUEST_BYTES);
    assert.equal(bytes.toString('utf8', HEADER_BYTES + 10 + REQUEST_BYTES).startsWith('é'.repeat(40_000)), true);
    record([1]);
    assert.equal(encoder.large, undefined);
  });

  it('does not need one when only the estimate was too large', () => {
    record(['x'.repeat(30_000)]);
    assert.equal(encoder.large, undefined);
  });
});

describe('user code that runs while values are read', () => {
  it('may encode a record of its own', () => {
    const shared = new Parameters();
    const inner: SqlParameters[] = [];
    const outer = ['first', 'second', 'third'];
    Object.defineProperty(outer, 1, {
      get() {
        const read = shared.read(['a', 'b', 'c', 'd']);
        encoder.encode(1, Kind.get, 0, target, 1, 0, 0, read);
        inner.push(read.values.slice(0, read.count));
        return 'from a getter';
      },
    });
    const read = shared.read(outer);
    assert.deepEqual(read.values.slice(0, read.count), ['first', 'from a getter', 'third']);
    assert.deepEqual(inner, [['a', 'b', 'c', 'd']]);
  });

  it('may throw, and the next read is whole', () => {
    const shared = new Parameters();
    const bad = {
      a: 1,
      get b(): number {
        throw new RangeError('mine');
      },
    };
    assert.throws(() => shared.read(bad), RangeError);
    assert.equal(shared.read([1, 2]), shared);
    assert.deepEqual(shared.values.slice(0, shared.count), [1, 2]);
  });

  it('runs once per value', () => {
    let reads = 0;
    const counted = {
      get a(): number {
        reads++;
        return 1;
      },
    };
    body(counted, 8);
    assert.equal(reads, 1);
  });
});
