// What a pool tells about itself at this moment, made from the engine's numbers.

/**
 * What the pools on a folder are doing and have done in this process, all of its threads together: they share one cache.
 * Once the pool that was asked is closed, the figures of the engine are 0.
 */
export interface PoolStats {
  /** Databases that are open. More than `maxOpen` only while those beyond it are in use. */
  readonly open: number;
  /** Of these, those that are in use: a call of the pool is on, or a scope of `use`. */
  readonly inUse: number;
  /** Of these, those that are closed with the end of their use, unless they are used again before. */
  readonly draining: number;
  /** Databases that are being opened. */
  readonly opening: number;
  /** Calls of this pool that wait for one: for its encryption key, its open, or the deletion before it. */
  readonly waiting: number;
  /** Calls and scopes that are on. */
  readonly uses: number;
  /** As opened. */
  readonly maxOpen: number;
  /** Calls that found their database open. */
  readonly hits: number;
  /** Calls that waited for it to be opened. */
  readonly misses: number;
  /** Databases that were opened, one for each thread that did. */
  readonly opened: number;
  /** Opens that came to nothing; of those for want of an encryption key, the ones of this pool. */
  readonly failed: number;
  /** Databases that were closed, by reason. */
  readonly closed: {
    /** Others were used more, or there were too many. */
    readonly room: number;
    /** Nobody used them for `inactivityTimeoutMs`. */
    readonly idle: number;
    /** By `evict` and `evictAll`. */
    readonly evicted: number;
    /** By `delete`. */
    readonly deleted: number;
    /** With the pool that had them, or its thread. */
    readonly pool: number;
  };
  /** Bytes of their page caches, each as of the last time its connection was used. */
  readonly cacheBytes: number;
}

/** The order of the numbers is that of `PoolStats` in the engine. */
export function poolStatsOf(numbers: Float64Array, own: { waiting: number; failures: number }): PoolStats {
  const at = (index: number): number => numbers[index] ?? 0;
  return {
    open: at(0),
    inUse: at(1),
    draining: at(2),
    opening: at(3),
    waiting: own.waiting,
    uses: at(4),
    maxOpen: at(15),
    hits: at(5),
    misses: at(6),
    opened: at(7),
    failed: at(8) + own.failures,
    closed: { room: at(9), idle: at(10), evicted: at(11), deleted: at(12), pool: at(13) },
    cacheBytes: at(14),
  };
}
