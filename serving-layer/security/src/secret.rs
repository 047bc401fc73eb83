//! Secrets: read from a file or a variable, compared in constant time, never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A text that no log, error or `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// For what has to send it or write it down.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[secret]")
    }
}

/// A hash of what is secret: equal lengths, so that comparing takes the same time whatever is compared.
pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

pub(crate) fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.ct_eq(right).into()
}

/// What servers and speed nodes know of each other.
#[derive(Clone, Debug)]
pub struct NodeSecret(Secret);

impl NodeSecret {
    /// Shorter ones can be guessed.
    const SHORTEST: usize = 32;

    pub fn new(secret: Secret) -> Result<Self, SecretError> {
        let found = secret.expose().len();
        match found < NodeSecret::SHORTEST {
            true => Err(SecretError::Short { found, expected: NodeSecret::SHORTEST }),
            false => Ok(NodeSecret(secret)),
        }
    }

    pub fn matches(&self, told: &str) -> bool {
        same(&digest(self.0.expose()), &digest(told))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// Where a secret lies: `file:PATH` or `env:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    File(PathBuf),
    Variable(String),
}

/// A secret that cannot be had. Never says what was found.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret file {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("secret file {path} is empty")]
    Empty { path: PathBuf },
    #[error("variable {name} is not set: it is to hold a secret")]
    Unset { name: String },
    #[error(
        "a secret of {found} characters is too short, expected at least {expected}: `openssl rand -hex 32` makes one"
    )]
    Short { found: usize, expected: usize },
}

impl Reference {
    /// The secret; a relative path lies in `folder`. Spaces and line ends around it are none of it.
    pub fn read(&self, folder: &Path) -> Result<Secret, SecretError> {
        match self {
            Reference::File(path) => {
                let path = folder.join(path);
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| SecretError::File { path: path.clone(), source })?;
                match text.trim() {
                    "" => Err(SecretError::Empty { path }),
                    text => Ok(Secret::new(text)),
                }
            }
            Reference::Variable(name) => match std::env::var(name) {
                Ok(text) if !text.trim().is_empty() => Ok(Secret::new(text.trim())),
                _ => Err(SecretError::Unset { name: name.clone() }),
            },
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    /// What is written may be the secret itself, by mistake: the error does not repeat it.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Reference::File(PathBuf::from(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Reference::Variable(name.to_string())),
            _ => Err("expected where the secret lies, file:PATH or env:NAME (what is there is not shown, it may be the secret)"
                .to_string()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::File(path) => write!(out, "file:{}", path.display()),
            Reference::Variable(name) => write!(out, "env:{name}"),
        }
    }
}
