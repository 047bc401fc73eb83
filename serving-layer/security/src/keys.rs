//! API keys: how one is made, written down and recognised.
//!
//! A key is `wsk_<id>_<secret>`. The id is public: it stands in lists and logs. The secret is 256 random bits, so its
//! SHA-256 alone is stored: nothing slower is needed where nothing can be guessed.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Identity};
use crate::filter::RowFilter;
use crate::grant::{Grant, Views};
use crate::rate::Rate;
use crate::secret::{Secret, digest, same};
use crate::verb::Verb;

const PREFIX: &str = "wsk_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// A key as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub id: String,
    pub name: String,
    /// Of the whole key, in hexadecimal digits.
    pub sha256: String,
    /// None: all, those that come later too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub views: Option<Vec<String>>,
    pub verbs: Vec<Verb>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    pub name: String,
    pub views: Option<Vec<String>>,
    pub verbs: Vec<Verb>,
    pub filter: Option<String>,
    pub rate: Option<Rate>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the system gives no random bytes")]
    Random,
    #[error("key {id}: sha256 is not 64 hexadecimal digits")]
    Digest { id: String },
    #[error("two keys have the id {id}")]
    Twice { id: String },
}

impl Key {
    /// A new key, and its text: nobody can tell it again.
    pub fn make(request: KeyRequest, now: DateTime<Utc>) -> Result<(Key, Secret), KeyError> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        SystemRandom::new().fill(&mut random).map_err(|_| KeyError::Random)?;
        let (id, secret) = (hex(&random[..ID_BYTES]), hex(&random[ID_BYTES..]));
        let text = format!("{PREFIX}{id}_{secret}");
        let KeyRequest { name, views, verbs, filter, rate, expires_at } = request;
        let (sha256, created_at) = (hex(&digest(&text)), now);
        let key =
            Key { id, name, sha256, views, verbs, filter, rate, created_at, expires_at, revoked_at: None };
        Ok((key, Secret::new(text)))
    }

    pub fn grant(&self) -> Grant {
        Grant {
            verbs: self.verbs.iter().copied().collect(),
            views: match &self.views {
                None => Views::All,
                Some(views) => Views::Only(views.iter().cloned().collect()),
            },
            rows: self.filter.as_deref().map(RowFilter::new),
            rate: self.rate,
        }
    }

    /// True until it expires or is revoked.
    pub fn is_current(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// `active`, `expired` or `revoked`.
    pub fn state(&self, now: DateTime<Utc>) -> &'static str {
        match self.revoked_at {
            Some(_) => "revoked",
            None if self.is_current(now) => "active",
            None => "expired",
        }
    }
}

/// Keys to recognise callers by.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Held>);

#[derive(Debug)]
struct Held {
    key: Key,
    digest: [u8; 32],
    grant: Arc<Grant>,
}

impl Keys {
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        let mut held = HashMap::with_capacity(keys.len());
        for key in keys {
            let id = key.id.clone();
            let digest = unhex(&key.sha256).ok_or_else(|| KeyError::Digest { id: id.clone() })?;
            let grant = Arc::new(key.grant());
            if held.insert(id.clone(), Held { key, digest, grant }).is_some() {
                return Err(KeyError::Twice { id });
            }
        }
        Ok(Keys(held))
    }

    /// True for what looks like a key, whether or not it is one.
    pub fn is_key(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The caller with this key, if it is current: an unknown key, a revoked and an expired one look alike, and take the
    /// same time.
    pub fn caller(&self, text: &str, now: DateTime<Utc>) -> Option<Caller> {
        let id = text.strip_prefix(PREFIX)?.split('_').next()?;
        let held = self.0.get(id);
        let nobody = [0; 32];
        let known = same(&digest(text), held.map_or(&nobody, |held| &held.digest));
        let held = held.filter(|held| known && held.key.is_current(now))?;
        let identity = Identity::Key { id: held.key.id.clone(), name: held.key.name.clone() };
        Some(Caller::new(identity, held.grant.clone()))
    }

    /// True while the key of this id is current.
    pub fn is_current(&self, id: &str, now: DateTime<Utc>) -> bool {
        self.0.get(id).is_some_and(|held| held.key.is_current(now))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.values().map(|held| &held.key)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
