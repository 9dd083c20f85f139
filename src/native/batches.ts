// Batches: several statements that are accepted together and done all or not at all.

import type { CallOptions } from '../options.js';
import type { Sql } from '../sql.js';
import type { QueryResult, RunResult, SqlParameters } from '../values.js';
import { type Border, textOf } from './border.js';
import { Cancellation, ignore, type Limits, limitsOf, refuseAborted } from './cancellation.js';
import type { BatchStatement } from './engine.js';
import { errorOf, Failure, FailureCode } from './failure.js';
import { type Operation, Outcome } from './operations.js';
import { Records } from './records.js';
import { refusal, refused } from './refusal.js';
import type { Target } from './target.js';
import { Flag, Kind } from './wire.js';

/** How errors of a batch call its parts, counted from 1. */
interface Parts {
  label(part: number): string;
  /** The statement of a part; of 0, what the batch is about as a whole. */
  text(part: number): string;
}

/** Sends them. */
export class Batches {
  readonly #border: Border;

  constructor(border: Border) {
    this.#border = border;
  }

  /** One statement for many rows of values. */
  runMany(
    target: Target,
    sql: string | Sql,
    rows: Iterable<SqlParameters>,
    options: CallOptions | undefined,
  ): Promise<RunResult> {
    let text = '';
    try {
      text = textOf(sql);
      if (typeof sql !== 'string' && sql.values.length > 0) {
        throw new Failure(FailureCode.parameter, 'runMany takes its values from the rows: write ? where they go');
      }
      const parts = { label: (part: number) => `row ${part}`, text: () => text };
      const draft = new Draft(this.#border, target, Outcome.totals, parts, options);
      const sent = draft.send(Flag.totals, () => {
        for (const row of rows) draft.add(text, row);
      });
      return (sent ?? Promise.resolve({ changes: 0, lastInsertRowid: 0 })) as Promise<RunResult>;
    } catch (error) {
      return refused(target, errorOf(error, text));
    }
  }

  /** Any statements; gives the result of each. */
  batch(
    target: Target,
    statements: readonly BatchStatement[],
    options: CallOptions | undefined,
  ): Promise<QueryResult[]> {
    try {
      const texts: string[] = [];
      const parts = {
        label: (part: number) => `statement ${part} of the batch`,
        text: (part: number) => texts[part - 1] ?? '',
      };
      const draft = new Draft(this.#border, target, Outcome.results, parts, options);
      const sent = draft.send(0, () => {
        for (const { sql, parameters } of statements) texts.push(draft.add(sql, parameters));
      });
      return (sent ?? Promise.resolve([])) as Promise<QueryResult[]>;
    } catch (error) {
      return Promise.reject(errorOf(error, ''));
    }
  }
}

/** A batch that is being put together. It is submitted at once when it is whole, so that one that is not leaves nothing behind. */
class Draft {
  readonly #border: Border;
  readonly #target: Target;
  readonly #parts: Parts;
  readonly #limits: Limits | undefined;
  readonly #operation: Operation;
  readonly #records = new Records();
  #count = 0;

  constructor(border: Border, target: Target, outcome: Outcome, parts: Parts, options: CallOptions | undefined) {
    if (target.ended || target.child !== undefined) throw refusal(target);
    this.#border = border;
    this.#target = target;
    this.#parts = parts;
    this.#limits = limitsOf(options);
    refuseAborted(this.#limits, parts.text(0));
    this.#operation = border.operations.take(target, outcome, target.mode, parts.text(0));
  }

  /** Adds a statement and gives its text. Its values are read, which may run any code, and are then encoded at once. */
  add(sql: string | Sql, parameters: SqlParameters | undefined): string {
    const target = this.#target;
    this.#count += 1;
    let text = '';
    try {
      text = textOf(sql);
      const values = this.#border.values(sql, parameters, Kind.batch);
      const mode = this.#count === 1 ? target.mode | Flag.first : target.mode;
      const word = target.flag === 0 ? (this.#limits?.queueWord ?? 0) : 0;
      const statement = this.#border.statements.id(text);
      this.#records.add(this.#border.record(this.#operation.index, Kind.batch, mode, target, statement, word, values));
      return text;
    } catch (error) {
      throw error instanceof Failure ? errorOf(error.within(this.#parts.label(this.#count), this.#count), text) : error;
    }
  }

  /** Sends what `fill` adds; `undefined` when that is nothing. Throws for what is wrong with it. */
  send(flags: number, fill: () => void): Promise<unknown> | undefined {
    const { operations, statements, native } = this.#border;
    const operation = this.#operation;
    const target = this.#target;
    // The numbers of its statements must outlive the reading of values, which may run code that uses other ones.
    statements.hold();
    try {
      fill();
      if (target.ended || target.child !== undefined) throw refusal(target);
      if (this.#count === 0) {
        operations.release(operation);
        return undefined;
      }
      this.#records.mark(Flag.final | flags);
      const promise = operations.start(operation);
      this.#records.submit(native);
      return this.#settled(promise);
    } catch (error) {
      if (operation.promise === undefined) operations.release(operation);
      else operations.finish(operation);
      throw error;
    } finally {
      statements.release();
    }
  }

  #settled(promise: Promise<unknown>): Promise<unknown> {
    const target = this.#target;
    const parts = this.#parts;
    const limits = this.#limits;
    const cancellation =
      limits === undefined ? undefined : new Cancellation(this.#border, this.#operation, target, promise, limits);
    const answer = settle();
    return answer;

    async function settle(): Promise<unknown> {
      try {
        const value = await promise;
        if (value instanceof Failure) throw errorOfPart(value, parts, settle);
        return value;
      } catch (error) {
        if (target.disowned) answer.catch(ignore);
        throw cancellation === undefined ? error : cancellation.explain(error);
      } finally {
        cancellation?.end();
      }
    }
  }
}

function errorOfPart(failure: Failure, parts: Parts, below: CallableFunction): unknown {
  const { statement } = failure;
  const numbered = statement === 0 ? failure : failure.within(parts.label(statement), statement);
  return errorOf(numbered, parts.text(statement), below);
}
