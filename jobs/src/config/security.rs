//! `[security]`: who may ask, and how they are known. What is secret is named by where it lies, never written here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use watershed_security::Reference;

use crate::human::{Names, Span, Text, Truth, Whence};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Listens beyond this machine though nobody has to say who they are.
    pub insecure: Truth,
    /// The file of API keys; none: no keys.
    pub keys: Option<Text>,
    /// What servers tell speed nodes; none: nothing.
    pub node_secret: Option<Whence>,
    /// Whose pages may ask from a browser, beside the server's own.
    pub cors_origins: Names,
    /// `/metrics` for everybody, beyond this machine too.
    pub open_metrics: Truth,
    /// A file of who asked what, a JSON object per line; none: the log alone.
    pub audit: Option<Text>,
    pub tls: Tls,
    pub tokens: Tokens,
}

/// PEM files. Servers and speed nodes show `certificate`, to each other as well where `client_ca` asks for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    pub certificate: Option<Text>,
    pub key: Option<Text>,
    /// Whose clients may connect; none: those without a certificate as well.
    pub client_ca: Option<Text>,
    /// Whose speed nodes a server believes; none: those that the system believes.
    pub ca: Option<Text>,
}

/// Bearer tokens of an identity provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// A public key in PEM, a key set, or its https:// address; none: no tokens.
    pub keys: Option<Text>,
    pub issuer: Option<Text>,
    pub audience: Option<Text>,
    pub algorithms: Names,
    /// How often an address is asked for its keys.
    pub refresh: Span,
    /// Which claims grant what.
    pub views_claim: Text,
    pub verbs_claim: Text,
    pub where_claim: Text,
    pub rate_claim: Text,
}

impl Default for Tokens {
    fn default() -> Self {
        let claim = |name: &str| Text(format!("watershed_{name}"));
        let algorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
        Tokens {
            keys: None,
            issuer: None,
            audience: None,
            algorithms: Names(algorithms.map(str::to_string).to_vec()),
            refresh: Span(Duration::from_secs(600)),
            views_claim: claim("views"),
            verbs_claim: claim("verbs"),
            where_claim: claim("where"),
            rate_claim: claim("rate"),
        }
    }
}

impl Security {
    /// Where the nodes' secret lies.
    pub fn node_secret(&self) -> Option<&Reference> {
        self.node_secret.as_ref().map(|whence| &whence.0)
    }

    /// True where callers have to say who they are.
    pub fn knows_callers(&self) -> bool {
        self.keys.is_some() || self.tokens.keys.is_some() || self.tls.client_ca.is_some()
    }

    /// True where speed nodes are told who asks.
    pub fn knows_servers(&self) -> bool {
        self.node_secret.is_some() || self.tls.client_ca.is_some()
    }
}
