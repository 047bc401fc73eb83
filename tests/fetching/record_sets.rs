//! Record sets against the encoder of a library that knows nothing of how they are read here.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use proptest::prelude::*;
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_wire::{Extent, RecordFault, RecordSet};

/// Offset, time and value of a record.
type Seen = (i64, i64, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct Sent {
    /// Offsets that hold nothing before this record, as compaction leaves them.
    gap: i64,
    later: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Clone, Debug)]
struct Batch {
    codec: u8,
    /// Whether the broker's clock stands for all records.
    appended: bool,
    records: Vec<Sent>,
}

fn bytes(most: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(0.9, proptest::collection::vec(any::<u8>(), 0..most))
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let header = ("[a-z]{0,8}", bytes(8));
    let record = (0..3i64, -5_000..5_000i64, bytes(20), bytes(300), proptest::collection::vec(header, 0..3));
    let record =
        record.prop_map(|(gap, later, key, value, headers)| Sent { gap, later, key, value, headers });
    let batch = (0..5u8, any::<bool>(), proptest::collection::vec(record, 1..20));
    let batch = batch.prop_map(|(codec, appended, records)| Batch { codec, appended, records });
    proptest::collection::vec(batch, 1..6)
}

/// The batches as a broker sends them, and what they say.
fn encode(batches: &[Batch], first_offset: i64) -> (Bytes, Vec<Seen>) {
    let (mut set, mut seen) = (BytesMut::new(), Vec::new());
    let (mut offset, mut at) = (first_offset, 1_700_000_000_000);
    for batch in batches {
        let mut records = Vec::new();
        for sent in &batch.records {
            offset += sent.gap;
            at += sent.later;
            let headers: IndexMap<StrBytes, Option<Bytes>> = sent
                .headers
                .iter()
                .map(|(name, value)| (StrBytes::from_string(name.clone()), value.clone().map(Bytes::from)))
                .collect();
            records.push(Record { headers, ..record(offset, at, sent.value.clone()) });
            records.last_mut().expect("one was pushed").key = sent.key.clone().map(Bytes::from);
            offset += 1;
        }
        let latest = records.iter().map(|record| record.timestamp).max().expect("a batch has records");
        for record in &records {
            let at = if batch.appended { latest } else { record.timestamp };
            seen.push((record.offset, at, record.value.as_ref().map(|value| value.to_vec())));
        }
        let from = set.len();
        put(&mut set, &records, codec(batch.codec));
        if batch.appended {
            append_time(&mut set[from..]);
        }
    }
    (set.freeze(), seen)
}

/// Has the broker's clock stand for all records, which the encoder cannot say.
fn append_time(batch: &mut [u8]) {
    batch[22] |= 1 << 3;
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

fn record(offset: i64, timestamp: i64, value: Option<Vec<u8>>) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 7,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32,
        timestamp,
        key: None,
        value: value.map(Bytes::from),
        headers: IndexMap::new(),
    }
}

fn codec(number: u8) -> Compression {
    match number {
        0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Snappy,
        3 => Compression::Lz4,
        _ => Compression::Zstd,
    }
}

fn put(set: &mut BytesMut, records: &[Record], compression: Compression) {
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(set, records, &options).expect("the batch encodes");
}

/// Reads a set to its end, so many records at a time.
fn read(set: &mut RecordSet, portion: usize) -> Result<Vec<Seen>, RecordFault> {
    let mut seen = Vec::new();
    loop {
        let mut records = Records::new(Partition(0), Offset(set.position()));
        let more = set.read(portion, usize::MAX, &mut records);
        assert!(records.len() <= portion);
        assert_eq!(records.position, set.position(), "the next portion begins where this one ends");
        for index in 0..records.len() {
            let value = (!records.tombstones[index]).then(|| records.payload(index).to_vec());
            seen.push((records.offsets[index], records.timestamps[index], value));
        }
        if !more? {
            return Ok(seen);
        }
    }
}

