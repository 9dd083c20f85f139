// The engine behind the addon: what the public classes ask for, as records that cross the border.

import type { Commit } from '../commits.js';
import type { CheckedBackupOptions, VerifyResult } from '../copies.js';
import type { MigrationInfo } from '../migration-history.js';
import { type CallOptions, type QueryOptions, queryMode } from '../options.js';
import type { Sql } from '../sql.js';
import type { QueryResult, RunResult, SqlParameters } from '../values.js';
import { Batches } from './batches.js';
import { begun } from './begin.js';
import type { Native, NativeCipher, NativeOpenOptions } from './binding.js';
import { Border, textOf } from './border.js';
import { abortError, ignore, limited, limitsOf, refuseAborted } from './cancellation.js';
import { Copies, type Watch } from './copies.js';
import { BridgeCursor } from './cursor.js';
import type {
  BatchStatement,
  BatchTurn,
  Checkpoint,
  CheckpointMode,
  Committed,
  Cursor,
  CursorRequest,
  Ending,
  Engine,
  Form,
  ListenMode,
  Opened,
  SavepointEnding,
  Wait,
} from './engine.js';
import { errorOf, Failure, FailureCode } from './failure.js';
import { Groups } from './groups.js';
import { afterDrain, Migrations, type ProgressListener } from './migrations.js';
import { Outcome } from './operations.js';
import { Pools } from './pools.js';
import { inFlight, isBusy, refusal, refused } from './refusal.js';
import { Savepoints } from './savepoints.js';
import type { Target } from './target.js';
import { Flag, Kind } from './wire.js';

/** `timeoutMs` of `close` that waits for ever. */
const FOR_EVER = 0xffff_ffff;

const CHECKPOINTS = { passive: 0, full: 1, restart: 2, truncate: 3 } as const satisfies Record<CheckpointMode, number>;

/** One per copy of this module: a bridge is never shared between two. */
export class Bridge implements Engine {
  readonly pools: Pools;
  readonly #border: Border;
  readonly #batches: Batches;
  readonly #groups: Groups;
  readonly #savepoints: Savepoints;
  readonly #migrations: Migrations;
  readonly #copies: Copies;

