// The SQL table: statement texts the engine knows by number, so that a text crosses the border once.

import { Failure, FailureCode } from './failure.js';

/** The part of the addon the table needs. */
export interface StatementRegistry {
  defineStatement(id: number, text: string): void;
  forgetStatement(id: number): void;
}

interface Entry {
  readonly id: number;
  readonly text: string;
  used: number;
}

const MAX_TEXTS = 2_000;
const MAX_CHARS = 4 * 1024 * 1024;
/** Part of the table that leaves when it is full: finding the oldest one by one would cost a walk per new text. */
const LEAVING = 1 / 8;
/** A longer text, usually a script that runs once, does not stay. */
const MAX_KEPT_CHARS = 64 * 1024;
const MAX_ID = 0xffff_ffff;

/** Bounded by texts and by characters; the least recently used leave. */
export class Statements {
  readonly #registry: StatementRegistry;
  readonly #entries = new Map<string, Entry>();
  #lastText = '';
  #lastId = 0;
  #nextId = 1;
  #clock = 0;
  #chars = 0;
  #passing = 0;
  #holds = 0;
  /** Numbers that are no longer in the table, but may be in records that were not submitted yet. */
  readonly #leaving: number[] = [];

  constructor(registry: StatementRegistry) {
    this.#registry = registry;
  }

  /**
   * The number of a text, valid until the next call. Throws a `Failure` when it is not valid Unicode.
   *
   * The same text again, as in a loop, is answered without a look into the table.
   */
  id(text: string): number {
    if (text === this.#lastText && this.#lastId !== 0) return this.#lastId;
    const entry = this.#entries.get(text);
    if (entry === undefined) return this.#define(text);
    entry.used = ++this.#clock;
    this.#lastText = text;
    this.#lastId = entry.id;
    return entry.id;
  }

  /** From here to `release` every number stays valid: for records that are submitted together. */
  hold(): void {
    this.#holds += 1;
  }

  release(): void {
    this.#holds -= 1;
    if (this.#holds > 0) return;
    for (const id of this.#leaving) this.#registry.forgetStatement(id);
    this.#leaving.length = 0;
  }

  #define(text: string): number {
    if (!text.isWellFormed()) {
      throw new Failure(FailureCode.statement, 'the SQL text holds a lone surrogate, which is not valid Unicode text');
    }
    if (this.#passing !== 0) {
      this.#leave(this.#passing);
      this.#passing = 0;
    }
    if (this.#nextId > MAX_ID) this.#restart();
    const id = this.#nextId++;
    this.#registry.defineStatement(id, text);
    if (text.length > MAX_KEPT_CHARS) {
      this.#passing = id;
      return id;
    }
    this.#entries.set(text, { id, text, used: ++this.#clock });
    this.#chars += text.length;
    if (this.#entries.size > MAX_TEXTS || this.#chars > MAX_CHARS) this.#evict();
    this.#lastText = text;
    this.#lastId = id;
    return id;
  }

  #evict(): void {
    const oldest = [...this.#entries.values()].sort((a, b) => a.used - b.used);
    const leaving = Math.ceil(oldest.length * LEAVING);
    for (const entry of oldest.slice(0, leaving)) this.#forget(entry);
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.text);
    this.#chars -= entry.text.length;
    this.#leave(entry.id);
  }

  #leave(id: number): void {
    if (this.#holds > 0) this.#leaving.push(id);
    else this.#registry.forgetStatement(id);
  }

  /** Four thousand million texts later the numbers begin again, with an empty table. */
  #restart(): void {
    for (const entry of [...this.#entries.values()]) this.#forget(entry);
    this.#nextId = 1;
  }
}
