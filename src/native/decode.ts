// What a completion record means: rows, counts or a failure, as values of their own.

import { readCommit } from '../commits.js';
import { readProblems, readStep } from '../copies.js';
import { readHistory, readProgress } from '../migration-history.js';
import { Failure, FailureCode } from './failure.js';
import { type Operation, Outcome } from './operations.js';
import type { Reader } from './reader.js';
import { arrayRows, Shape } from './shape.js';
import { Target } from './target.js';
import { Flag, HEADER_BYTES, Reply, ReplyFlag } from './wire.js';

/** Rows of a cursor, and whether there may be more. */
export interface Batch {
  rows: unknown[];
  open: boolean;
}

/** A transaction that was granted to several closures, and their operations in the order of their turns. */
export class GroupGrant {
  readonly target: Target;
  readonly ops: readonly number[];

  constructor(target: Target, ops: readonly number[]) {
    this.target = target;
    this.ops = ops;
    target.shared = true;
  }
}

/** Rows of a statement of a batch of which more records are to come. */
class PartOfResult {
  readonly rows: unknown[] = [];
}

/** Decodes records; keeps the column lists it has met. */
export class Decoder {
  readonly #shapes: (Shape | undefined)[] = [];
  readonly #namesOf: (id: number) => string[];
  readonly #granted: (transaction: Target) => void;

  /** `namesOf` gives the columns of a shape the decoder has not met before; `granted` is told of every transaction. */
  constructor(namesOf: (id: number) => string[], granted: (transaction: Target) => void) {
    this.#namesOf = namesOf;
    this.#granted = granted;
  }

  /**
   * The value an operation resolves with, given its final record at `base`; throws a `Failure`.
   *
   * Earlier records of the same operation went to `collect`.
   */
  value(reader: Reader, base: number, operation: Operation): unknown {
    switch (reader.field(base, 8) & 0xff) {
      case Reply.rows:
        return this.#rows(reader, base, operation);
      case Reply.changes:
        return this.#changes(reader, base, operation);
      case Reply.done:
        return this.#done(reader, base, operation);
      case Reply.grant:
        return this.#transaction(reader, base, operation);
      case Reply.grantGroup:
        return new GroupGrant(this.#transaction(reader, base, operation), opsOf(reader, base));
      case Reply.committed:
        return { logFrames: undefined, commit: readCommit(reader, base, false) };
      case Reply.checkpointed:
        return {
          busy: reader.field(base, 12) !== 0,
          logFrames: reader.field(base, 16),
          checkpointedFrames: reader.field(base, 20),
        };
      case Reply.history:
        return readHistory(reader, base);
      case Reply.verified:
        return readProblems(reader, base);
      case Reply.opened:
        return opened(reader, base, operation);
      case Reply.error:
        throw failureOf(reader, base);
      default:
        throw new Failure(FailureCode.protocol, 'a record of unknown kind; this is a defect of sqlflow');
    }
  }

  /** Keeps the rows of a record that is not the last one of its operation, or tells its progress; throws a `Failure`. */
  collect(reader: Reader, base: number, operation: Operation): void {
    const kind = reader.field(base, 8) & 0xff;
    if (kind === Reply.migrated) {
      operation.progress?.(readProgress(reader, base));
      return;
    }
    if (kind === Reply.progress) {
      operation.steps?.(readStep(reader, base));
      return;
    }
    operation.rows ??= [];
    if (operation.outcome === Outcome.results) this.#result(reader, base, operation, operation.rows);
    else this.#append(reader, base, operation, operation.rows);
  }

  #transaction(reader: Reader, base: number, operation: Operation): Target {
    const target = new Target(reader.field(base, 12), reader.field(base, 16), Flag.transaction, operation.mode);
    target.engineId = operation.target?.engineId ?? 0;
    target.lockWaitMs = reader.field(base, 20);
    target.queuedBehind = reader.field(base, 24);
    this.#granted(target);
    return target;
  }

