// The second half: 64 readers and one writer, each asking again as soon as it is answered, for a few seconds.

import { watchLoop } from './pauses.mjs';

export const READERS = 64;
const PREFIX_LETTERS = 3;

/** Half the readers look for names by their first letters, half for the neighbours of a place; every answer is looked at. */
export async function serve(store, places, seconds) {
  const reads = [];
  const writes = [];
  let wrong = 0;

  const { ms, p99Ms, longestMs } = await watchLoop(async () => {
    const until = performance.now() + seconds * 1000;
    const repeat = async (client, times, request) => {
      for (let turn = 0; ; turn += 1) {
        const asked = performance.now();
        if (asked >= until) return;
        const right = await request(places[(client * 31 + turn * 97) % places.length]);
        times.push(performance.now() - asked);
        if (!right) wrong += 1;
      }
    };
    const readers = Array.from({ length: READERS }, (_, client) =>
      repeat(client, reads, client % 2 === 0 ? (place) => search(store, place) : (place) => look(store, place)),
    );
    await Promise.all([...readers, repeat(READERS, writes, (place) => visit(store, place))]);
  });

  return {
    reads: summary(reads, ms),
    writes: summary(writes, ms),
    acknowledged: writes.length,
    wrong,
    p99Ms,
    longestMs,
  };
}

async function search(store, place) {
  const prefix = [...place.name].slice(0, PREFIX_LETTERS).join('');
  const found = await store.byPrefix(prefix);
  return found.length > 0 && found.every(({ name }) => name.startsWith(prefix));
}

async function look(store, place) {
  const [nearest] = await store.nearest(place.lat, place.lng);
  return nearest?.lat === place.lat && nearest.lng === place.lng;
}

async function visit(store, place) {
  await store.visit(place.id);
  return true;
}

function summary(times, ms) {
  times.sort((a, b) => a - b);
  const at = (q) => times[Math.min(times.length - 1, Math.floor(times.length * q))];
  return { perSecond: (times.length / ms) * 1000, p50Ms: at(0.5), p99Ms: at(0.99) };
}
