//! What the settings say of security, made ready for the layers, and what they must not leave open.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use watershed_security::{
    Audit, Certificates, ClaimNames, ClientTls, Gate, KeySource, KeyStore, NodeSecret, Reference, ServerTls,
    TokenSettings, Tokens, with_tls,
};

use crate::config::{Security, Settings};
use crate::human::Text;
use crate::project::Workspace;

/// Refuses to listen where others can reach it and nobody has to say who they are.
pub fn refuse_exposed(settings: &Settings, setting: Listener) -> anyhow::Result<()> {
    let (name, listen, known, how) = match setting {
        Listener::Serve => (
            "serve.listen",
            &settings.serve.listen.0,
            settings.security.knows_callers(),
            "set security.keys (`watershed key create` makes keys), security.tokens or security.tls.client_ca",
        ),
        Listener::Speed => (
            "speed.listen",
            &settings.speed.listen.0,
            settings.security.knows_servers(),
            "set security.node_secret or security.tls.client_ca, alike on servers and speed nodes",
        ),
        Listener::Broker => (
            "broker.listen",
            &settings.broker.listen.0,
            false,
            "the embedded broker knows no security: use a Kafka that does (kafka.brokers)",
        ),
    };
    if known || settings.security.insecure.0 || is_here(listen) {
        return Ok(());
    }
    bail!(
        "setting {name} is {listen}, where others can reach it, and nobody has to say who they are: {how}; or listen on \
         127.0.0.1; or, where something else keeps strangers away, set security.insecure = true"
    )
}

/// What listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Serve,
    Speed,
    Broker,
}

/// True where nobody but this machine can connect. What is no address is left to whoever binds it.
pub fn is_here(listen: &str) -> bool {
    match listen.to_socket_addrs() {
        Ok(addresses) => addresses.into_iter().all(|address| match address.ip() {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address.to_canonical().is_loopback(),
        }),
        Err(_) => true,
    }
}

/// Who may ask, as the settings say.
pub fn gate(workspace: &Workspace) -> anyhow::Result<Arc<Gate>> {
    let (security, folder) = (&workspace.settings.security, &workspace.folder);
    let keys = key_file(workspace).map(KeyStore::open).transpose()?;
    let tokens = tokens(security, folder)?;
    let audit = Audit::open(security.audit.as_ref().map(|path| folder.join(&path.0)))?;
    let elsewhere = !is_here(&workspace.settings.serve.listen.0);
    if elsewhere && security.knows_callers() && security.tls.certificate.is_none() {
        tracing::warn!(
            "keys and tokens come in clear text unless something before this server speaks TLS: set security.tls"
        );
    }
    Ok(Arc::new(Gate::new(keys, tokens, audit)))
}

/// The file of API keys; a relative path lies in the project.
pub fn key_file(workspace: &Workspace) -> Option<PathBuf> {
    workspace.settings.security.keys.as_ref().map(|path| workspace.folder.join(&path.0))
}

pub fn certificates(workspace: &Workspace) -> anyhow::Result<Option<Arc<Certificates>>> {
    let (tls, folder) = (&workspace.settings.security.tls, &workspace.folder);
    let client_ca = tls.client_ca.as_ref().map(|path| folder.join(&path.0));
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (folder.join(&certificate.0), folder.join(&key.0));
            Ok(Some(
                Certificates::open(ServerTls { certificate, key, client_ca })
                    .context("setting security.tls")?,
            ))
        }
        (None, None) if client_ca.is_none() => Ok(None),
        (None, None) => bail!(
            "setting security.tls.client_ca: clients show certificates over TLS only: set security.tls.certificate and security.tls.key"
        ),
        (Some(_), None) => {
            bail!("setting security.tls.key is missing: the certificate has no use without it")
        }
        (None, Some(_)) => {
            bail!("setting security.tls.certificate is missing: the key has no use without it")
        }
    }
}

/// What speed nodes are told and shown.
pub fn node_secret(workspace: &Workspace) -> anyhow::Result<Option<NodeSecret>> {
    let read = |reference: &Reference| {
        NodeSecret::new(reference.read(&workspace.folder)?).context("setting security.node_secret")
    };
    workspace.settings.security.node_secret().map(read).transpose()
}

pub fn client_tls(workspace: &Workspace) -> ClientTls {
    let tls = &workspace.settings.security.tls;
    let path = |text: &Text| workspace.folder.join(&text.0);
    // A certificate is shown to speed nodes that ask for one.
    let identity = tls.client_ca.as_ref().and(tls.certificate.as_ref()).zip(tls.key.as_ref());
    ClientTls {
        ca: tls.ca.as_ref().map(path),
        identity: identity.map(|(certificate, key)| (path(certificate), path(key))),
    }
}

/// librdkafka's settings with the secrets in place of where they lie. Only what is a secret is looked up.
pub fn with_secrets(client: BTreeMap<String, String>) -> anyhow::Result<BTreeMap<String, String>> {
    let secret = |name: &str| name.ends_with("password") || name.ends_with("secret");
    let told = |(name, value): (String, String)| {
        let lies = value.parse::<Reference>().ok().filter(|_| secret(&name));
        let value = match lies {
            Some(reference) => {
                let read = reference.read(Path::new(""));
                read.with_context(|| format!("setting kafka.client.{name}"))?.expose().to_string()
            }
            None => value,
        };
        Ok((name, value))
    };
    client.into_iter().map(told).collect()
}

fn tokens(security: &Security, folder: &Path) -> anyhow::Result<Option<Tokens>> {
    let settings = &security.tokens;
    let Some(keys) = &settings.keys else { return Ok(None) };
    let keys = KeySource::parse(&keys.0, folder)
        .map_err(|reason| anyhow!("setting security.tokens.keys: {reason}"))?;
    let needed = |name: &str, value: &Option<Text>| match value {
        Some(text) if !text.0.is_empty() => Ok(text.0.clone()),
        _ => {
            bail!("setting security.tokens.{name} is missing: without it every token of the issuer would do")
        }
    };
    let algorithms = TokenSettings::algorithms(&settings.algorithms.0)
        .map_err(|reason| anyhow!("setting security.tokens.algorithms: {reason}"))?;
    let token_settings = TokenSettings {
        keys,
        issuer: needed("issuer", &settings.issuer)?,
        audience: needed("audience", &settings.audience)?,
        algorithms,
        refresh: settings.refresh.0,
        claims: ClaimNames {
            views: settings.views_claim.0.clone(),
            verbs: settings.verbs_claim.0.clone(),
            filter: settings.where_claim.0.clone(),
            rate: settings.rate_claim.0.clone(),
        },
    };
    let client = with_tls(reqwest::Client::builder(), &ClientTls::default())?.build()?;
    Ok(Some(Tokens::open(token_settings, client).context("setting security.tokens.keys")?))
}
