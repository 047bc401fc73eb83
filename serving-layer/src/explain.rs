//! How an answer came about, for whoever asks why it says what it says, or takes what it takes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::merge::Groups;
use crate::plan::Plan;
use crate::query::Accuracy;
use crate::recompute;

/// What was read, what was merged, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Explanation {
    /// What was decided, in sentences.
    pub why: Vec<String>,
    /// The version's view files, held in memory.
    pub batch: Looked,
    /// The speed layer's state tables.
    pub live: Looked,
    /// The master dataset's event files; `null` where no value was recomputed.
    #[schema(required)]
    pub events: Option<EventsRead>,
    /// Groups of all pages together, filled rows among them not.
    pub groups: usize,
    /// Cells whose states were merged with those of another cell.
    pub merged_cells: usize,
}

/// Cells of one half that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Looked {
    /// View files, or state tables.
    pub files: usize,
    /// Those with windows in the question's range: the others were not looked into.
    pub files_read: usize,
    pub rows_read: usize,
    /// Rows that took part.
    pub rows_taken: usize,
}

/// Event files that were read to recompute values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventsRead {
    /// The measures that were recomputed.
    pub measures: Vec<String>,
    pub files: usize,
    pub files_read: usize,
    pub rows_read: u64,
    pub bytes_read: u64,
}

/// What a question leaves to the planner, and how that was decided.
pub fn decisions(plan: &Plan) -> Vec<String> {
    let mut why = Vec::new();
    why.push(match (plan.as_of, plan.accuracy) {
        (Some(version), _) => format!("no live half: \"as_of\" asks version {version}"),
        (None, Accuracy::Live) => "both halves: accuracy is live".to_string(),
        (None, Accuracy::Batch) => "no live half: accuracy is batch".to_string(),
        (None, Accuracy::Exact) => "no live half: accuracy is exact, and what is live is not".to_string(),
    });
    if plan.keeps_cells() {
        let cells = "the question keeps the view's own windows and dimensions: a stored cell is a row, and its exact values are given as they are";
        why.push(cells.to_string());
        return why;
    }
    why.push("the question is coarser than the view: stored states are merged".to_string());
    let sketched = recompute::needed(plan);
    let names: Vec<&str> = sketched.iter().map(|index| measure(plan, *index)).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        why.push(match plan.accuracy {
            Accuracy::Exact => format!(
                "{names}: recomputed from the events of the question's windows, since merging sketches would estimate"
            ),
            _ => format!("{names}: merged from sketches; accuracy \"exact\" would recompute from events"),
        });
    }
    why
}

/// The name of one of the plan's measures.
pub fn measure(plan: &Plan, index: usize) -> &str {
    &plan.view.measures[plan.measures[index]].name
}

impl Explanation {
    /// With what merging came to.
    pub fn merged(mut self, groups: &Groups<'_>) -> Explanation {
        self.batch.rows_taken = groups.batch_cells;
        self.live.rows_taken = groups.live_cells;
        self.groups = groups.len();
        self.merged_cells = groups.merged_cells();
        self
    }
}
