// The channels of node:diagnostics_channel, and what is published in them.

import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel';
import { CommitOutcomeUnknownError } from './errors.js';
import { type Batch, type Cursor, Form, type Target } from './native/engine.js';

// Captured at load: tests replace it with a fake.
const now = performance.now.bind(performance);

/**
 * What subscribers of `tracing:sqlflow:transaction:*` get: the same object at every event of one `read`, `write` or `batch`.
 * Statements that are a transaction each, and `db.iterate`, have events of statements only.
 */
export interface TransactionTrace {
  /** The path of the database. */
  readonly database: string;
  /** `'batch'`: of `db.batch`, in either form. */
  readonly kind: 'read' | 'write' | 'batch';
  /** Milliseconds it waited for its turn; `undefined` before, and for a batch of statements, which does not tell. */
  queueMs: number | undefined;
  /** Milliseconds of these that went to locks of other processes. */
  lockWaitMs: number | undefined;
  /** How many waited behind it when it got its turn. */
  queuedBehind: number | undefined;
  /** Milliseconds from its turn to its end, for a batch of statements from the call; `undefined` when it never began. */
  durationMs: number | undefined;
  /**
   * Frames in the log after its commit, which a batch may share; 0 for a read. `undefined` when nobody knows: without a
   * commit, for a batch of statements, and for a write with listeners of `tx.onCommit`.
   */
  logFrames: number | undefined;
  /**
   * How it ended; `undefined` when it never began, or when nobody knows: after `CommitOutcomeUnknownError`, and for a batch
   * of statements that SQLite did not refuse itself.
   */
  outcome: 'commit' | 'rollback' | undefined;
  /** What it was rejected with; set by Node. */
  error?: unknown;
}

/** What subscribers of `tracing:sqlflow:statement:*` get. Values are never in it. */
export interface StatementTrace {
  /** The path of the database. */
  readonly database: string;
  /** The text of the statement. */
  readonly sql: string;
  /** The method; `'iterate'` for each fetch of rows. */
  readonly kind: 'get' | 'one' | 'all' | 'query' | 'run' | 'exec' | 'runMany' | 'iterate';
  /** Whether it was run by a `tx`; `false`: in a transaction of its own, as by `db.iterate`. */
  readonly transaction: boolean;
  /** Milliseconds from the call to its answer. */
  durationMs: number | undefined;
  /** Rows it gave. */
  rows?: number;
  /** Rows it changed, if it was asked for that. */
  changes?: number;
  /** What it was rejected with; set by Node. */
  error?: unknown;
}

/** Subscribers of transactions. Held here: a channel nobody holds is made anew, without its subscribers. */
export const transactions: TracingChannel<unknown, TransactionTrace> = tracingChannel('sqlflow:transaction');

/** Subscribers of statements. `tx.sync` looks for them once per transaction, everything else at each call. */
export const statements: TracingChannel<unknown, StatementTrace> = tracingChannel('sqlflow:statement');

/** What is told of one transaction while it goes through its life. */
export class TransactionRecord {
  readonly context: TransactionTrace;
  readonly #called = now();
  #began = this.#called;

  constructor(database: string, kind: TransactionTrace['kind']) {
    this.context = {
      database,
      kind,
      queueMs: undefined,
      lockWaitMs: undefined,
      queuedBehind: undefined,
      durationMs: undefined,
      logFrames: undefined,
      outcome: undefined,
    };
  }

  /** It has its turn. */
  began(target: Target): void {
    this.#began = now();
    this.context.queueMs = this.#began - this.#called;
    this.context.lockWaitMs = target.lockWaitMs;
    this.context.queuedBehind = target.queuedBehind;
  }

  committed(logFrames: number | undefined): void {
    this.#ended('commit');
    this.context.logFrames = logFrames;
  }

  /** It had begun, and was rolled back unless `error` says that nobody knows. */
  failed(error: unknown): void {
    this.#ended(error instanceof CommitOutcomeUnknownError ? undefined : 'rollback');
  }