  /** Adds a record to the results of a batch. The last record of each statement has its counts. */
  #result(reader: Reader, base: number, operation: Operation, results: unknown[]): void {
    const last = results.at(-1);
    const part = last instanceof PartOfResult ? last : new PartOfResult();
    if (part !== last) results.push(part);
    try {
      this.#append(reader, base, operation, part.rows);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw new Failure(error.code, error.message, error.sqliteCode, error.byteOffset, results.length);
    }
    if ((this.#flags(reader, base) & ReplyFlag.changes) === 0) return;
    results[results.length - 1] = { columns: [...reader.names], rows: part.rows, ...this.#trailer(reader, base) };
  }

  #rows(reader: Reader, base: number, operation: Operation): unknown {
    switch (operation.outcome) {
      case Outcome.row:
      case Outcome.one:
        return this.#row(reader, base, operation);
      case Outcome.query: {
        const rows = operation.rows ?? [];
        const columns = this.#append(reader, base, operation, rows);
        return { columns, rows, ...this.#trailer(reader, base) };
      }
      case Outcome.batch: {
        const rows: unknown[] = [];
        this.#append(reader, base, operation, rows);
        return { rows, open: (this.#flags(reader, base) & ReplyFlag.open) !== 0 };
      }
      case Outcome.changes:
        return this.#trailer(reader, base);
      case Outcome.results:
        this.collect(reader, base, operation);
        return operation.rows;
      default: {
        const rows = operation.rows ?? [];
        this.#append(reader, base, operation, rows);
        return rows;
      }
    }
  }

  #row(reader: Reader, base: number, operation: Operation): unknown {
    if (reader.field(base, 12) === 0) {
      if (operation.outcome === Outcome.one) throw noRows();
      return undefined;
    }
    reader.enter(base, (operation.mode & Flag.bigint) !== 0);
    const shape = this.#shape(reader, base);
    if ((operation.mode & Flag.arrays) === 0) return shape.row(reader);
    const rows: unknown[] = [];
    arrayRows(reader, reader.columns, 1, rows);
    return rows[0];
  }

  /** Appends the rows of a record and gives its column names. */
  #append(reader: Reader, base: number, operation: Operation, into: unknown[]): string[] {
    reader.enter(base, (operation.mode & Flag.bigint) !== 0);
    const shape = this.#shape(reader, base);
    if ((operation.mode & Flag.arrays) !== 0) arrayRows(reader, reader.columns, reader.rows, into);
    else shape.rows(reader, reader.rows, into);
    return operation.outcome === Outcome.query ? [...shape.names] : [];
  }

  /** The columns of the record that was entered. */
  #shape(reader: Reader, base: number): Shape {
    const id = reader.field(base, 16);
    let shape = this.#shapes[id];
    if (shape === undefined) {
      const hasChanges = (this.#flags(reader, base) & ReplyFlag.changes) !== 0;
      shape = new Shape(id === 0 ? reader.inlineNames(hasChanges) : this.#namesOf(id));
      if (id !== 0) this.#shapes[id] = shape;
    }
    reader.names = shape.names;
    return shape;
  }

  #flags(reader: Reader, base: number): number {
    return (reader.field(base, 8) >>> 8) & 0xff;
  }

  #trailer(reader: Reader, base: number): { changes: number; lastInsertRowid: number | bigint } {
    if ((this.#flags(reader, base) & ReplyFlag.changes) === 0) return { changes: 0, lastInsertRowid: 0 };
    return counts(reader, reader.trailer);
  }

  /** The counts of a statement without rows. */
  #changes(reader: Reader, base: number, operation: Operation): unknown {
    const result = counts(reader, base + HEADER_BYTES);
    switch (operation.outcome) {
      case Outcome.changes:
      case Outcome.totals:
        return result;
      case Outcome.query:
        return { columns: [], rows: [], ...result };
      default:
        return this.#done(reader, base, operation);
    }
  }

  /** The value of what gave nothing. */
  #done(reader: Reader, base: number, operation: Operation): unknown {
    switch (operation.outcome) {
      case Outcome.one:
        throw noRows();
      case Outcome.rows:
        return operation.rows ?? [];
      case Outcome.batch:
        return { rows: [], open: false };
      case Outcome.committed:
        return { logFrames: reader.field(base, 12), commit: undefined };
      case Outcome.settled:
        return reader.field(base, 12);
      case Outcome.changes:
        return { changes: 0, lastInsertRowid: 0 };
      case Outcome.query:
        return { columns: [], rows: [], changes: 0, lastInsertRowid: 0 };
      default:
        return undefined;
    }
  }
}

function counts(reader: Reader, at: number): { changes: number; lastInsertRowid: number | bigint } {
  return { changes: Number(reader.integer(at)), lastInsertRowid: reader.integer(at + 8) };
}

function noRows(): Failure {
  return new Failure(FailureCode.noRows, 'the statement gave no row; use get where that is expected');
}

/** The failure that the ERROR record at `base` tells of. */
export function failureOf(reader: Reader, base: number): Failure {
  return new Failure(
    reader.field(base, 8) >>> 16,
    reader.utf8(base + HEADER_BYTES, reader.field(base, 20)),
    reader.signedField(base, 12),
    reader.signedField(base, 16),
    reader.field(base, 24),
  );
}

function opsOf(reader: Reader, base: number): number[] {
  const ops: number[] = [];
  for (let left = reader.field(base, 28); left > 0; left--) ops.push(reader.field(base, HEADER_BYTES + ops.length * 4));
  return ops;
}

function opened(reader: Reader, base: number, operation: Operation): { target: Target; path: string } {
  const target = new Target(reader.field(base, 12), reader.field(base, 16), 0, operation.mode);
  target.engineId = reader.field(base, 24);
  return { target, path: reader.utf8(base + HEADER_BYTES, reader.field(base, 20)) };
}
