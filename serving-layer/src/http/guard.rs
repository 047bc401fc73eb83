//! Who may use which address.
//!
//! Guarantee: no handler runs for a caller whose grant lacks the address' verb. The guard is part of every resource, so it
//! stands behind the router: there is no spelling of an address that reaches a handler and not its guard.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, ResponseError as _, web};
use std::future::{Ready, ready};
use watershed_schemas::view::View;
use watershed_security::{Asked, Caller, Denied, Gate, NodeSecret, Refused, Taken, Verb};

use crate::ask::Serving;
use crate::query::Query;
use crate::refusal::{Challenge, Reason, Refusal};
use crate::versions::StreamState;

/// Who may use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody: it tells nothing of what is in the streams.
    Open,
    /// Callers with this verb.
    For(Verb),
    /// Everybody on the machine itself or where a setting says so, else callers with the verb.
    Metrics,
    /// Servers that know the speed nodes' secret.
    Nodes,
}

/// What a server asks of its callers.
pub struct Callers {
    pub gate: Arc<Gate>,
    pub open_metrics: bool,
}

/// What a speed node asks of servers.
pub struct Servers {
    /// None: nothing.
    pub secret: Option<NodeSecret>,
    pub open_metrics: bool,
}

/// The caller of a request that its guard let in.
#[derive(Clone)]
pub struct Asker(Caller);

impl Deref for Asker {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequest for Asker {
    type Error = Refusal;
    type Future = Ready<Result<Asker, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let asker = request.extensions().get::<Asker>().cloned();
        // Only an address that is open to everybody has none.
        ready(asker.ok_or_else(|| Refusal::new(Reason::Failed, "this address has no guard")))
    }
}

impl Asker {
    /// A view that the caller may see some rows of. One that it was not granted is as unknown to it as one that is not
    /// there: the answer does not tell which.
    pub fn view<'a>(&self, serving: &'a Serving, name: &str) -> Result<&'a Arc<View>, Refusal> {
        let views = &serving.streams.project.views;
        let unknown = || {
            let known = views.iter().map(|view| view.name.as_str()).filter(|name| self.grant.names(name));
            Refusal::unknown_name("view", name, known).at("view", name)
        };
        let view = views.iter().find(|view| view.name == name).ok_or_else(unknown)?;
        match self.grant.cells(view) {
            Ok(_) => Ok(view),
            Err(Denied::Unknown) => Err(unknown()),
            Err(Denied::Forbidden(reason)) => Err(Refusal::new(Reason::Forbidden, reason)),
        }
    }

    /// The question as this caller may ask it: over the rows that it may see.
    pub fn question(&self, serving: &Serving, query: Arc<Query>) -> Result<Arc<Query>, Refusal> {
        self.view(serving, &query.view)?;
        if query.explain {
            self.sees_all_rows("an explanation")?;
        }
        Ok(match self.grant.rows == query.rows {
            true => query,
            false => Arc::new(Query { rows: self.grant.rows.clone(), ..Query::clone(&query) }),
        })
    }

    /// A stream that the caller may know of.
    pub fn stream<'a>(&self, serving: &'a Serving, name: &str) -> Result<&'a StreamState, Refusal> {
        let project = &serving.streams.project;
        let reaches = |state: &&StreamState| self.grant.reaches(project, &state.stream.name);
        let found = serving.streams.get(name).filter(reaches);
        found.ok_or_else(|| {
            let known = serving.streams.iter().filter(reaches);
            Refusal::unknown_name("stream", name, known.map(|state| state.stream.name.as_str()))
        })
    }

    /// Refuses a caller that sees some rows only what is told of all of them.
    pub fn sees_all_rows(&self, what: &str) -> Result<(), Refusal> {
        match &self.grant.rows {
            None => Ok(()),
            Some(rows) => {
                let rows = rows.text();
                let detail = format!("{what} is made of all rows, and this key sees those where {rows} only");
                Err(Refusal::new(Reason::Forbidden, detail))
            }
        }
    }
}

