//! Which rows of a fold have changed.

/// A set of rows: a bit for each, so that noting one costs next to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    words: Vec<u64>,
    len: usize,
}

/// What has changed of a fold since some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// The fold was not there: whatever had its key before was another.
    All,
    Rows(Rows),
}

impl Rows {
    pub fn insert(&mut self, row: u32) {
        let (index, bit) = (row as usize / 64, 1 << (row % 64));
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        self.len += usize::from(self.words[index] & bit == 0);
        self.words[index] |= bit;
    }

    pub fn unite(&mut self, other: &Rows) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ascending.
    pub fn to_vec(&self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.len);
        for (index, word) in self.words.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                rows.push(index as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        rows
    }
}

impl FromIterator<u32> for Rows {
    fn from_iter<I: IntoIterator<Item = u32>>(rows: I) -> Self {
        let mut set = Rows::default();
        rows.into_iter().for_each(|row| set.insert(row));
        set
    }
}

impl Changes {
    pub fn none() -> Changes {
        Changes::Rows(Rows::default())
    }

    pub fn note(&mut self, rows: &[u32]) {
        if let Changes::Rows(set) = self {
            rows.iter().for_each(|row| set.insert(*row));
        }
    }

    /// What has changed of the fold as it is now, `earlier` being what had changed before.
    pub fn unite(&mut self, earlier: &Changes) {
        match (&mut *self, earlier) {
            (Changes::All, _) => {}
            (Changes::Rows(_), Changes::All) => *self = Changes::All,
            (Changes::Rows(rows), Changes::Rows(before)) => rows.unite(before),
        }
    }

    /// How many rows of a fold of `cells` have changed.
    pub fn count(&self, cells: usize) -> usize {
        match self {
            Changes::All => cells,
            Changes::Rows(rows) => rows.len(),
        }
    }
}
