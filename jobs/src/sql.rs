//! `watershed sql`: a statement to a running server.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use crate::asking::{Asking, problem};
use crate::outcome::Refusal;
use crate::project::Place;

#[derive(Args)]
pub struct Arguments {
    /// One SELECT; `-` reads it from standard input
    #[arg(value_name = "SQL")]
    sql: String,
    /// name=value for `$name`; may be given again. A value that reads as JSON (5, true, null, "5") is taken as that
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// [default: 10000]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    #[command(flatten)]
    asking: Asking,
}

pub async fn sql(place: &Place, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut sql = arguments.sql.clone();
    if sql == "-" {
        sql.clear();
        std::io::stdin().read_to_string(&mut sql).context("standard input")?;
    }
    let mut question = Map::from_iter([("sql".to_string(), json!(sql))]);
    if let Some(limit) = arguments.limit {
        question.insert("limit".to_string(), json!(limit));
    }
    if !arguments.parameters.is_empty() {
        let parameters: Map<String, Value> =
            arguments.parameters.iter().map(|text| parameter(text)).collect::<anyhow::Result<_>>()?;
        question.insert("parameters".to_string(), Value::Object(parameters));
    }
    let telling = |status, body: &[u8]| told(&sql, status, body);
    arguments.asking.ask(place, "/v1/sql", &Value::Object(question), telling).await
}

fn parameter(text: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Refusal::Usage(format!("--parameter {text}: expected name=value")))?;
    let json = serde_json::from_str::<Value>(value).ok();
    let value = json.filter(|json| !json.is_array() && !json.is_object()).unwrap_or_else(|| json!(value));
    Ok((name.trim_start_matches('$').to_string(), value))
}

/// What is wrong, and below it the line of the statement with a mark at the place.
fn told(sql: &str, status: StatusCode, body: &[u8]) -> String {
    let told = problem(status, body);
    let place = serde_json::from_slice::<Value>(body).ok().and_then(|problem| {
        let number = |key: &str| usize::try_from(problem["position"][key].as_u64()?).ok();
        Some((number("line")?, number("column")?))
    });
    let Some((line, column)) = place else { return told };
    let Some(text) = sql.lines().nth(line.saturating_sub(1)) else { return told };
    let before: String = text
        .chars()
        .take(column.saturating_sub(1))
        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
        .collect();
    format!("{told}\n  {text}\n  {before}^")
}
