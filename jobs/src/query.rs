//! `watershed query`: a question to a running server.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use watershed_security::{ClientTls, with_tls};

use crate::outcome::Refusal;
use crate::project::Place;
use crate::{key, say, serve};

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
    /// [default: http://<serve.listen> of the project's settings]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A file with the key to ask with [default: the variable WATERSHED_KEY; none: without]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A certificate in PEM: whose server is believed [default: those that this system believes]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Arrow,
    Parquet,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Table | Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }
}

pub async fn query(place: &Place, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let question = question(arguments)?;
    let server = match &arguments.server {
        Some(server) => server.trim_end_matches('/').to_string(),
        None => {
            let settings = place.settings()?;
            format!("{}://{}", serve::scheme(&settings), settings.serve.listen)
        }
    };
    let tls = ClientTls { ca: arguments.ca_file.clone(), identity: None };
    let client = with_tls(reqwest::Client::builder().no_proxy(), &tls).context("--ca-file")?;
    let client = client.build().context("the HTTP client")?;
    let request = client.post(format!("{server}/v1/query")).json(&question);
    let request = match key::credentials(arguments.key_file.as_ref())? {
        Some(key) => request.bearer_auth(key.expose()),
        None => request,
    };
    let sent = request.header("accept", arguments.format.media_type()).send().await;
    let answer = sent.with_context(|| {
        format!("no answer from {server}: is `watershed up` or `watershed serve` running there?")
    })?;
    let status = answer.status();
    let body = answer.bytes().await.with_context(|| format!("the answer from {server} broke off"))?;
    if !status.is_success() {
        let hint = match status {
            reqwest::StatusCode::UNAUTHORIZED => ": put a key into WATERSHED_KEY or a file (--key-file)",
            _ => "",
        };
        bail!("{}{hint}", problem(status, &body));
    }
    if arguments.format == Format::Table {
        let answer: Value =
            serde_json::from_slice(&body).with_context(|| format!("the answer from {server}"))?;
        say::line(table(&answer).trim_end());
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(&body).and_then(|()| out.flush()).context("standard output")?;
    }
    Ok(ExitCode::SUCCESS)
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

/// What a server says it cannot do, in a line.
fn problem(status: reqwest::StatusCode, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return format!("the server answered {status}");
    };
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default();
    match problem["did_you_mean"].as_str() {
        Some(name) => format!("{detail}, did you mean \"{name}\"? ({status})"),
        None => format!("{detail} ({status})"),
    }
}

/// The answer for people: `~` marks columns that hold estimates, and below the table stands how far off they may be.
fn table(answer: &Value) -> String {
    let empty = Vec::new();
    let columns = answer["meta"].as_array().unwrap_or(&empty);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| {
        let name = column["name"].as_str().unwrap_or_default();
        if column["exact"] == false { format!("{name} ~") } else { name.to_string() }
    }));
    for (index, column) in columns.iter().enumerate() {
        let kind = column["type"].as_str().unwrap_or_default();
        let is_number = ["integer", "bigint", "double"].contains(&kind) || kind.starts_with("decimal");
        if let Some(column) = table.column_mut(index).filter(|_| is_number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in answer["data"].as_array().unwrap_or(&empty) {
        let cell = |column: &Value| {
            let value = &row[column["name"].as_str().unwrap_or_default()];
            // Only measures are exact or not.
            let kept = row["_overflow"] != true || !value.is_null() || column["exact"].is_boolean();
            if kept { shown(value) } else { "not kept".to_string() }
        };
        table.add_row(columns.iter().map(|column| Cell::new(cell(column))));
    }
    let mut text = format!("{table}\n");
    for column in columns.iter().filter(|column| column["exact"] == false) {
        text.push_str(&format!(
            "~ {}: estimated{}\n",
            column["name"].as_str().unwrap_or_default(),
            bound(&column["error"])
        ));
    }
    let block = &answer["answer"];
    let version = block["version"]
        .as_u64()
        .map_or("no version yet".to_string(), |version| format!("version {version}"));
    text.push_str(&format!(
        "{} rows · {version}, watershed {} · live to {}\n",
        answer["rows"],
        offsets(&block["watershed"]),
        offsets(&block["live"])
    ));
    if let Some(because) = block["overflow"]["because"].as_str() {
        text.push_str(&format!("beyond the budget: {because}\n"));
    }
    if block["complete"] != true {
        let reason =
            block["incomplete_because"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
        text.push_str(&format!("not complete{reason}\n"));
    }
    for gap in block["gaps"].as_array().unwrap_or(&empty) {
        text.push_str(&format!(
            "records lost: partition {} from {} until {}\n",
            gap["partition"], gap["from"], gap["until"]
        ));
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        text.push_str(&format!("there is more: --cursor {cursor}\n"));
    }
    text
}

/// ` within 1.33 % of the value`
fn bound(error: &Value) -> String {
    let Some(bound) = error["bound"].as_f64() else { return String::new() };
    let confidence = error["confidence"].as_f64().filter(|confidence| *confidence < 1.0);
    let confidence = confidence
        .map_or(String::new(), |confidence| format!(" ({} % confidence)", (1e6 * confidence).round() / 1e4));
    match error["kind"].as_str() {
        Some("count") => format!(" to within {:.3} % of all occurrences{confidence}", 100.0 * bound),
        _ => format!(" to within {:.2} % of the value{confidence}", 100.0 * bound),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            // Whole digits as they are, fractions as far as a person reads them.
            if number.abs() >= 1e15 || (number != 0.0 && number.abs() < 1e-3) {
                format!("{number:e}")
            } else {
                format!("{number:.3}")
            }
        }
        Value::Array(items) => items
            .iter()
            .map(|item| format!("{} {}", shown(&item["value"]), shown(&item["count"])))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

fn offsets(offsets: &Value) -> String {
    let Some(offsets) = offsets.as_object() else { return "unknown".to_string() };
    let mut parts: Vec<(i64, String)> = offsets
        .iter()
        .map(|(partition, offset)| (partition.parse().unwrap_or_default(), format!("{partition}: {offset}")))
        .collect();
    parts.sort();
    format!("{{{}}}", parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", "))
}
