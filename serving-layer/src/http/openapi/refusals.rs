//! The problems that routes answer with, by what a route does.

use std::collections::BTreeMap;

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use crate::http::problem::Problem;

type Responses = BTreeMap<String, RefOr<Response>>;

const WHO: (u16, &str) = (401, "A key or token is needed that this server knows");
const DENIED: (u16, &str) = (403, "This key or token may not do that");
const WRONG: (u16, &str) = (400, "The question is wrong");
const UNKNOWN: (u16, &str) = (404, "There is nothing of that name");
const SLOW: (u16, &str) = (408, "The body took too long to arrive");
const GONE: (u16, &str) = (409, "The page continues an answer whose records are no longer held");
const LARGE: (u16, &str) = (413, "The question, or its answer, is larger than this server takes or gives");
const UNMET: (u16, &str) = (422, "What is required cannot be met");
const MANY: (u16, &str) = (429, "Too much is asked at once: again after Retry-After");
const FAILED: (u16, &str) = (500, "A stored file is damaged, or a defect of this server");
const NOT_READY: (u16, &str) = (503, "Not ready, or a part that is needed is away: again after Retry-After");

fn problems(kinds: &[(u16, &str)]) -> Responses {
    let problem = |(status, description): &(u16, &str)| {
        let schema = Ref::from_schema_name(Problem::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response =
            ResponseBuilder::new().description(*description).content("application/problem+json", content);
        (status.to_string(), RefOr::T(response.build()))
    };
    kinds.iter().map(problem).collect()
}

/// Those of whoever may not ask, or asks too fast.
pub(super) fn of_callers() -> Responses {
    problems(&[WHO, DENIED, MANY])
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $kinds:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> Responses {
                problems(&$kinds)
            }
        }
    )*};
}

refusals! {
    /// A question about a view.
    Asking: [WRONG, UNKNOWN, SLOW, GONE, LARGE, UNMET, MANY, FAILED, NOT_READY];
    /// A question that is followed.
    Following: [WRONG, UNKNOWN, LARGE, UNMET, MANY, FAILED, NOT_READY];
    /// A statement.
    Stating: [WRONG, UNKNOWN, SLOW, LARGE, MANY, FAILED, NOT_READY];
    /// Something of a name.
    Finding: [UNKNOWN];
    /// Something of a name that the store holds.
    Reading: [UNKNOWN, FAILED, NOT_READY];
    /// Two of them.
    Comparing: [WRONG, UNKNOWN, MANY, FAILED, NOT_READY];
    /// Events.
    Ingesting: [WRONG, UNKNOWN, SLOW, LARGE, UNMET, MANY, FAILED, NOT_READY];
    /// Nothing in particular.
    Plain: [FAILED];
}
