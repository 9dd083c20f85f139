//! Owns which operations of an environment are under way: those that were accepted and whose last record was not taken yet.

/// A set of operation numbers, which are small: slots of a table.
#[derive(Default)]
pub(super) struct Live {
    words: Vec<u64>,
    count: usize,
}

impl Live {
    fn place(op: u32) -> (usize, u64) {
        (usize::try_from(op / 64).unwrap_or(usize::MAX), 1 << (op % 64))
    }

    pub(super) fn insert(&mut self, op: u32) {
        let (word, bit) = Self::place(op);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            self.count += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(super) fn remove(&mut self, op: u32) {
        let (word, bit) = Self::place(op);
        if let Some(word) = self.words.get_mut(word) {
            self.count -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    pub(super) fn contains(&self, op: u32) -> bool {
        let (word, bit) = Self::place(op);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_it_once_until_it_is_removed() {
        let mut live = Live::default();
        for op in [0, 63, 64, 1_000, 64] {
            live.insert(op);
        }
        assert_eq!((live.len(), live.contains(64), live.contains(65)), (4, true, false));
        live.remove(64);
        live.remove(64);
        live.remove(70_000);
        assert_eq!((live.len(), live.contains(64)), (3, false));
    }
}
