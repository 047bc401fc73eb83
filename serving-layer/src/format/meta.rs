//! What is told of a column, in the answers to questions and to statements alike.

use serde::Serialize;
use watershed_schemas::measure::ErrorBound;

#[derive(Serialize)]
pub(super) struct Meta<'a> {
    pub name: &'a str,
    pub r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<MetaError>,
}

#[derive(Serialize)]
pub(super) struct MetaError {
    kind: &'static str,
    bound: f64,
    confidence: f64,
}

impl MetaError {
    pub fn of(error: &ErrorBound) -> MetaError {
        MetaError { kind: error.kind, bound: error.bound, confidence: error.confidence }
    }
}
