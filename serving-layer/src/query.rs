//! A question about one view, as it was asked.
//!
//! Parsing checks the shape of a question; its names are resolved against a view by [`crate::plan`].

mod body;
mod parameters;
mod time;

use std::time::Duration;

use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::manifest::Version;
use watershed_security::RowFilter;

use crate::grain::Grain;
use crate::refusal::Refusal;

/// The keys of a question. `POST` bodies and `GET` parameters share them, beside `where.<dimension>`.
pub const KEYS: [&str; 17] = [
    "view",
    "measures",
    "group_by",
    "where",
    "from",
    "to",
    "grain",
    "time_zone",
    "fill",
    "order_by",
    "limit",
    "cursor",
    "accuracy",
    "require",
    "as_of",
    "include",
    "explain",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub view: String,
    /// `None`: all.
    pub measures: Option<Vec<String>>,
    /// `None`: all dimensions.
    pub group_by: Option<Vec<String>>,
    pub filters: Vec<Filter>,
    /// Windows that start in `[from, to)` take part; microseconds.
    pub from: Option<i64>,
    pub to: Option<i64>,
    /// `None`: the view's own windows.
    pub grain: Option<Grain>,
    pub time_zone: Tz,
    pub fill: Fill,
    pub order_by: Vec<Order>,
    pub limit: Option<usize>,
    pub cursor: Option<String>,
    pub accuracy: Accuracy,
    pub require: Vec<Requirement>,
    pub as_of: Option<Version>,
    /// Whether rows say if live records took part in them.
    pub provenance: bool,
    /// Whether the answer says how it came about.
    pub explain: bool,
    /// Which rows the asker may see, whatever it asks for; never part of what is sent.
    pub rows: Option<RowFilter>,
}

/// A condition on a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    pub dimension: String,
    /// True: every value but these, NULL included.
    pub negated: bool,
    pub values: Vec<Literal>,
}

/// A value as written; its type follows from the dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Literal {
    Null,
    Json(serde_json::Value),
    Text(String),
}

/// What buckets without data look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// They are absent.
    #[default]
    None,
    Null,
    Zero,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    pub column: String,
    pub descending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AccuracyAsked)]
pub enum Accuracy {
    /// Batch and speed.
    #[default]
    Live,
    /// Below the watershed only.
    Batch,
    /// Below the watershed, recomputed from events where sketches would be merged.
    Exact,
}

/// What the asker will not do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    Exact,
    Complete,
    Fresh(Duration),
}

pub use parameters::{FORM_KEYS, format, only_form};
pub use time::duration;

/// Turns the key of a wrong question into the place in the body that it was read from.
pub fn locate(body: &[u8], refusal: Refusal) -> Refusal {
    Refusal { place: refusal.place.map(|place| body::locate(body, place)), ..refusal }
}

impl Query {
    /// A question that asks everything about a view.
    pub fn of(view: &str) -> Self {
        Query {
            view: view.to_string(),
            measures: None,
            group_by: None,
            filters: Vec::new(),
            from: None,
            to: None,
            grain: None,
            time_zone: Tz::UTC,
            fill: Fill::None,
            order_by: Vec::new(),
            limit: None,
            cursor: None,
            accuracy: Accuracy::Live,
            require: Vec::new(),
            as_of: None,
            provenance: false,
            explain: false,
            rows: None,
        }
    }

    /// Reads the body of `POST /v1/query`.
    pub fn from_json(body: &[u8]) -> Result<Query, Refusal> {
        body::parse(body)
    }

    /// Reads the parameters of `GET /v1/views/{view}/query`.
    pub fn from_parameters(view: &str, parameters: &[(String, String)]) -> Result<Query, Refusal> {
        parameters::parse(view, parameters)
    }

    /// True for a question that live records have no part in.
    pub fn batch_only(&self) -> bool {
        self.accuracy != Accuracy::Live || self.as_of.is_some()
    }
}

/// Readers of single values, shared by both ways to ask. `key` names the place in errors.
mod values {
    use super::*;
    use crate::refusal::nearest;

    pub fn time_zone(text: &str) -> Result<Tz, Refusal> {
        text.parse().map_err(|_| {
            let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let did_you_mean = nearest(text, known);
            let detail =
                format!("unknown time zone \"{text}\", expected an IANA name such as \"Europe/Berlin\"");
            Refusal { did_you_mean, ..Refusal::wrong_at("time_zone", text, detail) }
        })
    }

    pub fn grain(text: &str) -> Result<Grain, Refusal> {
        crate::grain::parse(text).ok_or_else(|| {
            let detail = format!("grain \"{text}\" is not a length of time, expected such as \"1 day\", \"15 minutes\" or \"all\"");
            Refusal::wrong_at("grain", text, detail)
        })
    }

    pub fn fill(text: &str) -> Result<Fill, Refusal> {
        choice("fill", text, &[("none", Fill::None), ("null", Fill::Null), ("zero", Fill::Zero)])
    }

    pub fn accuracy(text: &str) -> Result<Accuracy, Refusal> {
        let choices = [("live", Accuracy::Live), ("batch", Accuracy::Batch), ("exact", Accuracy::Exact)];
        choice("accuracy", text, &choices)
    }

    pub fn include(text: &str) -> Result<(), Refusal> {
        choice("include", text, &[("provenance", ())])
    }

    pub fn truth(key: &str, text: &str) -> Result<bool, Refusal> {
        choice(key, text, &[("true", true), ("false", false)])
    }

    pub fn requirement(text: &str) -> Result<Requirement, Refusal> {
        match text.split_once(':') {
            Some(("fresh", duration)) => time::duration(duration).map(Requirement::Fresh).ok_or_else(|| {
                let detail =
                    format!("\"{duration}\" is not a duration, expected such as \"500ms\", \"5s\" or \"1m\"");
                Refusal::wrong_at("require", text, detail)
            }),
            _ if text == "fresh" => {
                Err(Refusal::wrong_at("require", text, "fresh needs a duration, such as \"fresh:5s\""))
            }
            _ => {
                choice("require", text, &[("exact", Requirement::Exact), ("complete", Requirement::Complete)])
            }
        }
    }

    pub fn order(text: &str) -> Order {
        match text.strip_prefix('-') {
            Some(column) => Order { column: column.to_string(), descending: true },
            None => Order { column: text.to_string(), descending: false },
        }
    }

    pub fn instant(key: &str, text: &str, zone: Tz) -> Result<i64, Refusal> {
        time::instant(text, zone).ok_or_else(|| {
            let detail =
                format!("{key} \"{text}\" is not a time, expected RFC 3339 such as \"2013-01-01T00:00:00Z\"");
            Refusal::wrong_at(key, text, detail)
        })
    }

    pub fn check_range(query: &Query) -> Result<(), Refusal> {
        match (query.from, query.to) {
            (Some(from), Some(to)) if from > to => Err(Refusal::wrong("to", "to lies before from")),
            _ => Ok(()),
        }
    }

    fn choice<T: Copy>(key: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Refusal> {
        let names = || choices.iter().map(|(name, _)| *name);
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            let did_you_mean = nearest(text, names());
            let expected = names().collect::<Vec<_>>().join(", ");
            let detail = format!("{key} \"{text}\" is unknown, expected one of: {expected}");
            Refusal { did_you_mean, ..Refusal::wrong_at(key, text, detail) }
        })
    }
}
