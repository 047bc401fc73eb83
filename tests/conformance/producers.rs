//! Idempotent producers: a retry is stored once, a gap is refused.

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::everywhere;
use crate::support::batches::{Batch, init_producer, produce};
use crate::support::kafka::{PATIENCE, Target, numbered, take};

const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;

#[test]
fn an_idempotent_producer_writes_everything_once_and_in_order() {
    everywhere(check_idempotent_client);
}

fn check_idempotent_client(target: &Target) {
    let topic = target.new_topic(1);
    let settings = [("enable.idempotence", "true"), ("linger.ms", "0"), ("compression.type", "lz4")];
    let offsets = target.produce(&topic, 0, &numbered(5000), &settings);
    assert_eq!(offsets, (0..5000).collect::<Vec<i64>>());
    let taken = take(&target.reader(&topic, 0, 0, &[]), 5000);
    assert!(
        taken.iter().map(|(_, sent)| sent.payload.clone()).eq(numbered(5000).into_iter().map(|s| s.payload))
    );
}

#[test]
fn a_batch_that_is_sent_again_is_answered_with_its_first_offset() {
    everywhere(check_duplicates);
}

fn check_duplicates(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    let producer = init_producer(&mut connection);
    let other = init_producer(&mut connection);
    assert_ne!(producer, other);
    let first = Batch::numbered(3).sent_by(producer, 0, 0);
    let second = Batch::numbered(2).sent_by(producer, 0, 3);
    assert_eq!(produce(&mut connection, &topic, &first), Ok(0));
    assert_eq!(produce(&mut connection, &topic, &second), Ok(3));
    assert_eq!(produce(&mut connection, &topic, &Batch::numbered(1).sent_by(other, 0, 0)), Ok(5));
    assert_eq!(produce(&mut connection, &topic, &first), Ok(0), "the first batch again");
    assert_eq!(produce(&mut connection, &topic, &second), Ok(3), "the second batch again");
    let consumer: BaseConsumer = target.client(&[]);
    let watermarks = consumer.fetch_watermarks(&topic, 0, PATIENCE).expect("the broker answers");
    assert_eq!(watermarks, (0, 6), "nothing was stored twice");
}

#[test]
fn a_gap_in_sequences_and_an_old_epoch_are_refused() {
    everywhere(check_sequences);
}

fn check_sequences(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    let producer = init_producer(&mut connection);
    let mut send = |epoch: i16, sequence: i32| {
        produce(&mut connection, &topic, &Batch::numbered(2).sent_by(producer, epoch, sequence))
    };
    assert_eq!(send(0, 0), Ok(0));
    assert_eq!(send(0, 4), Err(OUT_OF_ORDER_SEQUENCE), "sequence 2 is missing");
    assert_eq!(send(0, 1), Err(OUT_OF_ORDER_SEQUENCE), "neither next nor a known batch");
    assert_eq!(send(0, 2), Ok(2));
    assert_eq!(send(1, 4), Err(OUT_OF_ORDER_SEQUENCE), "a new epoch begins at 0");
    assert_eq!(send(1, 0), Ok(4));
    assert_eq!(send(0, 4), Err(INVALID_PRODUCER_EPOCH));
}
