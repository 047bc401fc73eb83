//! Tokens of an identity provider, and attacks on them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use watershed_security::{Algorithm, ClaimNames, KeySource, TokenError, TokenSettings};

use super::*;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "watershed";

/// An issuer with one key.
struct Issuer {
    pair: KeyPair,
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Issuer {
    fn new(algorithm: Algorithm, kid: Option<&str>) -> Issuer {
        let kind = match algorithm {
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => &PKCS_ECDSA_P256_SHA256,
        };
        let pair = KeyPair::generate_for(kind).expect("there is randomness");
        Issuer { pair, algorithm, kid: kid.map(str::to_string) }
    }

    fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    fn header(&self) -> Json {
        let mut header = json!({ "alg": format!("{:?}", self.algorithm), "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    fn sign(&self, claims: &Json) -> String {
        self.sign_as(&self.header(), claims)
    }

    /// Signs whatever the header says.
    fn sign_as(&self, header: &Json, claims: &Json) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let (der, message) = (self.pair.serialize_der(), signed.as_bytes());
        let signature = match self.algorithm {
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).expect("the key is ours");
                pair.sign(message).as_ref().to_vec()
            }
            _ => {
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random);
                let signature = pair.expect("the key is ours").sign(&random, message);
                signature.expect("there is randomness").as_ref().to_vec()
            }
        };
        format!("{signed}.{}", base64url(&signature))
    }

    fn jwk(&self) -> Json {
        let raw = self.pair.public_key_raw();
        let mut jwk = match self.algorithm {
            Algorithm::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(raw) }),
            _ => {
                json!({ "kty": "EC", "crv": "P-256", "x": base64url(&raw[1..33]), "y": base64url(&raw[33..]) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn part(json: &Json) -> String {
    base64url(json.to_string().as_bytes())
}

/// A token that is signed with a secret.
fn hmac(secret: &[u8], claims: &Json) -> String {
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let tag = ring::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", base64url(tag.as_ref()))
}

fn get_current_timestamp() -> i64 {
    Utc::now().timestamp()
}

fn tokens(keys: KeySource, algorithms: &[Algorithm]) -> Tokens {
    let name = |name: &str| format!("watershed_{name}");
    let claims =
        ClaimNames { views: name("views"), verbs: name("verbs"), filter: name("where"), rate: name("rate") };
    let settings = TokenSettings {
        keys,
        issuer: ISSUER.to_string(),
        audience: AUDIENCE.to_string(),
        algorithms: algorithms.to_vec(),
        refresh: Duration::from_secs(600),
        claims,
    };
    Tokens::open(settings, client()).expect("the keys are good")
}

/// Tokens of an issuer whose public key lies in a file.
fn believing(issuer: &Issuer, algorithms: &[Algorithm]) -> (tempfile::TempDir, Tokens) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("issuer.pem");
    std::fs::write(&path, issuer.public_pem()).expect("a file");
    let tokens = tokens(KeySource::File(path), algorithms);
    (folder, tokens)
}

fn claims() -> Json {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": get_current_timestamp() + 600,
            "watershed_views": "*", "watershed_verbs": ["query", "status"] })
}

fn with(name: &str, value: Json) -> Json {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Json {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

#[tokio::test]
async fn a_token_grants_what_its_claims_say() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let issuer = Issuer::new(algorithm, None);
        let (_folder, tokens) = believing(&issuer, &[algorithm]);
        let world = World::with_tokens(tokens).await;
        let whole = issuer.sign(&claims());
        assert_eq!(world.ask(&whole, &json!({ "view": "trips_hourly" })).await["rows"], 4);
        assert_eq!(world.get("/v1/status", &whole).await.status(), 200);
        assert_eq!(world.get("/v1/views/trips_hourly/live", &whole).await.status(), 403);

        let oslo = issuer.sign(&with("watershed_where", json!("city = 'Oslo'")));
        let answer =
            world.ask(&oslo, &json!({ "view": "trips_hourly", "group_by": ["city"], "grain": "all" })).await;
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(1));
        assert_eq!(answer["data"][0]["city"], "Oslo");

        let daily = issuer.sign(&with("watershed_views", json!(["trips_daily"])));
        assert_eq!(world.refused(&daily, &json!({ "view": "trips_hourly" })).await.0, 404);
        assert_eq!(world.get("/v1/views/trips_daily", &daily).await.status(), 200);

        // What it does not grant, it does not grant.
        let viewless = issuer.sign(&without("watershed_views"));
        assert_eq!(world.refused(&viewless, &json!({ "view": "trips_hourly" })).await.0, 404);
        let verbless = issuer.sign(&without("watershed_verbs"));
        assert_eq!(world.refused(&verbless, &json!({ "view": "trips_hourly" })).await.0, 403);
        let scope = issuer.sign(&with("watershed_verbs", json!("openid watershed:query other")));
        assert_eq!(world.get("/v1/views", &scope).await.status(), 200);
        assert_eq!(world.get("/v1/status", &scope).await.status(), 403);

        let limited = issuer.sign(&with("watershed_rate", json!("1/h")));
        assert_eq!(world.get("/v1/views", &limited).await.headers()["x-ratelimit-limit"], "1");
        assert_eq!(world.get("/v1/views", &limited).await.status(), 429);
    }
}

