// Collects garbage now, so that what reading 17 MB of JSON left behind is not found in the pauses of the work measured after it.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Collects everything; what is left is moved out of the young generation. */
export const collect = runInNewContext('gc');
