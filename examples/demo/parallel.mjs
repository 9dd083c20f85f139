// Work on many things, a few of them at a time.

const AT_A_TIME = 4;

/** Runs `work` for every item; begins another one as soon as one is done. */
export async function inParallel(items, work) {
  const queue = items[Symbol.iterator]();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}