#[tokio::test]
async fn attacks_on_tokens_fail() {
    let (issuer, stranger) = (Issuer::new(Algorithm::ES256, None), Issuer::new(Algorithm::ES256, None));
    // The settings allow a shared secret's algorithm, too: it must not be tried with a public key.
    let (_folder, tokens) = believing(&issuer, &[Algorithm::ES256, Algorithm::HS256, Algorithm::RS256]);
    let world = World::with_tokens(tokens).await;
    let good = issuer.sign(&claims());
    assert_eq!(world.get("/v1/views", &good).await.status(), 200);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let of = |header: Json| part(&header);
    let more = part(&with("watershed_verbs", json!("*")));
    let hmac = |secret: &[u8]| hmac(secret, &claims());
    let now = get_current_timestamp();
    let signed = |claims: Json| issuer.sign(&claims);
    let headed = |header: Json| issuer.sign_as(&header, &claims());
    let attacks: Vec<(&str, String)> = vec![
        ("alg none", format!("{}.{payload}.", of(json!({ "alg": "none", "typ": "JWT" })))),
        ("alg None", format!("{}.{payload}.", of(json!({ "alg": "None" })))),
        ("alg none with a signature", format!("{}.{payload}.{signature}", of(json!({ "alg": "none" })))),
        ("no signature", format!("{header}.{payload}.")),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{good}.x")),
        ("HMAC with the public key's PEM", hmac(issuer.public_pem().as_bytes())),
        ("HMAC with the public key's PEM, trimmed", hmac(issuer.public_pem().trim().as_bytes())),
        ("HMAC with the public key's bytes", hmac(issuer.pair.public_key_raw())),
        ("HMAC with nothing", hmac(b"")),
        ("another algorithm's name", format!("{}.{payload}.{signature}", of(json!({ "alg": "RS256" })))),
        (
            "an algorithm that is not allowed",
            format!("{}.{payload}.{signature}", of(json!({ "alg": "ES384" }))),
        ),
        ("another payload", format!("{header}.{more}.{signature}")),
        ("another's signature", stranger.sign(&claims())),
        ("a key of its own in the header", {
            let own = json!({ "alg": "ES256", "jwk": stranger.jwk(), "jku": "http://127.0.0.1:1/keys" });
            stranger.sign_as(&own, &claims())
        }),
        ("something critical", headed(json!({ "alg": "ES256", "crit": ["b64"], "b64": false }))),
        ("no algorithm", headed(json!({ "typ": "JWT" }))),
        ("a number for an algorithm", headed(json!({ "alg": 256 }))),
        ("a list of algorithms", headed(json!({ "alg": ["ES256"] }))),
        ("another spelling", headed(json!({ "alg": "es256" }))),
        ("expired", signed(with("exp", json!(now - 600)))),
        ("without an end", signed(without("exp"))),
        ("an end that is text", signed(with("exp", json!("99999999999")))),
        ("an end before all time", signed(with("exp", json!(-1)))),
        ("not yet", signed(with("nbf", json!(now + 600)))),
        ("not yet, as text", signed(with("nbf", json!("99999999999")))),
        ("for others", signed(with("aud", json!("others")))),
        ("for nobody", signed(without("aud"))),
        ("for a number", signed(with("aud", json!(7)))),
        ("by others", signed(with("iss", json!("https://other.example")))),
        ("by nobody", signed(without("iss"))),
        ("of nobody", signed(without("sub"))),
        ("of an empty name", signed(with("sub", json!("")))),
        ("a filter that is no text", signed(with("watershed_where", json!(["city"])))),
        ("a rate that is none", signed(with("watershed_rate", json!("often")))),
        ("views that are a number", signed(with("watershed_views", json!(1)))),
        ("oversized", signed(with("padding", json!("x".repeat(20_000))))),
        ("no JSON", format!("{}.{payload}.{signature}", base64url(b"{"))),
        ("no base64", format!("%%%.{payload}.{signature}")),
        ("nothing", "..".to_string()),
        ("a key of ours", format!("wsk_000000000000_{}", "0".repeat(64))),
    ];
    for (what, token) in &attacks {
        let response = world.get("/v1/views", token).await;
        assert_eq!(response.status(), 401, "{what}");
        let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_string();
        assert!(challenge.contains("invalid_token"), "{what}: {challenge}");
    }
    println!("{} attacks", attacks.len());
    // A kid is looked up among keys, never a path; a PEM file's one key has none and serves all.
    let named = headed(json!({ "alg": "ES256", "kid": "../../dev/null" }));
    assert_eq!(world.get("/v1/views", &named).await.status(), 200);
}