/// Lets in whoever may use an address, counts it against its rate, and writes down what came of it.
pub async fn guard(
    access: Access,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if let Some(servers) = request.app_data::<web::Data<Servers>>() {
        return match servers.admit(access, &request) {
            Ok(()) => next.call(request).await,
            Err(refusal) => Ok(request.into_response(refusal.error_response())),
        };
    }
    let Some(callers) = request.app_data::<web::Data<Callers>>().cloned() else {
        let refusal = Refusal::new(Reason::Failed, "this server does not know whom to let in");
        return Ok(request.into_response(refusal.error_response()));
    };
    let wanted = match access {
        Access::Open => None,
        Access::Metrics if callers.open_metrics => None,
        Access::Metrics => Some(Verb::Metrics),
        Access::For(verb) => Some(verb),
        // No caller is a speed node's server.
        Access::Nodes => return Ok(request.into_response(unknown_secret().error_response())),
    };
    let Some(verb) = wanted else { return next.call(request).await };
    // The clock is looked at only where somebody writes it down.
    let began = callers.gate.is_closed().then(Instant::now);
    let admitted = callers.admit(verb, &request);
    let caller = admitted.caller.clone();
    let mut response = match admitted.refusal {
        Some(refusal) => request.into_response(refusal.error_response()),
        None => {
            if let Some(caller) = &caller {
                request.extensions_mut().insert(Asker(caller.clone()));
            }
            next.call(request).await?
        }
    };
    if let Some(taken) = admitted.taken {
        told(taken, response.headers_mut());
    }
    if let Some(began) = began {
        callers.tell(caller.as_ref(), &response, began.elapsed());
    }
    Ok(response)
}

/// What was found out of a request before anything is done for it.
struct Admitted {
    caller: Option<Caller>,
    taken: Option<Taken>,
    refusal: Option<Refusal>,
}

impl Callers {
    fn admit(&self, verb: Verb, request: &ServiceRequest) -> Admitted {
        let caller = match self.gate.caller(&authorization(request)) {
            Ok(caller) => caller,
            Err(refused) => return Admitted { caller: None, taken: None, refusal: Some(unknown(&refused)) },
        };
        let taken = self.gate.count(&caller);
        let refusal = match taken.and_then(|taken| taken.wait) {
            Some(wait) => Some(too_often(&caller, wait)),
            None if caller.grant.may(verb) => None,
            None => Some(lacks(verb)),
        };
        Admitted { caller: Some(caller), taken, refusal }
    }

    fn tell(&self, caller: Option<&Caller>, response: &ServiceResponse, took: Duration) {
        let request = response.request();
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let route = request.match_pattern().unwrap_or_default();
        let asked = Asked {
            time: String::new(),
            caller: "",
            name: None,
            from: request.peer_addr().map(|address| address.ip().to_string()),
            method: request.method().as_str(),
            route: &route,
            path,
            question: None,
            status: response.status().as_u16(),
            elapsed_ms: took.as_micros() as f64 / 1_000.0,
        };
        self.gate.tell(caller, asked);
    }
}

impl Servers {
    fn admit(&self, access: Access, request: &ServiceRequest) -> Result<(), Refusal> {
        let open = match access {
            Access::Open => true,
            Access::Metrics => self.open_metrics,
            Access::Nodes => false,
            Access::For(_) => false,
        };
        let Some(secret) = self.secret.as_ref().filter(|_| !open) else { return Ok(()) };
        let headers = authorization(request);
        let told = match headers.as_slice() {
            [header] => std::str::from_utf8(header).ok().and_then(|header| header.strip_prefix("Bearer ")),
            _ => None,
        };
        match told.is_some_and(|told| secret.matches(told)) {
            true => Ok(()),
            false => Err(unknown_secret()),
        }
    }
}

fn authorization(request: &ServiceRequest) -> Vec<&[u8]> {
    request.headers().get_all(header::AUTHORIZATION).map(HeaderValue::as_bytes).collect()
}

fn unknown(refused: &Refused) -> Refusal {
    if *refused == Refused::NotReady {
        return Refusal::not_ready(refused.to_string());
    }
    let challenge = (*refused != Refused::Missing).then_some(Challenge::InvalidToken);
    Refusal { challenge, ..Refusal::new(Reason::Unauthenticated, refused.to_string()) }
}

fn unknown_secret() -> Refusal {
    let detail = "this speed node wants its servers' secret: set security.node_secret alike on servers and speed nodes";
    Refusal::new(Reason::Unauthenticated, detail)
}

fn lacks(verb: Verb) -> Refusal {
    let challenge = Some(Challenge::Lacks(verb));
    let detail = format!("this key may not {verb}: what it may do was said when it was made");
    Refusal { challenge, ..Refusal::new(Reason::Forbidden, detail) }
}

fn too_often(caller: &Caller, wait: Duration) -> Refusal {
    let rate = caller.grant.rate.map(|rate| rate.to_string()).unwrap_or_default();
    let detail = format!("this key may ask {rate}: ask again in {:.1} s", wait.as_secs_f64());
    Refusal { retry_after: Some(whole(wait)), ..Refusal::new(Reason::TooMany, detail) }
}

fn told(taken: Taken, headers: &mut header::HeaderMap) {
    let lines = [
        ("x-ratelimit-limit", u64::from(taken.limit)),
        ("x-ratelimit-remaining", u64::from(taken.remaining)),
        ("x-ratelimit-reset", whole(taken.reset).as_secs()),
    ];
    for (name, value) in lines {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

/// Seconds, rounded up: whoever waits so long has waited long enough.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}
