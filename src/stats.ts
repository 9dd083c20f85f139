// What a database tells about itself at this moment, made from the engine's numbers.

/**
 * What a database is doing and has done since it was opened in this process, by all of its handles. It tells until the
 * handle it was asked of is closed; then every figure is 0 and the writer `'idle'`.
 */
export interface DatabaseStats {
  /** The one writer. */
  readonly writer: {
    /**
     * `'idle'`; `'running'` statements that are transactions of their own; `'waiting'` for another process's lock;
     * `'held'` by a `write` or `batch` that is open; `'gone'`: there is none, with `readOnly` always, else after an error.
     */
    readonly state: 'idle' | 'running' | 'waiting' | 'held' | 'gone';
    /** Milliseconds since it left `'idle'`; 0 while it is idle. */
    readonly busyMs: number;
    /** Calls that wait for it. */
    readonly queued: number;
    /** Times it has met a lock of another process. */
    readonly busyWaits: number;
  };
  /** The connections that read. */
  readonly readers: {
    /** How many there are, of at most `readers`. */
    readonly open: number;
    /** How many of them have nothing to do. */
    readonly idle: number;
    /** Calls that wait for one. */
    readonly queued: number;
    /** Read transactions that are open, those of `read` and `iterate`, from when they got their turn. */
    readonly transactions: number;
    /** Milliseconds since the oldest open read got its turn: as long it may keep its snapshot and the log; 0: there is none. */
    readonly oldestMs: number;
    /** Whether new reads are held back for a moment, so that the log can be emptied. */
    readonly heldBack: boolean;
  };
  /** The log of commits that are not in the file yet (the `-wal` file). */
  readonly log: {
    /** Pages in it. */
    readonly frames: number;
    /** Its size. */
    readonly bytes: number;
    /** Checkpoints: how often pages were copied from it into the file. */
    readonly checkpoints: number;
    /** How often it was cut back to nothing. */
    readonly truncations: number;
  };
  /** Transactions that write. */
  readonly transactions: {
    /** Committed. */
    readonly commits: number;
    /** Rolled back. */
    readonly rollbacks: number;
    /** Commits that two calls or more of `run`, `runMany` or `batch` shared; one that a call had to itself is none. */
    readonly groups: number;
    /** How many calls these were together. */
    readonly groupMembers: number;
  };
  /** The pages that the connections keep in memory. */
  readonly cache: {
    /** Pages that were found there. */
    readonly hits: number;
    /** Pages that had to be read. */
    readonly misses: number;
    /** Its size. */
    readonly bytes: number;
  };
}

const WRITER_STATES = ['idle', 'running', 'waiting', 'held', 'gone'] as const;

/** The order of the numbers is that of `stats` in crates/node. */
export function statsOf(numbers: Float64Array): DatabaseStats {
  const at = (index: number): number => numbers[index] ?? 0;
  return {
    writer: { state: WRITER_STATES[at(0)] ?? 'gone', busyMs: at(2), queued: at(1), busyWaits: at(19) },
    readers: {
      open: at(3),
      idle: at(4),
      queued: at(5),
      transactions: at(7),
      oldestMs: at(6),
      heldBack: at(20) !== 0,
    },
    log: { frames: at(8), bytes: at(9), checkpoints: at(14), truncations: at(15) },
    transactions: { commits: at(10), rollbacks: at(11), groups: at(12), groupMembers: at(13) },
    cache: { hits: at(16), misses: at(17), bytes: at(18) },
  };
}
