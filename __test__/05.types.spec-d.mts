// The types of the public API: checked by compiling this file, never run.

import {
  type ArrayRow,
  type AsyncRows,
  type CallOptions,
  type Checkpoint,
  type Commit,
  Database,
  DatabaseNewerThanCodeError,
  type DatabaseStats,
  MigrationFailedError,
  type MigrationFile,
  type MigrationInfo,
  type MigrationProgress,
  type MigrationSource,
  MigrationSourceError,
  NoRowsError,
  type OpenOptions,
  type QueryResult,
  ReadTransaction,
  type Row,
  type RowChange,
  type RunResult,
  Sql,
  SqlError,
  SqlflowError,
  type SqlParameter,
  type SqlParameters,
  type SqlValue,
  Statement,
  type StatementTrace,
  SyncRead,
  type SyncWrite,
  sql,
  type TransactionTrace,
  type WriteStatement,
  WriteTransaction,
} from 'sqlflow';
import { type TestDatabaseOptions, testDatabase } from 'sqlflow/testing';

/** `true` when the two types are the same one, not only assignable to each other. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles when `T` is the type of `value`. */
declare function is<T>(): <const V>(value: V, ...same: Same<V, T> extends true ? [] : [never]) => void;

interface City {
  name: string;
  population: number;
}

declare class Cities {
  constructor(tx: WriteTransaction);
  count(): Promise<number>;
}
declare class CityReader {
  constructor(tx: ReadTransaction);
  count(): Promise<number>;
}
declare class CityWriter extends CityReader {
  constructor(tx: WriteTransaction);
  add(name: string): Promise<void>;
}

export async function rowsOfADatabase(db: Database): Promise<void> {
  is<Row | undefined>()(await db.get('SELECT 1'));
  is<Row>()(await db.one('SELECT 1', [1]));
  is<Row[]>()(await db.all('SELECT :a', { a: 1 }));
  is<QueryResult<Row>>()(await db.query(sql`SELECT ${1}`));
  is<AsyncRows<Row>>()(db.iterate('SELECT 1', undefined, { batchRows: 10, bigint: true }));
  is<RunResult>()(await db.run('DELETE FROM city WHERE name = ?', ['x']));
  is<void>()(await db.exec('DELETE FROM city'));

  is<City | undefined>()(await db.get<City>('SELECT * FROM city'));
  is<City>()(await db.one<City>('SELECT * FROM city'));
  is<City[]>()(await db.all<City>('SELECT * FROM city', [], { bigint: false }));
  is<QueryResult<City>>()(await db.query<City>('SELECT * FROM city', [], { rowMode: 'object' }));
  for await (const city of db.iterate<City>('SELECT * FROM city')) is<City>()(city);

  is<ArrayRow | undefined>()(await db.get('SELECT 1', [], { rowMode: 'array' }));
  is<ArrayRow[]>()(await db.all('SELECT 1', undefined, { rowMode: 'array' }));
  is<[number, string][]>()(await db.all<[number, string]>('SELECT 1, 2', [], { rowMode: 'array' }));
  is<QueryResult<ArrayRow>>()(await db.query('SELECT 1', [], { rowMode: 'array', bigint: true }));
  for await (const row of db.iterate('SELECT 1', [], { rowMode: 'array' })) is<ArrayRow>()(row);

  const row = await db.one('SELECT 1 AS a');
  is<SqlValue | undefined>()(row['a']);
  is<number | bigint>()((await db.run('SELECT 1')).lastInsertRowid);
  is<string[]>()((await db.query('SELECT 1')).columns);
}

