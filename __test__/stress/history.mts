// A history of several processes that append to lists and read them, checked for serializable writes and snapshot reads.

import { readFileSync } from 'node:fs';
import { Database } from 'sqlflow';
import { check, type History, type Logged, type Operation } from './history-checker.mjs';
import { Program } from './program.mjs';
import { step } from './step.mjs';
import { must, type Plan, type Stress } from './stress.mjs';

/** Every commit counts the clock up by one and adds what it appends to the log. */
const SCHEMA = `
  CREATE TABLE list(key INTEGER PRIMARY KEY, items TEXT NOT NULL);
  CREATE TABLE clock(n INTEGER NOT NULL);
  INSERT INTO clock VALUES (0);
  CREATE TABLE log(position INTEGER PRIMARY KEY, version INTEGER NOT NULL, key INTEGER NOT NULL, value INTEGER NOT NULL);
  CREATE VIEW appending AS SELECT 0 AS key, 0 AS value;
  CREATE TRIGGER append INSTEAD OF INSERT ON appending BEGIN
    UPDATE clock SET n = n + 1;
    INSERT INTO list VALUES (NEW.key, CAST(NEW.value AS TEXT))
      ON CONFLICT DO UPDATE SET items = items || ',' || excluded.items;
    INSERT INTO log(version, key, value) SELECT n, NEW.key, NEW.value FROM clock;
  END;`;

const SHOWN = 5;

export const history: Stress = {
  counts: 'processes',
  full: { count: 8, seconds: 10 },
  async run(plan) {
    const path = plan.folder.file('history.db');
    const db = await Database.open(path);
    try {
      await db.exec(SCHEMA);
      const operations = await record(plan, path);
      const log = await db.all<Row<Logged>>('SELECT version, key, value FROM log ORDER BY position');
      const rows = await db.all<{ key: number; items: string }>('SELECT key, items FROM list');
      const found: History = { operations, log, lists: rows.map(({ key, items }) => [key, items]) };
      const findings = check(found);
      const told = findings.slice(0, SHOWN).map(({ anomaly, what }) => `${anomaly}: ${what}`);
      must(findings.length === 0, `${findings.length} findings: ${told.join('; ')}`);
      return { processes: plan.count, ...counted(found) };
    } finally {
      await step(db.close(), 'close');
    }
  },
};

type Row<T> = { [Name in keyof T]: T[Name] };

async function record({ folder, count, seconds, seed }: Plan, path: string): Promise<Operation[]> {
  const file = (process: number) => folder.file(`process-${process}.json`);
  const programs = Array.from({ length: count }, (_, process) =>
    Program.start('history.child', [path, process, seconds, seed + 100 * process, file(process)]),
  );
  try {
    await Promise.all(programs.map((program) => program.until('ready')));
    for (const program of programs) program.sign();
    const limitMs = seconds * 1_000 + 30_000;
    const endings = await step(Promise.all(programs.map((program) => program.ended)), 'the processes', limitMs);
    for (const { code, signal, stderr } of endings)
      must(code === 0, `a process ended with ${code ?? signal}: ${stderr}`);
  } finally {
    for (const program of programs) program.kill();
  }
  return programs.flatMap((_, process): Operation[] => JSON.parse(readFileSync(file(process), 'utf8')));
}

function counted({ operations, log }: History): Record<string, number> {
  const of = (kind: Operation['kind'], outcome: Operation['outcome']) =>
    operations.filter((operation) => operation.kind === kind && operation.outcome === outcome).length;
  return {
    commits: log.at(-1)?.version ?? 0,
    appends: log.length,
    'rolled back': of('write', 'rolled back'),
    reads: of('read', 'committed'),
    violations: 0,
  };
}