proptest! {
    #[test]
    fn records_are_cut_where_asked_however_their_payloads_are_held(
        batches in batches(), cut in 0..60i64, own in prop::collection::vec(".{0,20}", 0..5),
    ) {
        let (set, sent) = encode(&batches, 0);
        let mut records = Records::new(Partition(0), Offset(0));
        let mut all = sent;
        RecordSet::new(set, 0, Vec::new()).read(usize::MAX, usize::MAX, &mut records).expect("it is sound");
        for payload in own {
            all.push((records.position, 1, Some(payload.as_bytes().to_vec())));
            records.push(Offset(records.position), 1, Some(payload.as_bytes()));
        }
        records.cut(Offset(cut));
        all.retain(|(offset, ..)| *offset < cut);
        let held: Vec<Option<Vec<u8>>> = (0..records.len())
            .map(|index| (!records.tombstones[index]).then(|| records.payload(index).to_vec()))
            .collect();
        prop_assert_eq!(records.payload_bytes(), held.iter().flatten().map(Vec::len).sum::<usize>());
        prop_assert_eq!(&held, &all.iter().map(|(.., payload)| payload.clone()).collect::<Vec<_>>());
        prop_assert_eq!(&records.offsets, &all.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>());
        prop_assert!(records.position <= cut.max(0));
    }

    #[test]
    fn every_record_from_the_position_on_is_read_once_however_it_is_packed_and_portioned(
        batches in batches(), first in 0..1_000i64, skip in 0..40i64, portion in 1..9usize,
    ) {
        let (set, sent) = encode(&batches, first);
        let position = first + skip;
        let wanted: Vec<Seen> = sent.iter().filter(|(offset, ..)| *offset >= position).cloned().collect();
        let extent = Extent::of(&set, position).expect("there is a whole batch");
        let last = sent.last().expect("there are records").0;
        prop_assert_eq!((extent.next_offset, extent.leader_epoch), (last + 1, 7));
        let mut set = RecordSet::new(set, position, Vec::new());
        prop_assert_eq!(read(&mut set, portion).expect("it is sound"), wanted);
        prop_assert_eq!(set.position(), position.max(last + 1));
    }

    #[test]
    fn of_a_set_that_is_cut_off_anywhere_whole_batches_are_read(batches in batches(), part in 0.0..1.0f64) {
        let (set, sent) = encode(&batches, 0);
        let cut = set.slice(..(set.len() as f64 * part) as usize);
        match Extent::of(&cut, 0) {
            Ok(extent) => {
                let wanted: Vec<Seen> =
                    sent.into_iter().filter(|(offset, ..)| *offset < extent.next_offset).collect();
                let mut set = RecordSet::new(cut, 0, Vec::new());
                prop_assert_eq!(read(&mut set, 1_000).expect("what is whole is sound"), wanted);
                prop_assert_eq!(set.position(), extent.next_offset);
            }
            Err(RecordFault::Batch { at: 0, .. }) => {}
            Err(fault) => prop_assert!(false, "{}", fault),
        }
    }

    #[test]
    fn a_flipped_bit_that_the_checksum_covers_is_a_fault_at_its_batch_and_no_record_of_it_is_read(
        batches in batches(), place in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let (set, sent) = encode(&batches, 0);
        let mut bad = set.to_vec();
        // The first batch reaches as far as its length says; what is before its attributes is not covered.
        let first = 12 + i32::from_be_bytes(set[8..12].try_into().expect("four bytes")) as usize;
        bad[21 + place.index(first - 21)] ^= 1 << bit;
        let mut bad = RecordSet::new(Bytes::from(bad), 0, Vec::new());
        let fault = read(&mut bad, 1_000).expect_err("it is noticed");
        prop_assert!(fault.to_string().contains("checksum"), "{}", fault);
        prop_assert_eq!(bad.position(), 0, "nothing was passed of {:?}", sent.first());
    }
}

/// A batch of a producer's transaction: two records from this offset on.
fn transactional(set: &mut BytesMut, producer: i64, offset: i64) {
    let records: Vec<Record> = (offset..offset + 2)
        .map(|offset| Record {
            transactional: true,
            producer_id: producer,
            producer_epoch: 0,
            ..record(offset, 0, Some(format!("{producer} {offset}").into_bytes()))
        })
        .collect();
    put(set, &records, Compression::None);
}

/// The marker that ends a transaction.
fn marker(set: &mut BytesMut, producer: i64, offset: i64, is_commit: bool) {
    let key = Bytes::from(vec![0, 0, 0, u8::from(is_commit)]);
    let marker = Record {
        transactional: true,
        control: true,
        producer_id: producer,
        producer_epoch: 0,
        key: Some(key),
        ..record(offset, 0, Some(vec![0; 6]))
    };
    put(set, &[marker], Compression::None);
}

#[test]
fn aborted_transactions_and_markers_are_passed_and_what_others_wrote_between_is_read() {
    let mut set = BytesMut::new();
    transactional(&mut set, 1, 0);
    transactional(&mut set, 2, 2);
    put(&mut set, &[record(4, 0, Some(b"plain".to_vec()))], Compression::None);
    marker(&mut set, 1, 5, false);
    // The same producer again, and this time it commits.
    transactional(&mut set, 1, 6);
    marker(&mut set, 2, 8, true);
    marker(&mut set, 1, 9, true);
    // And once more in vain, with nothing behind the marker.
    transactional(&mut set, 1, 10);
    marker(&mut set, 1, 12, false);
    let aborted = vec![(1, 10), (1, 0)];
    let mut set = RecordSet::new(set.freeze(), 0, aborted);
    let offsets: Vec<i64> =
        read(&mut set, 3).expect("it is sound").iter().map(|(offset, ..)| *offset).collect();
    assert_eq!((offsets.as_slice(), set.position()), (&[2, 3, 4, 6, 7][..], 13));
}

#[test]
fn an_older_message_format_is_named() {
    let (set, _) = encode(
        &[Batch {
            codec: 0,
            appended: false,
            records: vec![Sent { gap: 0, later: 0, key: None, value: None, headers: Vec::new() }],
        }],
        5,
    );
    let mut old = set.to_vec();
    old[16] = 1;
    let fault = Extent::of(&old, 5).expect_err("it is refused");
    assert_eq!(fault.to_string(), "batch at offset 5: found message format 1, expected 2");
}
