//! API keys: made, written down, recognised, revoked.

use std::os::unix::fs::PermissionsExt as _;

use watershed_security::{Keys, Rate};

use super::*;

#[test]
fn a_key_is_stored_as_a_hash_in_a_file_of_its_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = add_key(&folder, everything("one"));
    let other = add_key(&folder, everything("two"));
    assert_ne!(text, other);
    let path = World::key_file(&folder);
    let stored = std::fs::read_to_string(&path).expect("a file");
    let secret = text.rsplit('_').next().expect("a key has parts");
    assert_eq!(secret.len(), 64);
    assert!(!stored.contains(secret), "{stored}");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing is left beside the file: {left:?}");
}

#[test]
fn a_key_is_recognised_until_it_expires_or_is_revoked() {
    let now = Utc::now();
    let expires_at = Some(now + chrono::Duration::hours(1));
    let (key, secret) = Key::make(KeyRequest { expires_at, ..everything("one") }, now).expect("randomness");
    let text = secret.expose();
    let keys = Keys::new(vec![key.clone()]).expect("it is a key");
    assert_eq!(keys.caller(text, now).map(|caller| caller.id()), Some(format!("key:{}", key.id)));
    assert!(keys.caller(text, now + chrono::Duration::hours(2)).is_none());
    let revoked = Keys::new(vec![Key { revoked_at: Some(now), ..key.clone() }]).expect("it is a key");
    assert!(revoked.caller(text, now).is_none());
    for wrong in ["", "wsk_", "wsk__", &text[..text.len() - 1], &format!("{text}0"), &text.to_uppercase()] {
        assert!(keys.caller(wrong, now).is_none(), "{wrong}");
    }
    assert!(!format!("{secret:?}").contains(&text[5..]), "Debug tells it");
}

#[test]
fn writers_of_one_file_lose_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let folder = &folder;
            scope.spawn(move || {
                for index in 0..10 {
                    add_key(folder, everything(&format!("{writer}.{index}")));
                }
            });
        }
    });
    let keys = KeyStore::list(&World::key_file(&folder)).expect("it is whole");
    assert_eq!(keys.len(), 80);
}

#[test]
fn a_key_file_that_is_none_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = World::key_file(&folder);
    let text = add_key(&folder, everything("one"));
    let store = KeyStore::open(&path).expect("it is ours");
    let good = std::fs::read_to_string(&path).expect("a file");
    for (bad, told) in [
        ("{", "keys.json:1:"),
        (r#"{"keys": [{"id": "a"}]}"#, "missing field"),
        (good.replace("\"sha256\": \"", "\"sha256\": \"x").as_str(), "64 hexadecimal digits"),
        (good.replace("\"verbs\"", "\"verb\"").as_str(), "unknown field"),
    ] {
        std::fs::write(&path, bad).expect("a file");
        let error = store.refresh().expect_err(bad).to_string();
        assert!(error.contains("keys.json") && error.contains(told), "{error}");
        assert!(!store.refresh().expect("an error is told once"));
        assert!(store.keys().caller(&text, Utc::now()).is_some(), "the keys before stay");
        assert!(KeyStore::open(&path).is_err());
    }
    std::fs::write(&path, &good).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let error = KeyStore::open(&path).expect_err("anybody could add a key").to_string();
    assert!(error.contains("chmod 600"), "{error}");
    // Without the file there are no keys.
    std::fs::remove_file(&path).expect("it is there");
    assert!(store.refresh().expect("a missing file is an empty one"));
    assert!(store.keys().caller(&text, Utc::now()).is_none());
}

#[tokio::test]
async fn a_server_follows_its_key_file_without_a_restart() {
    let (world, _) = World::with_keys(Vec::new()).await;
    let key = add_key(&world.folder, everything("late"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.get("/v1/views", &key).await.status() != 200 {
        assert!(Instant::now() < deadline, "the key was never taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::remove_file(World::key_file(&world.folder)).expect("it is there");
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.get("/v1/views", &key).await.status() != 401 {
        assert!(Instant::now() < deadline, "the key was never refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn rates_are_read_as_they_are_written() {
    for text in ["1/s", "100/s", "600/m", "10000/h", "5/d"] {
        assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
    }
    for text in ["", "100", "0/s", "-1/s", "1/w", "1.5/s", "s/1", "99999999999/s"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}
