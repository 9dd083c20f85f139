// The second half: 64 readers beside the writers, each asking again as soon as it is answered, for a few seconds.

import { watchLoop } from './pauses.mjs';

export const READERS = 64;
const PREFIX_LETTERS = 3;

/**
 * Half the readers look for names by their first letters, half for the neighbours of a place; every answer is looked at.
 * `storeOf` says which store has a place. The ids of the places whose visit was acknowledged are in `visited`.
 */
export async function serve(storeOf, places, { seconds, writers }) {
  const reads = [];
  const writes = [];
  const visited = [];
  let wrong = 0;

  const { ms, p99Ms, longestMs } = await watchLoop(async () => {
    const until = performance.now() + seconds * 1000;
    const repeat = async (client, times, request) => {
      for (let turn = 0; ; turn += 1) {
        const asked = performance.now();
        if (asked >= until) return;
        const place = places[(client * 31 + turn * 97) % places.length];
        const right = await request(storeOf(place), place);
        times.push(performance.now() - asked);
        if (!right) wrong += 1;
      }
    };
    const visit = async (store, { id }) => {
      await store.visit(id);
      visited.push(id);
      return true;
    };
    const clients = Array.from({ length: READERS + writers }, (_, client) => {
      if (client >= READERS) return repeat(client, writes, visit);
      return repeat(client, reads, client % 2 === 0 ? search : look);
    });
    await Promise.all(clients);
  });

  return {
    reads: summary(reads, ms),
    writes: summary(writes, ms),
    visited,
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

function summary(times, ms) {
  times.sort((a, b) => a - b);
  const at = (q) => times[Math.min(times.length - 1, Math.floor(times.length * q))];
  return { perSecond: (times.length / ms) * 1000, p50Ms: at(0.5), p99Ms: at(0.99) };
}
