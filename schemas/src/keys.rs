//! Cells' keys: (window start, dimension values) to a dense row number.
//!
//! Values are held once per dimension, in a dictionary; a key is a window and one code per
//! dimension, so that filtering and regrouping compare small integers. Rows count up from 0 in the
//! order of first sight and never move.
//!
//! To answer a question, filter codes by a mask over [`Keys::dictionary`], pick rows by
//! [`Keys::windows`] and [`Keys::row_codes`], and bring them to a coarser key with [`Keys::regroup`];
//! the rows it gives are what [`States::merge`](crate::measure::States::merge) takes.
//!
//! An overflow group is a key whose values were not kept, for want of room: [`UNKNOWN`] stands for each of
//! its dimensions, and [`ANY_WINDOW`] for its window where that was not kept either.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::columns::Part;
use crate::dictionary::Dictionary;
use crate::types::DataType;
use crate::value::Value;

/// Stands for the code of a value that was not kept.
pub const UNKNOWN: u32 = u32::MAX;

/// Stands for a window that was not kept. No event lies that early.
pub const ANY_WINDOW: i64 = i64::MIN;

/// A growing set of keys.
#[derive(Clone, Debug)]
pub struct Keys {
    dictionaries: Vec<Dictionary>,
    windows: Vec<i64>,
    /// Row by row, one code per dimension.
    codes: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Keys {
    pub fn new(dimensions: Vec<DataType>) -> Self {
        Keys {
            dictionaries: dimensions.into_iter().map(Dictionary::new).collect(),
            windows: Vec::new(),
            codes: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Keys of which none comes twice, by row; `codes` has row by row one code per dictionary.
    pub(crate) fn restored(dictionaries: Vec<Dictionary>, windows: Vec<i64>, codes: Vec<u32>) -> Self {
        let (hasher, width) = (DefaultHashBuilder::default(), dictionaries.len());
        let hash_of =
            |row: &u32| hash(&hasher, windows[*row as usize], &codes[*row as usize * width..][..width]);
        let mut table = HashTable::with_capacity(windows.len());
        for row in 0..windows.len() as u32 {
            table.insert_unique(hash_of(&row), row, hash_of);
        }
        Keys { dictionaries, windows, codes, table, hasher }
    }

    pub fn len(&self) -> usize {
        self.windows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of dimensions.
    pub fn dimensions(&self) -> usize {
        self.dictionaries.len()
    }

    /// Window starts in microseconds, by row.
    pub fn windows(&self) -> &[i64] {
        &self.windows
    }

    /// A row's codes, one per dimension: indices into [`Keys::dictionary`].
    pub fn row_codes(&self, row: u32) -> &[u32] {
        let width = self.dictionaries.len();
        let start = row as usize * width;
        &self.codes[start..start + width]
    }

    pub fn code(&self, row: u32, dimension: usize) -> u32 {
        self.row_codes(row)[dimension]
    }

    /// The codes of one dimension, by row.
    pub fn codes(&self, dimension: usize) -> impl ExactSizeIterator<Item = u32> + '_ {
        (0..self.len() as u32).map(move |row| self.code(row, dimension))
    }

    /// The distinct values of a dimension, by code (NULL is a value of its own).
    pub fn dictionary(&self, dimension: usize) -> &[Value] {
        self.dictionaries[dimension].values()
    }

    pub fn data_type(&self, dimension: usize) -> &DataType {
        &self.dictionaries[dimension].data_type
    }

    /// A row's value of a dimension; NULL where it was not kept.
    pub fn value(&self, row: u32, dimension: usize) -> &Value {
        const NULL: &Value = &Value::Null;
        self.dictionary(dimension).get(self.code(row, dimension) as usize).unwrap_or(NULL)
    }

    /// True for an overflow group's row.
    pub fn is_overflow(&self, row: u32) -> bool {
        self.windows[row as usize] == ANY_WINDOW || self.row_codes(row).first() == Some(&UNKNOWN)
    }

    /// The code of a value in a dimension's dictionary, added if new.
    pub fn encode(&mut self, dimension: usize, value: &Value) -> u32 {
        self.dictionaries[dimension].encode(Part::of(value))
    }

    /// The code of a value, if any key ever had it.
    pub fn find_code(&self, dimension: usize, value: &Value) -> Option<u32> {
        self.dictionaries[dimension].find(Part::of(value))
    }

    pub(crate) fn find_part(&self, dimension: usize, part: Part<'_>) -> Option<u32> {
        self.dictionaries[dimension].find(part)
    }

    pub(crate) fn dictionary_mut(&mut self, dimension: usize) -> &mut Dictionary {
        &mut self.dictionaries[dimension]
    }

    /// The row of a key, added if new. `codes` has one code per dimension.
    pub fn row(&mut self, window: i64, codes: &[u32]) -> u32 {
        let Keys { dictionaries, windows, codes: held, table, hasher } = self;
        let width = dictionaries.len();
        let codes = &codes[..width];
        let codes_of = |row: u32| &held[row as usize * width..][..width];
        let entry = table.entry(
            hash(hasher, window, codes),
            |row| windows[*row as usize] == window && codes_of(*row) == codes,
            |row| hash(hasher, windows[*row as usize], codes_of(*row)),
        );
        match entry {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(free) => {
                let row = windows.len() as u32;
                free.insert(row);
                windows.push(window);
                held.extend_from_slice(codes);
                row
            }
        }
    }

    /// The row of a key, if it is held.
    pub fn find(&self, window: i64, codes: &[u32]) -> Option<u32> {
        let hash = hash(&self.hasher, window, codes);
        let same = |row: &u32| self.windows[*row as usize] == window && self.row_codes(*row) == codes;
        self.table.find(hash, same).copied()
    }

    /// Brings `rows` of `other` to keys of these: dimension `i` here is dimension `dimensions[i]` there,
    /// and a window there falls into `window(start)` here. Gives the row here of each, added if new.
    pub fn regroup(
        &mut self,
        other: &Keys,
        rows: &[u32],
        dimensions: &[usize],
        mut window: impl FnMut(i64) -> i64,
    ) -> Vec<u32> {
        const UNSEEN: u32 = u32::MAX;
        let mut translated: Vec<Vec<u32>> =
            dimensions.iter().map(|dimension| vec![UNSEEN; other.dictionary(*dimension).len()]).collect();
        let mut codes = vec![0; dimensions.len()];
        let mut last = None;
        let mut into = Vec::with_capacity(rows.len());
        for row in rows {
            let theirs = other.row_codes(*row);
            for (index, dimension) in dimensions.iter().enumerate() {
                let code = theirs[*dimension];
                if code == UNKNOWN {
                    codes[index] = UNKNOWN;
                    continue;
                }
                let seen = &mut translated[index][code as usize];
                if *seen == UNSEEN {
                    *seen = self.encode(index, &other.dictionary(*dimension)[code as usize]);
                }
                codes[index] = *seen;
            }
            let start = other.windows[*row as usize];
            let bucket = match last {
                Some((from, bucket)) if from == start => bucket,
                _ => window(start),
            };
            last = Some((start, bucket));
            into.push(self.row(bucket, &codes));
        }
        into
    }

    /// The row here of each row of `other`, which has the same dimensions; added if new.
    pub fn absorb(&mut self, other: &Keys) -> Vec<u32> {
        let rows: Vec<u32> = (0..other.len() as u32).collect();
        let dimensions: Vec<usize> = (0..other.dimensions()).collect();
        self.regroup(other, &rows, &dimensions, |start| start)
    }

    /// Keeps these rows only, which ascend: row `rows[i]` becomes row `i`. Values that no key has any more are
    /// forgotten.
    pub fn keep(&mut self, rows: &[u32]) {
        let width = self.dictionaries.len();
        for (row, from) in rows.iter().map(|from| *from as usize).enumerate() {
            self.windows[row] = self.windows[from];
            self.codes.copy_within(from * width..(from + 1) * width, row * width);
        }
        self.windows.truncate(rows.len());
        self.windows.shrink_to_fit();
        self.codes.truncate(rows.len() * width);
        self.codes.shrink_to_fit();
        for (dimension, dictionary) in self.dictionaries.iter_mut().enumerate() {
            let codes = || self.codes.iter().skip(dimension).step_by(width);
            let renamed = dictionary.keep(codes().copied().filter(|code| *code != UNKNOWN));
            let known = self.codes.iter_mut().skip(dimension).step_by(width).filter(|code| **code != UNKNOWN);
            known.for_each(|code| *code = renamed[*code as usize]);
        }
        let Keys { dictionaries, windows, codes, .. } = std::mem::replace(self, Keys::new(Vec::new()));
        *self = Keys::restored(dictionaries, windows, codes);
    }

    /// Rows in the order of (window, dimension values); NULL comes last, and behind it what was not kept.
    pub fn sorted_rows(&self) -> Vec<u32> {
        let ranks: Vec<Vec<u32>> = self.dictionaries.iter().map(Dictionary::ranks).collect();
        let places = |row: u32| {
            let codes = self.row_codes(row).iter().zip(&ranks);
            codes.map(|(code, ranks)| ranks.get(*code as usize).copied().unwrap_or(UNKNOWN))
        };
        let mut rows: Vec<u32> = (0..self.len() as u32).collect();
        rows.sort_unstable_by(|a, b| {
            let windows = self.windows[*a as usize].cmp(&self.windows[*b as usize]);
            windows.then_with(|| places(*a).cmp(places(*b)))
        });
        rows
    }

    /// Memory in use; of vectors that grow by doubling, what is filled.
    pub fn bytes(&self) -> usize {
        let keys = self.windows.len() * 8 + self.codes.len() * 4 + self.table.allocation_size();
        keys + self.dictionaries.iter().map(Dictionary::bytes).sum::<usize>()
    }
}

fn hash(hasher: &DefaultHashBuilder, window: i64, codes: &[u32]) -> u64 {
    let mut state = hasher.build_hasher();
    window.hash(&mut state);
    for code in codes {
        code.hash(&mut state);
    }
    state.finish()
}
