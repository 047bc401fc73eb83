//! The JSON form of a question.

use serde_json::{Map, Value as Json};
use watershed_schemas::manifest::Version;

use super::{Filter, KEYS, Literal, Query, values};
use crate::refusal::{Place, Reason, Refusal, nearest};

pub fn parse(body: &[u8]) -> Result<Query, Refusal> {
    let json: Json = serde_json::from_slice(body).map_err(|error| Refusal {
        place: Some(Place::Text { line: error.line(), column: error.column() }),
        ..Refusal::new(Reason::WrongQuestion, format!("the body is not JSON: {error}"))
    })?;
    question(&json)
        .map_err(|refusal| Refusal { place: refusal.place.map(|place| locate(body, place)), ..refusal })
}

fn question(json: &Json) -> Result<Query, Refusal> {
    let Json::Object(object) = json else {
        let detail = format!("found {}, expected an object such as {{\"view\": \"…\"}}", kind(json));
        return Err(Refusal::new(Reason::WrongQuestion, detail));
    };
    if let Some(unknown) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let did_you_mean = nearest(unknown, KEYS);
        let expected = KEYS.join(", ");
        let detail = format!("unknown key \"{unknown}\", expected one of: {expected}");
        return Err(Refusal { did_you_mean, ..Refusal::wrong(unknown, detail) });
    }
    let view = text(object, "view")?
        .ok_or_else(|| Refusal::new(Reason::WrongQuestion, "the key \"view\" is missing"))?;
    let mut query = Query::of(view);
    query.measures = names(object, "measures")?;
    query.group_by = names(object, "group_by")?;
    query.filters = filters(object)?;
    if let Some(zone) = text(object, "time_zone")? {
        query.time_zone = values::time_zone(zone)?;
    }
    let instant =
        |key| text(object, key)?.map(|text| values::instant(key, text, query.time_zone)).transpose();
    query.from = instant("from")?;
    query.to = instant("to")?;
    query.grain = text(object, "grain")?.map(values::grain).transpose()?;
    query.fill = text(object, "fill")?.map(values::fill).transpose()?.unwrap_or_default();
    query.order_by =
        names(object, "order_by")?.unwrap_or_default().iter().map(|name| values::order(name)).collect();
    query.limit = number(object, "limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    query.cursor = text(object, "cursor")?.map(str::to_string);
    query.accuracy = text(object, "accuracy")?.map(values::accuracy).transpose()?.unwrap_or_default();
    let requirements = names(object, "require")?.unwrap_or_default();
    query.require = requirements.iter().map(|text| values::requirement(text)).collect::<Result<_, _>>()?;
    query.as_of = number(object, "as_of")?.map(Version);
    for included in names(object, "include")?.unwrap_or_default() {
        values::include(&included)?;
        query.provenance = true;
    }
    query.explain = truth(object, "explain")?;
    values::check_range(&query)?;
    Ok(query)
}

fn text<'a>(object: &'a Map<String, Json>, key: &str) -> Result<Option<&'a str>, Refusal> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_kind(key, other, "a text")),
    }
}

fn truth(object: &Map<String, Json>, key: &str) -> Result<bool, Refusal> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(truth)) => Ok(*truth),
        Some(other) => Err(wrong_kind(key, other, "true or false")),
    }
}

fn number(object: &Map<String, Json>, key: &str) -> Result<Option<u64>, Refusal> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(other) => {
            other.as_u64().map(Some).ok_or_else(|| wrong_kind(key, other, "a whole number, 0 or more"))
        }
    }
}

/// A list of texts; one text alone is a list of one.
fn names(object: &Map<String, Json>, key: &str) -> Result<Option<Vec<String>>, Refusal> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(name)) => Ok(Some(vec![name.clone()])),
        Some(Json::Array(items)) => {
            let name = |item: &Json| {
                item.as_str().map(str::to_string).ok_or_else(|| wrong_kind(key, item, "a list of texts"))
            };
            items.iter().map(name).collect::<Result<_, _>>().map(Some)
        }
        Some(other) => Err(wrong_kind(key, other, "a list of texts")),
    }
}

fn filters(object: &Map<String, Json>) -> Result<Vec<Filter>, Refusal> {
    let conditions = match object.get("where") {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Object(conditions)) => conditions,
        Some(other) => return Err(wrong_kind("where", other, "an object of conditions by dimension")),
    };
    let filter = |(dimension, condition): (&String, &Json)| {
        let (negated, values) = match condition {
            Json::Object(not) if not.len() == 1 && not.contains_key("not") => (true, &not["not"]),
            Json::Object(_) => {
                let detail = format!(
                    "condition on \"{dimension}\" is not understood, expected a list of values or {{\"not\": […]}}"
                );
                return Err(Refusal::wrong(&format!("where.{dimension}"), detail));
            }
            values => (false, values),
        };
        let values = match values {
            Json::Array(values) => {
                values.iter().map(|value| literal(dimension, value)).collect::<Result<_, _>>()?
            }
            value => vec![literal(dimension, value)?],
        };
        Ok(Filter { dimension: dimension.clone(), negated, values })
    };
    conditions.iter().map(filter).collect()
}

fn literal(dimension: &str, value: &Json) -> Result<Literal, Refusal> {
    match value {
        Json::Null => Ok(Literal::Null),
        Json::Array(_) | Json::Object(_) => {
            Err(wrong_kind(&format!("where.{dimension}"), value, "a value or a list of values"))
        }
        value => Ok(Literal::Json(value.clone())),
    }
}

fn wrong_kind(key: &str, found: &Json, expected: &str) -> Refusal {
    Refusal::wrong(key, format!("{key}: found {}, expected {expected}", kind(found)))
}

fn kind(json: &Json) -> String {
    match json {
        Json::Null => "null".to_string(),
        Json::Array(_) => "a list".to_string(),
        Json::Object(_) => "an object".to_string(),
        value => {
            let text = value.to_string();
            let shown: String = text.chars().take(40).collect();
            if shown.len() < text.len() { format!("{shown}…") } else { shown }
        }
    }
}

/// A longer text is not looked for: finding it takes time in the product of both lengths.
const LONGEST_SOUGHT: usize = 256;

/// The line and column of a key, or of a text that follows it. `where.city` is the key `city` behind `where`.
pub fn locate(body: &[u8], place: Place) -> Place {
    let Place::Key { key, text } = &place else { return place };
    let find = |from: usize, wanted: &str| {
        if wanted.len() > LONGEST_SOUGHT {
            return None;
        }
        let wanted = serde_json::to_string(wanted).unwrap_or_default().into_bytes();
        body[from..].windows(wanted.len()).position(|window| window == wanted).map(|found| from + found)
    };
    let at_key = match key.strip_prefix("where.") {
        Some(dimension) => find(0, "where").and_then(|at| find(at, dimension)),
        None => find(0, key),
    };
    let at_text = text.as_ref().and_then(|text| find(at_key.unwrap_or_default(), text));
    let Some(at) = at_text.or(at_key) else { return place };
    let line_start = body[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = body[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    Place::Text { line, column: at - line_start + 1 }
}
