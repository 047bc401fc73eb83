//! Who may ask what: every address for every kind of caller, rows that nobody else sees, attacks on tokens, TLS, rates,
//! and secrets that are never told.

mod command;
mod keys;
mod nodes;
mod rates;
mod routes;
mod rows;
mod tls;
mod tokens;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use object_store::memory::InMemory;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value as Json, json};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::sink::{Outgoing, SendError, Sink};
use watershed_security::{Audit, Gate, Key, KeyRequest, KeyStore, Tokens, Verb};
use watershed_serving::http::{ServeSettings, Server};
use watershed_store::Store;

use crate::support::serving::{
    DAY, HOUR, NEW_YEAR, ScriptedLive, Trip, client, offsets, project, publish, sql_settings, trip,
};

/// Takes every event and keeps it.
#[derive(Default)]
struct Taken(Mutex<Vec<String>>);

#[async_trait]
impl Sink for Taken {
    async fn send(&self, _: &str, records: &[Outgoing]) -> Vec<Result<(Partition, Offset), SendError>> {
        let mut taken = self.0.lock().expect("no panic");
        let outcome = |record: &Outgoing| {
            taken.push(String::from_utf8(record.payload.clone()).expect("JSON"));
            Ok((Partition(0), Offset(taken.len() as i64 - 1)))
        };
        records.iter().map(outcome).collect()
    }
}

impl Taken {
    fn events(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

/// A server that wants to know who asks, over a store in memory with one version, and live records above it.
struct World {
    folder: tempfile::TempDir,
    live: Arc<ScriptedLive>,
    sink: Arc<Taken>,
    server: Server,
    client: Client,
}

/// Three trips in two cells of one day, one on the next.
fn below() -> Vec<Trip> {
    vec![
        trip(NEW_YEAR, "Oslo", 1, 100, "ada"),
        trip(NEW_YEAR + 5, "Oslo", 1, 200, "bob"),
        trip(NEW_YEAR + HOUR, "Lima", 2, 300, "ada"),
        trip(NEW_YEAR + DAY, "Oslo", 1, 400, "cyd"),
    ]
}

/// One trip in a known cell, one in a city that batch has not seen.
fn above() -> Vec<Trip> {
    vec![trip(NEW_YEAR + 7, "Oslo", 1, 600, "ada"), trip(NEW_YEAR + DAY, "Pune", 3, 50, "dan")]
}

/// A key that may do everything.
fn everything(name: &str) -> KeyRequest {
    let (verbs, name) = (Verb::ALL.to_vec(), name.to_string());
    KeyRequest { name, views: None, verbs, filter: None, rate: None, expires_at: None }
}

fn seeing(name: &str, filter: &str) -> KeyRequest {
    KeyRequest { filter: Some(filter.to_string()), ..everything(name) }
}

impl World {
    fn key_file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("keys.json")
    }

    /// A server with keys; gives their texts.
    async fn with_keys(requests: Vec<KeyRequest>) -> (World, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let texts = requests.into_iter().map(|request| add_key(&folder, request)).collect();
        let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
        let gate = Gate::new(Some(keys), None, Audit::default());
        let settings = settings(gate);
        (World::start(folder, settings, &below(), &above()).await, texts)
    }

    async fn with_tokens(tokens: Tokens) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(Gate::new(None, Some(tokens), Audit::default()));
        World::start(folder, settings, &below(), &above()).await
    }

    async fn start(
        folder: tempfile::TempDir,
        settings: ServeSettings,
        below: &[Trip],
        above: &[Trip],
    ) -> World {
        let (project, store) = (Arc::new(project()), Store::new(Arc::new(InMemory::new())));
        let watershed = offsets(&[(0, below.len() as i64), (1, 0)]);
        publish(&store, &project, 1, watershed.clone(), below).await;
        let (live, sink) = (ScriptedLive::new(), Arc::new(Taken::default()));
        live.open(&watershed, &[(0, above.to_vec()), (1, Vec::new())]);
        live.reach(offsets(&[(0, (below.len() + above.len()) as i64), (1, 0)]));
        let (own, taken) = (live.clone(), Some(sink.clone() as Arc<dyn Sink>));
        let sql = Some(sql_settings(Duration::from_secs(20), 1).await);
        let settings = ServeSettings { sql, ..settings };
        let server = Server::start(settings, project, store, own, None, taken).await;
        let server = server.expect("the server starts");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !server.waiting_for().is_empty() {
            assert!(Instant::now() < deadline, "never ready: {:?}", server.waiting_for());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        World { folder, live, sink, server, client: client() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn get(&self, path: &str, key: &str) -> Response {
        sent(self.client.get(self.url(path)).bearer_auth(key)).await
    }

    async fn json(&self, path: &str, key: &str) -> Json {
        let response = self.get(path, key).await;
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("the body is JSON")
    }

    async fn post(&self, path: &str, key: &str, body: impl Into<reqwest::Body>) -> Response {
        sent(self.client.post(self.url(path)).bearer_auth(key).body(body)).await
    }

    /// An answer that must be one.
    async fn ask(&self, key: &str, question: &Json) -> Json {
        let response = self.post("/v1/query", key, question.to_string()).await;
        let status = response.status();
        let body: Json = response.json().await.expect("the body is JSON");
        assert_eq!(status, 200, "{question}: {body}");
        body
    }

    async fn sql(&self, key: &str, sql: &str) -> Json {
        let response = self.post("/v1/sql", key, json!({ "sql": sql }).to_string()).await;
        let status = response.status();
        let body: Json = response.json().await.expect("the body is JSON");
        assert_eq!(status, 200, "{sql}: {body}");
        body
    }

    async fn sql_refused(&self, key: &str, sql: &str) -> (u16, Json) {
        problem(self.post("/v1/sql", key, json!({ "sql": sql }).to_string()).await).await
    }

    /// A refusal that must be one.
    async fn refused(&self, key: &str, question: &Json) -> (u16, Json) {
        problem(self.post("/v1/query", key, question.to_string()).await).await
    }
}

/// As a server that only its own machine reaches, but with `/metrics` for those who may.
fn settings(gate: Gate) -> ServeSettings {
    ServeSettings {
        workers: Some(1),
        gate: Arc::new(gate),
        open_metrics: false,
        ..ServeSettings::new("127.0.0.1:0")
    }
}

/// Makes a key and writes it down.
fn add_key(folder: &tempfile::TempDir, request: KeyRequest) -> String {
    let (key, secret) = Key::make(request, Utc::now()).expect("there is randomness");
    KeyStore::add(&World::key_file(folder), key).expect("the file is ours");
    secret.expose().to_string()
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("the server answers")
}

/// A problem's status and body.
async fn problem(response: Response) -> (u16, Json) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Json = response.json().await.expect("a problem is JSON");
    assert_eq!(body["status"], status, "{body}");
    (status, body)
}