export async function transactions(db: Database): Promise<void> {
  is<number>()(await db.read(() => 1));
  is<number>()(await db.read(async () => 1));
  is<Row | undefined>()(await db.write((tx) => tx.get('SELECT 1')));
  is<City | undefined>()(await db.read((tx) => tx.sync.get<City>('SELECT 1')));
  is<void>()(await db.write(() => {}));
  is<never>()(
    await db.write(() => {
      throw new Error('always');
    }),
  );

  await db.read((q, tx) => {
    is<ReadTransaction>()(q);
    is<ReadTransaction>()(tx);
    is<SyncRead>()(tx.sync);
    is<Statement<Row>>()(tx.prepare('SELECT 1'));
    is<Statement<ArrayRow>>()(tx.prepare('SELECT 1', { rowMode: 'array' }));
    is<Row[]>()(tx.sync.all('SELECT 1'));
    is<Row>()(tx.sync.one('SELECT 1'));
    is<ArrayRow | undefined>()(tx.sync.get('SELECT 1', [], { rowMode: 'array' }));
    is<QueryResult<City>>()(tx.sync.query<City>('SELECT 1'));
    is<Promise<Row[]>>()(tx.all('SELECT 1'));
    is<Promise<ArrayRow>>()(tx.one('SELECT 1', [], { rowMode: 'array' }));
    is<Promise<QueryResult<City>>>()(tx.query<City>('SELECT 1'));
    is<AsyncRows<Row>>()(tx.iterate('SELECT 1'));
    is<AsyncGenerator<City[], undefined, undefined>>()(tx.batches<City>('SELECT * FROM city', [], { batchRows: 5 }));
    is<Generator<City, undefined, undefined>>()(tx.sync.iterate<City>('SELECT * FROM city'));
    // @ts-expect-error a transaction that reads has no run
    q.run;
    // @ts-expect-error nor exec
    tx.exec;
    // @ts-expect-error nor has its synchronous surface
    tx.sync.run;
    // @ts-expect-error nor has that exec
    tx.sync.exec;
    // @ts-expect-error nor have its statements
    tx.prepare('SELECT 1').run;
    is<AbortSignal>()(tx.signal);
    // @ts-expect-error nor can it have savepoints
    tx.savepoint;
    // @ts-expect-error nor is there a commit to wait for
    tx.onCommit;
  });

  await db.write(async (q, tx) => {
    is<WriteTransaction>()(q);
    is<WriteTransaction>()(tx);
    is<SyncWrite>()(tx.sync);
    is<WriteStatement<City>>()(tx.prepare<City>('SELECT * FROM city'));
    is<RunResult>()(await tx.prepare('DELETE FROM city WHERE name = ?').run('x'));
    is<RunResult>()(tx.sync.run('DELETE FROM city'));
    is<void>()(tx.sync.exec('DELETE FROM city'));
    const reading: ReadTransaction = tx;
    is<ReadTransaction>()(reading);
  });
}

export async function limits(db: Database, signal: AbortSignal): Promise<void> {
  const call: Required<CallOptions> = { signal, timeoutMs: 1, queueTimeoutMs: 0 };
  is<number>()(await db.read(() => 1, call));
  is<number>()(await db.write(() => 1, { signal }));
  is<number>()(await db.batch(() => 1, { queueTimeoutMs: 5 }));
  is<Row | undefined>()(await db.get('SELECT 1', [], call));
  is<ArrayRow[]>()(await db.all('SELECT 1', [], { rowMode: 'array', ...call }));
  is<RunResult>()(await db.run('DELETE FROM city', [], call));
  is<void>()(await db.exec('DELETE FROM city', call));
  is<AsyncRows<Row>>()(db.iterate('SELECT 1', [], { idleTimeoutMs: 0, batchRows: 5, ...call }));
  // @ts-expect-error a database is closed, not aborted
  await db.close({ signal });
  // @ts-expect-error milliseconds
  await db.read(() => 1, { timeoutMs: '1s' });
  // @ts-expect-error not a signal
  await db.read(() => 1, { signal: new AbortController() });
  await db.read(async (tx) => {
    is<Row | undefined>()(await tx.get('SELECT 1', [], { signal }));
    is<Statement<Row>>()(tx.prepare('SELECT 1', { signal, timeoutMs: 5 }));
    // @ts-expect-error only an iterator with a transaction of its own can be idle for too long
    tx.iterate('SELECT 1', [], { idleTimeoutMs: 5 });
    // @ts-expect-error nothing can end a statement on this thread
    tx.sync.get('SELECT 1', [], { signal });
  });
}

