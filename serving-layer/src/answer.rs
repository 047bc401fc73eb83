//! An answer: columns of values, and where they come from.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::measure::{self, ErrorBound};
use watershed_schemas::offsets::{Gap, Offsets};
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;

use crate::explain::Explanation;
use crate::merge::{Finished, Groups};
use crate::overflow::Told;
use crate::plan::{self, Plan};
use crate::query::Fill;
use crate::refusal::{Reason, Refusal};

mod cursor;
mod fill;
mod known;
mod order;

pub use cursor::{Cursor, Pin};
pub use known::{Known, Unknown};

/// More rows than this are refused: ask for fewer with `limit` and `cursor`.
pub const MOST_ROWS: usize = 1_000_000;

/// What was found, and of which records.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Shared by all answers to one question as long as neither half moves.
    pub found: Arc<Found>,
    pub block: Block,
    pub statistics: Statistics,
}

/// Columns of equal length: what follows from the question and the records alone.
#[derive(Debug)]
pub struct Found {
    pub columns: Vec<AnswerColumn>,
    pub rows: usize,
    /// Per row, whether live records took part, if asked for.
    pub provenance: Option<Vec<bool>>,
    /// Per row, whether it is an overflow group, if any is.
    pub overflow: Option<Vec<bool>>,
    /// The zone whose offset times are shown with.
    pub zone: chrono_tz::Tz,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
    /// What is to be told of overflow groups, and of filled rows.
    pub told: Option<Told>,
    pub unknown: Option<Unknown>,
    /// Cells of the version and live ones that took part.
    pub batch_rows: usize,
    pub live_groups: usize,
    /// How it came about, if asked for.
    pub explanation: Option<Explanation>,
    /// The columns and rows as JSON, once they have been written.
    pub json: OnceLock<Vec<u8>>,
}

impl Deref for Answer {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.found
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct AnswerColumn {
    pub name: String,
    pub data_type: DataType,
    /// For measures: true when every cell in the answer is exact and no cell may be missing. `None` for window and dimensions.
    pub exact: Option<bool>,
    /// How wrong inexact cells may be; `None` also where they may lack any number of records.
    pub error: Option<ErrorBound>,
    pub values: Vec<Value>,
}

/// Which records an answer is a fold of (invariant `COVER`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Block {
    pub stream: String,
    /// `null` before the first version of the view.
    #[schema(required)]
    pub version: Option<u64>,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub watershed: Offsets,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub live: Offsets,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub end: Offsets,
    /// How long ago everything up to the log's end was folded; `null` if that is not known.
    #[schema(required)]
    pub freshness_ms: Option<i64>,
    pub complete: bool,
    #[schema(value_type = Vec<crate::http::GapForm>)]
    pub gaps: Vec<Gap>,
    /// Why the answer is not complete, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub incomplete_because: Option<String>,
    /// What is missing is on its way from one speed node to another: asked again, the answer may be complete.
    #[serde(skip)]
    pub passing: bool,
    /// The hash of the view's definition, where it is not the project's but the one that the version was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub definition: Option<String>,
    /// Live groups beyond the view's budget, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub overflow: Option<Told>,
    /// Filled rows of which nobody knows yet whether nothing happened, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unknown: Option<Unknown>,
}

