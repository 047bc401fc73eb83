//! Bearer tokens of an identity provider (JWT).
//!
//! A token is believed when a key of the issuer's verifies it with an algorithm that is allowed and that the key is for,
//! and when it names this issuer and audience, is current, and says whose it is. What it does not grant, it
//! does not grant: without verbs or views there are none.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Map, Value as Json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::caller::{Caller, Identity};
use crate::filter::RowFilter;
use crate::grant::{Grant, Views};
use crate::jwt::{Algorithm, Token};
use crate::rate::Rate;
use crate::store::Stamp;
use crate::verb::Verb;
use crate::verification::{KeySource, KeysError, VerificationKey};

/// Whose tokens are believed, and what they say.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    pub keys: KeySource,
    pub issuer: String,
    pub audience: String,
    pub algorithms: Vec<Algorithm>,
    /// How often an address is asked for its keys.
    pub refresh: Duration,
    pub claims: ClaimNames,
}

impl TokenSettings {
    /// Algorithms by name; there is none called `none`.
    pub fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
        let known = |name: &String| {
            name.parse().map_err(|_| format!("found {name}, expected such as RS256, ES256 or EdDSA"))
        };
        match names {
            [] => Err("it is empty, so no token could be believed".to_string()),
            names => names.iter().map(known).collect(),
        }
    }
}

/// Which claims grant what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    pub views: String,
    pub verbs: String,
    pub filter: String,
    pub rate: String,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not a JWT")]
    Malformed,
    #[error("the token is longer than {MOST_BYTES} bytes")]
    Oversized,
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    #[error("no key of the issuer's verifies the token")]
    Unverified,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token lacks the claim \"{0}\", or it is of the wrong kind")]
    Claim(String),
    #[error("the issuer's keys have not been read yet")]
    NoKeys,
}

const MOST_BYTES: usize = 16 << 10;
const MOST_SUBJECT: usize = 256;
const MOST_FILTER: usize = 4 << 10;
/// Clocks differ.
const LEEWAY_SECONDS: f64 = 30.0;
/// An address is not asked more often than this, whatever tokens name.
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
/// Keys that nobody has confirmed for so long are believed no more.
const LONGEST_HELD: Duration = Duration::from_secs(24 * 3_600);
const MOST_FILTERS: usize = 1_000;

pub struct Tokens {
    settings: TokenSettings,
    client: reqwest::Client,
    held: RwLock<Arc<Held>>,
    /// Of the file that was looked at last.
    seen: Mutex<Stamp>,
    /// A token named a key that is not held: there may be newer ones.
    wanted: Notify,
    /// Filters by text: what is compiled for one token serves the next.
    filters: Mutex<HashMap<String, RowFilter>>,
}

#[derive(Default)]
struct Held {
    keys: Vec<VerificationKey>,
    confirmed_at: Option<Instant>,
}

impl Tokens {
    /// Keys of a file are read now; an address is asked by [`Tokens::watch`].
    pub fn open(settings: TokenSettings, client: reqwest::Client) -> Result<Self, KeysError> {
        let (mut held, seen) = (Held::default(), Mutex::new(settings.keys.stamp()));
        if let Some(read) = settings.keys.read_file() {
            held.keys = read?;
        }
        let (held, wanted, filters) = (RwLock::new(Arc::new(held)), Notify::new(), Mutex::default());
        Ok(Tokens { settings, client, held, seen, wanted, filters })
    }

    pub fn caller(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > MOST_BYTES {
            return Err(TokenError::Oversized);
        }
        let token = Token::parse(token).ok_or(TokenError::Malformed)?;
        let allowed = |algorithm: &Algorithm| self.settings.algorithms.contains(algorithm);
        let algorithm = token.algorithm.filter(allowed).ok_or(TokenError::Algorithm)?;
        let held = self.held();
        if self.is_stale(&held) {
            return Err(TokenError::NoKeys);
        }
        let named = |key: &&VerificationKey| match (&token.kid, &key.kid) {
            (Some(wanted), Some(kid)) => wanted == kid,
            _ => true,
        };
        let mut keys = held.keys.iter().filter(named).filter(|key| key.algorithms.contains(&algorithm));
        if !keys.any(|key| key.public.verifies(algorithm, token.signed, &token.signature)) {
            self.wanted.notify_one();
            return Err(TokenError::Unverified);
        }
        let claims = token.claims().ok_or(TokenError::Malformed)?;
        self.check(&claims, Utc::now().timestamp())?;
        self.believed(&claims)
    }

