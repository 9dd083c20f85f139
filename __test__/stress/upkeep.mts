// A life of a process that has a database maintained: what it is told to do, when it is killed, what it has said until then.

import { createHash } from 'node:crypto';
import { Database, type OpenOptions } from 'sqlflow';
import type { Random } from '../fixtures/random.mjs';
import { COUNTER_SCHEMA, mustAgree } from './counters.mjs';
import { growth, pausePrecisely, Span } from './instant.mjs';
import { Program } from './program.mjs';
import { named, step } from './step.mjs';
import { must } from './stress.mjs';
import { SCHEMA } from './traffic.mjs';
import { mustBeSound, mustBeWhole } from './whole.mjs';

/** What a file is encrypted with, in a form that goes from process to process; a key in hexadecimal. `null`: nothing. */
export type Secret = { readonly key: string } | { readonly passphrase: string } | null;

export type Task =
  /** Opens the file, and no more. */
  | { readonly kind: 'open' }
  | { readonly kind: 'rekey'; readonly secret: { readonly key: string } | { readonly passphrase: string } }
  | { readonly kind: 'backup'; readonly target: string; readonly overwrite: boolean; readonly copy: Secret | 'alike' }
  /** `pages`: those of an incremental one. */
  | { readonly kind: 'vacuum'; readonly pages: number | null }
  /** Of a file that is not opened. */
  | { readonly kind: 'convert' };

/** What the process is told. */
export interface Orders {
  readonly path: string;
  readonly secret: Secret;
  readonly task: Task;
  /** `'numbers'`: only `user_version`, for a file of one page. */
  readonly traffic: 'rows' | 'numbers';
  readonly firstId: number;
  readonly seed: number;
  /** So many writes are acknowledged before the task is begun. */
  readonly acknowledgements: number;
}

/** When the process is killed. */
export type Moment =
  /** After so many acknowledgements, before it begins. */
  | { readonly at: 'traffic'; readonly acknowledged: number }
  /** When a share of the span from a mark to the end is over. */
  | { readonly at: Mark; readonly share: number }
  /** After it has said that it is done. */
  | { readonly at: 'done' };

/** What a span begins with: a line of the process, a rollback journal beside its file, or a log as long as a vacuum's. */
export type Mark = 'opening' | 'begun' | 'checked' | 'journal' | 'log';

const LOG_BYTES = 1_000_000;
const MARKS: readonly Mark[] = ['opening', 'begun', 'checked'];
const MARKS_OF: Partial<Record<Task['kind'], readonly Mark[]>> = { rekey: ['journal'], vacuum: ['log'] };

/** What a process has said in its life. */
export interface Life {
  /** Rows, or numbers. */
  readonly acknowledged: readonly number[];
  readonly counted: number;
  /** Those before it began. */
  readonly before: { readonly acknowledged: readonly number[]; readonly counted: number };
  readonly phase: 'opening' | 'before' | 'during' | 'after';
  readonly isChecked: boolean;
}

/** The spans of one kind of task on one kind of file. */
export class Spans {
  readonly #spans = new Map<Mark, Span>();

  of(mark: Mark): Span {
    const span = this.#spans.get(mark) ?? new Span();
    this.#spans.set(mark, span);
    return span;
  }
}

/** The options to open a file with; the key is named also when there is none. */
export function optionsOf(secret: Secret): OpenOptions & { key?: Uint8Array | undefined } {
  if (secret === null) return { key: undefined };
  return 'key' in secret ? { key: Buffer.from(secret.key, 'hex') } : secret;
}

/** A new secret; few are passphrases, which take much longer. */
export function anySecret(random: Random): { readonly key: string } | { readonly passphrase: string } {
  if (random.below(16) === 0) return { passphrase: `words ${random.below(2 ** 31)} and words` };
  return { key: anyKey(random) };
}

/** 32 bytes in hexadecimal. */
export function anyKey(random: Random): string {
  return Buffer.from(Array.from({ length: 32 }, () => random.below(256))).toString('hex');
}

/** One of those moments of which the spans are measured, else the end, which measures them. */
export function anyMoment(random: Random, spans: Spans, acknowledgements: number, marks: readonly Mark[]): Moment {
  // Taken in any case: the choices after it are the same in each run with the seed.
  const early = random.below(16) === 0;
  const acknowledged = random.below(acknowledgements);
  const picked = random.pick(marks);
  const mark = spans.of(picked).isMeasured ? picked : 'begun';
  const share = random.next();
  if (!spans.of(mark).isMeasured) return { at: 'done' };
  return early ? { at: 'traffic', acknowledged } : { at: mark, share };
}

