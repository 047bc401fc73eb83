//! Bit rot: whatever happens to a stored file, what is made of it is right, or the file is named.
//!
//! Neither Polars nor DuckDB notices a flipped bit in Parquet, and one in JSON is mostly a sound number. So each case harms
//! one file of a published stream, then uses the store in every way that the product does. An answer must be the very one
//! that whole files give at the version that it states. `WATERSHED_SEED=<seed>` draws other places to harm.

mod harm;
mod published;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use support::batch_world::TOPIC;
use support::live::eventually;
use watershed_schemas::layout;
use watershed_schemas::live::LiveSource;
use watershed_schemas::manifest::{Manifest, Version};
use watershed_speed::known;
use watershed_speed::wanted::{Known, Published as Seen};
use watershed_store::Store;

use harm::{Harm, Kind};
use published::{FOLDERS, NEWEST, Published, QUESTIONS, ask, told};

/// How many cases there are of each kind of harm.
const CASES: [(Kind, usize); 6] = [
    (Kind::FlippedBit, 1_000),
    (Kind::CutShort, 200),
    (Kind::Grown, 50),
    (Kind::Emptied, 50),
    (Kind::Gone, 50),
    (Kind::Swapped, 50),
];
/// Cases under way at once.
const LANES: usize = 4;

