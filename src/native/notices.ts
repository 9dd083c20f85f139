// Records that answer no operation: transactions ended from outside, and commits for those who listen.

import { type Commit, readCommit } from '../commits.js';
import type { NoticeBoard } from './completions.js';
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

/** Takes the records and tells those they are for. */
export class Notices implements NoticeBoard {
  readonly transactions = new Transactions();
  readonly #audiences = new Map<number, Audience>();

  take(reader: Reader, base: number): void {
    if (reader.field(base, 4) !== NO_REPLY) return;
    const kind = reader.field(base, 8) & 0xff;
    if (kind === Reply.ended) this.#ended(reader, base);
    else if (kind === Reply.committed) this.#committed(reader, base);
  }

  /** `rowIds`: the records have them. */
  listen(handle: Target, rowIds: boolean, listener: Listener): void {
    this.#audiences.set(handle.index, { generation: handle.generation, rowIds, listener });
  }

  forget(handle: Target): void {
    if (this.#audiences.get(handle.index)?.generation === handle.generation) this.#audiences.delete(handle.index);
  }

  #ended(reader: Reader, base: number): void {
    const message = reader.utf8(base + HEADER_BYTES, reader.field(base, 20));
    const reason = new Failure(reader.field(base, 8) >>> 16, message);
    this.transactions.ended(reader.field(base, 12), reader.field(base, 16), reason);
  }

  #committed(reader: Reader, base: number): void {
    const audience = this.#audiences.get(reader.field(base, 12));
    if (audience === undefined || audience.generation !== reader.field(base, 16)) return;
    const { listener, rowIds } = audience;
    const commit = readCommit(reader, base, rowIds);
    queueMicrotask(() => listener(commit));
  }
}
