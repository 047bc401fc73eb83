//! What may happen to a stored file.

use std::fmt;

use bytes::Bytes;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use watershed_store::Store;

/// A kind of harm; the places follow from the case's own random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    FlippedBit,
    CutShort,
    Grown,
    Emptied,
    Gone,
    Swapped,
}

/// What was done, and to which files.
#[derive(Clone, Debug)]
pub struct Harm {
    pub kind: Kind,
    pub paths: Vec<String>,
    detail: String,
}

impl Harm {
    /// Does harm of a kind to one of `files`, or to two of them.
    pub async fn done(kind: Kind, files: &[String], store: &Store, random: &mut ChaCha8Rng) -> Harm {
        let path = files.choose(random).expect("there are files of every folder").clone();
        let bytes = read(store, &path).await;
        let mut harm = Harm { kind, paths: vec![path.clone()], detail: format!("of {} bytes", bytes.len()) };
        match kind {
            Kind::FlippedBit => {
                let bit = random.random_range(0..bytes.len() * 8);
                harm.detail += &format!(", bit {bit}");
                let mut bytes = bytes.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                write(store, &path, bytes.into()).await;
            }
            Kind::CutShort => {
                let end = random.random_range(0..bytes.len());
                harm.detail += &format!(", at {end}");
                write(store, &path, bytes.slice(..end)).await;
            }
            Kind::Grown => {
                let garbage: Vec<u8> = (0..random.random_range(1..200)).map(|_| random.random()).collect();
                harm.detail += &format!(", by {}", garbage.len());
                write(store, &path, [&bytes[..], &garbage].concat().into()).await;
            }
            Kind::Emptied => write(store, &path, Bytes::new()).await,
            Kind::Gone => store.delete(&path).await.expect("memory forgets it"),
            Kind::Swapped => {
                let others: Vec<&String> = files.iter().filter(|other| **other != path).collect();
                let other = (*others.choose(random).expect("there are two files")).clone();
                let others_bytes = read(store, &other).await;
                write(store, &path, others_bytes).await;
                write(store, &other, bytes).await;
                harm.paths.push(other);
            }
        }
        harm
    }

    /// True when `text` names a file that was harmed.
    pub fn is_named_in(&self, text: &str) -> bool {
        self.paths.iter().any(|path| text.contains(path.as_str()))
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {} ({})", self.kind, self.paths.join(" and "), self.detail)
    }
}

async fn read(store: &Store, path: &str) -> Bytes {
    store.get(path).await.expect("memory reads").expect("it is there")
}

async fn write(store: &Store, path: &str, bytes: Bytes) {
    store.put(path, bytes).await.expect("memory takes it");
}
