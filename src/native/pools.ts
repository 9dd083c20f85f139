// Pools as the addon has them: folders by number, their databases by name, uses that keep one open.

import type { RunResult } from '../values.js';
import type { NativeOpenOptions, NativePoolOptions } from './binding.js';
import type { Border } from './border.js';
import type { Begin, Opened, PoolEngine, PooledOpen } from './engine.js';
import { afterDrain } from './migrations.js';
import { Outcome } from './operations.js';
import { Target } from './target.js';
import { Flag } from './wire.js';

/** The part of the bridge that pools go through. */
export class Pools implements PoolEngine {
  readonly #border: Border;

  constructor(border: Border) {
    this.#border = border;
  }

  open(path: string, options: NativePoolOptions): Promise<Opened> {
    const { native } = this.#border;
    const call = (op: number) => native.openPool(op, path, options);
    return this.#border.ask(Outcome.opened, 0, call) as Promise<Opened>;
  }

  close({ index, generation }: Target): Promise<void> {
    const { native } = this.#border;
    return this.#border.ask(Outcome.done, 0, (op) => native.closePool(op, index, generation)) as Promise<void>;
  }

  async openDatabase(
    { index, generation }: Target,
    name: string,
    options: NativeOpenOptions,
    { bigint, apart, onMigration, onLetGo }: PooledOpen,
  ): Promise<Opened> {
    const { native, notices } = this.#border;
    const call = (op: number) => native.openPooled(op, index, generation, name, options, apart);
    const progress = afterDrain(onMigration);
    const opened = (await this.#border.ask(Outcome.opened, bigint ? Flag.bigint : 0, call, { progress })) as Opened;
    notices.onLetGo(opened.target, onLetGo);
    return opened;
  }

  acquire({ index, generation }: Target, how: Begin): boolean {
    return this.#border.native.acquire(index, generation, how) === 1;
  }

  release({ index, generation }: Target): void {
    this.#border.native.release(index, generation);
  }

  share(handle: Target): Target | undefined {
    const answer = this.#border.native.share(handle.index, handle.generation);
    if (answer === undefined) return undefined;
    const [index = 0, generation = 0] = new Uint32Array(answer);
    const shared = new Target(index, generation, handle.flag, handle.mode);
    shared.engineId = handle.engineId;
    return shared;
  }

  evict({ index, generation }: Target, name: string): Promise<boolean> {
    return this.#yesOrNo((op) => this.#border.native.evict(op, index, generation, name));
  }

  remove(
    { index, generation }: Target,
    name: string,
    { busyTimeoutMs, queueTimeoutMs }: NativeOpenOptions,
  ): Promise<boolean> {
    const { native } = this.#border;
    return this.#yesOrNo((op) => native.deletePooled(op, index, generation, name, busyTimeoutMs, queueTimeoutMs));
  }

  relieve({ index, generation }: Target): void {
    this.#border.native.relievePool(index, generation);
  }

  stats({ index, generation }: Target): Float64Array {
    return new Float64Array(this.#border.native.poolStats(index, generation) ?? new ArrayBuffer(0));
  }

  async #yesOrNo(call: (op: number) => void): Promise<boolean> {
    const { changes } = (await this.#border.ask(Outcome.changes, 0, call)) as RunResult;
    return Number(changes) === 1;
  }
}
