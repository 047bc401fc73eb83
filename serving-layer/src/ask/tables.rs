//! Live states as tables. Those of whole views that come from elsewhere are decoded once for as long as they stand still.
//!
//! A fold of `[watershed, live)` of one partition is the same states whoever sends them (invariant
//! `REPLAY`), so what was decoded for one question serves the next one until the partition moves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use watershed_schemas::live::PartitionStates;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::view::View;

use crate::live::Chosen;
use crate::refusal::{Reason, Refusal};

#[derive(Default)]
pub struct Tables {
    /// By view hash and partition: the newest only.
    held: Mutex<HashMap<(String, Partition), Held>>,
}

#[derive(Clone)]
struct Held {
    watershed: Offset,
    live: Offset,
    tables: Vec<Arc<StateTable>>,
}

impl Tables {
    /// `scope` is what was asked for.
    pub fn decode(
        &self,
        view: &Arc<View>,
        scope: &Scope,
        chosen: &Chosen,
    ) -> Result<Vec<Arc<StateTable>>, Refusal> {
        let mut decoded = Vec::with_capacity(chosen.states.len());
        for (partition, live) in chosen.live.iter() {
            let watershed = chosen.watershed.get(partition);
            let key = (view.hash.clone(), partition);
            let same = |held: &&Held| held.watershed == watershed && held.live == live;
            if let Some(held) = self.lock().get(&key).filter(same).filter(|_| scope.is_whole()) {
                decoded.extend(held.tables.iter().cloned());
                continue;
            }
            let (mut tables, mut decoding) = (Vec::new(), false);
            for (_, _, states) in chosen.states.iter().filter(|(of, ..)| *of == partition) {
                decoding |= matches!(states, PartitionStates::Encoded(_));
                let table = states.to_table(view, scope).map_err(|error| {
                    tracing::error!(view = view.name, %partition, %error, "live states not understood");
                    Refusal::new(
                        Reason::Failed,
                        format!("the speed layer sent states that this server cannot read: {error}"),
                    )
                })?;
                tables.push(table);
            }
            decoded.extend(tables.iter().cloned());
            if decoding && scope.is_whole() {
                self.lock().insert(key, Held { watershed, live, tables });
            }
        }
        Ok(decoded)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Partition), Held>> {
        self.held.lock().expect("no thread panics while it holds this lock")
    }
}
