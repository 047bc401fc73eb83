//! A signed token (JWS in its compact form, RFC 7515) and the algorithms that it may be signed with (RFC 7518).
//!
//! A token says by which algorithm and key it was signed, and neither is believed for that: a key verifies only
//! what it is for.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl Algorithm {
    const ALL: [(&str, Algorithm); 12] = [
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("EdDSA", Algorithm::EdDSA),
        ("HS256", Algorithm::HS256),
        ("HS384", Algorithm::HS384),
        ("HS512", Algorithm::HS512),
    ];
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Algorithm::ALL.into_iter().find(|(name, _)| *name == text);
        known.map(|(_, algorithm)| algorithm).ok_or_else(|| {
            let names = Algorithm::ALL.map(|(name, _)| name).join(", ");
            format!("found {text}, expected of {names}")
        })
    }
}

/// What signatures are checked against.
pub enum Public {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    /// A secret that the issuer shares with this server.
    Shared(Vec<u8>),
}

impl Public {
    /// What a key of this kind may verify.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        use Algorithm::*;
        match self {
            Public::Rsa { .. } => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Public::P256(_) => &[ES256],
            Public::P384(_) => &[ES384],
            Public::Ed25519(_) => &[EdDSA],
            Public::Shared(_) => &[HS256, HS384, HS512],
        }
    }

    pub fn verifies(&self, algorithm: Algorithm, message: &str, signature: &[u8]) -> bool {
        let message = message.as_bytes();
        let plain = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (self, algorithm) {
            (Public::Rsa { modulus, exponent }, algorithm) => {
                let parameters = match algorithm {
                    Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }
            (Public::P256(point), Algorithm::ES256) => plain(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Public::P384(point), Algorithm::ES384) => plain(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Public::Ed25519(key), Algorithm::EdDSA) => plain(&signature::ED25519, key),
            (Public::Shared(secret), algorithm) => {
                let algorithm = match algorithm {
                    Algorithm::HS256 => hmac::HMAC_SHA256,
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => return false,
                };
                // In constant time.
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
            }
            _ => false,
        }
    }
}

/// A token in its parts; nothing of it is believed yet.
pub struct Token<'a> {
    /// `None` where it is none of ours, such as `none`.
    pub algorithm: Option<Algorithm>,
    pub kid: Option<String>,
    /// What the signature is over.
    pub signed: &'a str,
    pub signature: Vec<u8>,
    payload: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What must be understood: nothing that could stand here is.
    crit: Option<Json>,
}

impl<'a> Token<'a> {
    /// `header.payload.signature`, each in base64url.
    pub fn parse(text: &'a str) -> Option<Token<'a>> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        Some(Token {
            algorithm: header.alg.parse().ok(),
            kid: header.kid,
            signed,
            signature: decoded(signature)?,
            payload,
        })
    }

    pub fn claims(&self) -> Option<Map<String, Json>> {
        serde_json::from_slice(&decoded(self.payload)?).ok()
    }
}

pub fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
