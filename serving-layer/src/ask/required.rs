//! What an asker will not do without.

use crate::answer::Answer;
use crate::query::Requirement;
use crate::refusal::{Reason, Refusal};

/// Refuses an answer that lacks any of it.
pub(super) fn meets(answer: &Answer, require: &[Requirement]) -> Result<(), Refusal> {
    for requirement in require {
        let unmet = match requirement {
            Requirement::Exact => {
                answer.columns.iter().find(|column| column.exact == Some(false)).map(|column| {
                    if let Some(overflow) = &answer.block.overflow {
                        return format!("exact: \"{}\": {}", column.name, overflow.because);
                    }
                    let instead =
                        "ask the view's own grain and dimensions below the watershed, or accuracy \"exact\"";
                    format!("exact: \"{}\" is merged from sketches; {instead}", column.name)
                })
            }
            Requirement::Complete => (!answer.block.complete).then(|| {
                format!(
                    "complete: {}",
                    answer.block.incomplete_because.as_deref().unwrap_or("records are missing")
                )
            }),
            Requirement::Fresh(limit) => match answer.block.freshness_ms {
                Some(age) if u128::try_from(age).unwrap_or_default() <= limit.as_millis() => None,
                Some(age) => Some(format!(
                    "fresh: the answer is {age} ms old, asked for at most {} ms",
                    limit.as_millis()
                )),
                None => Some("fresh: how fresh the answer is is not known".to_string()),
            },
        };
        if let Some(unmet) = unmet {
            // What is handed over is there again in a moment.
            if *requirement == Requirement::Complete && answer.block.passing {
                return Err(Refusal::not_ready(unmet));
            }
            return Err(Refusal::new(Reason::Unmet, unmet));
        }
    }
    Ok(())
}
