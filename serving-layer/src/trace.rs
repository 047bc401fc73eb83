//! Which trace a request is part of, as W3C Trace Context has it.
//!
//! Every request is a span of some trace: of the one that its client names in `traceparent`, or of one that begins here. The
//! ids are fields of the request's span, so logs show them; what exports spans reads them there.

use std::fmt;

use crate::ids;

tokio::task_local! {
    static CURRENT: Context;
}

/// The header's name.
pub const HEADER: &str = "traceparent";

/// A span within its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: u128,
    pub span: u64,
    /// Whether whoever began the trace wants it kept.
    pub sampled: bool,
}

impl Context {
    /// The first span of a trace of its own.
    pub fn begin() -> Context {
        Context {
            trace: u128::from(span_id()) << 64 | u128::from(ids::next()),
            span: span_id(),
            sampled: true,
        }
    }

    /// A span below this one.
    pub fn child(self) -> Context {
        Context { span: span_id(), ..self }
    }

    /// Reads a header; `None` where it is not one that W3C Trace Context allows.
    pub fn parse(header: &str) -> Option<Context> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        // Later versions may say more; the first one says no more, and the last is none.
        if !fits || version == "ff" || version == "00" && parts.next().is_some() {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != 0 && span != 0).then_some(Context { trace, span, sampled })
    }

    /// The context of the request that this task works for.
    pub fn current() -> Option<Context> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Works for a request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

/// As the header has it.
impl fmt::Display for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

fn span_id() -> u64 {
    // Zero is none.
    ids::next().max(1)
}
