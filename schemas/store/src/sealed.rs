//! Manifests and intents carry their own hash: what a version names is believed because its manifest is.
//!
//! The seal is the first member of the JSON object, in a line of its own; it is the SHA-256 of all lines that
//! follow it. So they stay JSON that any tool reads, and `tail -n +3 | sha256sum` checks it.

use sha2::{Digest, Sha256};

use crate::verified::hex;

const BEFORE_SEAL: &[u8] = b"{\n  \"sha256\": \"";
const AFTER_SEAL: &[u8] = b"\",\n";
const HEX_DIGITS: usize = 64;

/// A JSON object with members, pretty-printed, behind its seal.
pub(crate) fn sealed(object: &[u8]) -> Vec<u8> {
    let members = object.strip_prefix(b"{\n").expect("a pretty-printed object begins with a line of its own");
    let seal = hex(&Sha256::digest(members));
    [BEFORE_SEAL, seal.as_bytes(), AFTER_SEAL, members].concat()
}

/// Refuses bytes that are not what was sealed.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let seal_and_members = bytes
        .strip_prefix(BEFORE_SEAL)
        .and_then(|rest| rest.split_at_checked(HEX_DIGITS))
        .and_then(|(seal, rest)| Some((seal, rest.strip_prefix(AFTER_SEAL)?)));
    let (seal, members) = seal_and_members.ok_or("its first member is not its SHA-256: it is damaged")?;
    let found = hex(&Sha256::digest(members));
    if found.as_bytes() == seal {
        return Ok(());
    }
    Err(format!("it is damaged: found SHA-256 {found}, it says {}", String::from_utf8_lossy(seal)))
}
