//! What statements name, remembered by their text.
//!
//! Taking a statement apart follows from its text alone, whoever asks it. What is wrong with one is not remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::names::Names;

/// Statements remembered since the last time that half of them were forgotten.
const MOST: usize = 1_000;
/// Longer ones cost more to keep than to take apart.
const LONGEST: usize = 16 << 10;

#[derive(Default)]
pub struct Statements(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<Names>>,
    old: HashMap<String, Arc<Names>>,
}

impl Statements {
    pub fn find(&self, sql: &str) -> Option<Arc<Names>> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = generations.young.get(sql) {
            return Some(names.clone());
        }
        let (sql, names) = generations.old.remove_entry(sql)?;
        generations.put(sql, names.clone());
        Some(names)
    }

    pub fn keep(&self, sql: &str, names: &Arc<Names>) {
        if sql.len() <= LONGEST {
            let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            generations.put(sql.to_string(), names.clone());
        }
    }
}

impl Generations {
    fn put(&mut self, sql: String, names: Arc<Names>) {
        if self.young.len() == MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(sql, names);
    }
}
