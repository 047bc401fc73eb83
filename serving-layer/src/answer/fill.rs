//! Rows for buckets without data.

use std::collections::BTreeSet;

use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;

use super::MOST_ROWS;
use crate::grain::Buckets;
use crate::merge::Groups;
use crate::plan::Plan;
use crate::refusal::{Reason, Refusal};

/// Adds a group for every bucket in the question's range that a combination of dimension values lacks. What an
/// overflow group does not know is no value.
pub fn fill(plan: &Plan, groups: &mut Groups<'_>) -> Result<(), Refusal> {
    let codes = |group: u32| groups.keys.row_codes(group).to_vec();
    let known = (0..groups.len() as u32).filter(|group| !groups.is_overflow(*group));
    let mut combinations: BTreeSet<Vec<u32>> = known.map(codes).collect();
    if plan.dimensions.is_empty() {
        combinations.insert(Vec::new());
    }
    let buckets = buckets(plan, groups)?;
    if buckets.len().saturating_mul(combinations.len()) > MOST_ROWS {
        let detail = format!(
            "filling {} buckets for {} combinations of dimension values makes more than {MOST_ROWS} rows: narrow \"from\" and \"to\"",
            buckets.len(),
            combinations.len()
        );
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    for bucket in buckets {
        for codes in &combinations {
            groups.fill(bucket, codes);
        }
    }
    Ok(())
}

/// The buckets from `from` to `to`, or where these are open from the first to the last with data.
fn buckets(plan: &Plan, groups: &Groups<'_>) -> Result<Vec<i64>, Refusal> {
    if plan.buckets == Buckets::All {
        return Ok(vec![0]);
    }
    let window = plan.view.window.window;
    let with_data = || groups.keys.windows().iter().copied();
    let first = match plan.scope.from {
        i64::MIN => with_data().min(),
        from => {
            // The first window that starts at or after `from`.
            let start = window.start(from);
            Some(plan.buckets.start(if start < from { window.end(start) } else { start }))
        }
    };
    let until = match plan.scope.to {
        i64::MAX => with_data().max().map(|last| last.saturating_add(1)),
        to => Some(to),
    };
    let (Some(first), Some(until)) = (first, until) else { return Ok(Vec::new()) };
    let mut buckets = Vec::new();
    let mut next = Some(first);
    while let Some(bucket) = next.filter(|bucket| *bucket < until) {
        buckets.push(bucket);
        if buckets.len() > MOST_ROWS {
            let detail = format!("filling makes more than {MOST_ROWS} buckets: narrow \"from\" and \"to\"");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        next = plan.buckets.next(bucket);
    }
    Ok(buckets)
}

/// Nothing, as a number where the type has one.
pub fn zero(data_type: &DataType) -> Value {
    match data_type {
        DataType::Integer | DataType::BigInt => Value::Integer(0),
        DataType::Double => Value::Double(0.0),
        DataType::Decimal { scale, .. } => Value::Decimal(0, *scale),
        _ => Value::Null,
    }
}
