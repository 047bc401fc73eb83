//! The form of a question, as a body and as parameters. Both are read by hand, for the sake of what is said about mistakes;
//! the tests compare their keys with those that are read.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use utoipa::{IntoParams, ToSchema};

use crate::query::{Accuracy, Fill};

/// A question about a view.
#[derive(Serialize, ToSchema)]
pub struct Question {
    #[schema(example = "flight_delays")]
    view: String,
    /// Default: all.
    measures: Option<Vec<String>>,
    /// Default: all dimensions.
    group_by: Option<Vec<String>>,
    /// Per dimension a value, a list of values, or `{"not": …}` of either; `null` is a value.
    r#where: Option<BTreeMap<String, Json>>,
    /// Windows that start at or after it. RFC 3339; without an offset, in `time_zone`.
    from: Option<String>,
    /// Windows that start before it.
    to: Option<String>,
    /// Default: the view's own window; `all` folds time away.
    #[schema(example = "1 day")]
    grain: Option<String>,
    /// An IANA name. Default: UTC.
    #[schema(example = "America/New_York")]
    time_zone: Option<String>,
    fill: Option<Fill>,
    /// Columns of the answer; `-` for descending.
    order_by: Option<Vec<String>>,
    limit: Option<u64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    accuracy: Option<Accuracy>,
    /// `exact`, `complete`, `fresh:<duration>`.
    require: Option<Vec<String>>,
    /// A retained version.
    as_of: Option<u64>,
    /// `provenance`: rows say by `_live` whether live records took part.
    include: Option<Vec<String>>,
    /// Says what was read and merged, and why.
    explain: Option<bool>,
}

/// A question about a view; lists are separated by commas.
#[derive(Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct QuestionParameters {
    /// Default: all.
    #[param(nullable = false)]
    measures: Option<String>,
    /// Default: all dimensions.
    #[param(nullable = false)]
    group_by: Option<String>,
    /// `where.<dimension>=a,b`, `where.<dimension>.not=a,b`, `where.<dimension>.is=null|not_null`.
    #[param(nullable = false, style = Form, explode, schema_with = conditions)]
    r#where: Option<BTreeMap<String, String>>,
    #[param(nullable = false)]
    from: Option<String>,
    #[param(nullable = false)]
    to: Option<String>,
    #[param(nullable = false)]
    grain: Option<String>,
    #[param(nullable = false)]
    time_zone: Option<String>,
    #[param(nullable = false, inline)]
    fill: Option<Fill>,
    #[param(nullable = false)]
    order_by: Option<String>,
    #[param(nullable = false)]
    limit: Option<u64>,
    #[param(nullable = false)]
    cursor: Option<String>,
    #[param(nullable = false, inline)]
    accuracy: Option<Accuracy>,
    #[param(nullable = false)]
    require: Option<String>,
    #[param(nullable = false)]
    as_of: Option<u64>,
    /// `provenance`
    #[param(nullable = false)]
    include: Option<String>,
    #[param(nullable = false)]
    explain: Option<bool>,
}

/// Conditions by dimension: each is a parameter of its own.
fn conditions() -> utoipa::openapi::Object {
    use utoipa::openapi::schema::AdditionalProperties;
    use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^where\\.[a-z_]+$")).build();
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    ObjectBuilder::new()
        .property_names(Some(name))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::Object(text)))))
        .build()
}