export async function batches(db: Database, rows: Generator<SqlParameters>): Promise<void> {
  is<number>()(await db.batch((tx) => tx.run('DELETE FROM city').changes));
  await db.batch((tx) => is<SyncWrite>()(tx));
  is<QueryResult[]>()(
    await db.batch([
      'DELETE FROM city',
      sql`DELETE FROM city WHERE name = ${'x'}`,
      ['DELETE FROM city'],
      ['DELETE FROM city WHERE name = ?', ['x']],
      [sql`DELETE FROM city`],
      { sql: 'DELETE FROM city' },
      { sql: 'DELETE FROM city WHERE name = :name', parameters: { name: 'x' } },
    ]),
  );
  const fixed = [['DELETE FROM city', [1]]] as const;
  is<QueryResult[]>()(await db.batch(fixed));
  is<RunResult>()(await db.runMany('INSERT INTO city VALUES (?, ?)', [['x', 1]]));
  is<RunResult>()(await db.runMany('INSERT INTO city VALUES (?, ?)', rows, { timeoutMs: 5 }));
  is<RunResult>()(await db.write((tx) => tx.runMany('INSERT INTO city VALUES (:a)', new Set([{ a: 1 }]))));
  // @ts-expect-error values come as one array or object per row
  await db.runMany('INSERT INTO city VALUES (?)', [1, 2]);
  // @ts-expect-error a Date is no value
  await db.batch([['DELETE FROM city WHERE name = ?', [new Date()]]]);
}

export async function savepoints(db: Database): Promise<void> {
  await db.write(async (tx) => {
    is<number>()(await tx.savepoint(() => 1));
    is<Row | undefined>()(await tx.savepoint((inner) => inner.get('SELECT 1')));
    await tx.savepoint((inner) => is<WriteTransaction>()(inner));
    is<number>()(tx.sync.savepoint((inner) => inner.run('DELETE FROM city').changes));
    tx.sync.savepoint((inner) => is<SyncWrite>()(inner));
  });
}

export async function insight(db: Database): Promise<void> {
  const stop = db.onCommit((commit) => is<Commit>()(commit), { rowIds: true });
  is<() => void>()(stop);
  await db.write((tx) => {
    is<void>()(tx.onCommit(({ tables }) => is<ReadonlySet<string>>()(tables)));
  });
  db.onCommit(({ changes, truncated }) => {
    is<readonly RowChange[] | undefined>()(changes);
    is<boolean>()(truncated);
  });
  // @ts-expect-error a misspelling
  db.onCommit(() => {}, { rowids: true });
  is<DatabaseStats>()(db.stats());
  is<'idle' | 'running' | 'waiting' | 'held' | 'gone'>()(db.stats().writer.state);
  is<Checkpoint>()(await db.checkpoint());
  is<{ busy: boolean; logFrames: number; checkpointedFrames: number }['busy']>()((await db.checkpoint('full')).busy);
  // @ts-expect-error not a mode
  await db.checkpoint('TRUNCATE');
  is<number>()(db.outside(() => 1));
  is<Promise<RunResult>>()(db.outside(() => db.run('DELETE FROM city')));
  is<void>()(await db.close({ timeoutMs: 5 }));
}

export function traces(transaction: TransactionTrace, statement: StatementTrace): void {
  is<'read' | 'write' | 'batch'>()(transaction.kind);
  is<'commit' | 'rollback' | undefined>()(transaction.outcome);
  is<string>()(statement.sql);
  is<number | undefined>()(statement.rows);
}

export async function statements(tx: WriteTransaction): Promise<void> {
  const statement = tx.prepare<City>('SELECT * FROM city WHERE name = ? AND population > ?');
  is<City | undefined>()(await statement.get('x', 1));
  is<City>()(await statement.one(['x', 1]));
  is<City[]>()(await statement.all({ name: 'x', population: 1n }));
  is<AsyncRows<City>>()(statement.iterate(null, true));
  is<City | undefined>()(await statement.get());
  // @ts-expect-error a Date is no value
  statement.get(new Date());
  // @ts-expect-error named values come in one object
  statement.get({ a: 1 }, { b: 2 });
}

export async function queriers(path: string): Promise<void> {
  const plain = await Database.open(path, { readers: 2, synchronous: 'normal' });
  is<Database<ReadTransaction, WriteTransaction>>()(plain);
  const bare: Database = plain;
  is<Database>()(bare);

  const single = await Database.open(path, { readers: 2, querier: (tx) => new Cities(tx) });
  is<Database<Cities, Cities>>()(single);
  is<number>()(await single.read((cities) => cities.count()));
  await single.read((cities, tx) => {
    is<Cities>()(cities);
    is<ReadTransaction>()(tx);
  });
  await single.write((cities, tx) => {
    is<Cities>()(cities);
    is<WriteTransaction>()(tx);
  });
  const named: Database<Cities> = single;
  is<Database<Cities, Cities>>()(named);

  const split = await Database.open(path, {
    querier: { read: (tx) => new CityReader(tx), write: (tx) => new CityWriter(tx) },
  });
  is<Database<CityReader, CityWriter>>()(split);
  await split.read((reader, tx) => {
    is<CityReader>()(reader);
    is<ReadTransaction>()(tx);
    // @ts-expect-error what reads does not add
    reader.add;
  });
  await split.write((writer) => is<CityWriter>()(writer));

  await Database.open(path, {
    querier: {
      // @ts-expect-error a read transaction is not enough for what writes
      read: (tx) => new CityWriter(tx),
      write: (tx) => new CityWriter(tx),
    },
  });
  // @ts-expect-error both parts are needed
  await Database.open(path, { querier: { read: (tx: ReadTransaction) => new CityReader(tx) } });
  // @ts-expect-error a function or two of them
  await Database.open(path, { querier: 'tx' });
}