  constructor(native: Native) {
    this.#border = new Border(native);
    this.#batches = new Batches(this.#border);
    this.#savepoints = new Savepoints(this.#border);
    this.#groups = new Groups(this.#border, this.#savepoints);
    this.#migrations = new Migrations(this.#border);
    this.#copies = new Copies(this.#border);
    this.pools = new Pools(this.#border);
  }

  open(path: string, options: NativeOpenOptions, bigint: boolean, onMigration?: ProgressListener): Promise<Opened> {
    const { native } = this.#border;
    const mode = bigint ? Flag.bigint : 0;
    const call = (op: number) => native.open(op, path, options);
    return this.#border.ask(Outcome.opened, mode, call, { progress: afterDrain(onMigration) }) as Promise<Opened>;
  }

  defineMigrations(names: readonly string[], texts: readonly string[]): number {
    return this.#migrations.define(names, texts);
  }

  migrations(handle: Target): Promise<MigrationInfo[]> {
    return this.#migrations.list(handle);
  }

  rollbackMigrations(handle: Target, to: number, onMigration: ProgressListener | undefined): Promise<void> {
    return this.#migrations.rollBack(handle, to, onMigration);
  }

  close(handle: Target, timeoutMs: number | undefined): Promise<void> {
    const { native, notices } = this.#border;
    const { index, generation } = handle;
    const closed = this.#border.ask(Outcome.done, 0, (op) => {
      native.close(op, index, generation, timeoutMs ?? FOR_EVER);
    }) as Promise<void>;
    // Work that was accepted before is still told of.
    const forget = () => notices.forget(handle);
    closed.then(forget, forget);
    return closed;
  }

  begin(handle: Target, access: 'read' | 'write', wait: Wait | undefined): Promise<Target> {
    const kind = access === 'read' ? Kind.beginRead : Kind.beginWrite;
    if (wait !== undefined) return this.#beginWith(handle, kind, wait);
    return this.#border.submit(handle, kind, Outcome.grant, handle.mode, '', 0, 0, 0, undefined) as Promise<Target>;
  }

  end(transaction: Target, ending: Ending): Promise<Committed> {
    if (transaction.endedBy !== undefined) return Promise.reject(errorOf(transaction.endedBy, ''));
    this.#over(transaction);
    const commit = ending === 'commit';
    const kind = commit ? Kind.commit : Kind.rollback;
    const mode = commit && transaction.wantsTables ? Flag.tables : 0;
    const { committed } = Outcome;
    return this.#border.submit(transaction, kind, committed, mode, '', 0, 0, 0, undefined) as Promise<Committed>;
  }

  endRead(transaction: Target): Promise<Committed> | undefined {
    if (transaction.endedBy !== undefined) throw errorOf(transaction.endedBy, '');
    this.#over(transaction);
    try {
      this.#border.sync(transaction, Kind.commit, Outcome.done, 0, 0, 0, 0, undefined);
    } catch (error) {
      const waits = error instanceof Failure && error.code === FailureCode.statementInFlight;
      if (transaction.inFlight > 0 || !waits) throw errorOf(error, '');
      return this.end(transaction, 'commit');
    }
    return undefined;
  }

  expire(transaction: Target): void {
    if (!transaction.ended) this.#border.notify(Kind.expire, transaction, 0);
  }

  disown(transaction: Target): void {
    for (const target of transaction.open()) {
      target.disowned = true;
      this.#border.operations.disown(target);
    }
  }

  statement(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<unknown> {
    let text = '';
    try {
      text = typeof sql === 'string' ? sql : textOf(sql);
      if (target.ended || target.child !== undefined) throw refusal(target);
      if (options !== undefined) return this.#statementWith(target, form, sql, parameters, options);
      const border = this.#border;
      const values = border.values(sql, parameters, form.kind);
      const id = border.statements.id(text);
      return border.submit(target, form.kind, form.outcome, target.mode, text, id, 0, 0, values);
    } catch (error) {
      return refused(target, errorOf(error, text));
    }
  }

  statementSync(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions | undefined,
    below?: CallableFunction,
  ): unknown {
    let text = '';
    try {
      text = typeof sql === 'string' ? sql : textOf(sql);
      if (target.ended || target.child !== undefined) throw refusal(target);
      // Asked in two steps: nearly always there is no savepoint.
      if (target.inFlight > 0 || (target.parent !== undefined && isBusy(target.parent))) throw inFlight();
      const border = this.#border;
      const mode = options === undefined ? target.mode : queryMode(options, target.mode);
      const values = border.values(sql, parameters, form.kind);
      const id = border.statements.id(text);
      const cursor = form.kind === Kind.all || form.kind === Kind.query ? target.newCursor() : 0;
      return border.sync(target, form.kind, form.outcome, mode, id, cursor, 0, values);
    } catch (error) {
      throw errorOf(error, text, below);
    }
  }

  cursor(target: Target, request: CursorRequest): Cursor {
    return new BridgeCursor(this.#border, target, request);
  }

  runMany(
    target: Target,
    sql: string | Sql,
    rows: Iterable<SqlParameters>,
    options: CallOptions | undefined,
  ): Promise<RunResult> {
    return this.#batches.runMany(target, sql, rows, options);
  }

  batch(
    target: Target,
    statements: readonly BatchStatement[],
    options: CallOptions | undefined,
  ): Promise<QueryResult[]> {
    return this.#batches.batch(target, statements, options);
  }

  beginBatch(handle: Target, wait: Wait | undefined): Promise<BatchTurn> {
    return this.#groups.begin(handle, wait);
  }

  savepoint(parent: Target): Promise<Target> {
    return this.#savepoints.open(parent);
  }

  endSavepoint(child: Target, how: SavepointEnding): Promise<void> {
    return this.#savepoints.end(child, how);
  }

  savepointSync(parent: Target): Target {
    return this.#savepoints.openSync(parent);
  }

  endSavepointSync(child: Target, how: SavepointEnding): void {
    this.#savepoints.endSync(child, how);
  }

  checkpoint(handle: Target, mode: CheckpointMode): Promise<Checkpoint> {
    const { native } = this.#border;
    const { index, generation } = handle;
    return this.#border.ask(Outcome.checkpoint, 0, (op) => {
      native.checkpoint(op, index, generation, CHECKPOINTS[mode]);
    }) as Promise<Checkpoint>;
  }

  rekey(handle: Target, cipher: NativeCipher): Promise<void> {
    return this.#copies.rekey(handle, cipher);
  }

  vacuum(handle: Target, pages: number): Promise<void> {
    return this.#copies.vacuum(handle, pages);
  }

  backup(handle: Target, path: string, options: CheckedBackupOptions, watch: Watch): Promise<void> {
    return this.#copies.backup(handle, path, options, watch);
  }

  verify(handle: Target, watch: Watch): Promise<VerifyResult> {
    return this.#copies.verify(handle, watch);
  }

  convert(path: string, cipher: NativeCipher, busyTimeoutMs: number, steps: Watch['steps']): Promise<void> {
    return this.#copies.convert(path, cipher, busyTimeoutMs, steps);
  }

  stats(handle: Target): Float64Array {
    return new Float64Array(this.#border.native.stats(handle.index, handle.generation));
  }

  listen(handle: Target, mode: ListenMode, listener: ((commit: Commit) => void) | undefined): void {
    const { native, notices } = this.#border;
    native.listen(handle.index, handle.generation, listener === undefined ? 0 : mode);
    if (listener === undefined || mode === 0) notices.forget(handle);
    else notices.listen(handle, mode === 2, listener);
  }

  async #beginWith(handle: Target, kind: number, wait: Wait): Promise<Target> {
    const target = (await begun(this.#border, kind, Outcome.grant, handle, wait)) as Target;
    if (wait.signal?.aborted !== true || target.ended) return target;
    // Granted and aborted at the same time. Nobody has used it, so how its end goes is of no interest.
    await this.end(target, 'rollback').catch(ignore);
    throw abortError(wait.signal, '');
  }

  #statementWith(
    target: Target,
    form: Form,
    sql: string | Sql,
    parameters: SqlParameters | undefined,
    options: QueryOptions,
  ): Promise<unknown> {
    const border = this.#border;
    const text = textOf(sql);
    const mode = queryMode(options, target.mode);
    const limits = limitsOf(options);
    refuseAborted(limits, text);
    const values = border.values(sql, parameters, form.kind);
    const id = border.statements.id(text);
    const word = limits === undefined || target.flag !== 0 ? 0 : limits.queueWord;
    const operation = border.operations.take(target, form.outcome, mode, text);
    const answer = border.start(operation, form.kind, mode, target, id, word, 0, values);
    return limits === undefined ? answer : limited(border, operation, target, answer, limits);
  }

  /** Nothing may be started in it any more; what becomes of it is told by the answer to its end. */
  #over(transaction: Target): void {
    this.#border.notices.transactions.remove(transaction);
    let target: Target | undefined = transaction;
    do {
      target.ended = true;
      target = target.child;
    } while (target !== undefined);
  }
}
