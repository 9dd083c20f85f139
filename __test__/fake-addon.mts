// An addon without an engine: it keeps the records it gets, and answers what a spec tells it to.

import assert from 'node:assert/strict';
import type { Native } from '../dist/native/binding.js';
import { HEADER_BYTES } from '../dist/native/wire.js';
import { concatenated, done } from './completion-records.mjs';

/** A request record, as the engine reads it. */
export interface Request {
  op: number;
  kind: number;
  flags: number;
  params: number;
  target: number;
  generation: number;
  statement: number;
  cursor: number;
  limit: number;
  body: Uint8Array;
}

/** The addon. */
export class FakeAddon implements Native {
  /** Requests in the order they came, the synchronous ones included. */
  readonly requests: Request[] = [];
  readonly texts = new Map<number, string>();
  /** Other calls, with their arguments. */
  readonly calls: unknown[][] = [];
  /** What a synchronous request is answered; DONE by default. */
  answerSync: (request: Request) => Uint8Array = () => done();
  #request = new ArrayBuffer(0);
  #response = new ArrayBuffer(0);
  #sync = new ArrayBuffer(0);
  #wake: () => void = () => {};
  readonly #answers: Uint8Array[] = [];

  setup(request: ArrayBuffer, response: ArrayBuffer, sync: ArrayBuffer, wake: () => void): void {
    this.#request = request;
    this.#response = response;
    this.#sync = sync;
    this.#wake = wake;
  }

  /** Finishes operations: the records are drained at once. */
  answer(...records: readonly Uint8Array[]): void {
    this.#answers.push(...records);
    this.#wake();
  }

  /** The last request; there must be one. */
  get last(): Request {
    const request = this.requests.at(-1);
    assert.ok(request !== undefined, 'nothing was submitted');
    return request;
  }

  /** The requests of a kind. */
  of(kind: number): Request[] {
    return this.requests.filter((request) => request.kind === kind);
  }

  submit(byteLength: number): void {
    this.submitFrom(this.#request, byteLength);
  }

  submitFrom(buffer: ArrayBuffer, byteLength: number): void {
    for (let at = 0; at < byteLength; ) {
      const view = new DataView(buffer, at);
      const size = view.getUint32(0, true);
      assert.ok(size >= HEADER_BYTES && size % 8 === 0 && at + size <= byteLength, `a record of ${size} bytes`);
      const request: Request = {
        op: view.getUint32(4, true),
        kind: view.getUint8(8),
        flags: view.getUint8(9),
        params: view.getUint16(10, true),
        target: view.getUint32(12, true),
        generation: view.getUint32(16, true),
        statement: view.getUint32(20, true),
        cursor: view.getUint32(24, true),
        limit: view.getUint32(28, true),
        body: new Uint8Array(buffer.slice(at + HEADER_BYTES, at + size)),
      };
      if (request.statement !== 0) assert.ok(this.texts.has(request.statement), 'the statement was forgotten');
      this.requests.push(request);
      at += size;
    }
  }

  drain(): number | ArrayBuffer | undefined {
    const bytes = concatenated(this.#answers.splice(0));
    new Uint8Array(this.#response).set(bytes);
    return bytes.length;
  }

  sync(byteLength: number): number | ArrayBuffer {
    return this.syncFrom(this.#request, byteLength);
  }

  syncFrom(buffer: ArrayBuffer, byteLength: number): number | ArrayBuffer {
    this.submitFrom(buffer, byteLength);
    const answer = this.answerSync(this.last);
    new Uint8Array(this.#sync).set(answer);
    return answer.length;
  }

  defineStatement(id: number, text: string): void {
    this.texts.set(id, text);
  }

  forgetStatement(id: number): void {
    this.texts.delete(id);
  }

  shape(): string[] {
    return [];
  }

  /** What a source is answered; by default it is right. */
  answerDefinition: () => undefined | ArrayBuffer = () => undefined;

  defineMigrations(...call: unknown[]): undefined | ArrayBuffer {
    this.calls.push(['defineMigrations', ...call]);
    return this.answerDefinition();
  }

  migrations(...call: unknown[]): void {
    this.calls.push(['migrations', ...call]);
  }

  rollbackMigrations(...call: unknown[]): void {
    this.calls.push(['rollbackMigrations', ...call]);
  }

  open(...call: unknown[]): void {
    this.calls.push(['open', ...call]);
  }

  close(...call: unknown[]): void {
    this.calls.push(['close', ...call]);
  }

  checkpoint(...call: unknown[]): void {
    this.calls.push(['checkpoint', ...call]);
  }

  rekey(...call: unknown[]): void {
    this.calls.push(['rekey', ...call]);
  }

  vacuum(...call: unknown[]): void {
    this.calls.push(['vacuum', ...call]);
  }

  backup(...call: unknown[]): void {
    this.calls.push(['backup', ...call]);
  }

  verify(...call: unknown[]): void {
    this.calls.push(['verify', ...call]);
  }

  convert(...call: unknown[]): void {
    this.calls.push(['convert', ...call]);
  }

  stats(): ArrayBuffer {
    return Float64Array.of(3, 2, 1).buffer;
  }

  listen(...call: unknown[]): void {
    this.calls.push(['listen', ...call]);
  }

  openPool(...call: unknown[]): void {
    this.calls.push(['openPool', ...call]);
  }

  closePool(...call: unknown[]): void {
    this.calls.push(['closePool', ...call]);
  }

  openPooled(...call: unknown[]): void {
    this.calls.push(['openPooled', ...call]);
  }

  acquire(...call: unknown[]): number {
    this.calls.push(['acquire', ...call]);
    return 1;
  }

  release(...call: unknown[]): void {
    this.calls.push(['release', ...call]);
  }

  share(...call: unknown[]): ArrayBuffer | undefined {
    this.calls.push(['share', ...call]);
    return undefined;
  }

  evict(...call: unknown[]): void {
    this.calls.push(['evict', ...call]);
  }

  deletePooled(...call: unknown[]): void {
    this.calls.push(['deletePooled', ...call]);
  }

  relievePool(...call: unknown[]): void {
    this.calls.push(['relievePool', ...call]);
  }

  poolStats(...call: unknown[]): ArrayBuffer | undefined {
    this.calls.push(['poolStats', ...call]);
    return undefined;
  }

  processExit(): void {}

  info(): { sqlite: string; cipher: string } {
    return { sqlite: '', cipher: '' };
  }
}
