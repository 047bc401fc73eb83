//! The distinct values of one dimension, each with a code.
//!
//! Codes count up from 0 in the order of first sight. Looking a value up allocates nothing; only a
//! value that is new is copied. `-0.0` is `0.0`, and all NaN are one value.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::columns::Part;
use crate::measure::allocation;
use crate::types::DataType;
use crate::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Dictionary {
    pub(crate) data_type: DataType,
    values: Vec<Value>,
    table: HashTable<u32>,
    null: Option<u32>,
    text_bytes: usize,
    hasher: DefaultHashBuilder,
}

impl Dictionary {
    pub(crate) fn new(data_type: DataType) -> Self {
        Dictionary {
            data_type,
            values: Vec::new(),
            table: HashTable::new(),
            null: None,
            text_bytes: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// A dictionary that has these values by code, each of them once.
    pub(crate) fn restored(data_type: DataType, values: Vec<Value>) -> Self {
        let mut dictionary = Dictionary::new(data_type);
        let Dictionary { table, hasher, null, text_bytes, .. } = &mut dictionary;
        let hash_of = |code: &u32| hash(hasher, canonical(Part::of(&values[*code as usize])));
        *table = HashTable::with_capacity(values.len());
        for (code, value) in (0..).zip(&values) {
            match Part::of(value) {
                Part::Null => {
                    *null = Some(code);
                    continue;
                }
                Part::Text(text) => *text_bytes += held(text),
                _ => {}
            }
            table.insert_unique(hash_of(&code), code, hash_of);
        }
        dictionary.values = values;
        dictionary
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(crate) fn find(&self, part: Part<'_>) -> Option<u32> {
        let part = canonical(part);
        if part == Part::Null {
            return self.null;
        }
        let hash = hash(&self.hasher, part);
        self.table.find(hash, |code| same(part, &self.values[*code as usize])).copied()
    }

    /// The code of a value, added if new.
    pub(crate) fn encode(&mut self, part: Part<'_>) -> u32 {
        let part = canonical(part);
        let next = self.values.len() as u32;
        if part == Part::Null {
            if self.null.is_none() {
                self.values.push(Value::Null);
            }
            return *self.null.get_or_insert(next);
        }
        let Dictionary { values, table, hasher, .. } = self;
        let entry = table.entry(
            hash(hasher, part),
            |code| same(part, &values[*code as usize]),
            |code| hash(hasher, canonical(Part::of(&values[*code as usize]))),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(found) => *found.get(),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(next);
                self.values.push(part.value(&self.data_type));
                if let Part::Text(text) = part {
                    self.text_bytes += held(text);
                }
                next
            }
        }
    }

    /// Forgets all values but those of these codes. Gives, by old code, the new one of each that is kept.
    pub(crate) fn keep(&mut self, used: impl Iterator<Item = u32>) -> Vec<u32> {
        const FORGOTTEN: u32 = u32::MAX;
        let mut renamed = vec![FORGOTTEN; self.values.len()];
        used.for_each(|code| renamed[code as usize] = 0);
        for (code, renamed) in (0..).zip(renamed.iter_mut().filter(|code| **code != FORGOTTEN)) {
            *renamed = code;
        }
        let kept = std::mem::take(&mut self.values).into_iter().zip(&renamed);
        let kept = kept.filter(|(_, code)| **code != FORGOTTEN).map(|(value, _)| value).collect();
        *self = Dictionary::restored(self.data_type.clone(), kept);
        renamed
    }

    /// Each code's place among the values in order; NULL comes last.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut codes: Vec<u32> = (0..self.values.len() as u32).collect();
        codes.sort_unstable_by(|a, b| self.values[*a as usize].order(&self.values[*b as usize]));
        let mut ranks = vec![0; codes.len()];
        for (rank, code) in codes.into_iter().enumerate() {
            ranks[code as usize] = rank as u32;
        }
        ranks
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.len() * size_of::<Value>() + self.table.allocation_size() + self.text_bytes
    }
}

/// Memory of a text: its two counts lie before it.
pub(crate) fn held(text: &str) -> usize {
    allocation(text.len() + 2 * size_of::<usize>())
}

fn canonical(part: Part<'_>) -> Part<'_> {
    match part {
        Part::Float(value) if value.is_nan() => Part::Float(f64::NAN),
        // Adding positive zero turns -0.0 into 0.0 and leaves all other numbers alone.
        Part::Float(value) => Part::Float(value + 0.0),
        other => other,
    }
}

fn hash(hasher: &DefaultHashBuilder, part: Part<'_>) -> u64 {
    let mut state = hasher.build_hasher();
    match part {
        Part::Null => {}
        Part::Whole(value) => value.hash(&mut state),
        Part::Wide(value) => value.hash(&mut state),
        Part::Float(value) => value.to_bits().hash(&mut state),
        Part::Text(text) => state.write(text.as_bytes()),
    }
    state.finish()
}

fn same(part: Part<'_>, value: &Value) -> bool {
    match (part, Part::of(value)) {
        (Part::Float(left), Part::Float(right)) => left.to_bits() == right.to_bits(),
        (left, right) => left == right,
    }
}