/** What closures may get: an object made by a function, its methods typed by themselves. */
function cities(tx: ReadTransaction) {
  return {
    tx,
    byName: (name: string) => tx.get<City>('SELECT * FROM city WHERE name = ?', [name]),
    *names() {
      for (const { name } of tx.sync.iterate<City>('SELECT * FROM city')) yield name;
    },
  };
}
function cityEditor(tx: WriteTransaction) {
  return { ...cities(tx), rename: async (from: string, to: string) => (await tx.run(from, [to])).changes };
}

export async function factories(path: string): Promise<void> {
  const reading = await Database.open(path, { querier: cities });
  is<Database<ReturnType<typeof cities>, ReturnType<typeof cities>>>()(reading);
  is<City | undefined>()(await reading.read((q) => q.byName('x')));
  is<City | undefined>()(await reading.write(async (q) => await q.byName('x')));
  is<string[]>()(await reading.read((q) => [...q.names()]));

  const both = await Database.open(path, { bigint: true, querier: { read: cities, write: cityEditor } });
  is<Database<ReturnType<typeof cities>, ReturnType<typeof cityEditor>>>()(both);
  is<number>()(await both.write((q) => q.rename('a', 'b')));
  is<{ city: City | undefined; changes: number }>()(
    await both.write(async (q, tx) => {
      is<WriteTransaction>()(tx);
      return { city: await q.byName('x'), changes: (await tx.run('DELETE FROM city')).changes };
    }),
  );
  await both.read((q, tx) => {
    is<ReadTransaction>()(tx);
    is<ReadTransaction>()(q.tx);
    // @ts-expect-error what is made for `read` does not write
    q.rename;
  });

  const mixed = await Database.open(path, { querier: { read: cities, write: (tx) => new CityWriter(tx) } });
  is<Database<ReturnType<typeof cities>, CityWriter>>()(mixed);
  const one = await Database.open(path, {
    querier: { read: (tx) => new CityReader(tx), write: (tx) => new CityReader(tx) },
  });
  is<Database<CityReader, CityReader>>()(one);
  const literal = await Database.open(path, { querier: (tx) => ({ run: tx.run.bind(tx), kind: 'x' as const }) });
  is<'x'>()(await literal.write((q) => q.kind));

  // A function that opens hands the types on.
  const open = (file: string) => Database.open(file, { querier: { read: cities, write: cityEditor } });
  const service = async (db: Awaited<ReturnType<typeof open>>) => await db.write((q) => q.rename('a', 'b'));
  is<number>()(await service(both));
  // A variable of options keeps them.
  const options = { readers: 2, querier: (tx: WriteTransaction) => new Cities(tx) };
  is<Database<Cities, Cities>>()(await Database.open(path, options));

  // @ts-expect-error a class is made with new
  await Database.open(path, { querier: Cities });
  // @ts-expect-error in both forms
  await Database.open(path, { querier: { read: CityReader, write: CityWriter } });
  // @ts-expect-error it gets a transaction
  await Database.open(path, { querier: (name: string) => name });
  // @ts-expect-error what writes cannot be made from what reads
  await Database.open(path, { querier: { read: cityEditor, write: cityEditor } });
}

