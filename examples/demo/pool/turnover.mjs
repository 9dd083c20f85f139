// What a pool opened and closed during a phase, from its figures before and after it.

/** Runs `phase`; resolves with what it gives, and `opens`, `evictions` and `hitRate` beside. */
export async function withTurnover(store, phase) {
  const before = store.stats();
  const result = await phase();
  const after = store.stats();
  const hits = after.hits - before.hits;
  const misses = after.misses - before.misses;
  return {
    ...result,
    opens: after.opened - before.opened,
    evictions: evictions(after) - evictions(before),
    hitRate: hits / (hits + misses),
  };
}

function evictions({ closed }) {
  return closed.room + closed.idle;
}
