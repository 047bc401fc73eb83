//! Texts of a run of events as small numbers, so that what comes again is looked at once.
//!
//! The views of a stream group by the same few fields and count the same few values: a [`Run`] codes each field once for
//! all of them. A text that hardly ever comes again, such as an identifier, is not coded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use polars::prelude::{DataFrame, PolarsResult, Series, StringChunked};

use crate::columns::{self, Part};

/// Texts that are looked at before it is judged whether they come again.
const SAMPLE: usize = 1_024;
/// Pairs of a row and a code are counted in a table of at most so many places for each event.
const PLACES: usize = 4;

/// Decoded events, and what was found out about them for whichever view came first.
#[derive(Debug)]
pub struct Run {
    events: DataFrame,
    codes: RefCell<HashMap<String, Option<Rc<Codes>>>>,
}

impl Run {
    pub fn new(events: DataFrame) -> Self {
        Run { events, codes: RefCell::default() }
    }

    pub fn events(&self) -> &DataFrame {
        &self.events
    }

    /// The codes of a field whose values are these; `None` for one that is no text or hardly comes again.
    pub(crate) fn codes(&self, field: &str, values: &Series) -> PolarsResult<Option<Rc<Codes>>> {
        if let Some(known) = self.codes.borrow().get(field) {
            return Ok(known.clone());
        }
        let codes = Codes::of(columns::texts(values)?).map(Rc::new);
        self.codes.borrow_mut().insert(field.to_string(), codes.clone());
        Ok(codes)
    }
}

/// The texts of a run of events, each as the number of its value. Values are numbered in the order of first sight, NULL
/// among them.
#[derive(Clone, Debug)]
pub struct Codes {
    texts: StringChunked,
    /// By code, the place of its first text.
    firsts: Vec<u32>,
    codes: Vec<u32>,
}

/// How often a value came in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub row: u32,
    pub code: u32,
    pub count: u32,
}

impl Codes {
    /// `None` where values hardly come again.
    pub(crate) fn of(texts: &StringChunked) -> Option<Codes> {
        Codes::unless(texts, |events, values| events >= SAMPLE && values * 2 > events)
    }

    /// Also where values hardly come again.
    pub(crate) fn of_all(texts: &StringChunked) -> Codes {
        Codes::unless(texts, |_, _| false).expect("it is never given up")
    }

    /// Gives up when `is_vain` says so of the events that were looked at and the values that they have.
    fn unless(texts: &StringChunked, is_vain: impl Fn(usize, usize) -> bool) -> Option<Codes> {
        let hasher = DefaultHashBuilder::default();
        let mut table: HashTable<u32> = HashTable::new();
        let mut values: Vec<Option<Mark<'_>>> = Vec::new();
        let (mut firsts, mut codes) = (Vec::new(), Vec::with_capacity(texts.len()));
        for (index, text) in texts.iter().enumerate() {
            let mark = text.map(Mark::of);
            let hash = mark.map_or(0, |mark| hasher.hash_one(mark));
            let same = |code: &u32| values[*code as usize] == mark;
            let code = match table
                .entry(hash, same, |code| values[*code as usize].map_or(0, |mark| hasher.hash_one(mark)))
            {
                Entry::Occupied(found) => *found.get(),
                Entry::Vacant(free) => {
                    let code = values.len() as u32;
                    free.insert(code);
                    values.push(mark);
                    firsts.push(index as u32);
                    if is_vain(index, values.len()) {
                        return None;
                    }
                    code
                }
            };
            codes.push(code);
        }
        Some(Codes { texts: texts.clone(), firsts, codes })
    }

    /// How many values there are.
    pub(crate) fn values(&self) -> usize {
        self.firsts.len()
    }

    /// By event.
    pub(crate) fn by_event(&self) -> &[u32] {
        &self.codes
    }

    pub(crate) fn text(&self, code: u32) -> Option<&str> {
        self.texts.get(self.firsts[code as usize] as usize)
    }

    /// The values by code.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.values() as u32).map(|code| self.text(code).map_or(Part::Null, Part::Text))
    }

    /// The codes of these events only.
    pub(crate) fn picked(&self, events: &[u32]) -> Codes {
        let codes = events.iter().map(|event| self.codes[*event as usize]).collect();
        Codes { codes, ..self.clone() }
    }

    /// How often which value came in which row, `rows` being the events'. As [`pairs`].
    pub(crate) fn pairs(&self, rows: &[u32]) -> Option<Vec<Pair>> {
        pairs(rows, &self.codes, self.values())
    }
}

/// How often which code came in which row: by row, and by code in each. Codes are less than `width`. `None` where there are
/// too many rows and codes for a table of both.
pub(crate) fn pairs(rows: &[u32], codes: &[u32], width: usize) -> Option<Vec<Pair>> {
    let (least, most) = (*rows.iter().min()?, *rows.iter().max()?);
    let places = ((most - least) as usize + 1).checked_mul(width)?;
    if places > PLACES * rows.len() {
        return None;
    }
    let mut counts = vec![0u32; places];
    for (row, code) in rows.iter().zip(codes) {
        counts[(row - least) as usize * width + *code as usize] += 1;
    }
    let pair = |(place, count): (usize, &u32)| Pair {
        row: least + (place / width) as u32,
        code: (place % width) as u32,
        count: *count,
    };
    Some(counts.iter().enumerate().filter(|(_, count)| **count > 0).map(pair).collect())
}

/// A text as what tells it from others soonest: a short one as two words that overlap, which with its length say all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark<'a> {
    Short(u8, u64, u64),
    Long(&'a [u8]),
}

impl<'a> Mark<'a> {
    #[inline]
    fn of(text: &'a str) -> Mark<'a> {
        let bytes = text.as_bytes();
        let length = bytes.len();
        let (low, high) = match (bytes.first_chunk(), bytes.last_chunk()) {
            _ if length > 16 => return Mark::Long(bytes),
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (bytes.first_chunk(), bytes.last_chunk()) {
                (Some(first), Some(last)) => {
                    (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
                }
                _ => (bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
            },
        };
        Mark::Short(length as u8, low, high)
    }
}
