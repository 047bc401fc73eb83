//! From a request's credentials to its caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use tokio_util::sync::CancellationToken;
use watershed_schemas::project::Project;

use crate::audit::{Asked, Audit, redacted};
use crate::caller::{Caller, Identity};
use crate::grant::Grant;
use crate::keys::Keys;
use crate::rate::{Limiter, Taken};
use crate::store::KeyStore;
use crate::tokens::{TokenError, Tokens};

/// Everything that a server knows of its callers.
pub struct Gate {
    keys: Option<KeyStore>,
    tokens: Option<Tokens>,
    limiter: Limiter,
    audit: Audit,
    /// What everybody has while nobody is asked for credentials.
    everything: Arc<Grant>,
    began: Instant,
}

/// Credentials that nobody is known by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this server wants a key or a token: send it as \"Authorization: Bearer …\"")]
    Missing,
    #[error("the header Authorization is not understood, expected one of the form \"Bearer …\"")]
    Malformed,
    /// A key that was never given looks like one that was revoked or has expired.
    #[error("the key is unknown, revoked or expired")]
    Key,
    #[error("{0}")]
    Token(TokenError),
    #[error("the issuer's keys have not been read yet")]
    NotReady,
}

/// Between two looks at files that may change.
const LOOK: Duration = Duration::from_millis(500);

impl Gate {
    /// Asks nobody for credentials.
    pub fn open() -> Self {
        Gate::new(None, None, Audit::default())
    }

    pub fn new(keys: Option<KeyStore>, tokens: Option<Tokens>, audit: Audit) -> Self {
        let everything = Arc::new(Grant::everything());
        Gate { keys, tokens, limiter: Limiter::default(), audit, everything, began: Instant::now() }
    }

    /// True where callers need credentials.
    pub fn is_closed(&self) -> bool {
        self.keys.is_some() || self.tokens.is_some()
    }

    /// Who sent these headers `Authorization`; anyone where nobody is asked.
    pub fn caller(&self, authorization: &[&[u8]]) -> Result<Caller, Refused> {
        if !self.is_closed() {
            return Ok(Caller::new(Identity::Anyone, self.everything.clone()));
        }
        let header = match authorization {
            [] => return Err(Refused::Missing),
            [header] => std::str::from_utf8(header).map_err(|_| Refused::Malformed)?,
            _ => return Err(Refused::Malformed),
        };
        let (scheme, credentials) = header.split_once(' ').ok_or(Refused::Malformed)?;
        let credentials = credentials.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || credentials.is_empty() {
            return Err(Refused::Malformed);
        }
        match (Keys::is_key(credentials), &self.keys, &self.tokens) {
            (true, Some(keys), _) => keys.keys().caller(credentials, Utc::now()).ok_or(Refused::Key),
            (false, _, Some(tokens)) => tokens.caller(credentials).map_err(|error| match error {
                TokenError::NoKeys => Refused::NotReady,
                error => Refused::Token(error),
            }),
            _ => Err(Refused::Key),
        }
    }

    /// True while a caller that was let in would be let in again.
    pub fn is_current(&self, caller: &Caller) -> bool {
        match &caller.identity {
            Identity::Anyone => !self.is_closed(),
            Identity::Key { id, .. } => {
                self.keys.as_ref().is_some_and(|keys| keys.keys().is_current(id, Utc::now()))
            }
            Identity::Token { expires_at, .. } => Utc::now().timestamp() < *expires_at,
        }
    }

    /// Counts a request against its caller's rate, if there is one.
    pub fn count(&self, caller: &Caller) -> Option<Taken> {
        let rate = caller.grant.rate?;
        Some(self.limiter.take(&caller.id(), rate, self.began.elapsed()))
    }

    /// Writes down a request and what came of it.
    pub fn tell(&self, caller: Option<&Caller>, asked: Asked<'_>) {
        let id = caller.map_or_else(|| "unknown".to_string(), Caller::id);
        let name = caller.and_then(|caller| match &caller.identity {
            Identity::Key { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let question = caller.and_then(Caller::question).map(redacted);
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let path = redacted(&asked.path);
        self.audit.tell(&Asked { time, caller: &id, name, path, question, ..asked });
    }

    /// Says which keys can see nothing of the project: their filters name what no view has.
    pub fn check(&self, project: &Project) {
        let Some(keys) = &self.keys else { return };
        let keys = keys.keys();
        for key in keys.iter().filter(|key| key.is_current(Utc::now())) {
            let grant = key.grant();
            if grant.visible(project).next().is_none() {
                tracing::warn!(key = key.id, name = key.name, "a key sees no view of this project");
            }
        }
    }

    /// Follows what changes: keys, tokens' keys, the audit file.
    pub async fn watch(&self, project: Arc<Project>, stop: CancellationToken) {
        let tokens = async {
            match &self.tokens {
                Some(tokens) => tokens.watch(&stop).await,
                None => stop.cancelled().await,
            }
        };
        let files = async {
            loop {
                tokio::time::sleep(LOOK).await;
                self.look(&project);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokens => {}
            () = files => {}
        }
    }

    fn look(&self, project: &Project) {
        match self.keys.as_ref().map(KeyStore::refresh) {
            Some(Ok(true)) => {
                tracing::info!("keys read again");
                self.check(project);
            }
            Some(Err(error)) => tracing::error!(%error, "keys not read again, those before stay"),
            Some(Ok(false)) | None => {}
        }
        match self.tokens.as_ref().map(Tokens::refresh_file) {
            Some(Ok(true)) => tracing::info!("token keys read again"),
            Some(Err(error)) => tracing::error!(%error, "token keys not read again, those before stay"),
            Some(Ok(false)) | None => {}
        }
        if let Err(error) = self.audit.refresh() {
            tracing::error!(%error, "requests are not written down");
        }
    }
}
