// `db.batch`: many changes in one short transaction, which shares its commit with others that wait.

import { checkNames, isRecord, kindOf } from './checks.js';
import { aborted } from './closure.js';
import { AbortError, ConstraintError, OptionError, SqlError } from './errors.js';
import type { BatchStatement } from './native/engine.js';
import { type CallOptions, checkCallOptions } from './options.js';
import { inside } from './reentrancy.js';
import { runSavepointSync } from './savepoint.js';
import type { Session } from './session.js';
import { isSql, type Sql } from './sql.js';
import type { SyncWrite } from './sync.js';
import { TransactionRecord, traceTransaction, transactions } from './trace.js';
import type { SqlParameters } from './values.js';

/** One statement of `db.batch`: its text, or the text with its values. */
export type BatchItem =
  | string
  | Sql
  | readonly [sql: string | Sql, parameters?: SqlParameters | undefined]
  | { readonly sql: string | Sql; readonly parameters?: SqlParameters | undefined };

/** Runs either form of `db.batch`, with the events of a transaction if somebody wants them. */
export function runBatch(
  session: Session,
  work: unknown,
  options: CallOptions | undefined,
  method: CallableFunction,
): Promise<unknown> {
  if (!transactions.hasSubscribers) return run(session, work, options, method, undefined);
  const record = new TransactionRecord(session.path, 'batch');
  return traceTransaction(record, () => run(session, work, options, method, record));
}

async function run(
  session: Session,
  work: unknown,
  options: CallOptions | undefined,
  method: CallableFunction,
  record: TransactionRecord | undefined,
): Promise<unknown> {
  checkCallOptions(options);
  session.refuseReentrance('batch');
  if (typeof work === 'function') {
    return await runGroupMember(session, work as (tx: SyncWrite) => unknown, options, method, record);
  }
  const statements = statementsOf(work);
  if (statements.length === 0) return [];
  try {
    const results = await session.engine.batch(session.handle, statements, options);
    record?.committed(undefined);
    return results;
  } catch (error) {
    // Of other errors it is not known whether it had begun.
    if (error instanceof SqlError || error instanceof ConstraintError) record?.failed(error);
    throw error;
  }
}

/** One closure of a group: run when its turn comes, on this thread, at once and whole. */
async function runGroupMember<T>(
  session: Session,
  fn: (tx: SyncWrite) => T,
  options: CallOptions | undefined,
  method: CallableFunction,
  record: TransactionRecord | undefined,
): Promise<T> {
  const wait = session.wait(options, method);
  const turn = await session.engine.beginBatch(session.handle, wait);
  let value: T;
  try {
    if (turn.aborted) throw abortedTurn(wait?.signal);
    record?.began(turn.target);
    value = runSavepointSync(session, turn.target, 'db.batch', enclosed(session, fn));
  } catch (error) {
    if (!turn.aborted) record?.failed(error);
    // Its own error wins over what becomes of its neighbours.
    await turn.release().catch(ignore);
    throw error;
  }
  try {
    const logFrames = await turn.release();
    record?.committed(logFrames);
  } catch (error) {
    record?.failed(error);
    throw error;
  }
  return value;
}

/** The closure, known to be running for as long as it runs: the transaction of its group is open for longer. */
function enclosed<T>(session: Session, fn: (tx: SyncWrite) => T): (tx: SyncWrite) => T {
  if (!session.detects) return fn;
  return (tx) => {
    const running = { engineId: session.handle.engineId, ended: false };
    try {
      return inside(running, fn, tx);
    } finally {
      running.ended = true;
    }
  };
}

/** The statements of the other form, checked. */
function statementsOf(given: unknown): readonly BatchStatement[] {
  if (!Array.isArray(given)) {
    throw new OptionError(`batch needs a function or an array of statements, got ${kindOf(given)}`);
  }
  return given.map((item: unknown, index) => statementOf(item, `statement ${index + 1} of the batch`));
}

function statementOf(item: unknown, name: string): BatchStatement {
  if (isText(item)) return { sql: item, parameters: undefined };
  if (Array.isArray(item)) {
    const [sql, parameters]: readonly unknown[] = item;
    if (item.length > 2) throw new OptionError(`${name} must be [sql, parameters], got ${item.length} elements`);
    return { sql: text(sql, name), parameters: bag(parameters, name) };
  }
  if (!isRecord(item)) {
    throw new OptionError(
      `${name} must be text, sql\`...\`, [sql, parameters] or { sql, parameters }, got ${kindOf(item)}`,
    );
  }
  checkNames(item, ['sql', 'parameters'], `part of ${name}`);
  return { sql: text(item['sql'], name), parameters: bag(item['parameters'], name) };
}

function isText(value: unknown): value is string | Sql {
  return typeof value === 'string' || isSql(value);
}

function text(value: unknown, name: string): string | Sql {
  if (isText(value)) return value;
  throw new OptionError(`the sql of ${name} must be a string or sql\`...\`, got ${kindOf(value)}`);
}

function bag(value: unknown, name: string): SqlParameters | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'object' && value !== null) return value as SqlParameters;
  throw new OptionError(`the parameters of ${name} must be an array or an object, got ${kindOf(value)}`);
}

function abortedTurn(signal: AbortSignal | undefined): AbortError {
  return signal === undefined ? new AbortError('the operation was aborted before it started') : aborted(signal);
}

function ignore(): void {}