/// What became of the cases of one folder.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    /// Cases in which some use named the file.
    named: usize,
    /// Answers that were the right ones, from the newest version and from one before it.
    right: usize,
    from_older: usize,
    refused: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_to_a_stored_file_answers_are_right_or_the_file_is_named() {
    let seed = std::env::var("WATERSHED_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_130_101);
    println!("WATERSHED_SEED={seed}");
    let published = Arc::new(Published::new().await);
    let began = Instant::now();
    let kinds = CASES.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
    let cases: Vec<(u64, Kind)> = (0..).zip(kinds).collect();
    let lanes = (0..LANES).map(|lane| {
        let published = published.clone();
        let cases: Vec<(u64, Kind)> = cases.iter().copied().skip(lane).step_by(LANES).collect();
        tokio::spawn(async move {
            let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
            for (number, kind) in cases {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                random.set_stream(number);
                let folder = *FOLDERS.choose(&mut random).expect("there are folders");
                case(&published, number, kind, folder, random, tallies.entry(folder).or_default()).await;
            }
            tallies
        })
    });
    let mut all: BTreeMap<&str, Tally> = BTreeMap::new();
    for lane in futures::future::join_all(lanes).await {
        for (folder, tally) in lane.expect("every case holds") {
            let all = all.entry(folder).or_default();
            all.cases += tally.cases;
            all.named += tally.named;
            all.right += tally.right;
            all.from_older += tally.from_older;
            all.refused += tally.refused;
        }
    }
    for (folder, tally) in &all {
        println!("{folder:<14} {tally:?}");
    }
    println!("{} cases in {:?}, none with a silent wrong answer", cases.len(), began.elapsed());
    for folder in ["events/", "views/", "versions/"] {
        let Tally { cases, named, .. } = all[folder];
        assert_eq!(named, cases, "{folder}: somebody reads every file, and tells what is wrong with it");
    }
}

/// Harms one file and uses the store in every way.
async fn case(
    published: &Published,
    number: u64,
    kind: Kind,
    folder: &'static str,
    mut random: ChaCha8Rng,
    tally: &mut Tally,
) {
    let store = published.store();
    // There is one catalogue: it changes places with something else.
    let files: Vec<String> = match (kind, folder) {
        (Kind::Swapped, layout::CATALOG) => published.files.values().flatten().cloned().collect(),
        _ => published.files[folder].clone(),
    };
    let harm = Harm::done(kind, &files, &store, &mut random).await;
    let what = format!("case {number}, {harm}");
    // What is gone without a trace cannot be named: the version before is then the newest.
    let unnamed = kind == Kind::Gone && folder == "versions/";
    let mut named = served(published, &store, &harm, unnamed, &what, tally).await;
    named |= followed(published, &store, &harm, unnamed, &what).await;
    named |= ran(published, &store, &harm, number.is_multiple_of(2), unnamed, &what).await;
    tally.cases += 1;
    tally.named += usize::from(named || unnamed);
}

/// A server is started again and asked. True if the file was named.
async fn served(
    published: &Published,
    store: &Store,
    harm: &Harm,
    unnamed: bool,
    what: &str,
    tally: &mut Tally,
) -> bool {
    let serving = published.restarted(store).await;
    let state = serving.stream(TOPIC).expect("the project has it");
    let trouble = state.trouble().unwrap_or_default();
    let mut named = harm.is_named_in(&trouble);
    assert!(trouble.is_empty() || named, "{what}: {trouble}");
    let version = state.current().map(|current| current.version().0);
    assert!(
        version == Some(NEWEST) || named || unnamed,
        "{what}: {version:?} is in service, and nobody says why"
    );
    for (index, question) in QUESTIONS.iter().enumerate() {
        match ask(&serving, question).await {
            Ok(answer) => {
                let version = version.expect("an answer is made from a version");
                assert_eq!(told(answer), published.answers[&(version, index)], "{what}: {question}");
                tally.right += 1;
                tally.from_older += usize::from(version != NEWEST);
            }
            Err(refusal) => {
                let named_here = harm.is_named_in(&refusal);
                assert!(
                    named_here || (unnamed && refusal.contains("not retained")),
                    "{what}: {question}: {refusal}"
                );
                named |= named_here;
                tally.refused += 1;
            }
        }
    }
    named
}

/// A speed node is started again. True if the file was named.
async fn followed(published: &Published, store: &Store, harm: &Harm, unnamed: bool, what: &str) -> bool {
    let mut known = Known::default();
    let damaged = match known::refresh(store, TOPIC, &mut known, true).await {
        Ok(damaged) => damaged,
        Err(error) => {
            assert!(harm.is_named_in(&error.to_string()), "{what}: {error}");
            return true;
        }
    };
    let named = damaged.as_ref().is_some_and(|error| harm.is_named_in(&error.to_string()));
    assert!(damaged.is_none() || named, "{what}: {damaged:?}");
    let newest = known.newest.clone().expect("some version is sound");
    let manifest = published.world.store.manifest(TOPIC, newest.version).await.expect("memory reads");
    assert_eq!(newest, Seen::from(&manifest.expect("it was published")), "{what}");
    assert!(newest.version == Version(NEWEST) || named || unnamed, "{what}: {newest:?}");
    let whole = &published.known.intents;
    assert!(known.intents.iter().all(|intent| whole.contains(intent)), "{what}: {:?}", known.intents);
    // Opening a partition takes a while: once is enough for files that a node does not read.
    let read = ["versions/", "intents/", "checkpoints/"];
    if !harm.paths.iter().any(|path| read.iter().any(|folder| path.starts_with(folder))) {
        return named;
    }
    let node = published.taken_over(store, &what.replace('/', "|"));
    for view in &published.project.views {
        let Some(whole) = published.cells.get(&(newest.watershed.clone(), view.name.clone())) else {
            continue;
        };
        let ready = || published.cells_of(&node, &view.name, &newest.watershed);
        let cells = eventually(&format!("{what}: the epoch of {} is there", view.name), ready).await;
        assert_eq!(cells, *whole, "{what}: {}", view.name);
    }
    if damaged.is_some() {
        let told = || async {
            let status = node.status(TOPIC).await.expect("status needs nothing").remove(0);
            status.trouble.filter(|trouble| harm.is_named_in(trouble))
        };
        eventually(&format!("{what}: the node tells of it"), told).await;
    }
    named
}

/// The next batch run. True if the file was named.
async fn ran(
    published: &Published,
    store: &Store,
    harm: &Harm,
    full: bool,
    unnamed: bool,
    what: &str,
) -> bool {
    let whole = if full { &published.full } else { &published.incremental };
    let ran = match published.run(store, full).await {
        Ok(ran) => ran,
        Err(error) => {
            let error = error.to_string();
            assert!(harm.is_named_in(&error), "{what}, full: {full}: {error}");
            assert!(
                store.list("views/").await.expect("memory lists").iter().all(|path| !path.contains("after"))
            );
            return true;
        }
    };
    if unnamed && ran.manifest.version == Version(NEWEST) {
        // It has made the version anew that is gone, with what has come since.
        assert_eq!(ran.manifest.watershed, whole.manifest.watershed, "{what}");
        assert_eq!(contents(&ran.manifest), contents(&whole.manifest), "{what}");
        return false;
    }
    assert_eq!(ran, *whole, "{what}, full: {full}");
    false
}

/// What a version's view files hold, by view and date.
fn contents(manifest: &Manifest) -> BTreeMap<(&str, i32), &str> {
    let views = manifest.views.iter();
    views
        .flat_map(|(view, published)| {
            published.files.iter().map(|file| ((view.as_str(), file.date), file.file.sha256.as_str()))
        })
        .collect()
}
