//! Decoding of random records: what holds for any bytes.

use polars::prelude::AnyValue;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use watershed_schemas::decode::DeadLetterKind::*;
use watershed_schemas::decode::Decoder;

use super::{cell, decode_all, every_type, micros, records, text};

/// Any JSON value, nested a little.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-100i64..100).prop_map(Json::from),
        any::<f64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(Json::from),
        "(2013|0000|9999)-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])?)?"
            .prop_map(Json::from),
        "-?[0-9]{1,12}(\\.[0-9]{1,4})?".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Payloads that are often events, often nearly so, and sometimes anything.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop::sample::select(vec![
        "at", "flag", "small", "big", "real", "price", "name", "day", "seen", "other",
    ]);
    let object = prop::collection::vec((keys, any_json()), 0..10).prop_map(|entries| {
        let at = json!({"at": "2013-01-01T05:00:00Z"});
        let mut object = at.as_object().unwrap().clone();
        object.extend(entries.into_iter().map(|(key, value)| (key.to_string(), value)));
        serde_json::to_vec(&object).unwrap()
    });
    let object = object.boxed();
    let mutated = (object.clone(), any::<prop::sample::Index>(), any::<u8>(), 0..4usize).prop_map(
        |(mut bytes, at, byte, how)| {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
            bytes
        },
    );
    prop_oneof![4 => object, 4 => mutated, 1 => prop::collection::vec(any::<u8>(), 0..60), 1 => any_event().prop_map(|event| event.0)]
}

/// A valid event of `every_type`, and what its columns must hold.
fn any_event() -> impl Strategy<Value = (Vec<u8>, Vec<AnyValue<'static>>)> {
    let micros_of_age = -62_135_596_800_000_000i64..1_704_067_200_000_000;
    let nullable = (
        prop::option::of(any::<bool>()),
        prop::option::of(any::<i32>()),
        prop::option::of(any::<i64>()),
        prop::option::of(any::<f64>().prop_filter("JSON has no such number", |value| value.is_finite())),
        prop::option::of(-9_999_999_999i64..=9_999_999_999),
        prop::option::of(any::<String>()),
        prop::option::of(-719_162i32..=2_932_896),
        prop::option::of(micros_of_age.clone()),
    );
    (micros_of_age, nullable).prop_map(|(at, (flag, small, big, real, price, name, day, seen))| {
        let time = |value: i64| chrono::DateTime::from_timestamp_micros(value).unwrap().to_rfc3339();
        let date = |days: i32| {
            (chrono::NaiveDate::default() + chrono::Duration::days(i64::from(days)))
                .format("%Y-%m-%d")
                .to_string()
        };
        let cents = |value: i64| {
            format!("{}{}.{:02}", if value < 0 { "-" } else { "" }, value.abs() / 100, value.abs() % 100)
        };
        let payload = json!({
            "at": time(at), "flag": flag, "small": small, "big": big, "real": real, "price": price.map(cents),
            "name": name, "day": day.map(date), "seen": seen.map(time),
        });
        let or_null = |value: Option<AnyValue<'static>>| value.unwrap_or(AnyValue::Null);
        let expected = vec![
            micros(at),
            or_null(flag.map(AnyValue::Boolean)),
            or_null(small.map(AnyValue::Int32)),
            or_null(big.map(AnyValue::Int64)),
            or_null(real.map(AnyValue::Float64)),
            or_null(price.map(|value| AnyValue::Decimal(i128::from(value), 10, 2))),
            or_null(name.map(|value| text(&value))),
            or_null(day.map(AnyValue::Date)),
            or_null(seen.map(micros)),
        ];
        (serde_json::to_vec(&payload).unwrap(), expected)
    })
}

proptest! {
    #[test]
    fn every_record_is_exactly_one_event_or_one_dead_letter(payloads in prop::collection::vec(any_payload(), 0..20)) {
        let decoded = decode_all(&every_type(), &payloads);
        let offsets: Vec<usize> = (decoded.events.column("_offset").unwrap().i64().unwrap().into_no_null_iter())
            .map(|offset| (offset - 100) as usize).collect();
        prop_assert!(offsets.is_sorted());
        let mut seen: Vec<usize> =
            offsets.into_iter().chain(decoded.dead_letters.iter().map(|letter| letter.index)).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..payloads.len()).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wanted_does_not_change_what_is_dead(
        payloads in prop::collection::vec(any_payload(), 0..20),
        wanted in prop::collection::vec(any::<bool>(), 9),
    ) {
        let stream = every_type();
        let names: Vec<&str> = (stream.fields.iter().zip(&wanted))
            .filter(|(_, wanted)| **wanted).map(|(field, _)| field.name.as_str()).collect();
        let records = records(&payloads);
        let some = Decoder::new(&stream, &names).decode(&records);
        let all = decode_all(&stream, &payloads);
        prop_assert_eq!(&some.dead_letters, &all.dead_letters);
        for name in some.events.get_column_names() {
            prop_assert!(some.events.column(name).unwrap().equals_missing(all.events.column(name).unwrap()), "{}", name);
        }
    }

    #[test]
    fn a_record_decodes_alike_alone_and_among_others(payloads in prop::collection::vec(any_payload(), 0..12)) {
        let stream = every_type();
        let together = decode_all(&stream, &payloads);
        let mut letters = together.dead_letters.iter();
        for (index, payload) in payloads.iter().enumerate() {
            let alone = decode_all(&stream, &[payload]);
            if let Some(letter) = alone.dead_letters.first() {
                let among = letters.next().unwrap();
                prop_assert_eq!((among.index, among.kind, &among.reason), (index, letter.kind, &letter.reason));
            }
        }
        prop_assert!(letters.next().is_none());
    }

    #[test]
    fn events_come_back_as_they_were_written(events in prop::collection::vec(any_event(), 1..10)) {
        let stream = every_type();
        let payloads: Vec<&[u8]> = events.iter().map(|event| event.0.as_slice()).collect();
        let decoded = decode_all(&stream, &payloads);
        prop_assert_eq!(decoded.dead_letters, vec![]);
        for (row, (_, expected)) in events.iter().enumerate() {
            for (field, value) in stream.fields.iter().zip(expected) {
                prop_assert_eq!(&cell(&decoded.events, &field.name, row), value, "{}", field.name);
            }
        }
    }

    #[test]
    fn malformed_means_what_serde_json_means_by_it(payload in any_payload()) {
        // serde_json refuses deep nesting and numbers beyond the largest double; the payloads have neither often.
        let theirs: Result<Json, _> = serde_json::from_slice(&payload);
        let is_object = matches!(&theirs, Ok(Json::Object(_)));
        let decoded = decode_all(&every_type(), &[&payload]);
        let malformed = decoded.dead_letters.first().is_some_and(|letter| matches!(letter.kind, Malformed | Empty));
        let out_of_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        prop_assume!(!out_of_range);
        if is_object {
            prop_assert!(!malformed, "{:?}", decoded.dead_letters);
        } else if !theirs.as_ref().is_err_and(|error| error.to_string().contains("surrogate")) {
            prop_assert!(malformed, "{:?} {:?}", theirs, decoded);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(payload in prop::collection::vec(prop_oneof![
        4 => prop::sample::select(br#"{}[]":,\u0tfnaedrls-+.e19 "#.to_vec()), 1 => any::<u8>()], 0..80)) {
        let decoded = decode_all(&every_type(), &[payload]);
        prop_assert_eq!(decoded.events.height() + decoded.dead_letters.len(), 1);
    }
}
