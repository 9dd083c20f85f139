// A worker thread of the `workers` peer: better-sqlite3 behind a message port, statements cached by their text.

import { parentPort, workerData } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import { pragmas } from './index.mjs';

const db = new Sqlite(workerData.path);
for (const pragma of pragmas(workerData.synchronous)) db.pragma(pragma);

const statements = new Map();

function prepared(sql) {
  let statement = statements.get(sql);
  if (statement === undefined) {
    statement = db.prepare(sql);
    statements.set(sql, statement);
  }
  return statement;
}

function answer(verb, sql, values) {
  switch (verb) {
    case 'get':
      return prepared(sql).get(values);
    case 'all':
      return prepared(sql).all();
    case 'run':
      return prepared(sql).run(values);
    case 'many': {
      const statement = prepared(sql);
      for (const row of values) statement.run(row[0], row[1], row[2]);
      return undefined;
    }
    case 'exec':
      db.exec(sql);
      return undefined;
    case 'close':
      db.close();
      return undefined;
    default:
      throw new Error(`no verb ${verb}`);
  }
}

// One message per request and one per answer; several that wait are delivered by Node in one wake-up, either way.
parentPort.on('message', ([id, verb, sql, values]) => {
  let reply;
  try {
    reply = [id, answer(verb, sql, values)];
  } catch (error) {
    reply = [id, undefined, String(error.message)];
  }
  parentPort.postMessage(reply);
  if (verb === 'close') parentPort.close();
});
