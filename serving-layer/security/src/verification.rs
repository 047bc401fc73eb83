//! Keys that tokens are verified with: from a file, or from an address that is asked again from time to time.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;

use crate::pem;
use crate::store::Stamp;

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A public key in PEM, or a key set (JWKS).
    File(PathBuf),
    /// A key set.
    Url(Url),
}

/// Keys that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("token keys: {0}")]
    Pem(#[from] pem::PemError),
    #[error("token keys {place}: {reason}")]
    Unread { place: String, reason: String },
    #[error("token keys {place}: no key in them can be used: {reason}")]
    Unusable { place: String, reason: String },
}

/// One key and what it may verify: an algorithm is never taken from a token alone.
pub(crate) struct VerificationKey {
    pub kid: Option<String>,
    pub algorithms: Vec<Algorithm>,
    pub key: DecodingKey,
}

/// A key set is a small text, given soon.
const MOST_BYTES: usize = 1 << 20;
const WITHIN: Duration = Duration::from_secs(5);
/// More keys than this are no key set of one issuer.
const MOST_KEYS: usize = 100;
/// A shorter modulus can be factored.
const LEAST_RSA_BITS: usize = 2_048;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

impl KeySource {
    /// `https://…`, or a file. Plain `http` is believed of this very machine only.
    pub fn parse(text: &str, folder: &std::path::Path) -> Result<KeySource, String> {
        if !text.contains("://") {
            return Ok(KeySource::File(folder.join(text)));
        }
        let url = Url::parse(text).map_err(|error| format!("{text} is not an address: {error}"))?;
        let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => Ok(KeySource::Url(url)),
            "http" if here => Ok(KeySource::Url(url)),
            _ => Err(format!(
                "found {text}, expected a file or an https:// address: keys from elsewhere could be anybody's"
            )),
        }
    }

    pub(crate) fn place(&self) -> String {
        match self {
            KeySource::File(path) => path.display().to_string(),
            KeySource::Url(url) => url.to_string(),
        }
    }

    /// Tells whether a file is the one that was read.
    pub(crate) fn stamp(&self) -> Stamp {
        match self {
            KeySource::File(path) => Stamp::of(path),
            KeySource::Url(_) => Stamp::default(),
        }
    }

    /// What a file holds.
    pub(crate) fn read_file(&self) -> Option<Result<Vec<VerificationKey>, KeysError>> {
        let KeySource::File(path) = self else { return None };
        let read = || {
            let text = pem::read(path)?;
            match text.trim_ascii_start().starts_with(b"{") {
                // A file is private to this server: it may hold a shared secret.
                true => self.set(&text, true),
                false => self.pem(path, &text),
            }
        };
        Some(read())
    }

    /// What an address gives.
    pub(crate) async fn fetch(&self, client: &reqwest::Client) -> Result<Vec<VerificationKey>, KeysError> {
        let KeySource::Url(url) = self else { return Ok(Vec::new()) };
        let unread = |reason: String| KeysError::Unread { place: self.place(), reason };
        let get = async {
            let broken = |error: reqwest::Error| unread(error.without_url().to_string());
            let mut answer = client.get(url.clone()).send().await.map_err(broken)?;
            if !answer.status().is_success() {
                return Err(unread(format!("it answered {}", answer.status())));
            }
            let mut text = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(broken)? {
                text.extend_from_slice(&chunk);
                if text.len() > MOST_BYTES {
                    return Err(unread(format!("more than {MOST_BYTES} bytes")));
                }
            }
            Ok(text)
        };
        let late = |_| unread(format!("no answer within {} s", WITHIN.as_secs()));
        let text = tokio::time::timeout(WITHIN, get).await.map_err(late)??;
        self.set(&text, false)
    }

    fn pem(&self, path: &std::path::Path, text: &[u8]) -> Result<Vec<VerificationKey>, KeysError> {
        let rsa = DecodingKey::from_rsa_pem(text).map(|key| (RSA.to_vec(), key));
        let elliptic = || DecodingKey::from_ec_pem(text).map(|key| (vec![Algorithm::ES256], key));
        let edwards = || DecodingKey::from_ed_pem(text).map(|key| (vec![Algorithm::EdDSA], key));
        let found = rsa.or_else(|_| elliptic()).or_else(|_| edwards());
        let (algorithms, key) =
            found.map_err(|_| pem::missing(path, text, "an RSA, P-256 or Ed25519 PUBLIC KEY"))?;
        Ok(vec![VerificationKey { kid: None, algorithms, key }])
    }

    /// The keys of a set that can be used; others are passed over, for a set may hold keys for other purposes.
    fn set(&self, text: &[u8], private: bool) -> Result<Vec<VerificationKey>, KeysError> {
        let unusable = |reason: String| KeysError::Unusable { place: self.place(), reason };
        // serde's own words may repeat what is there.
        let malformed = |error: serde_json::Error| unusable(format!("not a key set, line {}", error.line()));
        let set: JwkSet = serde_json::from_slice(text).map_err(malformed)?;
        if set.keys.len() > MOST_KEYS {
            return Err(unusable(format!("{} keys are more than {MOST_KEYS}", set.keys.len())));
        }
        let mut reasons = Vec::new();
        let usable = set.keys.iter().filter_map(|jwk| match verification(jwk, private) {
            Ok(key) => Some(key),
            Err(reason) => {
                reasons.push(reason);
                None
            }
        });
        let usable: Vec<VerificationKey> = usable.collect();
        match usable.is_empty() {
            true if reasons.is_empty() => Err(unusable("the set is empty".to_string())),
            true => Err(unusable(reasons.join("; "))),
            false => Ok(usable),
        }
    }
}

fn verification(jwk: &Jwk, private: bool) -> Result<VerificationKey, String> {
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return Err("a key that is not for signatures".to_string());
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            // Six bits a digit; leading zeros are none of a modulus' own.
            let bits = rsa.n.trim_start_matches('A').len() * 6;
            if bits < LEAST_RSA_BITS - 8 {
                return Err(format!("an RSA key of about {bits} bits, expected {LEAST_RSA_BITS}"));
            }
            RSA.to_vec()
        }
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return Err("an elliptic curve other than P-256 and P-384".to_string()),
        },
        AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
        AlgorithmParameters::OctetKey(_) if private => {
            vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
        }
        AlgorithmParameters::OctetKey(_) => {
            return Err("a shared secret that was told to everybody".to_string());
        }
        _ => return Err("a key of an unknown kind".to_string()),
    };
    if let Some(named) = &common.key_algorithm {
        let named = named.to_string();
        algorithms.retain(|algorithm| format!("{algorithm:?}") == named);
        if algorithms.is_empty() {
            return Err(format!("a key for {named}"));
        }
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    Ok(VerificationKey { kid: common.key_id.clone(), algorithms, key })
}
