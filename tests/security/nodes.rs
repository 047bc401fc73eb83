//! Between servers and speed nodes.

use watershed_schemas::live::{LiveSource as _, PartialsRequest};
use watershed_schemas::scope::Scope;
use watershed_security::{ClientTls, NodeSecret, Secret};
use watershed_serving::http::{NODE, PartialsServer, PartialsSettings};
use watershed_serving::live::Peers;

use crate::support::serving::hourly;

use super::*;

fn secret(letter: &str) -> NodeSecret {
    NodeSecret::new(Secret::new(letter.repeat(40))).expect("it is long enough")
}

async fn node(live: &Arc<ScriptedLive>) -> PartialsServer {
    let settings = PartialsSettings {
        secret: Some(secret("a")),
        open_metrics: false,
        ..PartialsSettings::from("127.0.0.1:0")
    };
    PartialsServer::start(settings, live.clone()).await.expect("the endpoint starts")
}

fn request() -> PartialsRequest {
    PartialsRequest {
        stream: "trips".to_string(),
        view: "trips_hourly".to_string(),
        view_hash: hourly().hash.clone(),
        watershed: offsets(&[(0, 4), (1, 0)]),
        scope: Scope::default(),
    }
}

fn live() -> Arc<ScriptedLive> {
    let live = ScriptedLive::new();
    live.open(&offsets(&[(0, 4), (1, 0)]), &[(0, above()), (1, Vec::new())]);
    live.reach(offsets(&[(0, 6), (1, 0)]));
    live
}

#[tokio::test]
async fn a_speed_node_with_a_secret_answers_those_who_know_it() {
    let node = node(&live()).await;
    let client = client();
    for endpoint in NODE {
        let path = endpoint.path.replace("{stream}", "trips");
        let body = match endpoint.path.ends_with("/together") {
            true => serde_json::to_string(&[request()]),
            false => serde_json::to_string(&request()),
        };
        let body = body.expect("JSON");
        for (who, told, expected) in [
            ("nobody", None, 401),
            ("a stranger", Some("b".repeat(40)), 401),
            ("almost", Some("a".repeat(39)), 401),
            ("a server", Some("a".repeat(40)), 200),
        ] {
            let url = format!("http://{}{path}", node.address);
            let method = endpoint.method.parse().expect("a method");
            let request = client.request(method, url).body(body.clone());
            let request = match told {
                Some(told) => request.bearer_auth(told),
                None => request,
            };
            let expected = if path == "/healthz" { 200 } else { expected };
            assert_eq!(sent(request).await.status(), expected, "{path} for {who}");
        }
    }
    let peers = vec![node.address.to_string()];
    let right = Peers::secured(&peers, Some(secret("a")), &ClientTls::default()).expect("an address");
    assert_eq!(right.partials(&request()).await.expect("it is one of us").len(), 1);
    for wrong in [None, Some(secret("b"))] {
        let wrong = Peers::secured(&peers, wrong, &ClientTls::default()).expect("an address");
        let error = wrong.partials(&request()).await.expect_err("it is a stranger").to_string();
        assert!(error.contains("security.node_secret") && !error.contains(&"b".repeat(40)), "{error}");
        assert!(wrong.status("trips").await.is_err());
    }
}

#[tokio::test]
async fn a_server_with_the_wrong_secret_says_so_when_asked_whether_it_is_ready() {
    let node = node(&live()).await;
    let peers = vec![node.address.to_string()];
    let project = Arc::new(project());
    let ask = async |secret: NodeSecret| {
        let store = Store::new(Arc::new(InMemory::new()));
        publish(&store, &project, 1, offsets(&[(0, 4), (1, 0)]), &below()).await;
        let live = Peers::secured(&peers, Some(secret), &ClientTls::default()).expect("an address");
        let settings = ServeSettings::new("127.0.0.1:0");
        let server = Server::start(settings, project.clone(), store, Arc::new(live), None, None).await;
        let server = server.expect("the server starts");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !server.waiting_for().is_empty() {
            assert!(Instant::now() < deadline, "never ready: {:?}", server.waiting_for());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let text = client().get(format!("http://{}/readyz", server.address)).send().await;
        text.expect("it answers").text().await.expect("text")
    };
    let (wrong, right) = (ask(secret("b")).await, ask(secret("a")).await);
    assert!(wrong.contains("refuses this server's secret") && wrong.contains("batch_only"), "{wrong}");
    assert!(right.contains("\"state\":\"live\"") && !right.contains("secret"), "{right}");
    assert!(!wrong.contains(&"b".repeat(40)));
}

#[test]
fn a_secret_that_can_be_guessed_is_none() {
    let error = NodeSecret::new(Secret::new("hunter2")).expect_err("it is short").to_string();
    assert!(error.contains("7 characters") && !error.contains("hunter2"), "{error}");
    assert!(!format!("{:?}", secret("a")).contains("aaa"));
}
