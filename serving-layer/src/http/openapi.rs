//! This API as OpenAPI 3.1, put together from what stands at the handlers and the types that they answer with.

mod callers;
mod question;
mod refusals;
mod types;

pub use question::{Question, QuestionParameters};
pub use refusals::{Asking, Comparing, Finding, Following, Ingesting, Plain, Reading, Stating};
pub use types::{Accuracy, AnswerDocument, Gap, LiveStatus, Statement, StatementDocument};

use utoipa::OpenApi;

use super::{dashboard, diff, docs, events, live, metrics, query, sql, status, views};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Watershed",
        description = "Answers about streams of events: exact below the watershed, live at or above it. \
                       Errors are RFC 9457 problems."
    ),
    servers((url = "/", description = "This server")),
    paths(
        query::post, query::get, sql::post, views::list, views::one, views::accuracy, live::live, events::post, status::versions,
        diff::diff, status::status, status::healthz, status::readyz, metrics::server, docs::document, docs::page,
        dashboard::page, dashboard::asset
    ),
    components(schemas(super::problem::Problem)),
    tags(
        (name = "questions", description = "Asking about a view"),
        (name = "views", description = "What can be asked"),
        (name = "streams", description = "Events and versions"),
        (name = "operations", description = "How this server is doing")
    )
)]
struct Document;

pub fn document() -> utoipa::openapi::OpenApi {
    callers::described(Document::openapi())
}
