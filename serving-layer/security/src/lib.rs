//! Who may ask what.
//!
//! A [`Gate`] turns a request's credentials into a [`Caller`] with a [`Grant`]: verbs, views, a row filter, a rate. What
//! a caller may do is decided by the grant alone, and the grant knows no HTTP. Secrets are compared in constant time,
//! stored as hashes, and never shown: see [`Secret`].

mod audit;
mod caller;
mod clients;
mod filter;
mod gate;
mod grant;
mod jwt;
mod keys;
mod pem;
mod rate;
mod secret;
mod store;
mod tls;
mod tokens;
mod verb;
mod verification;

pub use audit::{Asked, Audit, AuditError};
pub use caller::{Caller, Identity};
pub use clients::{ClientTls, with_tls};
pub use filter::RowFilter;
pub use gate::{Gate, Refused};
pub use grant::{Denied, Grant, Views};
pub use jwt::Algorithm;
pub use keys::{Key, KeyError, KeyRequest, Keys};
pub use pem::PemError;
pub use rate::{Limiter, Rate, Taken};
pub use secret::{NodeSecret, Reference, Secret, SecretError};
pub use store::{KeyFileError, KeyStore};
pub use tls::{Certificates, ServerTls, TlsError};
pub use tokens::{ClaimNames, TokenError, TokenSettings, Tokens};
pub use verb::Verb;
pub use verification::{KeySource, KeysError};
