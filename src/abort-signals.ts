// Subscriptions to abort signals: one listener per signal, however many operations share it.

type Subscriber = (reason: unknown) => void;

/** Who waits for which signal; an entry is there exactly as long as its listener. */
const subscriptions = new WeakMap<AbortSignal, Subscription>();

class Subscription {
  readonly subscribers = new Set<Subscriber>();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', this);
    subscriptions.set(signal, this);
  }

  /** The signal was aborted. */
  handleEvent(): void {
    this.#end();
    for (const subscriber of this.subscribers) subscriber(this.#signal.reason);
  }

  leave(subscriber: Subscriber): void {
    this.subscribers.delete(subscriber);
    if (this.subscribers.size === 0 && subscriptions.get(this.#signal) === this) this.#end();
  }

  #end(): void {
    this.#signal.removeEventListener('abort', this);
    subscriptions.delete(this.#signal);
  }
}

/**
 * Has `subscriber` called once with the reason when `signal` is aborted; not when it already is. It must not throw, and a
 * function subscribes once: a second time is the same subscription.
 *
 * Returns what ends the subscription.
 */
export function onAbort(signal: AbortSignal, subscriber: (reason: unknown) => void): () => void {
  const subscription = subscriptions.get(signal) ?? new Subscription(signal);
  subscription.subscribers.add(subscriber);
  return () => subscription.leave(subscriber);
}
