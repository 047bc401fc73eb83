//! Questions that were asked before: reading and planning them again would come to the same.
//!
//! What a question means follows from its text, and its plan from that and the view's definition; neither from when it is
//! asked. Programs ask a few questions over and over.

use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;
use watershed_schemas::view::View;

use crate::plan::{Plan, plan};
use crate::query::Query;
use crate::refusal::Refusal;

/// Questions that are remembered, and how long one may be.
const MOST: usize = 1_024;
const LONGEST_BYTES: usize = 4_096;

#[derive(Default)]
pub struct Heard {
    questions: Mutex<HashMap<Vec<u8>, Arc<Query>>>,
    plans: Mutex<HashMap<Arc<Query>, Arc<Plan>>>,
}

impl Heard {
    /// Reads the body of `POST /v1/query`.
    pub fn question(&self, body: &[u8]) -> Result<Arc<Query>, Refusal> {
        if let Some(query) = lock(&self.questions).get(body) {
            return Ok(query.clone());
        }
        let query = Arc::new(Query::from_json(body)?);
        if body.len() <= LONGEST_BYTES {
            remember(&self.questions, body.to_vec(), &query);
        }
        Ok(query)
    }

    /// Resolves a question against a view.
    pub fn plan(&self, query: &Arc<Query>, view: &Arc<View>) -> Result<Arc<Plan>, Refusal> {
        let known = lock(&self.plans).get(query).filter(|plan| Arc::ptr_eq(&plan.view, view)).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        let plan = Arc::new(plan(query, view)?);
        remember(&self.plans, query.clone(), &plan);
        Ok(plan)
    }
}

fn remember<K: Eq + std::hash::Hash, V>(held: &Mutex<HashMap<K, Arc<V>>>, key: K, value: &Arc<V>) {
    let mut held = lock(held);
    // Those that are asked often are soon there again.
    if held.len() >= MOST {
        held.clear();
    }
    held.insert(key, value.clone());
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().expect("no thread panics while it holds this lock")
}
