//! Speed nodes over HTTP.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use tracing::Instrument as _;
use tracing::field::Empty;
use watershed_schemas::live::{LiveError, LiveSource, LiveStatus, Partials, PartialsRequest};
use watershed_security::{ClientTls, NodeSecret, TlsError, with_tls};

use crate::trace::{self, Context};
use crate::wire;

/// A node that has not answered by then counts as away.
const TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer replies are read beside the threads that serve connections.
const INLINE_BYTES: usize = 1 << 20;

/// Speed nodes by address. A host name stands for all addresses that it resolves to.
pub struct Peers {
    client: Client,
    peers: Vec<Url>,
    secret: Option<NodeSecret>,
    /// Nodes that refuse the secret: told in the log when it begins and when it is over.
    refusing: Mutex<BTreeSet<String>>,
}

/// A setting that names no peers.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    #[error("setting speed.peers: {peer} is not an address such as http://host:8081: {reason}")]
    Address { peer: String, reason: String },
    #[error("setting speed.peers: {0}")]
    Client(#[from] reqwest::Error),
    #[error("setting speed.peers: {0}")]
    Tls(#[from] TlsError),
}

impl Peers {
    /// `http://host:port` or `host:port` each.
    pub fn new(peers: &[String]) -> Result<Self, PeersError> {
        Peers::secured(peers, None, &ClientTls::default())
    }

    /// `https://host:port` each where TLS is to be spoken; `secret` is what the nodes want to be told.
    pub fn secured(
        peers: &[String],
        secret: Option<NodeSecret>,
        tls: &ClientTls,
    ) -> Result<Self, PeersError> {
        // Whoever came first has installed a provider; which one does not matter here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).no_proxy();
        let client = with_tls(client, tls)?.build()?;
        let parse = |peer: &String| {
            let text = if peer.contains("://") { peer.clone() } else { format!("http://{peer}") };
            let address = |reason: String| PeersError::Address { peer: peer.clone(), reason };
            let url = Url::parse(&text).map_err(|error| address(error.to_string()))?;
            match url.has_host() {
                true => Ok(url),
                false => Err(address("it has no host".to_string())),
            }
        };
        Ok(Peers {
            client,
            peers: peers.iter().map(parse).collect::<Result<_, _>>()?,
            secret,
            refusing: Mutex::default(),
        })
    }

    async fn send(&self, node: &Url, request: RequestBuilder) -> Result<reqwest::Response, reqwest::Error> {
        let request = match &self.secret {
            Some(secret) => request.bearer_auth(secret.expose()),
            None => request,
        };
        let response = request.send().await?;
        let refuses = response.status() == StatusCode::UNAUTHORIZED;
        let mut refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        if refuses && refusing.insert(node.to_string()) {
            tracing::error!(%node, "a speed node refuses this server's secret");
        } else if !refuses && refusing.remove(node.as_str()) {
            tracing::info!(%node, "a speed node takes this server's secret again");
        }
        Ok(response)
    }

    /// Every node's address, names resolved.
    async fn nodes(&self) -> Vec<Url> {
        let resolve = async |peer: &Url| {
            let (Some(host), Some(port)) = (peer.host_str(), peer.port_or_known_default()) else {
                return vec![peer.clone()];
            };
            // A certificate is issued to a name, so a name it stays.
            if peer.scheme() != "http" {
                return vec![peer.clone()];
            }
            let resolved = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
            let addresses: BTreeSet<_> = resolved.into_iter().flatten().collect();
            let node = |address: &std::net::SocketAddr| Url::parse(&format!("http://{address}")).ok();
            match addresses.is_empty() {
                true => vec![peer.clone()],
                false => addresses.iter().filter_map(node).collect(),
            }
        };
        let nodes = join_all(self.peers.iter().map(resolve)).await;
        nodes.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// A node's reply to what it is asked. Its work is part of the trace that this question is part of.
    async fn post(
        &self,
        node: &Url,
        segments: &[&str],
        asked: &(impl Serialize + ?Sized),
    ) -> Result<bytes::Bytes, LiveError> {
        let context = Context::current().map(Context::child);
        let span = tracing::info_span!("ask node", node = %node, otel.kind = "client", span_id = Empty);
        let mut request = self.client.post(path(node, segments)).json(asked);
        if let Some(context) = context {
            span.record("span_id", format!("{:016x}", context.span));
            request = request.header(trace::HEADER, context.to_string());
        }
        async { body(node, self.send(node, request).await).await }.instrument(span).await
    }

    /// All nodes' replies to one call. A node that is away is left out, unless none is there.
    async fn ask<T, F: Future<Output = Result<Vec<T>, LiveError>>>(
        &self,
        call: impl Fn(Url) -> F,
    ) -> Result<Vec<T>, LiveError> {
        together(join_all(self.nodes().await.into_iter().map(call)).await)
    }
}

#[async_trait]
impl LiveSource for Peers {
    async fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        self.ask(|node| async move {
            let bytes = self.post(&node, &["v1", "partials"], request).await?;
            decoded(&node, bytes, wire::decode).await
        })
        .await
    }

    async fn partials_together(&self, requests: &[PartialsRequest]) -> Result<Vec<Vec<Partials>>, LiveError> {
        let by_node = self.ask(|node| async move {
            let bytes = self.post(&node, &["v1", "partials", "together"], requests).await?;
            let views = decoded(&node, bytes, wire::decode_together).await?;
            if views.len() != requests.len() {
                let found = format!("it told of {} views, asked for {}", views.len(), requests.len());
                return Err(unavailable(&node, &found));
            }
            Ok(vec![views])
        });
        let mut together = vec![Vec::new(); requests.len()];
        for views in by_node.await? {
            for (all, replies) in together.iter_mut().zip(views) {
                all.extend(replies);
            }
        }
        Ok(together)
    }

    async fn status(&self, stream: &str) -> Result<Vec<LiveStatus>, LiveError> {
        self.ask(|node| async move {
            let url = path(&node, &["v1", "partials", "status", stream]);
            let bytes = body(&node, self.send(&node, self.client.get(url)).await).await?;
            serde_json::from_slice(&bytes).map_err(|error| unavailable(&node, &error))
        })
        .await
    }
}

/// What nodes say together. One that is away is left out, unless none is there.
pub fn together<T>(replies: Vec<Result<Vec<T>, LiveError>>) -> Result<Vec<T>, LiveError> {
    let mut found = Vec::new();
    let mut away = LiveError::Unavailable { reason: "no peers are configured".to_string() };
    let mut answered = false;
    for reply in replies {
        match reply {
            Ok(reply) => {
                answered = true;
                found.extend(reply);
            }
            Err(error @ LiveError::Unavailable { .. }) => away = error,
            // A node that says no is there: its partitions must not silently be left out.
            Err(error) => return Err(error),
        }
    }
    if answered { Ok(found) } else { Err(away) }
}

fn path(node: &Url, parts: &[&str]) -> Url {
    let mut url = node.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

async fn decoded<T: Send + 'static>(
    node: &Url,
    bytes: bytes::Bytes,
    decode: fn(&[u8]) -> Result<T, wire::WireError>,
) -> Result<T, LiveError> {
    let decoded = match bytes.len() <= INLINE_BYTES {
        true => decode(&bytes),
        false => tokio::task::spawn_blocking(move || decode(&bytes))
            .await
            .map_err(|error| unavailable(node, &error))?,
    };
    decoded.map_err(|error| unavailable(node, &error))
}

async fn body(
    node: &Url,
    response: Result<reqwest::Response, reqwest::Error>,
) -> Result<bytes::Bytes, LiveError> {
    let response = response.map_err(|error| unavailable(node, &error))?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(|error| unavailable(node, &error))?;
    if status == StatusCode::OK {
        return Ok(bytes);
    }
    if status == StatusCode::UNAUTHORIZED {
        let reason = "it refuses this server's secret (401): set security.node_secret alike on both";
        return Err(unavailable(node, &reason));
    }
    match serde_json::from_slice::<wire::Refused>(&bytes) {
        Ok(refused) => Err(refused.into()),
        Err(_) => Err(unavailable(node, &format!("it answered {status}"))),
    }
}

fn unavailable(node: &Url, reason: &dyn std::fmt::Display) -> LiveError {
    LiveError::Unavailable { reason: format!("{node}: {reason}") }
}
