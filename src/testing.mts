// What `import 'sqlflow/testing'` gives: the names of the CommonJS build, which exists once however it is loaded.

export { testDatabase, testPool } from './testing.js';
