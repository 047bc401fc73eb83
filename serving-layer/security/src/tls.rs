//! TLS of a server: its certificate, read again when the files change, and whose clients it believes.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::pem::{self, PemError};
use crate::store::Stamp;

/// The files of a server's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whose clients are believed; none: clients show no certificate.
    pub client_ca: Option<PathBuf>,
}

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("{certificate} and {key} do not make an identity: {source}")]
    Identity { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{path}: not a certificate that clients' can be checked against: {reason}")]
    ClientCa { path: PathBuf, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A server's certificate as it is now.
pub struct Certificates {
    files: ServerTls,
    held: RwLock<(Stamps, Arc<CertifiedKey>)>,
}

type Stamps = (Stamp, Stamp);

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Certificates({})", self.files.certificate.display())
    }
}

impl Certificates {
    pub fn open(files: ServerTls) -> Result<Arc<Self>, TlsError> {
        let stamps = stamps(&files);
        let held = RwLock::new((stamps, Arc::new(identity(&files)?)));
        Ok(Arc::new(Certificates { files, held }))
    }

    /// What a listener takes.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &self.files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let wrong = |reason: String| TlsError::ClientCa { path: path.clone(), reason };
                let mut roots = RootCertStore::empty();
                for certificate in pem::certificates(path)? {
                    roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(error.to_string()))?)
            }
        };
        Ok(builder.with_cert_resolver(self.clone()))
    }

    /// Looks whether the files have changed; true where another certificate is shown from now on. While they do not fit
    /// together, the one before stays.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let stamps = stamps(&self.files);
        if self.held.read().unwrap_or_else(PoisonError::into_inner).0 == stamps {
            return Ok(false);
        }
        let identity = identity(&self.files);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.0 = stamps;
        held.1 = Arc::new(identity?);
        Ok(true)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.held.read().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}

fn stamps(files: &ServerTls) -> Stamps {
    (Stamp::of(&files.certificate), Stamp::of(&files.key))
}

fn identity(files: &ServerTls) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = (pem::certificates(&files.certificate)?, pem::private_key(&files.key)?);
    let provider: CryptoProvider = ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|source| TlsError::Identity {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}
