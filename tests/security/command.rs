//! The command: what it refuses to leave open, keys on the command line, and secrets that nothing tells.

use std::process::{Command, Stdio};

use crate::support::command::{Ended, Folder, Service, ended};

use super::*;

const TOML: &str = "[security]\nkeys = \"keys.json\"\naudit = \"audit.ndjson\"\n";

fn run(mut command: Command) -> Ended {
    ended(command.output().expect("the command runs"))
}

/// Makes a key by the command.
fn create(folder: &Folder, arguments: &[&str]) -> String {
    folder.done(&[&["key", "create"][..], arguments].concat()).trim().to_string()
}

#[test]
fn services_refuse_to_listen_beyond_this_machine_without_security() {
    let folder = Folder::with_project();
    for (service, variable, setting) in [
        ("up", "WATERSHED__SERVE__LISTEN", "serve.listen"),
        ("serve", "WATERSHED__SERVE__LISTEN", "serve.listen"),
        ("speed", "WATERSHED__SPEED__LISTEN", "speed.listen"),
        ("up", "WATERSHED__BROKER__LISTEN", "broker.listen"),
    ] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let mut command = folder.command(&[service]);
            command.env(variable, address);
            if service == "speed" {
                // It is refused before it looks for its Kafka.
                command.env("WATERSHED__KAFKA__BROKERS", "127.0.0.1:1");
            }
            let ended = run(command);
            assert_eq!(ended.code, 1, "{service} {address}: {}", ended.err);
            assert!(
                ended.err.contains(setting) && ended.err.contains("security.insecure = true"),
                "{}",
                ended.err
            );
        }
    }
}

#[test]
fn services_listen_beyond_this_machine_when_told_so_or_when_they_know_their_callers() {
    for security in ["[security]\ninsecure = true\n", "[security]\nkeys = \"keys.json\"\n"] {
        let folder = Folder::with_project();
        folder.write("watershed.toml", security);
        let mut command = folder.command(&["up"]);
        command.env("WATERSHED__SERVE__LISTEN", "0.0.0.0:0");
        let up = Service::start(command);
        assert!(up.line("ready: ").starts_with("http://0.0.0.0:"));
        assert_eq!(up.stop().0, 0);
    }
}

