//! TLS with an authority of the test's own.

use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use watershed_security::{Certificates, ClientTls, ServerTls, with_tls};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.self_signed(&key).expect("it is signed");
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes a certificate of this authority's, and its key.
    fn issue(&self, folder: &Path, name: &str) {
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("a file");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.certificate.pem()).expect("a file");
    }
}

pub fn files(folder: &Path, client_ca: Option<&str>) -> ServerTls {
    ServerTls {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: client_ca.map(|name| folder.join(name)),
    }
}

fn client_believing(ca: &Path, identity: Option<(&Path, &Path)>) -> Client {
    drop(client());
    let identity = identity.map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
    let tls = ClientTls { ca: Some(ca.to_owned()), identity };
    // A connection for each request: what a listener shows now is what is seen.
    let builder = Client::builder().no_proxy().pool_max_idle_per_host(0);
    with_tls(builder, &tls).expect("the files are good").build().expect("a client")
}

async fn secured(folder: tempfile::TempDir, client_ca: Option<&str>) -> (World, String) {
    let key = add_key(&folder, everything("right"));
    let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
    let certificates = Certificates::open(files(folder.path(), client_ca)).expect("the files are good");
    let gate = Gate::new(Some(keys), None, Audit::default());
    let settings = ServeSettings { certificates: Some(certificates), ..settings(gate) };
    (World::start(folder, settings, &below(), &above()).await, key)
}

#[tokio::test]
async fn answers_come_over_tls_to_those_who_believe_the_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, strange) = (folder.path().join("ca.pem"), folder.path().join("strange.pem"));
    authority.issue(folder.path(), "server");
    authority.write(&ca);
    other.write(&strange);
    let (world, key) = secured(folder, None).await;
    let url = format!("https://localhost:{}/v1/views", world.server.address.port());
    let response =
        client_believing(&ca, None).get(&url).bearer_auth(&key).send().await.expect("it is believed");
    assert_eq!(response.status(), 200);
    assert_eq!(client_believing(&ca, None).get(&url).send().await.expect("it answers").status(), 401);
    assert!(client_believing(&strange, None).get(&url).bearer_auth(&key).send().await.is_err());
    // A key in clear text is not even heard.
    let plain = world.client.get(world.url("/v1/views")).bearer_auth(&key).send().await;
    assert!(plain.is_err() || plain.is_ok_and(|response| !response.status().is_success()));
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let (first, second) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old.pem"), folder.path().join("new.pem"));
    first.issue(folder.path(), "server");
    first.write(&old);
    second.write(&new);
    let (world, key) = secured(folder, None).await;
    let url = format!("https://localhost:{}/v1/views", world.server.address.port());
    let ask = async |ca: &Path| client_believing(ca, None).get(&url).bearer_auth(&key).send().await;
    assert!(ask(&old).await.is_ok() && ask(&new).await.is_err());
    // In the middle of a change, certificate and key do not fit together: the one before stays.
    let own = world.folder.path().join("server.key");
    let good = std::fs::read(&own).expect("a file");
    std::fs::write(&own, "").expect("a file");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(ask(&old).await.is_ok());
    std::fs::write(&own, good).expect("a file");
    second.issue(world.folder.path(), "server");
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(&new).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate was never shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ask(&old).await.is_err());
}

#[tokio::test]
async fn mutual_tls_refuses_clients_of_no_or_another_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    for name in ["server", "client"] {
        authority.issue(folder.path(), name);
    }
    other.issue(folder.path(), "stranger");
    authority.write(&ca);
    let (world, key) = secured(folder, Some("ca.pem")).await;
    let url = format!("https://localhost:{}/v1/views", world.server.address.port());
    let file = |name: &str| world.folder.path().join(name);
    let ask = async |identity: Option<&str>| {
        let files = identity.map(|name| (file(&format!("{name}.pem")), file(&format!("{name}.key"))));
        let files = files.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        client_believing(&ca, files).get(&url).bearer_auth(&key).send().await
    };
    assert_eq!(ask(Some("client")).await.expect("it is one of us").status(), 200);
    assert!(ask(None).await.is_err());
    assert!(ask(Some("stranger")).await.is_err());
}

#[test]
fn files_that_make_no_identity_are_named_with_what_they_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    for name in ["server", "other"] {
        authority.issue(folder.path(), name);
    }
    let path = |name: &str| folder.path().join(name);
    let tls = |certificate: &str, key: &str, client_ca: Option<&str>| ServerTls {
        certificate: path(certificate),
        key: path(key),
        client_ca: client_ca.map(path),
    };
    std::fs::write(path("empty"), "").expect("a file");
    std::fs::write(path("text"), "hello").expect("a file");
    std::fs::write(path("cut"), "-----BEGIN CERTIFICATE-----\nMIIB\n").expect("a file");
    std::fs::write(path("rubbish"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        .expect("a file");
    for (files, told) in [
        (tls("missing", "server.key", None), "missing: No such file"),
        (tls("empty", "server.key", None), "empty: found an empty file, expected a CERTIFICATE"),
        (tls("text", "server.key", None), "text: found no PEM section"),
        (tls("server.key", "server.key", None), "server.key: found PRIVATE KEY, expected a CERTIFICATE"),
        (tls("server.pem", "server.pem", None), "server.pem: found CERTIFICATE, expected a PRIVATE KEY"),
        (tls("cut", "server.key", None), "cut: malformed PEM"),
        (tls("rubbish", "server.key", None), "rubbish"),
        (tls("server.pem", "other.key", None), "do not make an identity"),
        (tls("server.pem", "server.key", Some("text")), "text: found no PEM section"),
        (tls("server.pem", "server.key", Some("rubbish")), "rubbish"),
    ] {
        let error = Certificates::open(files.clone()).and_then(|found| found.config().map(drop));
        let error = error.expect_err(told).to_string();
        assert!(error.contains(told), "{files:?}: {error}");
        let key = std::fs::read_to_string(path("server.key")).expect("a file");
        let secret = key.lines().nth(1).expect("a key has lines");
        assert!(!error.contains(secret), "{error}");
    }
}
