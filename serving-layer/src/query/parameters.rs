//! The URL form of a question: `?measures=a,b&where.carrier=AA,UA&where.origin.not=JFK`.

use watershed_schemas::manifest::Version;

use super::{Filter, KEYS, Literal, Query, values};
use crate::refusal::{Reason, Refusal, nearest};

/// Keys that belong to the answer's form, not to the question.
pub const FORM_KEYS: [&str; 1] = ["format"];

pub fn parse(view: &str, parameters: &[(String, String)]) -> Result<Query, Refusal> {
    let mut query = Query::of(view);
    // The zone first: times without an offset are read in it.
    if let Some((_, zone)) = parameters.iter().find(|(key, _)| key == "time_zone") {
        query.time_zone = values::time_zone(zone)?;
    }
    for (key, text) in parameters {
        match key.as_str() {
            "time_zone" => {}
            "measures" => query.measures.get_or_insert_default().extend(list(text)),
            "group_by" => query.group_by.get_or_insert_default().extend(list(text)),
            "from" => query.from = Some(values::instant("from", text, query.time_zone)?),
            "to" => query.to = Some(values::instant("to", text, query.time_zone)?),
            "grain" => query.grain = Some(values::grain(text)?),
            "fill" => query.fill = values::fill(text)?,
            "order_by" => query.order_by.extend(list(text).map(|name| values::order(&name))),
            "limit" => query.limit = Some(number("limit", text)?),
            "cursor" => query.cursor = (!text.is_empty()).then(|| text.clone()),
            "accuracy" => query.accuracy = values::accuracy(text)?,
            "require" => {
                for requirement in list(text) {
                    query.require.push(values::requirement(&requirement)?);
                }
            }
            "as_of" => query.as_of = Some(Version(number("as_of", text)?)),
            "include" => {
                for included in list(text) {
                    values::include(&included)?;
                    query.provenance = true;
                }
            }
            "explain" => query.explain = values::truth("explain", text)?,
            other => match other.strip_prefix("where.") {
                Some(condition) => add_filter(&mut query.filters, condition, text)?,
                None if FORM_KEYS.contains(&other) => {}
                None => return Err(unknown(other)),
            },
        }
    }
    values::check_range(&query)?;
    Ok(query)
}

fn list(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_string)
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| {
        Refusal::wrong_at(key, text, format!("{key}: found \"{text}\", expected a whole number, 0 or more"))
    })
}

/// `where.d=a,b`, `where.d.not=a,b`, `where.d.is=null`, `where.d.is=not_null`; repeated lists add up.
fn add_filter(filters: &mut Vec<Filter>, condition: &str, text: &str) -> Result<(), Refusal> {
    let (dimension, negated, values) = if let Some(dimension) = condition.strip_suffix(".not") {
        (dimension, true, text.split(',').map(|value| Literal::Text(value.to_string())).collect())
    } else if let Some(dimension) = condition.strip_suffix(".is") {
        let negated = match text {
            "null" => false,
            "not_null" => true,
            _ => {
                let detail = format!("where.{condition}: found \"{text}\", expected null or not_null");
                return Err(Refusal::wrong_at(&format!("where.{condition}"), text, detail));
            }
        };
        (dimension, negated, vec![Literal::Null])
    } else {
        (condition, false, text.split(',').map(|value| Literal::Text(value.to_string())).collect::<Vec<_>>())
    };
    match filters.iter_mut().find(|filter| filter.dimension == dimension && filter.negated == negated) {
        Some(filter) => filter.values.extend(values),
        None => filters.push(Filter { dimension: dimension.to_string(), negated, values }),
    }
    Ok(())
}

fn unknown(key: &str) -> Refusal {
    let known = KEYS.into_iter().filter(|key| *key != "view" && *key != "where").chain(FORM_KEYS);
    let did_you_mean = nearest(key, known.clone());
    let expected = known.collect::<Vec<_>>().join(", ");
    let detail = format!("unknown parameter \"{key}\", expected one of: {expected}, where.<dimension>");
    Refusal { did_you_mean, ..Refusal::wrong(key, detail) }
}

/// The value of `format` among parameters.
pub fn format(parameters: &[(String, String)]) -> Option<&str> {
    parameters.iter().find(|(key, _)| key == "format").map(|(_, value)| value.as_str())
}

/// Refuses any parameter but those of form: a body holds the question.
pub fn only_form(parameters: &[(String, String)]) -> Result<(), Refusal> {
    match parameters.iter().find(|(key, _)| !FORM_KEYS.contains(&key.as_str())) {
        Some((key, _)) => Err(Refusal {
            reason: Reason::WrongQuestion,
            ..Refusal::wrong(key, format!("unexpected parameter \"{key}\": the question goes into the body"))
        }),
        None => Ok(()),
    }
}