    /// Whose token it is, for whom, and whether it is its time.
    fn check(&self, claims: &Map<String, Json>, now: i64) -> Result<(), TokenError> {
        let seconds = |name: &str| match claims.get(name) {
            None => Ok(None),
            // A bound of the wrong kind is no bound, so it is no token.
            Some(at) => at.as_f64().map(Some).ok_or_else(|| lacks(name)),
        };
        let (now, ends) = (now as f64, seconds("exp")?.ok_or_else(|| lacks("exp"))?);
        if now >= ends + LEEWAY_SECONDS {
            return Err(TokenError::Expired);
        }
        if seconds("nbf")?.is_some_and(|begins| now < begins - LEEWAY_SECONDS) {
            return Err(TokenError::Early);
        }
        match claims.get("iss") {
            Some(Json::String(issuer)) if *issuer == self.settings.issuer => {}
            Some(Json::String(_)) => return Err(TokenError::Issuer),
            _ => return Err(lacks("iss")),
        }
        match claims.get("aud") {
            Some(Json::String(audience)) if *audience == self.settings.audience => Ok(()),
            Some(Json::Array(all)) if all.iter().any(|one| *one == self.settings.audience) => Ok(()),
            Some(Json::String(_) | Json::Array(_)) => Err(TokenError::Audience),
            _ => Err(lacks("aud")),
        }
    }

    /// What a verified token grants.
    fn believed(&self, claims: &Map<String, Json>) -> Result<Caller, TokenError> {
        let ClaimNames { views, verbs, filter, rate } = &self.settings.claims;
        let expires_at = claims.get("exp").and_then(Json::as_f64).ok_or_else(|| lacks("exp"))? as i64;
        let subject = claims.get("sub").and_then(Json::as_str);
        let subject = subject.filter(|subject| (1..=MOST_SUBJECT).contains(&subject.len()));
        let subject = subject.ok_or_else(|| lacks("sub"))?.to_string();
        let named = names(claims.get(views)).ok_or_else(|| lacks(views))?;
        let verbs = names(claims.get(verbs)).ok_or_else(|| lacks(verbs))?;
        let rows = match claims.get(filter) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) if text.len() <= MOST_FILTER => Some(self.filter(text)),
            Some(_) => return Err(lacks(filter)),
        };
        let rate = match claims.get(rate) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text.parse::<Rate>().map_err(|_| lacks(rate))?),
            Some(_) => return Err(lacks(rate)),
        };
        let verb = |name: &String| name.strip_prefix("watershed:").unwrap_or(name).parse::<Verb>().ok();
        let all = |names: &[String]| names.iter().any(|name| name == "*");
        let grant = Grant {
            verbs: match all(&verbs) {
                true => Verb::ALL.into(),
                // A scope names what other services give, too.
                false => verbs.iter().filter_map(verb).collect(),
            },
            views: if all(&named) {
                Views::All
            } else {
                Views::Only(named.into_iter().collect::<BTreeSet<_>>())
            },
            rows,
            rate,
        };
        Ok(Caller::new(Identity::Token { subject, expires_at }, Arc::new(grant)))
    }

    fn filter(&self, text: &str) -> RowFilter {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if filters.len() >= MOST_FILTERS {
            filters.clear();
        }
        filters.entry(text.to_string()).or_insert_with(|| RowFilter::new(text)).clone()
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stale(&self, held: &Held) -> bool {
        let unconfirmed = held.confirmed_at.is_none_or(|at| at.elapsed() > LONGEST_HELD);
        matches!(self.settings.keys, KeySource::Url(_)) && unconfirmed
    }

    /// Looks whether a file has changed; true where other keys are held now. An error is told once per change, and changes
    /// nothing.
    pub fn refresh_file(&self) -> Result<bool, KeysError> {
        let stamp = self.settings.keys.stamp();
        let before =
            std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), stamp.clone());
        match self.settings.keys.read_file() {
            Some(read) if before != stamp => {
                self.hold(Held { keys: read?, confirmed_at: None });
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Asks an address now and whenever it is time, or a token names a key that is not held.
    pub async fn watch(&self, stop: &CancellationToken) {
        if !matches!(self.settings.keys, KeySource::Url(_)) {
            return stop.cancelled().await;
        }
        loop {
            let pause = match self.settings.keys.fetch(&self.client).await {
                Ok(keys) => {
                    let confirmed_at = Some(Instant::now());
                    self.hold(Held { keys, confirmed_at });
                    self.settings.refresh.max(SHORTEST_REFRESH)
                }
                Err(error) => {
                    tracing::error!(%error, "token keys not read, those before are believed for a day");
                    SHORTEST_REFRESH
                }
            };
            let wanted = async {
                tokio::time::sleep(SHORTEST_REFRESH).await;
                self.wanted.notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = wanted => {}
            }
        }
    }

    fn hold(&self, held: Held) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
    }
}

fn lacks(claim: &str) -> TokenError {
    TokenError::Claim(claim.to_string())
}

/// `["a", "b"]` or `"a b"`; none: none. `None` where it is neither.
fn names(claim: Option<&Json>) -> Option<Vec<String>> {
    match claim {
        None | Some(Json::Null) => Some(Vec::new()),
        Some(Json::String(text)) => {
            let names = text.split([' ', ',']).filter(|name| !name.is_empty());
            Some(names.map(str::to_string).collect())
        }
        Some(Json::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_string)).collect(),
        Some(_) => None,
    }
}
