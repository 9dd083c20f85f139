// Abort signals: one listener however many subscribe, and none when nobody does.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { onAbort } from '../dist/abort-signals.js';

function listeners(signal: AbortSignal): number {
  return getEventListeners(signal, 'abort').length;
}

describe('onAbort', () => {
  it('has one listener for 10,000 subscribers, and none after the last has left', () => {
    const { signal } = new AbortController();
    const leave = Array.from({ length: 10_000 }, () => onAbort(signal, () => assert.fail('called')));
    assert.equal(listeners(signal), 1);
    for (const each of leave.slice(1)) each();
    assert.equal(listeners(signal), 1);
    leave[0]?.();
    assert.equal(listeners(signal), 0);
  });

  it('tells everybody who is still there, once, in the order they came', () => {
    const controller = new AbortController();
    const told: unknown[] = [];
    onAbort(controller.signal, (reason) => told.push(['a', reason]));
    onAbort(controller.signal, () => told.push('left'))();
    onAbort(controller.signal, (reason) => told.push(['b', reason]));
    controller.abort('enough');
    controller.abort('again');
    assert.deepEqual(told, [
      ['a', 'enough'],
      ['b', 'enough'],
    ]);
    assert.equal(listeners(controller.signal), 0);
  });

  it('lets a subscriber leave twice, and another one leave while it is told', () => {
    const controller = new AbortController();
    const told: string[] = [];
    const leaveSecond: (() => void)[] = [];
    const leaveFirst = onAbort(controller.signal, () => {
      told.push('first');
      leaveSecond[0]?.();
      leaveFirst();
    });
    leaveSecond.push(onAbort(controller.signal, () => told.push('second')));
    controller.abort();
    leaveFirst();
    assert.deepEqual(told, ['first']);
  });

  it('begins anew after everybody had left', () => {
    const controller = new AbortController();
    let told = 0;
    const leave = onAbort(controller.signal, () => told++);
    leave();
    onAbort(controller.signal, () => told++);
    leave();
    assert.equal(listeners(controller.signal), 1);
    controller.abort();
    assert.equal(told, 1);
  });
});
