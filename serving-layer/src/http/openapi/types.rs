//! The forms of what this server only passes on, or writes without a type of its own.
//!
//! The tests hold every answer against these, and refuse what is not named here.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use crate::answer::{Block, Statistics};
use crate::explain::Explanation;
use crate::sql::{self, Told};

/// An answer in JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
pub struct AnswerDocument {
    /// The columns in order.
    meta: Vec<Meta>,
    /// An object per row: 64-bit integers are numbers, decimals text, NaN and infinities null.
    data: Vec<Map<String, Json>>,
    rows: usize,
    #[schema(required)]
    next_cursor: Option<String>,
    answer: Block,
    statistics: Statistics,
    #[schema(nullable = false)]
    explain: Option<Explanation>,
}

/// A statement over views, `batch.<view>` and `events.<stream>`.
#[derive(Serialize, ToSchema)]
pub struct Statement {
    /// One SELECT in DuckDB's dialect.
    #[schema(example = "SELECT carrier, sum(flights) AS flights FROM flight_delays GROUP BY carrier")]
    sql: String,
    /// How many rows are given at most.
    #[schema(default = 10_000, nullable = false, minimum = 0)]
    limit: Option<u64>,
    /// What stands for `?`, `$1` (a list) or `$name` (an object).
    #[schema(nullable = false)]
    parameters: Option<Json>,
}

/// The rows of a statement in JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = StatementAnswer)]
pub struct StatementDocument {
    /// The columns in order.
    meta: Vec<Meta>,
    /// An object per row, written as those of a question are.
    data: Vec<Map<String, Json>>,
    rows: usize,
    /// There are more rows than the limit.
    truncated: bool,
    answer: Told,
    statistics: sql::Statistics,
}

#[derive(Serialize, ToSchema)]
struct Meta {
    name: String,
    r#type: String,
    /// Of a measure: true when every cell in `data` is exact.
    #[schema(nullable = false)]
    exact: Option<bool>,
    #[schema(nullable = false)]
    error: Option<ErrorBound>,
}

/// How wrong cells may be that are not exact.
#[derive(Serialize, ToSchema)]
struct ErrorBound {
    /// `relative` (of the value) or `count` (as a share of all occurrences).
    kind: String,
    bound: f64,
    confidence: f64,
}

/// Offsets that the log had lost before they could be read.
#[derive(Serialize, ToSchema)]
pub struct Gap {
    partition: i32,
    from: i64,
    until: i64,
}

/// How far a measure's sketches were from the truth, in the windows that a run recomputed.
#[derive(Serialize, ToSchema)]
pub struct Accuracy {
    measure: String,
    kind: String,
    bound: f64,
    confidence: f64,
    cells: u64,
    mean_error: f64,
    max_error: f64,
    beyond_bound: u64,
}

/// A speed node.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub struct LiveStatus {
    node: String,
    live: BTreeMap<String, i64>,
    end: BTreeMap<String, i64>,
    current_at_ms: i64,
    epochs: Vec<BTreeMap<String, i64>>,
    records: u64,
    dead_letters: u64,
    dead_letter_reasons: BTreeMap<String, u64>,
    groups: u64,
    views: BTreeMap<String, LiveView>,
    #[schema(required)]
    checkpoint_age_ms: Option<i64>,
    #[schema(required)]
    trouble: Option<String>,
    trouble_sources: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NodeView)]
struct LiveView {
    groups: u64,
    overflow_groups: u64,
    overflow_records: u64,
    bytes: u64,
    #[schema(required)]
    max_groups: Option<u64>,
    #[schema(required)]
    max_bytes: Option<u64>,
}
