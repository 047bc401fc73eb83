//! How long an answer stays what it is, and how to ask whether it still is.
//!
//! Guarantee: two answers have one tag only if they are the same rows of the same records in the same form. What tells of the
//! asking and not of the records (`elapsed_ms`, `freshness_ms`) is no part of it.

use actix_web::http::header::{self, EntityTag, HeaderValue, IfNoneMatch};
use actix_web::{HttpMessage as _, HttpRequest};
use sha2::{Digest as _, Sha256};

use crate::answer::{Answer, Block};
use crate::format::{self, Format};
use crate::query::{Query, Requirement};

/// An answer of one version, and a page of an answer, never change: a year is as long as anybody keeps anything.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";
/// Any other moves on with the log.
const MOVING: &str = "private, max-age=1";
/// It may be whole a moment later.
const INCOMPLETE: &str = "no-store";
/// Its age matters to who asks.
const FRESH: &str = "private, no-cache";

/// How long a cache may give this answer for the same address.
pub fn control(query: &Query, answer: &Answer) -> &'static str {
    let fresh = query.require.iter().any(|requirement| matches!(requirement, Requirement::Fresh(_)));
    match () {
        () if query.as_of.is_some() || query.batch_only() && query.cursor.is_some() => IMMUTABLE,
        () if !answer.block.complete => INCOMPLETE,
        () if fresh => FRESH,
        () if query.cursor.is_some() => IMMUTABLE,
        () => MOVING,
    }
}

/// The tag of an answer to this request. It covers the coding that the client takes, for these are other bytes.
pub fn tag(request: &HttpRequest, query: &Query, answer: &Answer, format: Format) -> EntityTag {
    let coding = request.headers().get(header::ACCEPT_ENCODING).map(HeaderValue::as_bytes);
    let block = format::block_of(&Block { freshness_ms: None, ..answer.block.clone() });
    let version = env!("CARGO_PKG_VERSION");
    tag_of(format!("{version} {format:?} {coding:?} {query:?} {block}").as_bytes())
}

/// Changes with the content, and with nothing else.
pub fn tag_of(content: &[u8]) -> EntityTag {
    let digest = Sha256::digest(content);
    let half = digest.iter().take(16).fold(0_u128, |half, byte| (half << 8) | u128::from(*byte));
    EntityTag::new_strong(format!("{half:032x}"))
}

/// True where the client has what this tag stands for.
pub fn is_known(request: &HttpRequest, tag: &EntityTag) -> bool {
    match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        None => false,
    }
}

/// The address of the page after this one, as a `Link`; `None` on the last one.
pub fn next_page(request: &HttpRequest, answer: &Answer) -> Option<HeaderValue> {
    let cursor = answer.next_cursor.as_ref()?;
    let others = request.query_string().split('&').filter(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && key != "cursor"
    });
    let others: String = others.map(|pair| format!("{pair}&")).collect();
    let target = format!("{}?{others}cursor={cursor}", request.path());
    HeaderValue::try_from(format!("<{target}>; rel=\"next\"")).ok()
}
