//! Who may call what, as the addresses say it.

use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::refusals;
use crate::http::guard::Access;
use crate::http::routes::{API, Endpoint};

const KEY: &str = "key";

/// Adds what stands between a caller and an address: the token, and the problems of those who lack it or ask too fast.
pub fn described(mut document: OpenApi) -> OpenApi {
    let description = "An API key, or a token of the issuer that this server trusts. Nothing is needed where security is off.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(KEY.to_string(), SecurityScheme::Http(bearer));
    for endpoint in API.iter().filter(|endpoint| !matches!(endpoint.access, Access::Open)) {
        if let Some(item) = document.paths.paths.get_mut(endpoint.path) {
            guard(item, endpoint);
        }
    }
    document
}

fn guard(item: &mut PathItem, endpoint: &Endpoint) {
    let operation = if endpoint.method == "POST" { &mut item.post } else { &mut item.get };
    let Some(operation) = operation else { return };
    let open = SecurityRequirement::default();
    operation.security = Some(vec![open, SecurityRequirement::new(KEY, [] as [String; 0])]);
    for (status, problem) in refusals::of_callers() {
        operation.responses.responses.entry(status).or_insert(problem);
    }
}
