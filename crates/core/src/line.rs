//! Owns the order of those who wait: first come, first served, except that all entries of an environment that does not answer
//! stand aside, in their order, and take their old places when it calls in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What can wait in a [`Line`].
pub(crate) trait Waits {
    /// The environment it waits for; none if it belongs to the engine.
    fn env(&self) -> Option<u64>;
}

/// One who waits.
pub(crate) struct Entry<T> {
    /// Place in the line; kept whatever happens to the entry.
    pub(crate) seq: u64,
    /// How often its environment has let its grant lie; each time doubles the patience with it.
    pub(crate) revocations: u32,
    /// When a look at the line saw it first; timing that way needs no clock at its coming.
    pub(crate) seen: Option<Instant>,
    pub(crate) work: T,
}

/// Those who wait.
pub(crate) struct Line<T> {
    entries: VecDeque<Entry<T>>,
    aside: Vec<Entry<T>>,
    next_seq: u64,
}

impl<T: Waits> Line<T> {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), aside: Vec::new(), next_seq: 0 }
    }

    /// Those in line and aside.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.aside.len()
    }

    /// Whether nobody is in line; some may stand aside.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.entries.front().map(|entry| &entry.work)
    }

    /// Appends `work`, behind the others of its environment wherever those are.
    pub(crate) fn push(&mut self, work: T) {
        let entry = Entry { seq: self.next_seq, revocations: 0, seen: None, work };
        self.next_seq += 1;
        if self.aside.iter().any(|other| other.work.env() == entry.work.env()) {
            self.aside.push(entry);
        } else {
            self.entries.push_back(entry);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Entry<T>> {
        self.entries.pop_front()
    }

    /// Pops the first if `wanted`.
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<Entry<T>> {
        if self.front().is_some_and(wanted) { self.pop() } else { None }
    }

    /// Puts an entry that was popped back to the head.
    pub(crate) fn put_back(&mut self, entry: Entry<T>) {
        self.entries.push_front(entry);
    }

    /// Lets `granted`, which were popped and belong to one environment, and all others of it stand aside.
    pub(crate) fn stand_aside(&mut self, granted: impl IntoIterator<Item = Entry<T>>) {
        for entry in granted {
            let env = entry.work.env();
            self.aside.push(entry);
            let others = self.remove_if(|work| work.env() == env);
            self.aside.extend(others);
        }
        self.aside.sort_by_key(|entry| entry.seq);
    }

    /// The environment has called in: its entries take their old places.
    pub(crate) fn readmit(&mut self, env: u64) {
        let (back, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.aside).into_iter().partition(|entry| entry.work.env() == Some(env));
        self.aside = stay;
        for entry in back {
            let at = self.entries.partition_point(|other| other.seq < entry.seq);
            self.entries.insert(at, entry);
        }
    }

    /// Puts `work` before all others.
    pub(crate) fn push_front(&mut self, work: T) {
        let seq = self.entries.front().map_or(self.next_seq, |first| first.seq);
        self.entries.push_front(Entry { seq, revocations: 0, seen: None, work });
    }

    /// Looks at those in line: removes who has waited for longer than its `patience` (zero: has no end) since a look saw it first.
    pub(crate) fn remove_late(&mut self, now: Instant, patience: impl Fn(&T) -> Duration) -> VecDeque<Entry<T>> {
        let mut any = false;
        for entry in &mut self.entries {
            let limit = patience(&entry.work);
            any |= !limit.is_zero() && now.duration_since(*entry.seen.get_or_insert(now)) >= limit;
        }
        if !any {
            return VecDeque::new();
        }
        let is_late = |entry: &Entry<T>| {
            let limit = patience(&entry.work);
            !limit.is_zero() && entry.seen.is_some_and(|seen| now.duration_since(seen) >= limit)
        };
        let (late, stay) = std::mem::take(&mut self.entries).into_iter().partition(is_late);
        self.entries = stay;
        late
    }

    /// Removes those in line or aside for whom `gone` holds, in no order that matters.
    pub(crate) fn take_out(&mut self, mut gone: impl FnMut(&T) -> bool) -> Vec<Entry<T>> {
        let (aside, stay) = std::mem::take(&mut self.aside).into_iter().partition(|entry| gone(&entry.work));
        self.aside = stay;
        let mut removed: Vec<Entry<T>> = aside;
        if self.entries.iter().any(|entry| gone(&entry.work)) {
            removed.extend(self.remove_if(gone));
        }
        removed
    }

    /// Removes those in line for whom `gone` holds, in order.
    pub(crate) fn remove_if(&mut self, mut gone: impl FnMut(&T) -> bool) -> VecDeque<Entry<T>> {
        let (removed, stay) = std::mem::take(&mut self.entries).into_iter().partition(|entry| gone(&entry.work));
        self.entries = stay;
        removed
    }

    /// Removes everything of an environment that is gone. To be dropped outside of locks: the last lease of a handle closes it.
    pub(crate) fn forget(&mut self, env: u64) -> Vec<Entry<T>> {
        self.readmit(env);
        self.remove_if(|work| work.env() == Some(env)).into()
    }

    /// Removes everybody.
    pub(crate) fn clear(&mut self) -> Vec<Entry<T>> {
        self.entries.drain(..).chain(self.aside.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Waits for (u64, &str) {
        fn env(&self) -> Option<u64> {
            Some(self.0)
        }
    }

    fn names(line: &mut Line<(u64, &'static str)>) -> Vec<&'static str> {
        std::iter::from_fn(|| line.pop()).map(|entry| entry.work.1).collect()
    }

    #[test]
    fn an_environment_that_calls_in_takes_its_old_places() {
        let mut line = Line::new();
        for work in [(1, "a"), (2, "b"), (1, "c"), (2, "d")] {
            line.push(work);
        }
        let first = line.pop().unwrap();
        line.stand_aside([first]);
        line.push((1, "e"));
        line.push((2, "f"));
        assert_eq!(line.front().map(|work| work.1), Some("b"));
        line.readmit(1);
        assert_eq!(names(&mut line), ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn who_waits_too_long_is_removed_by_a_later_look() {
        let mut line = Line::new();
        let now = Instant::now();
        let patience = |work: &(u64, &str)| Duration::from_millis(work.0);
        line.push((0, "has no end"));
        line.push((5, "late"));
        assert!(line.remove_late(now, patience).is_empty());
        line.push((5, "came later"));
        let late = line.remove_late(now + Duration::from_millis(5), patience);
        assert_eq!(late.iter().map(|entry| entry.work.1).collect::<Vec<_>>(), ["late"]);
        assert_eq!(names(&mut line), ["has no end", "came later"]);
    }

    #[test]
    fn an_environment_that_is_gone_leaves_nothing_in_line_or_aside() {
        let mut line = Line::new();
        for work in [(1, "a"), (2, "b"), (1, "c")] {
            line.push(work);
        }
        let first = line.pop().unwrap();
        line.stand_aside([first]);
        assert_eq!(line.forget(1).len(), 2);
        assert_eq!(line.len(), 1);
        assert_eq!(names(&mut line), ["b"]);
    }
}
