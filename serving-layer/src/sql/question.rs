//! A statement as it is asked: JSON, or the text alone.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use watershed_schemas::sql_worker::{Parameter, Parameters};

use crate::refusal::{Place, Reason, Refusal, nearest};

const KEYS: [&str; 3] = ["sql", "limit", "parameters"];
/// Rows that are given unless more are asked for.
const LIMIT: u64 = 10_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub sql: String,
    pub limit: u64,
    pub parameters: Parameters,
}

impl Question {
    /// The body of a request with `Content-Type: application/sql`.
    pub fn from_text(body: Vec<u8>) -> Result<Question, Refusal> {
        let sql = String::from_utf8(body)
            .map_err(|_| Refusal::new(Reason::WrongQuestion, "the statement is not UTF-8 text"))?;
        Question { sql, limit: LIMIT, parameters: Parameters::Listed(Vec::new()) }.checked()
    }

    pub fn from_json(body: &[u8]) -> Result<Question, Refusal> {
        let json: Json = serde_json::from_slice(body).map_err(|error| Refusal {
            place: Some(Place::Text { line: error.line(), column: error.column() }),
            ..Refusal::new(
                Reason::WrongQuestion,
                format!(
                    "the body is not JSON: {error}; a bare statement wants Content-Type: application/sql"
                ),
            )
        })?;
        let Json::Object(object) = json else {
            let detail = "expected an object such as {\"sql\": \"SELECT …\"}";
            return Err(Refusal::new(Reason::WrongQuestion, detail));
        };
        if let Some(unknown) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let detail = format!("unknown key \"{unknown}\", expected one of: {}", KEYS.join(", "));
            let did_you_mean = nearest(unknown, KEYS);
            return Err(Refusal { did_you_mean, ..Refusal::wrong(unknown, detail) });
        }
        let sql = match object.get("sql") {
            Some(Json::String(sql)) => sql.clone(),
            Some(_) => return Err(Refusal::wrong("sql", "sql: expected a text")),
            None => return Err(Refusal::new(Reason::WrongQuestion, "the key \"sql\" is missing")),
        };
        let limit = match object.get("limit") {
            None | Some(Json::Null) => LIMIT,
            Some(limit) => limit
                .as_u64()
                .ok_or_else(|| Refusal::wrong("limit", "limit: expected a whole number, 0 or more"))?,
        };
        Question { sql, limit, parameters: parameters(&object)? }.checked()
    }

    fn checked(self) -> Result<Question, Refusal> {
        // DuckDB reads its text up to there.
        match self.sql.contains('\0') {
            true => Err(Refusal::wrong("sql", "the statement contains a character of code 0")),
            false => Ok(self),
        }
    }

    /// A refusal that says where in the statement the trouble is, by line and column.
    pub fn place(&self, refusal: Refusal, position: Option<usize>) -> Refusal {
        let Some(before) = position.map(|position| self.sql.floor_char_boundary(position)) else {
            return refusal;
        };
        let before = &self.sql[..before];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Refusal { place: Some(Place::Text { line, column }), ..refusal }
    }
}

fn parameters(object: &Map<String, Json>) -> Result<Parameters, Refusal> {
    match object.get("parameters") {
        None | Some(Json::Null) => Ok(Parameters::Listed(Vec::new())),
        Some(Json::Array(values)) => {
            values.iter().map(parameter).collect::<Result<_, _>>().map(Parameters::Listed)
        }
        Some(Json::Object(values)) => {
            let named = |(name, value): (&String, &Json)| Ok((name.clone(), parameter(value)?));
            values.iter().map(named).collect::<Result<HashMap<_, _>, _>>().map(Parameters::Named)
        }
        Some(_) => {
            Err(Refusal::wrong("parameters", "parameters: expected a list of values, or an object by name"))
        }
    }
}

fn parameter(value: &Json) -> Result<Parameter, Refusal> {
    let number = |number: &serde_json::Number| match number.as_i64() {
        Some(whole) => Some(Parameter::Integer(whole)),
        None => number.as_f64().map(Parameter::Double),
    };
    match value {
        Json::Null => Some(Parameter::Null),
        Json::Bool(truth) => Some(Parameter::Boolean(*truth)),
        Json::Number(found) => number(found),
        Json::String(text) => Some(Parameter::Text(text.clone())),
        Json::Array(_) | Json::Object(_) => None,
    }
    .ok_or_else(|| Refusal::wrong("parameters", "parameters: expected texts, numbers, truth values or null"))
}