export async function migrations(path: string, db: Database, error: unknown): Promise<void> {
  const list: readonly MigrationFile[] = [{ name: '001_init', sql: 'CREATE TABLE city (name)' }];
  const fixed = [{ name: '001_init', sql: 'CREATE TABLE city (name)' }] as const;
  const texts: Record<string, string> = {};
  const modules: Record<string, { default: string }> = {};
  const mixed = { './001_init.sql': 'x', './002_b.sql': { default: 'x' } };
  const each: MigrationSource[] = ['./migrations', [], list, fixed, texts, modules, mixed];
  for (const source of each) is<Database>()(await Database.open(path, { migrations: source }));
  is<Database<Cities, Cities>>()(
    await Database.open(path, {
      migrations: modules,
      migrate: 'create',
      migrationHistory: 'goose',
      onMigration: (progress) => is<MigrationProgress>()(progress),
      querier: (tx) => new Cities(tx),
    }),
  );
  await Database.open(path, {
    onMigration({ version, name, index, total, ms }) {
      is<number | bigint>()(version);
      is<string>()(name);
      is<number>()(index + total + ms);
    },
  });
  // @ts-expect-error a folder is a path
  await Database.open(path, { migrations: new URL('file:///migrations') });
  // @ts-expect-error a name and a text
  await Database.open(path, { migrations: [{ name: '001_init' }] });
  // @ts-expect-error texts
  await Database.open(path, { migrations: { '001_init.sql': () => 'x' } });
  // @ts-expect-error not a time to migrate
  await Database.open(path, { migrate: 'never' });
  // @ts-expect-error not a history
  await Database.open(path, { migrationHistory: 'refinery' });

  const history = await db.migrations();
  is<MigrationInfo[]>()(history);
  for (const { version, name, state, appliedAt } of history) {
    is<number | bigint>()(version);
    is<string>()(name);
    is<'pending' | 'applied' | 'unknown'>()(state);
    is<Date | undefined>()(appliedAt);
  }
  is<void>()(await db.rollback({ to: 0 }));
  await db.rollback({ to: 3, onMigration: (progress) => is<MigrationProgress>()(progress) });
  // @ts-expect-error where to must be said
  await db.rollback();
  // @ts-expect-error by its name
  await db.rollback(3);

  if (error instanceof MigrationFailedError) {
    is<'MIGRATION_FAILED'>()(error.code);
    is<string | undefined>()(error.file);
    is<number | undefined>()(error.line);
    is<number | bigint | undefined>()(error.version);
  }
  if (error instanceof MigrationSourceError) is<'MIGRATION_SOURCE'>()(error.code);
  if (error instanceof DatabaseNewerThanCodeError) is<number | bigint | undefined>()(error.version);
  // @ts-expect-error of migrations only
  if (error instanceof SqlError) error.file;
}

export async function testing(): Promise<void> {
  is<Database>()(await testDatabase());
  is<Database>()(await testDatabase({ migrations: './migrations' }));
  is<Database<Cities, Cities>>()(await testDatabase({ migrations: [], querier: (tx) => new Cities(tx) }));
  is<Database<ReturnType<typeof cities>, ReturnType<typeof cityEditor>>>()(
    await testDatabase({ querier: { read: cities, write: cityEditor } }),
  );
  await using db = await testDatabase();
  const same: Database = db;
  is<Database>()(same);
  const options: TestDatabaseOptions = { readers: 1, synchronous: 'full', bigint: true };
  await testDatabase(options);
  // @ts-expect-error it is always new
  await testDatabase({ readOnly: true });
  // @ts-expect-error it has a path of its own
  await testDatabase('a.db');
}