  #ended(outcome: TransactionTrace['outcome']): void {
    this.context.durationMs = now() - this.#began;
    this.context.outcome = outcome;
  }
}

/** Runs a transaction with its events. */
export async function traceTransaction<T>(record: TransactionRecord, work: () => Promise<T>): Promise<T> {
  const results: T[] = [];
  await transactions.tracePromise(async () => {
    results.push(await work());
  }, record.context);
  return results[0] as T;
}

/** Runs one statement with its events. */
export async function traceStatement(
  database: string,
  sql: unknown,
  kind: StatementTrace['kind'],
  transaction: boolean,
  work: () => Promise<unknown>,
): Promise<unknown> {
  const context = statementTrace(database, sql, kind, transaction);
  const called = now();
  let result: unknown;
  // The channel is not given the result, which Node would publish: rows are as private as values.
  await statements.tracePromise(async () => {
    try {
      result = await work();
      measure(context, result);
    } finally {
      context.durationMs = now() - called;
    }
  }, context);
  return result;
}

/** The same on this thread. */
export function traceStatementSync(
  database: string,
  sql: unknown,
  kind: StatementTrace['kind'],
  work: () => unknown,
): unknown {
  const context = statementTrace(database, sql, kind, true);
  const called = now();
  let result: unknown;
  statements.traceSync(() => {
    try {
      result = work();
      measure(context, result);
    } finally {
      context.durationMs = now() - called;
    }
  }, context);
  return result;
}

/** What the events of a cursor say: see `StatementTrace`. */
interface CursorTrace {
  readonly database: string;
  /** As it was given, which may be anything. */
  readonly sql: unknown;
  readonly transaction: boolean;
}

/** A cursor with the events of each of its fetches. */
export class TracedCursor implements Cursor {
  readonly #cursor: Cursor;
  readonly #database: string;
  readonly #sql: unknown;
  readonly #ofTransaction: boolean;

  constructor(cursor: Cursor, { database, sql, transaction }: CursorTrace) {
    this.#cursor = cursor;
    this.#database = database;
    this.#sql = sql;
    this.#ofTransaction = transaction;
  }

  get transaction(): Target {
    return this.#cursor.transaction;
  }

  next(): Promise<Batch> {
    const fetch = () => this.#cursor.next();
    const fetched = traceStatement(this.#database, this.#sql, 'iterate', this.#ofTransaction, fetch);
    return fetched as Promise<Batch>;
  }

  nextSync(below: CallableFunction): Batch {
    return traceStatementSync(this.#database, this.#sql, 'iterate', () => this.#cursor.nextSync(below)) as Batch;
  }

  close(): void {
    this.#cursor.close();
  }
}

/** The method that asks for a form. */
export function kindOf(form: Form): StatementTrace['kind'] {
  for (const [name, each] of Object.entries(Form)) if (each === form) return name as keyof typeof Form;
  return 'query';
}

function statementTrace(
  database: string,
  sql: unknown,
  kind: StatementTrace['kind'],
  transaction: boolean,
): StatementTrace {
  return { database, sql: textOf(sql), kind, transaction, durationMs: undefined };
}

function textOf(sql: unknown): string {
  if (typeof sql === 'string') return sql;
  const text: unknown = typeof sql === 'object' && sql !== null ? Reflect.get(sql, 'text') : undefined;
  return typeof text === 'string' ? text : '';
}

/** Rows and changes, as far as the result of this kind of call knows them. */
function measure(context: StatementTrace, result: unknown): void {
  if (Array.isArray(result) && context.kind !== 'get' && context.kind !== 'one') {
    context.rows = result.length;
    return;
  }
  if (context.kind === 'get') context.rows = result === undefined ? 0 : 1;
  else if (context.kind === 'one') context.rows = 1;
  else if (typeof result === 'object' && result !== null) {
    const { rows, changes } = result as { rows?: unknown; changes?: unknown };
    if (Array.isArray(rows)) context.rows = rows.length;
    if (typeof changes === 'number') context.changes = changes;
  }
}
