//! Until when it is known that nothing happened where nothing was found.
//!
//! Guarantee: a filled row says zero only for a bucket of which this answer's records are all that the log held when they
//! were read; of a bucket that began later, that was not over when the version was made, or to which records belong
//! that are lost or in no group, it says nothing.

use serde::Serialize;
use utoipa::ToSchema;

use crate::grain::Buckets;
use crate::plan::Plan;

/// How far the records of an answer tell of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    until: Until,
    because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Buckets that had begun at this time; microseconds.
    Begun(i64),
    /// Buckets that were over at this time.
    Over(i64),
    Never,
}

/// Filled rows whose measures are `null` because it is not known whether nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unknown {
    pub rows: usize,
    pub because: String,
}

impl Known {
    /// The live half was at the log's end at this time.
    pub fn as_of(current_at: i64) -> Known {
        Known { until: Until::Begun(current_at), because: "these buckets have not begun".to_string() }
    }

    /// A version has everything that the log held when its run began, and nothing newer takes part.
    pub fn below_the_watershed(run_began: i64) -> Known {
        let because = "these buckets were not over when the version's run began".to_string();
        Known { until: Until::Over(run_began), because }
    }

    /// Records are missing, and nobody can tell from when.
    pub fn nothing(because: String) -> Known {
        Known { until: Until::Never, because }
    }

    /// True where the bucket that starts at `start` has no records beside those of the answer.
    pub fn covers(&self, plan: &Plan, start: i64) -> bool {
        let end = || plan.buckets.next(start).unwrap_or(i64::MAX);
        match self.until {
            Until::Never => false,
            // All time is empty as far as it has come.
            _ if plan.buckets == Buckets::All => true,
            Until::Begun(until) => start <= until,
            Until::Over(until) => end() <= until,
        }
    }

    /// Of so many rows; `lacking` where records may belong to them that are in no group.
    pub fn told(&self, rows: usize, lacking: bool) -> Option<Unknown> {
        let because = match lacking {
            true => "records of groups beyond the view's budget may belong to them".to_string(),
            false => self.because.clone(),
        };
        (rows > 0).then_some(Unknown { rows, because })
    }
}