#[test]
fn what_a_filter_claims_is_not_believed_to_be_sql() {
    let issuer = Issuer::new(Algorithm::ES256, None);
    let (_folder, tokens) = believing(&issuer, &[Algorithm::ES256]);
    let caller = tokens.caller(&issuer.sign(&with("watershed_where", json!("city = 'Oslo' OR"))));
    let grant = caller.expect("it is signed").grant;
    // It cannot be read, so nothing passes it.
    assert!(grant.cells(project().view("trips_hourly").expect("it is there")).is_err());
    let long = issuer.sign(&with("watershed_where", json!(format!("city = '{}'", "x".repeat(5_000)))));
    assert!(tokens.caller(&long).is_err());
}

/// The example of RFC 7515, A.2: signed with RSA, and over since 2011.
#[test]
fn a_token_that_others_signed_with_rsa_is_verified() {
    const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQAB\n-----END PUBLIC KEY-----\n";
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("issuer");
    let set = json!({ "keys": [{ "kty": "RSA", "n": MODULUS, "e": "AQAB" }] }).to_string();
    for keys in [PEM, &set] {
        std::fs::write(&path, keys).expect("a file");
        let tokens = tokens(KeySource::File(path.clone()), &[Algorithm::RS256]);
        assert_eq!(tokens.caller(TOKEN).err(), Some(TokenError::Expired));
        let other = TOKEN.replace(".cC4h", ".cC4i");
        assert_eq!(tokens.caller(&other).err(), Some(TokenError::Unverified));
        let claimed = TOKEN.replace("eyJhbGciOiJSUzI1NiJ9", &part(&json!({ "alg": "PS256" })));
        assert_eq!(tokens.caller(&claimed).err(), Some(TokenError::Algorithm));
    }
}

#[test]
fn a_shared_secret_is_believed_of_a_file_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shared.json");
    let write = |secret: &[u8]| {
        let set = json!({ "keys": [{ "kty": "oct", "k": base64url(secret) }] });
        std::fs::write(&path, set.to_string()).expect("a file");
    };
    let secret = [7; 32];
    write(&secret);
    let tokens = tokens(KeySource::File(path.clone()), &[Algorithm::HS256]);
    assert!(tokens.caller(&hmac(&secret, &claims())).is_ok());
    assert!(tokens.caller(&hmac(&[8; 32], &claims())).is_err());
    write(&[7; 31]);
    assert!(tokens.refresh_file().is_err(), "a secret that can be guessed is none");
}