export async function options(path: string, db: Database): Promise<void> {
  const all: Required<OpenOptions> = {
    create: true,
    readOnly: false,
    synchronous: 'full',
    readers: 4,
    busyTimeoutMs: 1,
    transactionTimeoutMs: 1,
    readTimeoutMs: 1,
    queueTimeoutMs: 1,
    maxQueued: 1,
    bigint: false,
    captureStacks: true,
    reentrancy: 'refuse',
    logLimitBytes: 65_536,
    migrations: './migrations',
    migrate: 'create',
    migrationHistory: 'goose',
    onMigration: () => {},
    key: async (file: string) => (file === '' ? null : new Uint8Array(32)),
    passphrase: 'text',
    cipherCompatibility: 3,
    secureDelete: true,
    autoVacuum: 'incremental',
  };
  await Database.open(path, all);
  await Database.open(path, { key: new Uint8Array(32) });
  await Database.open(path, { key: Buffer.alloc(32) });
  // @ts-expect-error digits are no bytes
  await Database.open(path, { key: '00' });
  // @ts-expect-error there was no version 5
  await Database.open(path, { key: new Uint8Array(32), cipherCompatibility: 5 });
  await db.rekey(new Uint8Array(32));
  await db.rekey({ passphrase: 'text' });
  // @ts-expect-error a text is a passphrase
  await db.rekey('text');
  await db.backup(path, {
    key: null,
    overwrite: true,
    onProgress: ({ phase, pages, totalPages }) => [phase, pages, totalPages],
  });
  await db.vacuum({ incrementalPages: 100 });
  const { ok, problems } = await db.verify({ signal: AbortSignal.timeout(1) });
  const checks: ('cipher' | 'integrity' | 'foreignKeys')[] = ok ? [] : problems.map(({ check }) => check);
  await Database.convert(path, { key: new Uint8Array(32), onProgress: ({ phase }) => [phase, checks] });
  // @ts-expect-error without a key
  await Database.convert(path);
  await Database.open(path, { readers: undefined });
  // @ts-expect-error an unknown option
  await Database.open(path, { reader: 4 });
  // @ts-expect-error not a mode
  await Database.open(path, { synchronous: 'off' });
  // @ts-expect-error not a number
  await Database.open(path, { readers: '4' });
  // @ts-expect-error a path is text
  await Database.open(new URL('file:///a.db'));
  // @ts-expect-error not made by new
  new Database();
  // @ts-expect-error nor is a statement
  new Sql('SELECT 1', []);
  // @ts-expect-error nor a prepared one
  new Statement();
  // @ts-expect-error nor a transaction
  new ReadTransaction();
  // @ts-expect-error of either kind
  new WriteTransaction();
  // @ts-expect-error nor what runs on this thread
  new SyncRead();
  // @ts-expect-error not a mode of rows
  await db.get('SELECT 1', [], { rowMode: 'map' });
  // @ts-expect-error for iterators only
  await db.all('SELECT 1', [], { batchRows: 5 });
  // @ts-expect-error a run gives no rows
  await db.run('SELECT 1', [], { rowMode: 'array' });
  // @ts-expect-error a script has no values
  await db.exec('SELECT ?', [1]);
}

export async function values(db: Database): Promise<void> {
  const each: SqlParameter[] = [
    null,
    1,
    1n,
    'x',
    true,
    new Uint8Array(),
    Buffer.of(1),
    new DataView(new ArrayBuffer(1)),
  ];
  await db.get('SELECT ?', each);
  await db.get('SELECT ?', [new ArrayBuffer(1), new SharedArrayBuffer(1), new Float64Array(1)]);
  const fixed: readonly [number, string] = [1, 'x'];
  await db.get('SELECT ?, ?', fixed);
  const bag: SqlParameters = { a: 1, b: null };
  await db.get('SELECT :a, :b', bag);
  // @ts-expect-error undefined is no value
  await db.get('SELECT ?', [undefined]);
  // @ts-expect-error nor is a Date
  await db.get('SELECT ?', [new Date()]);
  // @ts-expect-error nor is an object
  await db.get('SELECT :a', { a: {} });
  // @ts-expect-error a value alone is no list of values
  await db.get('SELECT ?', 'x');
}

export function tags(name: string): void {
  const part = sql`WHERE name = ${name}`;
  is<Sql>()(part);
  is<string>()(part.text);
  is<readonly SqlParameter[]>()(part.values);
  is<Sql>()(sql`SELECT ${sql.join([1, 'x', part], sql` AND `)}, ${sql.identifier('main', 'city')}, ${sql.raw('x')}`);
  // @ts-expect-error a name at least
  sql.identifier();
  // @ts-expect-error text is no fragment
  sql.join([1], ', ');
  // @ts-expect-error a Date is no value
  sql`SELECT ${new Date()}`;
  // @ts-expect-error an object of the same shape is no statement
  const forged: Sql = { text: 'SELECT 1', values: [] };
  is<Sql>()(forged);
  // @ts-expect-error the text of a statement does not change
  part.text = 'SELECT 1';
}

export function errors(error: unknown): void {
  if (error instanceof SqlError) is<'SQL_ERROR'>()(error.code);
  if (error instanceof NoRowsError) is<'NO_ROWS'>()(error.code);
  if (error instanceof SqlflowError) {
    is<string>()(error.code);
    is<number | undefined>()(error.sqliteCode);
    is<number | undefined>()(error.offset);
    is<string | undefined>()(error.sql);
    // @ts-expect-error a code does not change
    error.code = 'OTHER';
  }
}

export async function disposal(path: string): Promise<void> {
  await using db = await Database.open(path);
  await using rows = db.iterate('SELECT 1');
  is<IteratorResult<Row, undefined>>()(await rows.next());
}
