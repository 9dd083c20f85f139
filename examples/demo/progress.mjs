// A bar that is written over while somebody watches; plain lines otherwise.

const WIDTH = 32;
const REDRAW_MS = 50;

export class Progress {
  #live;
  #drawn = 0;

  constructor(stream = process.stdout) {
    this.stream = stream;
    this.#live = stream.isTTY === true;
  }

  /** A step without a measure. */
  step(title) {
    if (this.#live) this.#write(`  ${title} ...`);
    else this.stream.write(`${title}\n`);
  }

  bar(title, done, total) {
    if (!this.#live) return;
    const now = performance.now();
    if (done < total && now - this.#drawn < REDRAW_MS) return;
    this.#drawn = now;
    const filled = Math.round((done / total) * WIDTH);
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
    this.#write(`  ${title} ${bar} ${done.toLocaleString('en')} of ${total.toLocaleString('en')}`);
  }

  clear() {
    if (this.#live) this.#write('');
  }

  #write(line) {
    this.stream.write(`\r\u001b[K${line}`);
  }
}
