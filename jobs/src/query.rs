//! `watershed query`: a question to a running server.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::asking::{Asking, problem};
use crate::outcome::Refusal;
use crate::project::Place;

#[derive(Args)]
pub struct Arguments {
    #[arg(value_name = "VIEW")]
    view: String,
    /// [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    measures: Option<Vec<String>>,
    /// Dimensions; empty for none [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    group_by: Option<Vec<String>>,
    /// carrier=AA,UA or carrier!=US; may be given again. A value that reads as JSON (5, true, "5") is taken as that
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Windows from this time on
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Windows before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// `1 day`, `1 month`, `all` … [default: the view's own window]
    #[arg(long, value_name = "INTERVAL")]
    grain: Option<String>,
    #[arg(long, value_name = "IANA NAME")]
    time_zone: Option<String>,
    /// none, null or zero for windows without events
    #[arg(long, value_name = "HOW")]
    fill: Option<String>,
    /// Names; a `-` before one turns its order round: --order-by=-flights,carrier
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', allow_hyphen_values = true)]
    order_by: Option<Vec<String>>,
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// Goes on where an answer to the same question ended that was cut off by its limit
    #[arg(long, value_name = "CURSOR", allow_hyphen_values = true)]
    cursor: Option<String>,
    /// live, batch or exact
    #[arg(long, value_name = "HOW")]
    accuracy: Option<String>,
    /// exact, complete, fresh:10s
    #[arg(long, value_name = "NEED,…", value_delimiter = ',')]
    require: Option<Vec<String>>,
    /// A retained version
    #[arg(long, value_name = "VERSION")]
    as_of: Option<u64>,
    #[command(flatten)]
    asking: Asking,
}

pub async fn query(place: &Place, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let question = question(arguments)?;
    arguments.asking.ask(place, "/v1/query", &question, problem).await
}

/// The question as `POST /v1/query` takes it; what is not asked for is left to its default.
fn question(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut question = Map::from_iter([("view".to_string(), json!(arguments.view))]);
    let names = |names: &Option<Vec<String>>| {
        names.as_ref().map(|names| json!(names.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>()))
    };
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let number = |number: Option<u64>| number.map(|number| json!(number));
    let keys = [
        ("measures", names(&arguments.measures)),
        ("group_by", names(&arguments.group_by)),
        ("from", text(&arguments.from)),
        ("to", text(&arguments.to)),
        ("grain", text(&arguments.grain)),
        ("time_zone", text(&arguments.time_zone)),
        ("fill", text(&arguments.fill)),
        ("order_by", names(&arguments.order_by)),
        ("limit", number(arguments.limit)),
        ("cursor", text(&arguments.cursor)),
        ("accuracy", text(&arguments.accuracy)),
        ("require", names(&arguments.require)),
        ("as_of", number(arguments.as_of)),
    ];
    question.extend(keys.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))));
    let mut conditions = Map::new();
    for condition in &arguments.conditions {
        let (dimension, value) = self::condition(condition).ok_or_else(|| {
            Refusal::Usage(format!("--where {condition}: expected dimension=value,… or dimension!=value,…"))
        })?;
        if conditions.insert(dimension.clone(), value).is_some() {
            bail!(Refusal::Usage(format!(
                "--where {condition}: there is a condition on {dimension} already"
            )));
        }
    }
    if !conditions.is_empty() {
        question.insert("where".to_string(), Value::Object(conditions));
    }
    Ok(Value::Object(question))
}

fn condition(text: &str) -> Option<(String, Value)> {
    let (dimension, values) = text.split_once('=')?;
    let values: Vec<Value> = values.split(',').map(literal).collect();
    match dimension.strip_suffix('!') {
        Some(dimension) => Some((dimension.to_string(), json!({ "not": values }))),
        None => Some((dimension.to_string(), json!(values))),
    }
}

/// A JSON value where it reads as one, else text.
fn literal(text: &str) -> Value {
    let json = serde_json::from_str::<Value>(text).ok();
    json.filter(|json| !json.is_array() && !json.is_object()).unwrap_or_else(|| json!(text))
}
