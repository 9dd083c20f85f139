//! Lists of column names, interned for the process so that a result names its columns by one number.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

/// How many lists are interned per process; later ones travel inline.
pub const MAX_SHAPES: usize = 16_384;

/// How many bytes the interned names may take per process, because the name of an unaliased column is
/// the text of its expression and interned lists are never freed; what does not fit travels inline.
pub const MAX_SHAPE_BYTES: usize = 16 << 20;

/// The column names of a result, in order; names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    id: u32,
    names: Arc<[Box<str>]>,
}

impl Shape {
    /// A list that is not interned: its names travel in every record.
    pub fn inline<S: AsRef<str>>(names: &[S]) -> Self {
        Self { id: 0, names: boxed(names) }
    }

    /// Number of the list within the process, from 1; 0: not interned.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The names, one per column.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }
}

/// The process's one shape for this list of names.
///
/// Once [`MAX_SHAPES`] or [`MAX_SHAPE_BYTES`] is used up, new lists get a fresh shape with id 0.
pub fn intern<S: AsRef<str>>(names: &[S]) -> Arc<Shape> {
    let names = boxed(names);
    TABLE.lock().intern(names)
}

/// The interned shape with this id, `None` if there is none.
#[must_use]
pub fn get(id: u32) -> Option<Arc<Shape>> {
    TABLE.lock().get(id)
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| Mutex::new(Table::new(MAX_SHAPES, MAX_SHAPE_BYTES)));

fn boxed<S: AsRef<str>>(names: &[S]) -> Arc<[Box<str>]> {
    names.iter().map(|name| Box::from(name.as_ref())).collect()
}

struct Table {
    by_names: HashMap<Arc<[Box<str>]>, Arc<Shape>>,
    /// The shape with id n is at n - 1.
    by_id: Vec<Arc<Shape>>,
    free_shapes: usize,
    free_bytes: usize,
}

impl Table {
    fn new(max_shapes: usize, max_bytes: usize) -> Self {
        Self { by_names: HashMap::new(), by_id: Vec::new(), free_shapes: max_shapes, free_bytes: max_bytes }
    }

    fn intern(&mut self, names: Arc<[Box<str>]>) -> Arc<Shape> {
        if let Some(shape) = self.by_names.get(&names) {
            return Arc::clone(shape);
        }
        let Some((id, free_shapes, free_bytes)) = self.reserve(&names) else {
            return Arc::new(Shape { id: 0, names });
        };
        let shape = Arc::new(Shape { id, names: Arc::clone(&names) });
        self.by_id.push(Arc::clone(&shape));
        self.by_names.insert(names, Arc::clone(&shape));
        self.free_shapes = free_shapes;
        self.free_bytes = free_bytes;
        shape
    }

    /// The next id and what is left after it, if the list still fits.
    fn reserve(&self, names: &[Box<str>]) -> Option<(u32, usize, usize)> {
        let bytes = names.iter().fold(0_usize, |sum, name| sum.saturating_add(name.len()));
        let id = u32::try_from(self.by_id.len()).ok()?.checked_add(1)?;
        Some((id, self.free_shapes.checked_sub(1)?, self.free_bytes.checked_sub(bytes)?))
    }

    fn get(&self, id: u32) -> Option<Arc<Shape>> {
        let position = usize::try_from(id.checked_sub(1)?).ok()?;
        self.by_id.get(position).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern_in(table: &mut Table, names: &[&str]) -> Arc<Shape> {
        table.intern(boxed(names))
    }

    #[test]
    fn equal_lists_share_a_shape_and_ids_start_at_1() {
        let mut table = Table::new(10, 100);
        let first = intern_in(&mut table, &["a", "b"]);
        let again = intern_in(&mut table, &["a", "b"]);
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(first.id(), 1);
        assert_eq!(first.names(), [Box::from("a"), Box::from("b")]);
    }

    #[test]
    fn order_repetition_and_boundaries_of_names_matter() {
        let mut table = Table::new(10, 100);
        let lists: [&[&str]; 7] = [&["a", "b"], &["b", "a"], &["ab"], &["a", "b", "b"], &[], &[""], &["", ""]];
        let ids: Vec<u32> = lists.iter().map(|names| intern_in(&mut table, names).id()).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_full_table_keeps_what_it_has_and_answers_the_rest_with_id_0() {
        let mut table = Table::new(2, 100);
        intern_in(&mut table, &["a"]);
        intern_in(&mut table, &["b"]);
        let third = intern_in(&mut table, &["c"]);
        assert_eq!((third.id(), third.names()), (0, &[Box::from("c")][..]));
        assert_eq!(intern_in(&mut table, &["b"]).id(), 2);
        assert_eq!(table.by_id.len(), 2);
    }

    #[test]
    fn names_beyond_the_byte_budget_stay_inline_and_leave_it_to_shorter_ones() {
        let mut table = Table::new(10, 8);
        assert_eq!(intern_in(&mut table, &["123456789"]).id(), 0);
        assert_eq!(intern_in(&mut table, &["12345678"]).id(), 1);
        assert_eq!(intern_in(&mut table, &["1"]).id(), 0);
    }

    #[test]
    fn an_unknown_id_has_no_shape() {
        let mut table = Table::new(10, 100);
        let shape = intern_in(&mut table, &["a"]);
        assert_eq!(table.get(1), Some(shape));
        assert_eq!(table.get(0), None);
        assert_eq!(table.get(2), None);
        assert_eq!(table.get(u32::MAX), None);
    }

    #[test]
    fn the_process_table_finds_what_it_interned() {
        let shape = intern(&["shape::tests", "x"]);
        assert!(Arc::ptr_eq(&shape, &intern(&[String::from("shape::tests"), String::from("x")])));
        assert_eq!(get(shape.id()), Some(shape));
    }
}