impl Block {
    /// With what is to be told of filled rows and of overflow groups. Records that are in no row, though they may belong to one, are missing.
    pub fn with(self, overflow: Option<Told>, unknown: Option<Unknown>) -> Block {
        let missing = overflow.as_ref().filter(|told| told.undecided_records != Some(0));
        let because = missing.map(|told| told.because.clone());
        let incomplete_because = self.incomplete_because.clone().or(because);
        Block { complete: incomplete_because.is_none(), incomplete_because, overflow, unknown, ..self }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Statistics {
    pub elapsed_ms: f64,
    /// Cells of the version that took part.
    pub batch_rows: usize,
    /// Live cells that took part.
    pub live_groups: usize,
}

/// Exact values that stand in for merged sketches: per measure of the plan, by group.
pub type Recomputed = BTreeMap<usize, Vec<Option<Value>>>;

/// Orders, cuts and finishes groups. The page begins behind the key `after`; `pin` goes into the next one's cursor.
pub fn finish(
    plan: &Plan,
    mut groups: Groups<'_>,
    recomputed: &Recomputed,
    known: &Known,
    pin: Pin,
    after: Option<&[Value]>,
) -> Result<Found, Refusal> {
    if plan.fill != Fill::None {
        fill::fill(plan, &mut groups)?;
    }
    let cells = Cells { plan, groups: &groups, recomputed, known };
    let (chosen, next_cursor) = order::page(&cells, pin, after);
    if chosen.len() > MOST_ROWS {
        let detail = format!(
            "the answer has {} rows, more than {MOST_ROWS}: narrow it, or page with \"limit\"",
            chosen.len()
        );
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let columns = plan.columns().into_iter().map(|column| cells.column(column, &chosen)).collect();
    let provenance = plan.provenance.then(|| chosen.iter().map(|group| groups.is_live(*group)).collect());
    let overflow: Vec<bool> = chosen.iter().map(|group| groups.is_overflow(*group)).collect();
    let unknown: Vec<&u32> = chosen.iter().filter(|group| cells.is_unknown(**group)).collect();
    let unknown = known.told(unknown.len(), unknown.iter().any(|group| groups.lacks(**group)));
    Ok(Found {
        columns,
        rows: chosen.len(),
        provenance,
        overflow: overflow.contains(&true).then_some(overflow),
        zone: plan.zone,
        next_cursor,
        told: groups.overflow.told(),
        unknown,
        batch_rows: groups.batch_cells,
        live_groups: groups.live_cells,
        explanation: None,
        json: OnceLock::new(),
    })
}

/// The values of groups, by column.
struct Cells<'a> {
    plan: &'a Plan,
    groups: &'a Groups<'a>,
    recomputed: &'a Recomputed,
    known: &'a Known,
}

impl Cells<'_> {
    fn measure(&self, group: u32, index: usize) -> Finished {
        if let Some(values) = self.recomputed.get(&index)
            && let Some(Some(value)) = values.get(group as usize)
        {
            return Finished { value: value.clone(), exact: true };
        }
        self.groups.finish(group, index).unwrap_or_else(|| {
            let unknown = self.is_unknown(group);
            let value = match self.plan.fill {
                Fill::Zero if !unknown => fill::zero(self.plan.data_type(plan::Column::Measure(index))),
                _ => Value::Null,
            };
            Finished { value, exact: !unknown }
        })
    }

    /// True for a row that only fills a bucket in which something may have happened all the same.
    fn is_unknown(&self, group: u32) -> bool {
        self.groups.is_filled(group)
            && (self.groups.lacks(group) || !self.known.covers(self.plan, self.groups.bucket(group)))
    }

    fn column(&self, column: plan::Column, chosen: &[u32]) -> AnswerColumn {
        let mut exact = None;
        let undecided = self.groups.overflow.is_undecided();
        let values = match column {
            plan::Column::Window => {
                chosen.iter().map(|group| Value::Timestamp(self.groups.bucket(*group))).collect()
            }
            plan::Column::Dimension(index) => {
                chosen.iter().map(|group| self.groups.keys.value(*group, index).clone()).collect()
            }
            plan::Column::Measure(index) => {
                let mut all = !undecided;
                let finish = |group: &u32| {
                    let finished = self.measure(*group, index);
                    all &= finished.exact;
                    finished.value
                };
                let values = chosen.iter().map(finish).collect();
                exact = Some(all);
                values
            }
        };
        let error = match (column, exact) {
            // A sketch's bound holds for the records that it has seen.
            (plan::Column::Measure(index), Some(false))
                if !undecided
                    && !chosen.iter().any(|group| self.groups.lacks(*group) || self.is_unknown(*group)) =>
            {
                measure::error_bound(&self.plan.view.measures[self.plan.measures[index]])
            }
            _ => None,
        };
        AnswerColumn {
            name: self.plan.name(column).to_string(),
            data_type: self.plan.data_type(column).clone(),
            exact,
            error,
            values,
        }
    }
}

impl Found {
    /// How many values it holds.
    pub fn values(&self) -> usize {
        self.rows * self.columns.len()
    }

    /// What rows are marked with beside their values, by name.
    pub fn marks(&self) -> impl Iterator<Item = (&'static str, &Vec<bool>)> {
        let live = self.provenance.as_ref().map(|live| ("_live", live));
        live.into_iter().chain(self.overflow.as_ref().map(|overflow| ("_overflow", overflow)))
    }

    /// True when no sketch had a part in any cell, and none may lack records.
    pub fn is_exact(&self) -> bool {
        self.columns.iter().all(|column| column.exact != Some(false))
    }
}
