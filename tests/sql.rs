//! SQL: what it answers, what it refuses, and what it cannot do whatever it is asked.

mod answers;
mod escapes;
mod hostile;
mod kept;
mod leftovers;
mod running;

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use reqwest::{Client, Response};
use serde_json::{Value as Json, json};
use watershed_schemas::project::Project;
use watershed_serving::http::{ServeSettings, Server};
use watershed_store::Store;

use crate::support::serving::{
    DAY, HOUR, NEW_YEAR, SQL_MEMORY as MEMORY, ScriptedLive, Trip, client, offsets, project, publish,
    sql_settings, trip,
};

/// A server with workers over one version and a live half.
struct World {
    project: Arc<Project>,
    store: Store,
    live: Arc<ScriptedLive>,
    server: Server,
    client: Client,
}

impl World {
    async fn new(timeout: Duration, workers: usize) -> World {
        let world = World::empty(timeout, workers).await;
        world.publish(1, &[(0, 3), (1, 1)], &below()).await;
        world.live.open(
            &offsets(&[(0, 3), (1, 1)]),
            &[(0, vec![above()[0].clone()]), (1, vec![above()[1].clone()])],
        );
        world.live.reach(offsets(&[(0, 4), (1, 2)]));
        world.until_version(1).await;
        world
    }

    async fn empty(timeout: Duration, workers: usize) -> World {
        let project = Arc::new(project());
        let store = Store::new(Arc::new(InMemory::new()));
        let live = ScriptedLive::new();
        let sql = sql_settings(timeout, workers).await;
        let settings =
            ServeSettings { workers: Some(1), sql: Some(sql), ..ServeSettings::new("127.0.0.1:0") };
        let server = Server::start(settings, project.clone(), store.clone(), live.clone(), None, None).await;
        World { project, store, live, server: server.expect("the server starts"), client: client() }
    }

    async fn publish(&self, version: u64, watershed: &[(i32, i64)], trips: &[Trip]) {
        publish(&self.store, &self.project, version, offsets(watershed), trips).await;
        self.server.refresh();
    }

    async fn until_version(&self, version: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.client.get(self.url("/v1/status")).send().await.expect("the server answers");
            let status: Json = status.json().await.expect("the body is JSON");
            if status["streams"][0]["version"] == version {
                return;
            }
            assert!(Instant::now() < deadline, "version {version} was never in service: {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn post(&self, path: &str, question: &Json) -> Response {
        self.client.post(self.url(path)).json(question).send().await.expect("the server answers")
    }

    async fn said(&self, question: &Json) -> (u16, Json) {
        let response = self.post("/v1/sql", question).await;
        let status = response.status().as_u16();
        (status, response.json().await.expect("the body is JSON"))
    }

    /// An answer that must be one.
    async fn sql(&self, sql: &str) -> Json {
        let (status, answer) = self.said(&json!({ "sql": sql })).await;
        assert_eq!(status, 200, "{sql}: {answer}");
        answer
    }

    /// A refusal that must be one.
    async fn refused(&self, sql: &str) -> (u16, Json) {
        let (status, problem) = self.said(&json!({ "sql": sql })).await;
        assert!((400..500).contains(&status), "{sql}: {status} {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{sql}: {problem}");
        (status, problem)
    }
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
