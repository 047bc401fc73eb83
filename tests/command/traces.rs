//! Spans, as a collector gets them: a stand-in that takes OTLP over HTTP and keeps it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::support::command::{Folder, Service};
use crate::support::serving::client;

/// Listens where a collector would; its address, and the spans that come, with the service that they come from.
fn collector() -> (String, Receiver<(String, Json)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (sender, spans) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream.expect("a connection"));
                while let Some(body) = request(&mut stream) {
                    let resource = &body["resourceSpans"][0];
                    let service = resource["resource"]["attributes"][0]["value"]["stringValue"].as_str();
                    let service = service.expect("the resource is named").to_string();
                    for span in resource["scopeSpans"][0]["spans"].as_array().expect("a list of spans") {
                        // The test may have seen enough.
                        let _ = sender.send((service.clone(), span.clone()));
                    }
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    stream.get_mut().write_all(answer).expect("the exporter reads");
                }
            });
        }
    });
    (address, spans)
}

/// The body of the next request; `None` at the connection's end.
fn request(stream: &mut BufReader<std::net::TcpStream>) -> Option<Json> {
    let (mut length, mut line) = (0, String::new());
    stream.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    assert_eq!(line.trim_end(), "POST /v1/traces HTTP/1.1");
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).expect("OTLP in JSON"))
}

fn text<'a>(span: &'a Json, key: &str) -> &'a str {
    span[key].as_str().unwrap_or_else(|| panic!("{key} of {span}"))
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_one_trace_from_its_caller_to_the_speed_node() {
    let (endpoint, spans) = collector();
    let folder = Folder::with_project();
    let start = |arguments: &[&str], service: &str| {
        let mut command = folder.command(arguments);
        command.env("WATERSHED__TRACES__ENDPOINT", &endpoint).env("WATERSHED__TRACES__SERVICE", service);
        command
    };
    let up = Service::start(start(&["up"], "all"));
    let broker = up.line("broker:");
    up.line("ready:");
    let mut speed = start(&["speed"], "speed");
    speed.env("WATERSHED__KAFKA__BROKERS", &broker).env("WATERSHED__SPEED__GROUP", "traced");
    let speed = Service::start(speed);
    let node = speed.line("ready:");
    let mut serve = start(&["serve"], "serve");
    serve.env("WATERSHED__KAFKA__BROKERS", &broker).env("WATERSHED__SPEED__PEERS", node);
    let serve = Service::start(serve);
    let server = serve.line("ready:");
    let url = format!("{server}/v1/views/sales/query?grain=all");
    let deadline = Instant::now() + Duration::from_secs(20);
    while client().get(&url).send().await.expect("the server answers").status() != 200 {
        assert!(Instant::now() < deadline, "the speed node never had all partitions");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    // Another question than before, for which nothing stands ready.
    let asked = client().get(format!("{url}&limit=7")).header("traceparent", traceparent);
    assert_eq!(asked.send().await.expect("the server answers").status(), 200);

    let mut found: BTreeMap<(String, String), Json> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let all = [
        ("serve", "request"),
        ("serve", "plan"),
        ("serve", "partials"),
        ("serve", "ask node"),
        ("serve", "merge"),
        ("speed", "request"),
    ];
    while !all.iter().all(|(service, name)| found.contains_key(&(service.to_string(), name.to_string()))) {
        let (service, span) =
            spans.recv_timeout(deadline - Instant::now()).unwrap_or_else(|_| panic!("{found:#?}"));
        if span["traceId"] == TRACE {
            found.insert((service, text(&span, "name").to_string()), span);
        }
    }
    let span = |service: &str, name: &str| &found[&(service.to_string(), name.to_string())];
    let request = span("serve", "request");
    assert_eq!((text(request, "parentSpanId"), &request["kind"]), (CALLER, &Json::from(2)));
    for name in ["plan", "partials", "merge"] {
        assert_eq!(text(span("serve", name), "parentSpanId"), text(request, "spanId"), "{name}");
    }
    let asked = span("serve", "ask node");
    assert_eq!(text(asked, "parentSpanId"), text(span("serve", "partials"), "spanId"));
    assert_eq!(text(span("speed", "request"), "parentSpanId"), text(asked, "spanId"));
    for span in found.values() {
        let time = |key| text(span, key).parse::<u64>().expect("nanoseconds");
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
        assert_eq!(text(span, "spanId").len(), 16, "{span}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_caller_does_not_keep_is_not_kept_here() {
    let (endpoint, spans) = collector();
    let folder = Folder::with_project();
    let mut command = folder.command(&["up"]);
    command.env("WATERSHED__TRACES__ENDPOINT", &endpoint);
    let up = Service::start(command);
    let server = up.line("ready:");
    for (flags, path) in [("00", "/healthz"), ("01", "/v1/views")] {
        let asked = client()
            .get(format!("{server}{path}"))
            .header("traceparent", format!("00-{TRACE}-{CALLER}-{flags}"));
        assert_eq!(asked.send().await.expect("the server answers").status(), 200);
    }
    // What waits is sent before the process ends.
    assert_eq!(up.stop().0, 0);
    let kept: Vec<Json> =
        spans.try_iter().map(|(_, span)| span).filter(|span| span["traceId"] == TRACE).collect();
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert!(kept[0]["attributes"].to_string().contains("/v1/views"), "{kept:#?}");
}
