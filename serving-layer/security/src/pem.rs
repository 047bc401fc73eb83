//! Certificates and keys in PEM files, and clear words for a file that is none.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A PEM file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{path}: {source}")]
    Unread { path: PathBuf, source: std::io::Error },
    #[error("{path}: found {found}, expected {expected} in PEM")]
    Missing { path: PathBuf, found: String, expected: &'static str },
    #[error("{path}: malformed PEM: {reason}")]
    Malformed { path: PathBuf, reason: String },
}

pub fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(path).map_err(|source| PemError::Unread { path: path.to_owned(), source })
}

/// The certificates of a file, the first of them the owner's.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| malformed(path, &error))?;
    if found.is_empty() {
        return Err(missing(path, &text, "a CERTIFICATE"));
    }
    Ok(found)
}

pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    use rustls::pki_types::pem::Error;
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        Error::NoItemsFound => missing(path, &text, "a PRIVATE KEY"),
        error => malformed(path, &error),
    })
}

fn malformed(path: &Path, error: &rustls::pki_types::pem::Error) -> PemError {
    PemError::Malformed { path: path.to_owned(), reason: error.to_string() }
}

pub fn missing(path: &Path, text: &[u8], expected: &'static str) -> PemError {
    PemError::Missing { path: path.to_owned(), found: labels(text), expected }
}

/// What the sections of a file are called; their contents may be secret.
fn labels(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let sections =
        text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let found: Vec<String> = sections.take(4).map(|label| label.chars().take(40).collect()).collect();
    match found.is_empty() {
        true if text.trim().is_empty() => "an empty file".to_string(),
        true => "no PEM section".to_string(),
        false => found.join(", "),
    }
}