#[test]
fn a_key_set_in_a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jwks.json");
    let (old, new) = (Issuer::new(Algorithm::ES256, Some("old")), Issuer::new(Algorithm::EdDSA, Some("new")));
    let encryption = json!({ "kty": "EC", "crv": "P-256", "use": "enc", "x": "x", "y": "y" });
    let write = |keys: Vec<Json>| std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("a file");
    write(vec![encryption.clone(), old.jwk()]);
    let tokens = tokens(KeySource::File(path.clone()), &[Algorithm::ES256, Algorithm::EdDSA]);
    assert!(tokens.caller(&old.sign(&claims())).is_ok());
    assert!(tokens.caller(&new.sign(&claims())).is_err(), "an unknown kid");
    write(vec![new.jwk()]);
    assert!(tokens.refresh_file().expect("it is good"));
    assert!(tokens.caller(&old.sign(&claims())).is_err());
    assert!(tokens.caller(&new.sign(&claims())).is_ok());
    // A file that is broken changes nothing.
    std::fs::write(&path, "{").expect("a file");
    let error = tokens.refresh_file().expect_err("it is broken").to_string();
    assert!(error.contains("jwks.json"), "{error}");
    assert!(tokens.caller(&new.sign(&claims())).is_ok());
}

#[test]
fn keys_that_verify_nothing_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("issuer.pem");
    let private = Issuer::new(Algorithm::ES256, None).pair.serialize_pem();
    let small = json!({ "keys": [{ "kty": "RSA", "n": "x".repeat(168), "e": "AQAB" }] }).to_string();
    for (text, told) in [
        ("", "an empty file"),
        ("hello", "no PEM section"),
        (private.as_str(), "found PRIVATE KEY"),
        ("{\"keys\": []}", "the set is empty"),
        ("{\"keys\": 1}", "not a key set"),
        (small.as_str(), "an RSA key of about"),
    ] {
        std::fs::write(&path, text).expect("a file");
        let settings = TokenSettings {
            keys: KeySource::File(path.clone()),
            issuer: ISSUER.to_string(),
            audience: AUDIENCE.to_string(),
            algorithms: vec![Algorithm::ES256],
            refresh: Duration::from_secs(600),
            claims: ClaimNames { views: "v".into(), verbs: "w".into(), filter: "f".into(), rate: "r".into() },
        };
        let error = Tokens::open(settings, client()).err().expect(text).to_string();
        assert!(error.contains("issuer.pem") && error.contains(told), "{text}: {error}");
    }
    for address in ["http://issuer.example/keys", "ftp://issuer.example/keys", "https://"] {
        assert!(KeySource::parse(address, folder.path()).is_err(), "{address}");
    }
}

/// Gives the same bytes to everybody, over plain HTTP on this machine; tells how often it was asked.
async fn serve_keys(body: Arc<Mutex<String>>, asked: Arc<Mutex<usize>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            _ = connection.read(&mut request).await;
            *asked.lock().expect("no panic") += 1;
            let body = body.lock().expect("no panic").clone();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            _ = connection.write_all((head + &body).as_bytes()).await;
        }
    });
    format!("http://{address}/keys")
}

#[tokio::test]
async fn keys_of_an_address_are_fetched_and_fetched_anew_for_an_unknown_kid_but_not_at_anybodys_pace() {
    let (old, new) = (Issuer::new(Algorithm::ES256, Some("old")), Issuer::new(Algorithm::ES256, Some("new")));
    let body = Arc::new(Mutex::new(json!({ "keys": [old.jwk()] }).to_string()));
    let asked = Arc::new(Mutex::new(0));
    let address = serve_keys(body.clone(), asked.clone()).await;
    let source = KeySource::parse(&address, std::path::Path::new("")).expect("this machine");
    let world = World::with_tokens(tokens(source, &[Algorithm::ES256])).await;
    let until = async |token: &str, status: u16| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while world.get("/v1/views", token).await.status() != status {
            assert!(Instant::now() < deadline, "never {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until(&old.sign(&claims()), 200).await;
    assert_eq!(world.get("/v1/views", &new.sign(&claims())).await.status(), 401);
    *body.lock().expect("no panic") = json!({ "keys": [new.jwk()] }).to_string();
    // Hundreds of tokens with an unknown kid on the way: the address is asked once more, after a pause.
    until(&new.sign(&claims()), 200).await;
    assert_eq!(world.get("/v1/views", &old.sign(&claims())).await.status(), 401);
    let asked = *asked.lock().expect("no panic");
    assert!(asked <= 3, "the issuer was asked {asked} times");
}