#[test]
fn keys_are_made_listed_used_and_revoked() {
    let folder = Folder::with_project();
    let missing = folder.run(&["key", "create", "one"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("security.keys"), "{}", missing.err);
    folder.write("watershed.toml", TOML);
    let key =
        create(&folder, &["shop one", "--where", "shop IN ('s1')", "--rate", "100/s", "--expires", "90days"]);
    assert!(key.starts_with("wsk_") && key.lines().count() == 1, "{key}");
    let id = key.split('_').nth(1).expect("a key has an id").to_string();
    let list = folder.done(&["key", "list"]);
    for part in [id.as_str(), "shop one", "active", "shop IN ('s1')", "100/s", "query,live,sql,status"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    assert!(!list.contains(key.rsplit('_').next().expect("it has a secret")), "{list}");

    for (arguments, code, told) in [
        (vec!["shop one"], 1, "there is a key shop one already"),
        (vec!["two", "--views", "salez"], 1, "unknown view salez, did you mean sales?"),
        (vec!["two", "--verbs", "qery"], 2, "did you mean query?"),
        (vec!["two", "--where", "shopp = 's1'"], 1, "did you mean \"shop\"?"),
        (vec!["two", "--where", "shop = "], 1, "where:1"),
        (vec!["two", "--rate", "often"], 2, "is not a rate"),
        (vec!["two", "--expires", "yesterday"], 2, "expected a time from now"),
        (vec!["two", "--expires", "2020-01-01"], 2, "that is over already"),
        (vec![""], 2, "1 to 100 characters"),
    ] {
        let ended = folder.run(&[vec!["key", "create"], arguments.clone()].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(told), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "");
    }

    let up = folder.service(&["up"]);
    let server = up.line("ready: ");
    folder.write_orders("orders.ndjson", 200);
    let file = folder.path("orders.ndjson");
    folder.done(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
    let ask = |key: Option<&str>, more: &[&str]| {
        let arguments = ["query", "sales", "--grain", "all", "--server", &server, "--format", "json"];
        let mut command = folder.command(&[&arguments[..], more].concat());
        command.env_remove("WATERSHED_KEY");
        if let Some(key) = key {
            command.env("WATERSHED_KEY", key);
        }
        run(command)
    };
    let nobody = ask(None, &[]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("WATERSHED_KEY"), "{}", nobody.err);
    folder.write("the-key", &format!("{key}\n"));
    let path = folder.path("the-key");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let by_file = ask(None, &["--key-file", path.to_str().expect("a path in UTF-8")]);
        assert_eq!(by_file.code, 0, "{}", by_file.err);
        let answer: Json = serde_json::from_str(&by_file.out).expect("JSON");
        let rows = answer["data"].as_array().expect("a list");
        assert!(rows.iter().all(|row| row["shop"] == "s1"), "{answer}");
        if rows.first().is_some_and(|row| row["orders"] == 50) {
            break;
        }
        assert!(Instant::now() < deadline, "never all of them: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ask(Some(&key), &[]).code, 0);

    assert_eq!(folder.done(&["key", "revoke", "shop one"]).trim(), format!("revoked {id}"));
    assert!(folder.done(&["key", "list"]).contains("revoked"));
    assert_eq!(folder.run(&["key", "revoke", "shop one"]).code, 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(Some(&key), &[]).code == 0 {
        assert!(Instant::now() < deadline, "the key was never refused");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(up.stop().0, 0);
}

/// What somebody might look through for a secret.
struct Told(Vec<(String, String)>);

impl Told {
    fn never(&self, secrets: &[&str]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                assert!(!text.contains(secret), "{place} tells {secret}: {text}");
            }
        }
    }
}

#[test]
fn no_log_answer_or_error_tells_a_secret() {
    let folder = Folder::with_project();
    let nodes = "n0deSecretThatNobodyMayReadAnywhere0123456789";
    folder.write("node-secret", nodes);
    folder.write("watershed.toml", &format!("{TOML}node_secret = \"file:node-secret\"\n"));
    let key = create(&folder, &["right", "--verbs", "query,live,sql,ingest,status,metrics"]);
    let secret = key.rsplit('_').next().expect("it has a secret").to_string();
    let wrong = format!("wsk_0123456789ab_{}", "5ecre7".repeat(10) + "abcd");
    let wrong_secret = wrong.rsplit('_').next().expect("it has a secret").to_string();

    let mut command = folder.command(&["up", "-vv"]);
    command.env("RUST_LOG", "trace").env("WATERSHED__LOG__FORMAT", "json");
    let log = folder.path("log.ndjson");
    command.stderr(Stdio::from(std::fs::File::create(&log).expect("a file")));
    let up = Service::start(command);
    let server = up.line("ready: ");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut told = Told(Vec::new());
    runtime.block_on(async {
        let client = client();
        for key in [&key, &wrong] {
            for path in ["/v1/views", "/v1/views/sales", "/v1/status", "/metrics", "/readyz", "/v1/nothing"] {
                let response = sent(client.get(format!("{server}{path}")).bearer_auth(key)).await;
                let headers = format!("{:?}", response.headers());
                told.0.push((format!("headers of {path}"), headers));
                told.0.push((path.to_string(), response.text().await.expect("text")));
            }
            // By mistake a key is put where it does not belong.
            let question = json!({ "view": "sales", "cursor": key, "time_zone": key }).to_string();
            let request = client.post(format!("{server}/v1/query")).bearer_auth(key).body(question);
            _ = sent(request).await.text().await;
            _ = sent(client.get(format!("{server}/v1/views/sales/query?key={key}")).bearer_auth(key)).await;
        }
    });
    assert_eq!(up.stop().0, 0);
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).expect("a file");
    let (log, audit) = (read("log.ndjson"), read("audit.ndjson"));
    assert!(log.contains("\"target\":\"audit\""), "the audit is part of the log");
    told.0.push(("the log".to_string(), log));
    told.0.push(("the audit".to_string(), audit.clone()));
    told.0.push(("the key file".to_string(), read("keys.json")));
    for arguments in [&["check"][..], &["key", "list"]] {
        let ended = folder.run(arguments);
        told.0.push((format!("{arguments:?}"), ended.out + &ended.err));
    }
    told.never(&[&secret, &wrong_secret, nodes]);

    // Who asked what stands there, a line of JSON for each.
    let lines: Vec<Json> =
        audit.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let id = format!("key:{}", key.split('_').nth(1).expect("it has an id"));
    let of = |caller: &str, route: &str| {
        lines.iter().find(|line| line["caller"] == caller && line["route"] == route).cloned()
    };
    let view = of(&id, "/v1/views/{view}").expect("it was asked");
    assert_eq!(
        (&view["name"], &view["status"], &view["method"]),
        (&json!("right"), &json!(200), &json!("GET"))
    );
    assert_eq!(of("unknown", "/v1/status").expect("it was tried")["status"], 401);
    let asked = of(&id, "/v1/query").expect("it was asked");
    assert!(asked["question"].as_str().is_some_and(|question| question.contains("sales")), "{asked}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(folder.path("audit.ndjson")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_secret_in_place_of_where_it_lies_is_refused_and_not_repeated() {
    let folder = Folder::with_project();
    let secret = "s3cretThatStandsInTheSettingsByMistake0123456789";
    for toml in [
        format!("[security]\nnode_secret = \"{secret}\"\n"),
        format!("[security]\nnode_secret = [\"{secret}\"]\n"),
        format!("[security]\nnode_secret = {{ value = \"{secret}\" }}\n"),
        format!("[security.node_secret]\n{secret} = 1\n"),
    ] {
        folder.write("watershed.toml", &toml);
        for arguments in [&["check"][..], &["speed"], &["-vv", "check"]] {
            let ended = folder.run(arguments);
            assert_eq!(ended.code, 1, "{toml}");
            assert!(ended.err.contains("security.node_secret"), "{}", ended.err);
            assert!(!(ended.err.clone() + &ended.out).contains(secret), "{}", ended.err);
        }
    }
    folder.write("watershed.toml", "[security]\nnode_secret = \"env:NOBODY_SETS_THIS\"\n");
    let ended = run({
        let mut command = folder.command(&["speed"]);
        command.env("WATERSHED__KAFKA__BROKERS", "127.0.0.1:1");
        command
    });
    assert!(ended.code == 1 && ended.err.contains("NOBODY_SETS_THIS"), "{}", ended.err);
}

#[test]
fn settings_of_tls_and_tokens_that_do_not_fit_are_named() {
    let folder = Folder::with_project();
    folder.write("text.pem", "hello");
    for (toml, told) in [
        ("tls.certificate = \"text.pem\"", "security.tls.key is missing"),
        ("tls.key = \"text.pem\"", "security.tls.certificate is missing"),
        ("tls.client_ca = \"text.pem\"", "over TLS only"),
        ("tls.certificate = \"text.pem\"\ntls.key = \"text.pem\"", "text.pem: found no PEM section"),
        ("tokens.keys = \"text.pem\"", "security.tokens.issuer is missing"),
        ("tokens.keys = \"text.pem\"\ntokens.issuer = \"x\"", "security.tokens.audience is missing"),
        ("tokens.keys = \"http://example.com/keys\"", "security.tokens.keys"),
        (
            "tokens.keys = \"text.pem\"\ntokens.issuer = \"x\"\ntokens.audience = \"y\"\ntokens.algorithms = \"none\"",
            "security.tokens.algorithms: found none",
        ),
        (
            "tokens.keys = \"text.pem\"\ntokens.issuer = \"x\"\ntokens.audience = \"y\"",
            "expected an RSA, P-256, P-384 or Ed25519 PUBLIC KEY",
        ),
        ("insecure = \"perhaps\"", "expected true or false"),
        ("key = \"keys.json\"", "did you mean security.keys?"),
    ] {
        folder.write("watershed.toml", &format!("[security]\n{toml}\n"));
        let ended = folder.run(&["up"]);
        assert_eq!(ended.code, 1, "{toml}: {}", ended.err);
        assert!(ended.err.contains(told), "{toml}: {}", ended.err);
    }
}
