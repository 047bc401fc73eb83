//! What any Kafka must do for this project, as librdkafka sees it.
//!
//! Every check is a plain function over a `Target`. Each runs against a fresh embedded broker, and also against the
//! Kafka at `WATERSHED_TEST_KAFKA` when that is set (`tests/kafka.sh` starts a real one): whatever only one of them
//! passes is a defect of the embedded broker.

mod admin;
mod groups;
mod producers;
mod records;
mod wire;

use crate::support::kafka::{EmbeddedBroker, Target};

/// Runs a check against every Kafka there is.
fn everywhere(check: fn(&Target)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let embedded = Target::embedded(EmbeddedBroker::in_dir(dir.path()));
    for target in [Some(embedded), Target::external()].into_iter().flatten() {
        println!("against {}", target.name);
        check(&target);
    }
}
