// Records that answer no operation: transactions ended from outside, commits for those who listen, handles that a pool closed.

import { type Commit, readCommit } from '../commits.js';
import type { NoticeBoard } from './completions.js';
import type { LetGo } from './engine.js';
import { Failure } from './failure.js';
import type { Reader } from './reader.js';
import type { Target } from './target.js';
import { Transactions } from './transactions.js';
import { HEADER_BYTES, NO_REPLY, Reply } from './wire.js';

// Captured at load: tests replace it with a fake.
const { queueMicrotask } = globalThis;

/** Called with every commit. */
type Listener = (commit: Commit) => void;

/** Who listens to the commits of a database, by the index of its handle. */
interface Audience {
  readonly generation: number;
  readonly rowIds: boolean;
  readonly listener: Listener;
}

const REASONS: readonly LetGo[] = ['room', 'idle', 'evict', 'delete'];

/** Takes the records and tells those they are for. */
export class Notices implements NoticeBoard {
  readonly transactions = new Transactions();
  readonly #audiences = new Map<number, Audience>();
  readonly #pooled = new Map<number, { readonly generation: number; readonly onLetGo: (reason: LetGo) => void }>();

  take(reader: Reader, base: number): void {
    if (reader.field(base, 4) !== NO_REPLY) return;
    const kind = reader.field(base, 8) & 0xff;
    if (kind === Reply.ended) this.#ended(reader, base);
    else if (kind === Reply.committed) this.#committed(reader, base);
    else if (kind === Reply.letGo) this.#letGo(reader, base);
  }

  /** `rowIds`: the records have them. */
  listen(handle: Target, rowIds: boolean, listener: Listener): void {
    this.#audiences.set(handle.index, { generation: handle.generation, rowIds, listener });
  }

  /** `onLetGo` is told, in a microtask, when the engine closes a pooled handle by itself. */
  onLetGo(handle: Target, onLetGo: (reason: LetGo) => void): void {
    this.#pooled.set(handle.index, { generation: handle.generation, onLetGo });
  }

  forget(handle: Target): void {
    if (this.#pooled.get(handle.index)?.generation === handle.generation) this.#pooled.delete(handle.index);
    if (this.#audiences.get(handle.index)?.generation === handle.generation) this.#audiences.delete(handle.index);
  }

  #ended(reader: Reader, base: number): void {
    const message = reader.utf8(base + HEADER_BYTES, reader.field(base, 20));
    const reason = new Failure(reader.field(base, 8) >>> 16, message);
    this.transactions.ended(reader.field(base, 12), reader.field(base, 16), reason);
  }

  #letGo(reader: Reader, base: number): void {
    const index = reader.field(base, 12);
    const pooled = this.#pooled.get(index);
    if (pooled === undefined || pooled.generation !== reader.field(base, 16)) return;
    this.#pooled.delete(index);
    const reason = REASONS[reader.field(base, 20)] ?? 'room';
    queueMicrotask(() => pooled.onLetGo(reason));
  }

  #committed(reader: Reader, base: number): void {
    const audience = this.#audiences.get(reader.field(base, 12));
    if (audience === undefined || audience.generation !== reader.field(base, 16)) return;
    const { listener, rowIds } = audience;
    const commit = readCommit(reader, base, rowIds);
    queueMicrotask(() => listener(commit));
  }
}
