// What a case measures: the unit, which way is better, and the goals it is held against.

/**
 * @param title  the line in the table
 * @param goals  `{ peer, ratio }`: at least `ratio` times as good as the peer (for times: at most `ratio` times as long),
 *               or `{ atMost }`: sqlflow's own value
 */
export function metric(key, title, unit, better, goals = []) {
  return { key, title, unit, better, goals };
}

/** sqlflow's median over the peer's, in the metric's own unit: above 1 is better for rates, below 1 for times. */
export function ratio(results, peer) {
  const own = results.sqlflow?.median;
  const other = results[peer]?.median;
  if (own === undefined || other === undefined) return undefined;
  return own / other;
}

/** Whether a goal is met; undefined when one of the two sides was not measured. */
export function met(goal, { better }, results) {
  if (goal.atMost !== undefined) {
    const own = results.sqlflow?.median;
    return own === undefined ? undefined : own <= goal.atMost;
  }
  const value = ratio(results, goal.peer);
  if (value === undefined) return undefined;
  return better === 'higher' ? value >= goal.ratio : value <= goal.ratio;
}