/** Runs the process and kills it at that moment. */
export async function liveUntil(moment: Moment, orders: Orders, spans: Spans, when: string): Promise<Life> {
  const program = Program.start('upkeep.child', [JSON.stringify(orders)]);
  const until = (line: string) => program.until(line, 1, (said) => said === line || said.startsWith('failed'));
  const reached = (mark: Mark): Promise<void> => {
    if (mark === 'journal') return growth(`${orders.path}-journal`, 0, until('done'));
    if (mark === 'log') return growth(`${orders.path}-wal`, LOG_BYTES, until('done'));
    return until(mark);
  };
  const measured = async (mark: Mark) => {
    const end = mark === 'opening' ? 'ready' : 'done';
    await reached(mark);
    const start = performance.now();
    const isLate = program.lines.includes(end) || (MARKS.includes(mark) && !program.lines.includes(mark));
    await until(end);
    if (!isLate && program.lines.includes(end)) spans.of(mark).took(performance.now() - start);
  };
  try {
    // Whatever it is killed after, what it comes to is measured.
    const marks = [...MARKS, ...(MARKS_OF[orders.task.kind] ?? [])];
    const measuring = Promise.allSettled(marks.map(measured));
    if (moment.at === 'done') await until('done');
    else if (moment.at === 'traffic')
      await program.until('an acknowledgement', moment.acknowledged + 1, isAcknowledgement);
    else {
      await reached(moment.at);
      await pausePrecisely(moment.share * spans.of(moment.at).ms);
    }
    program.kill();
    await program.end(`${when}: a process that was killed does not end`);
    await measuring;
  } finally {
    program.kill();
  }
  const { code, signal, stderr } = await program.ended;
  const failed = program.lines.find((line) => line.startsWith('failed'));
  must(failed === undefined, `${when}: ${failed}`);
  must(signal === 'SIGKILL', `${when}: the process ended before it was killed, with ${code ?? signal}: ${stderr}`);
  return lifeOf(program.lines);
}

function isAcknowledgement(line: string): boolean {
  return /^(?:counted )?\d+$/.test(line);
}

function lifeOf(lines: readonly string[]): Life {
  const begun = lines.indexOf('begun');
  const phase = lines.includes('done')
    ? 'after'
    : begun >= 0
      ? 'during'
      : lines.includes('ready')
        ? 'before'
        : 'opening';
  return {
    ...acknowledgedIn(lines),
    before: acknowledgedIn(begun < 0 ? lines : lines.slice(0, begun)),
    phase,
    isChecked: lines.includes('checked'),
  };
}

function acknowledgedIn(lines: readonly string[]): { acknowledged: number[]; counted: number } {
  const counts = lines.map((line) => Number(/^counted (\d+)$/.exec(line)?.[1] ?? 0));
  return {
    acknowledged: lines.filter((line) => /^\d+$/.test(line)).map(Number),
    counted: counts.reduce((most, counted) => Math.max(most, counted), 0),
  };
}

/** How a file is made before anything is done to it. */
export interface Making {
  readonly secret: Secret;
  /** About so many bytes of rows that stay as they are. */
  readonly bytes: number;
  /** As many again, removed before it is closed. */
  readonly holes?: boolean;
  readonly autoVacuum?: 'none' | 'incremental';
}

/** Makes a file for the traffic of rows; gives the digest of what stays as it is. */
export async function make(
  path: string,
  { secret, bytes, holes = false, autoVacuum = 'none' }: Making,
): Promise<string> {
  const db = await step(Database.open(path, { ...optionsOf(secret), autoVacuum }), 'a file is made');
  try {
    await db.exec(`${SCHEMA}; ${COUNTER_SCHEMA}; CREATE TABLE fill(id INTEGER PRIMARY KEY, body BLOB NOT NULL)`);
    const rows = Array.from({ length: Math.ceil(bytes / 10_000) * (holes ? 2 : 1) }, (_, id) => [id, 10_000]);
    await db.runMany('INSERT INTO fill VALUES (?, randomblob(?))', rows);
    if (holes) await db.run('DELETE FROM fill WHERE id % 2 = 1');
    return await fillOf(db);
  } finally {
    await step(db.close(), 'close');
  }
}

async function fillOf(db: Database): Promise<string> {
  const digest = createHash('sha256');
  for (const [body] of await db.all<[Uint8Array]>('SELECT body FROM fill ORDER BY id', [], { rowMode: 'array' }))
    digest.update(body);
  return digest.digest('hex');
}

/** A violation unless all of it is there, no transaction by half, and nothing is wrong with any page. */
export async function mustHold(
  db: Database,
  { acknowledged, counted }: { readonly acknowledged: Iterable<number>; readonly counted: number },
  fill: string,
  when: string,
): Promise<void> {
  await named(when, async () => {
    await mustBeWhole(db, acknowledged, when);
    await mustAgree(db, counted, when);
    must(
      (await step(fillOf(db), `${when}: the rows`)) === fill,
      `${when}: rows that nobody has changed are not what they were`,
    );
    await mustVerify(db, when);
  });
}

/** A violation unless nothing is wrong with any page, and the file is in WAL mode. */
export async function mustVerify(db: Database, when: string): Promise<void> {
  const { ok, problems } = await step(db.verify(), `${when}: verify`);
  must(ok, `${when}: verify: ${JSON.stringify(problems.slice(0, 3))}`);
  await mustBeSound(db, when);
  const { journal_mode: mode } = await step(db.one('PRAGMA journal_mode'), `${when}: the mode`);
  must(mode === 'wal', `${when}: the file is in mode ${mode}`);
}
