// The parent's end of one peer's process: orders out, one answer each.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./child.mjs', import.meta.url));

export class Lane {
  #child;
  #settle;

  constructor(name, url) {
    this.name = name;
    this.title = name;
    this.version = undefined;
    this.#child = fork(CHILD, [url.href], { execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning'] });
    this.#child.on('message', ({ value, error }) => this.#answer(value, error));
    this.#child.on('exit', (code, signal) => this.#answer(undefined, `its process ended (${signal ?? code})`));
  }

  /** Loads the driver; throws the reason when this machine cannot. */
  async load() {
    const { title, version } = await this.#ask('load', {});
    this.title = title;
    this.version = version;
  }

  /** Opens and fills a database for the case; false when the peer has nothing like it. */
  async open(name, path) {
    return (await this.#ask('open', { name, path })).able;
  }

  sample(ms) {
    return this.#ask('sample', { ms });
  }

  /** Checks the work and closes; answers a sentence when the work was not what was asked for. */
  async close() {
    return (await this.#ask('close', {})).problem;
  }

  end() {
    if (this.#child.connected) this.#child.disconnect();
  }

  #ask(order, rest) {
    return new Promise((resolve, reject) => {
      if (!this.#child.connected) {
        reject(new Error(`${this.name}: its process has ended`));
        return;
      }
      this.#settle = { resolve, reject };
      this.#child.send({ order, ...rest });
    });
  }

  #answer(value, error) {
    const settle = this.#settle;
    this.#settle = undefined;
    if (error === undefined) settle?.resolve(value);
    else settle?.reject(new Error(`${this.name}: ${error}`));
  }
}
