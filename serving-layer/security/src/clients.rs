//! TLS of a client: whom it believes, and who it is.

use std::path::PathBuf;

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::pem::{self, PemError};
use crate::tls::TlsError;

/// The files of a client's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Whose servers are believed; none: those that the system believes.
    pub ca: Option<PathBuf>,
    /// Certificate and key, shown to servers that ask.
    pub identity: Option<(PathBuf, PathBuf)>,
}

pub fn with_tls(builder: ClientBuilder, tls: &ClientTls) -> Result<ClientBuilder, TlsError> {
    let mut builder = builder;
    if let Some(path) = &tls.ca {
        let malformed =
            |error: reqwest::Error| PemError::Malformed { path: path.clone(), reason: error.to_string() };
        let mut believed = Vec::new();
        for certificate in pem::certificates(path)? {
            believed.push(Certificate::from_der(&certificate).map_err(malformed)?);
        }
        builder = builder.tls_certs_only(believed);
    }
    if let Some((certificate, key)) = &tls.identity {
        // Each is checked by itself first: what is wrong is said of the file that it is wrong with.
        pem::certificates(certificate)?;
        pem::private_key(key)?;
        let mut both = pem::read(certificate)?;
        both.push(b'\n');
        both.extend(pem::read(key)?);
        let identity = Identity::from_pem(&both).map_err(|error| PemError::Malformed {
            path: certificate.clone(),
            reason: format!("no identity with {}: {error}", key.display()),
        })?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}
