// Copies, checks and keys of whole databases, as functions of the addon.

import type { CheckedBackupOptions, Step, VerifyResult } from '../copies.js';
import type { NativeCipher } from './binding.js';
import type { Border } from './border.js';
import { limited, refuseAborted } from './cancellation.js';
import { afterDrain } from './migrations.js';
import { Outcome } from './operations.js';
import type { Target } from './target.js';

/** How work that takes long is watched and ended. */
export interface Watch {
  readonly steps: ((step: Step) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The part of the bridge that they go through. */
export class Copies {
  readonly #border: Border;

  constructor(border: Border) {
    this.#border = border;
  }

  rekey({ index, generation }: Target, cipher: NativeCipher): Promise<void> {
    const { native } = this.#border;
    return this.#border.ask(Outcome.done, 0, (op) => {
      native.rekey(op, index, generation, cipher);
    }) as Promise<void>;
  }

  vacuum({ index, generation }: Target, pages: number): Promise<void> {
    const { native } = this.#border;
    return this.#border.ask(Outcome.done, 0, (op) => {
      native.vacuum(op, index, generation, pages);
    }) as Promise<void>;
  }

  backup(handle: Target, path: string, options: CheckedBackupOptions, watch: Watch): Promise<void> {
    const { native } = this.#border;
    const call = (op: number) => native.backup(op, handle.index, handle.generation, { path, ...options });
    return this.#watched(handle, Outcome.done, call, watch) as Promise<void>;
  }

  verify(handle: Target, watch: Watch): Promise<VerifyResult> {
    const { native } = this.#border;
    const call = (op: number) => native.verify(op, handle.index, handle.generation);
    return this.#watched(handle, Outcome.verified, call, watch) as Promise<VerifyResult>;
  }

  convert(
    path: string,
    cipher: NativeCipher,
    busyTimeoutMs: number,
    steps: ((step: Step) => void) | undefined,
  ): Promise<void> {
    const { native } = this.#border;
    const call = (op: number) => native.convert(op, path, cipher, busyTimeoutMs);
    return this.#border.ask(Outcome.done, 0, call, { steps: afterDrain(steps) }) as Promise<void>;
  }

  async #watched(handle: Target, outcome: Outcome, call: (op: number) => void, watch: Watch): Promise<unknown> {
    const { signal } = watch;
    const limits = signal === undefined ? undefined : { signal, timeoutMs: 0, queueWord: 0 };
    refuseAborted(limits, '');
    const operation = this.#border.operations.take(undefined, outcome, 0, '');
    const answer = this.#border.askFor(operation, call, { steps: afterDrain(watch.steps) });
    return await (limits === undefined ? answer : limited(this.#border, operation, handle, answer, limits));
  }
}
