//! Keys that tokens are verified with: from a file, or from an address that is asked again from time to time.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{AlgorithmIdentifier, SubjectPublicKeyInfoDer, alg_id};
use serde::Deserialize;

use crate::jwt::{Algorithm, Public, decoded};
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
    pub public: Public,
}

/// A set of keys (RFC 7517), of which some may be of kinds that are not known here.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// A key set is a small text, given soon.
const MOST_BYTES: usize = 1 << 20;
const WITHIN: Duration = Duration::from_secs(5);
/// More keys than this are no key set of one issuer.
const MOST_KEYS: usize = 100;
/// A shorter modulus can be factored.
const LEAST_RSA_BITS: usize = 2_048;
/// A shorter secret can be guessed.
const LEAST_SECRET_BYTES: usize = 32;

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
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text).ok();
        let public = key.and_then(|key| public_key(&key));
        let public =
            public.ok_or_else(|| pem::missing(path, text, "an RSA, P-256, P-384 or Ed25519 PUBLIC KEY"))?;
        Ok(vec![VerificationKey { kid: None, algorithms: public.algorithms().to_vec(), public }])
    }

    /// The keys of a set that can be used; others are passed over, for a set may hold keys for other purposes.
    fn set(&self, text: &[u8], private: bool) -> Result<Vec<VerificationKey>, KeysError> {
        let unusable = |reason: String| KeysError::Unusable { place: self.place(), reason };
        // serde's own words may repeat what is there.
        let malformed = |error: serde_json::Error| unusable(format!("not a key set, line {}", error.line()));
        let set: KeySet = serde_json::from_slice(text).map_err(malformed)?;
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
    if jwk.r#use.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("a key that is not for signatures".to_string());
    }
    let part = |part: &Option<String>| {
        part.as_deref()
            .and_then(decoded)
            .ok_or_else(|| format!("a key of kind {} that lacks a part", jwk.kty))
    };
    let point = |bytes: usize| {
        let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
        match x.len() == bytes && y.len() == bytes {
            true => Ok([&[4], x.as_slice(), y.as_slice()].concat()),
            false => Err("a point that is not on its curve".to_string()),
        }
    };
    let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let mut modulus = part(&jwk.n)?;
            modulus.drain(..modulus.iter().take_while(|byte| **byte == 0).count());
            let bits = modulus.len() * 8;
            if bits < LEAST_RSA_BITS {
                return Err(format!("an RSA key of about {bits} bits, expected {LEAST_RSA_BITS}"));
            }
            Public::Rsa { modulus, exponent: part(&jwk.e)? }
        }
        ("EC", Some("P-256")) => Public::P256(point(32)?),
        ("EC", Some("P-384")) => Public::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Public::Ed25519(part(&jwk.x)?),
        ("oct", _) if private => Public::Shared(part(&jwk.k)?),
        ("oct", _) => return Err("a shared secret that was told to everybody".to_string()),
        _ => return Err("a key of an unknown kind".to_string()),
    };
    if let Public::Shared(secret) = &public
        && secret.len() < LEAST_SECRET_BYTES
    {
        return Err(format!("a shared secret of {} bytes, expected {LEAST_SECRET_BYTES}", secret.len()));
    }
    let algorithms: Vec<Algorithm> = match &jwk.alg {
        None => public.algorithms().to_vec(),
        Some(named) => {
            let named = named.parse().ok();
            public.algorithms().iter().copied().filter(|algorithm| Some(*algorithm) == named).collect()
        }
    };
    match algorithms.is_empty() {
        true => Err("a key for another algorithm than its kind allows".to_string()),
        false => Ok(VerificationKey { kid: jwk.kid.clone(), algorithms, public }),
    }
}

/// A public key as certificates hold it: its kind, then its bits (RFC 5280).
fn public_key(spki: &[u8]) -> Option<Public> {
    let (inner, []) = element(0x30, spki)? else { return None };
    let (kind, rest) = element(0x30, inner)?;
    let (bits, []) = element(0x03, rest)? else { return None };
    // No bit of the last byte is unused.
    let key = bits.strip_prefix(&[0])?;
    let is = |known: AlgorithmIdentifier| *kind == *known;
    if is(alg_id::RSA_ENCRYPTION) {
        let (numbers, []) = element(0x30, key)? else { return None };
        let (modulus, rest) = element(0x02, numbers)?;
        let (exponent, []) = element(0x02, rest)? else { return None };
        let number = |bytes: &[u8]| bytes.strip_prefix(&[0]).unwrap_or(bytes).to_vec();
        return Some(Public::Rsa { modulus: number(modulus), exponent: number(exponent) });
    }
    let key = key.to_vec();
    match () {
        () if is(alg_id::ECDSA_P256) => Some(Public::P256(key)),
        () if is(alg_id::ECDSA_P384) => Some(Public::P384(key)),
        () if is(alg_id::ED25519) => Some(Public::Ed25519(key)),
        () => None,
    }
}

/// The contents of a DER element of this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}
