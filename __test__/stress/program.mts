// A process that is started for a stress and watched until its end; none outlives the stress.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { step } from './step.mjs';

/** How a process ended. */
export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** When it was seen to have ended, by `performance.now`. */
  at: number;
  stderr: string;
}

const living = new Set<Program>();

process.on('exit', () => {
  for (const program of living) program.kill();
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** Its standard output is taken line by line. */
export class Program {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly ended: Promise<Ending>;
  /** Every whole line it has written. */
  readonly lines: string[] = [];
  #rest = '';
  #waiting: (() => void)[] = [];
  #isOver = false;

  constructor(program: string, words: readonly string[]) {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    this.#child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'], env });
    living.add(this);
    // A process that is killed does not read what it is sent.
    this.#child.stdin.on('error', () => {});
    let stderr = '';
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    let at = 0;
    this.#child.once('exit', () => {
      at = performance.now();
      living.delete(this);
    });
    this.ended = new Promise<Ending>((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        this.#isOver = true;
        this.#wake();
        resolve({ code, signal, at, stderr });
      });
    });
  }

  /** Starts a program of this folder. One that works until it is ended must end with its standard input as well. */
  static start(name: string, words: readonly (string | number)[]): Program {
    const file = fileURLToPath(new URL(`./${name}.mjs`, import.meta.url));
    return new Program(process.execPath, ['--enable-source-maps', file, ...words.map(String)]);
  }

  /** Resolves when it has written as many lines of which `counts` is true, or has ended. */
  async until(
    what: string,
    lines = 1,
    counts: (line: string) => boolean = () => true,
    limitMs?: number,
  ): Promise<void> {
    const look = async () => {
      let seen = 0;
      let at = 0;
      for (;;) {
        for (; at < this.lines.length; at++) if (counts(this.lines[at] ?? '')) seen++;
        if (seen >= lines || this.#isOver) return;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    };
    await step(look(), `a process does not say "${what}"`, limitMs);
  }

  /** Gives it a line on its standard input. */
  say(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Ends its standard input, which it takes as a sign. */
  sign(): void {
    this.#child.stdin.end();
  }

  /** Ends it as a crash does. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Its end; one that does not end is killed. */
  async end(what: string): Promise<Ending> {
    try {
      return await step(this.ended, what);
    } finally {
      this.kill();
    }
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    this.lines.push(...lines);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
