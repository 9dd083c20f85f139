//! Owns tables of things that JavaScript names by a number: an index that is reused, and a generation that tells a late user of it.

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table of `T`.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts `value` in; gives its index and generation.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(position(index))
        {
            slot.value = Some(value);
            return (index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 1, value: Some(value) });
        (index, 1)
    }

    pub(crate) fn get(&self, index: u32, generation: u32) -> Option<&T> {
        self.slots.get(position(index)).filter(|slot| slot.generation == generation)?.value.as_ref()
    }

    pub(crate) fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        let slot = self.slots.get_mut(position(index)).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.value).collect()
    }
}

fn position(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_user_of_an_index_does_not_reach_its_new_owner() {
        let mut slab = Slab::new();
        let (index, generation) = slab.insert("first");
        assert_eq!(slab.remove(index, generation), Some("first"));
        let (again, next) = slab.insert("second");
        assert_eq!(again, index);
        assert_eq!(slab.get(index, generation), None);
        assert_eq!(slab.remove(index, generation), None);
        assert_eq!(slab.get(index, next), Some(&"second"));
    }
}
