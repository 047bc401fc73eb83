//! Bytes to columns: every record becomes one event or one dead letter (invariant `NOTHING_VANISHES`).

mod random;

use std::time::Duration;

use polars::prelude::{AnyValue, DataFrame};
use watershed_schemas::decode::{DeadLetterKind, Decoded, Decoder};
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::stream::{Field, Format, Stream, TimestampFormat};
use watershed_schemas::types::DataType;

use DeadLetterKind::*;

/// 2024-01-01T00:00:00Z in milliseconds.
const NOW: i64 = 1_704_067_200_000;

fn field(name: &str, data_type: DataType) -> Field {
    Field { name: name.to_string(), data_type, not_null: false, timestamp_format: TimestampFormat::Text }
}

fn decimal(precision: u8, scale: u8) -> DataType {
    DataType::Decimal { precision, scale }
}

/// A stream with an event time `at` and these fields behind it.
fn stream(fields: Vec<Field>) -> Stream {
    let at = Field { not_null: true, ..field("at", DataType::Timestamp) };
    Stream {
        name: "events".to_string(),
        topic: "events".to_string(),
        format: Format::Json,
        fields: [vec![at], fields].concat(),
        event_time: 0,
        max_future: Duration::from_secs(86_400),
    }
}

/// A stream with a field of every type.
fn every_type() -> Stream {
    stream(vec![
        field("flag", DataType::Boolean),
        field("small", DataType::Integer),
        field("big", DataType::BigInt),
        field("real", DataType::Double),
        field("price", decimal(10, 2)),
        field("name", DataType::Text),
        field("day", DataType::Date),
        field("seen", DataType::Timestamp),
    ])
}

fn records<P: AsRef<[u8]>>(payloads: &[P]) -> Records {
    let mut records = Records::new(Partition(3), Offset(100));
    for payload in payloads {
        records.push(Offset(records.position), NOW, Some(payload.as_ref()));
    }
    records
}

fn decode_all<P: AsRef<[u8]>>(stream: &Stream, payloads: &[P]) -> Decoded {
    let names: Vec<&str> = stream.fields.iter().map(|field| field.name.as_str()).collect();
    Decoder::new(stream, &names).decode(&records(payloads))
}

fn cell(events: &DataFrame, name: &str, row: usize) -> AnyValue<'static> {
    events.column(name).unwrap().get(row).unwrap().into_static()
}

/// What a field `x` of this type holds when written like this, or the kind and reason of the dead letter.
fn read_field(of: Field, written: &str) -> Result<AnyValue<'static>, (DeadLetterKind, String)> {
    let stream = stream(vec![Field { name: "x".to_string(), ..of }]);
    let payload = format!(r#"{{"at":"2024-01-01T00:00:00Z","x":{written}}}"#);
    let decoded = decode_all(&stream, &[payload]);
    match decoded.dead_letters.first() {
        Some(letter) => {
            assert_eq!(decoded.events.height(), 0, "{written} is an event as well");
            Err((letter.kind, letter.reason.clone()))
        }
        None => Ok(cell(&decoded.events, "x", 0)),
    }
}

fn reads(data_type: DataType, written: &str, value: AnyValue<'static>) {
    let found = read_field(field("x", data_type.clone()), written);
    assert_eq!(found, Ok(value), "{data_type} written {written}");
}

fn refuses(data_type: DataType, written: &str, kind: DeadLetterKind) {
    match read_field(field("x", data_type.clone()), written) {
        Ok(value) => panic!("{data_type} written {written} was read as {value:?}"),
        Err((found, reason)) => {
            assert_eq!(found, kind, "{data_type} written {written}: {reason}");
            assert!(reason.contains("field x"), "the reason does not name the field: {reason}");
        }
    }
}

/// The kind of the one dead letter that a whole payload becomes.
fn kind_of(payload: impl AsRef<[u8]>) -> (DeadLetterKind, String) {
    let decoded = decode_all(&every_type(), &[payload.as_ref()]);
    assert_eq!((decoded.events.height(), decoded.dead_letters.len()), (0, 1), "{:?}", decoded.events);
    let letter = &decoded.dead_letters[0];
    assert_eq!(letter.index, 0);
    (letter.kind, letter.reason.clone())
}

fn text(value: &str) -> AnyValue<'static> {
    AnyValue::StringOwned(value.into())
}

fn micros(value: i64) -> AnyValue<'static> {
    AnyValue::DatetimeOwned(value, polars::prelude::TimeUnit::Microseconds, None)
}

#[test]
fn an_event_has_its_fields_and_its_place_in_the_log() {
    let payload = r#"{"at":"2024-01-01T00:00:00Z","flag":true,"small":-7,"big":9007199254740993,"real":1.5,
        "price":12.30,"name":"Zürich","day":"2023-12-31","seen":"2023-12-31 23:59:59.5"}"#;
    let decoded = decode_all(&every_type(), &[payload]);
    assert_eq!(decoded.dead_letters, []);
    let events = decoded.events;
    let names = [
        "at",
        "flag",
        "small",
        "big",
        "real",
        "price",
        "name",
        "day",
        "seen",
        "_partition",
        "_offset",
        "_timestamp",
    ];
    assert_eq!(events.get_column_names(), names);
    for field in &every_type().fields {
        assert_eq!(events.column(&field.name).unwrap().dtype(), &field.data_type.polars(), "{}", field.name);
    }
    assert_eq!(events.column("_partition").unwrap().dtype(), &DataType::Integer.polars());
    assert_eq!(events.column("_offset").unwrap().dtype(), &DataType::BigInt.polars());
    assert_eq!(events.column("_timestamp").unwrap().dtype(), &DataType::Timestamp.polars());
    assert_eq!(cell(&events, "at", 0), micros(NOW * 1000));
    assert_eq!(cell(&events, "flag", 0), AnyValue::Boolean(true));
    assert_eq!(cell(&events, "small", 0), AnyValue::Int32(-7));
    assert_eq!(cell(&events, "big", 0), AnyValue::Int64(9_007_199_254_740_993));
    assert_eq!(cell(&events, "real", 0), AnyValue::Float64(1.5));
    assert_eq!(cell(&events, "price", 0), AnyValue::Decimal(1230, 10, 2));
    assert_eq!(cell(&events, "name", 0), text("Zürich"));
    assert_eq!(cell(&events, "day", 0), AnyValue::Date(19722));
    assert_eq!(cell(&events, "seen", 0), micros((NOW - 500) * 1000));
    assert_eq!(cell(&events, "_partition", 0), AnyValue::Int32(3));
    assert_eq!(cell(&events, "_offset", 0), AnyValue::Int64(100));
    assert_eq!(cell(&events, "_timestamp", 0), micros(NOW * 1000));
}

#[test]
fn booleans_are_true_or_false_and_nothing_else() {
    reads(DataType::Boolean, "true", AnyValue::Boolean(true));
    reads(DataType::Boolean, "false", AnyValue::Boolean(false));
    reads(DataType::Boolean, "null", AnyValue::Null);
    for written in ["1", "\"true\"", "[]", "{}"] {
        refuses(DataType::Boolean, written, WrongType);
    }
}

#[test]
fn integers_are_written_as_integers_and_checked_for_their_range() {
    reads(DataType::Integer, "2147483647", AnyValue::Int32(i32::MAX));
    reads(DataType::Integer, "-2147483648", AnyValue::Int32(i32::MIN));
    reads(DataType::Integer, "-0", AnyValue::Int32(0));
    reads(DataType::BigInt, "9223372036854775807", AnyValue::Int64(i64::MAX));
    reads(DataType::BigInt, "-9223372036854775808", AnyValue::Int64(i64::MIN));
    reads(DataType::BigInt, "999999999999999999", AnyValue::Int64(999_999_999_999_999_999));
    for written in ["2147483648", "-2147483649", "99999999999999999999999999"] {
        refuses(DataType::Integer, written, OutOfRange);
    }
    for written in ["9223372036854775808", "-9223372036854775809"] {
        refuses(DataType::BigInt, written, OutOfRange);
    }
    for written in ["3.0", "3e0", "3.5", "\"3\"", "true", "[3]", "12345678901234567890.5"] {
        refuses(DataType::Integer, written, WrongType);
        refuses(DataType::BigInt, written, WrongType);
    }
}

#[test]
fn doubles_are_the_nearest_ones_and_never_infinite() {
    reads(DataType::Double, "0.1", AnyValue::Float64(0.1));
    reads(DataType::Double, "3", AnyValue::Float64(3.0));
    reads(DataType::Double, "-1.7976931348623157e308", AnyValue::Float64(f64::MIN));
    reads(DataType::Double, "1e-999", AnyValue::Float64(0.0));
    reads(DataType::Double, "2.2250738585072014E-308", AnyValue::Float64(f64::MIN_POSITIVE));
    refuses(DataType::Double, "1e999", OutOfRange);
    refuses(DataType::Double, "-1e309", OutOfRange);
    refuses(DataType::Double, &"9".repeat(400), OutOfRange);
    for written in ["\"1.5\"", "\"NaN\"", "false", "{\"a\":1}"] {
        refuses(DataType::Double, written, WrongType);
    }
}

#[test]
fn decimals_are_exact_or_refused() {
    let unscaled = |value| AnyValue::Decimal(value, 5, 2);
    for (written, value) in [
        ("1.25", 125),
        ("\"1.25\"", 125),
        ("-999.99", -99999),
        ("999.99", 99999),
        ("0", 0),
        ("-0.00", 0),
        ("0e999999999999999999999", 0),
        ("7", 700),
        ("1.5000000000000000000000000000000000000000000000000", 150),
        ("12e1", 12000),
        ("12345E-2", 12345),
        ("0.0001e3", 10),
        ("\"1e0\"", 100),
        ("-0.5", -50),
        ("100.10", 10010),
        ("\"-0\"", 0),
    ] {
        reads(decimal(5, 2), written, unscaled(value));
    }
    reads(decimal(38, 0), &"9".repeat(38), AnyValue::Decimal(10i128.pow(38) - 1, 38, 0));
    reads(decimal(38, 38), "0.1", AnyValue::Decimal(10i128.pow(37), 38, 38));
    refuses(decimal(38, 38), "1", OutOfRange);
    refuses(decimal(38, 30), "123456789012345678", OutOfRange);
    for written in
        ["1000", "1.255", "0.001", "1e3", "1e-3", "1e99999999999999999999", "-1e-99999999999999999999"]
    {
        refuses(decimal(5, 2), written, OutOfRange);
    }
    for written in [
        "\"\"",
        "\"1,5\"",
        "\" 1\"",
        "\"+1\"",
        "\"01\"",
        "\".5\"",
        "\"5.\"",
        "\"1e\"",
        "\"NaN\"",
        "\"1.2.3\"",
        "\"-\"",
        "\"-.5\"",
        "\"00.5\"",
        "true",
    ] {
        refuses(decimal(5, 2), written, WrongType);
    }
}

#[test]
fn texts_keep_every_character() {
    reads(DataType::Text, r#""""#, text(""));
    reads(
        DataType::Text,
        r#""plain text longer than a view's inline part""#,
        text("plain text longer than a view's inline part"),
    );
    reads(DataType::Text, r#""a\"b\\c\/d\b\f\n\r\t""#, text("a\"b\\c/d\u{8}\u{c}\n\r\t"));
    reads(DataType::Text, r#""\u00e9\u0000\uD83D\uDE00 and 😀""#, text("é\0😀 and 😀"));
    for written in ["5", "true", "[\"a\"]", "{\"a\":\"b\"}"] {
        refuses(DataType::Text, written, WrongType);
    }
    for written in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#""x\ud83d""#] {
        refuses(DataType::Text, written, Malformed);
    }
}

#[test]
fn dates_are_days_that_exist() {
    for (written, days) in [
        ("\"1970-01-01\"", 0),
        ("\"1969-12-31\"", -1),
        ("\"2000-02-29\"", 11016),
        ("\"2024-12-31\"", 20088),
        ("\"0001-01-01\"", -719_162),
        ("\"9999-12-31\"", 2_932_896),
    ] {
        reads(DataType::Date, written, AnyValue::Date(days));
    }
    for written in [
        "\"2023-02-29\"",
        "\"1900-02-29\"",
        "\"2023-13-01\"",
        "\"2023-00-01\"",
        "\"2023-04-31\"",
        "\"0000-01-01\"",
    ] {
        refuses(DataType::Date, written, OutOfRange);
    }
    for written in [
        "\"2023-1-1\"",
        "\"20230101\"",
        "\"2023-01-01T00:00:00Z\"",
        "\"01.02.2023\"",
        "19000",
        "\"+023-01-01\"",
    ] {
        refuses(DataType::Date, written, WrongType);
    }
}

#[test]
fn timestamps_in_text_are_rfc_3339_or_sql() {
    for (written, value) in [
        ("2024-01-01T00:00:00Z", NOW * 1000),
        ("2024-01-01t00:00:00z", NOW * 1000),
        ("2024-01-01 00:00:00", NOW * 1000),
        ("2024-01-01T00:00:00", NOW * 1000),
        ("2024-01-01T05:30:00+05:30", NOW * 1000),
        ("2023-12-31T16:00:00-08:00", NOW * 1000),
        ("2024-01-01 02:00:00+02", NOW * 1000),
        ("2023-12-31T18:30:00.5-0530", NOW * 1000 + 500_000),
        ("2024-01-01 00:00:00.25", NOW * 1000 + 250_000),
        ("2024-01-01T00:00:00.123456Z", NOW * 1000 + 123_456),
        ("2024-01-01T00:00:00.123456789Z", NOW * 1000 + 123_456),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2023-12-31T23:59:60Z", NOW * 1000),
        ("0001-01-01 00:00:00", -62_135_596_800_000_000),
        ("9999-12-31 23:59:59.999999", 253_402_300_799_999_999),
    ] {
        // In a field of its own: the event time may not lie in the future.
        reads(DataType::Timestamp, &format!("\"{written}\""), micros(value));
    }
    for written in [
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+24",
        "2024-01-01T00:00:00+0060",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ] {
        refuses(DataType::Timestamp, &format!("\"{written}\""), OutOfRange);
    }
    for written in [
        "",
        "2024-01-01",
        "2024-01-01T00:00",
        "2024-01-01T00:00:00.",
        "2024-01-01T00:00:00 Z",
        "2024-01-01T00:00:00+5",
        "2024-01-01T00:00:00+05:",
        "2024-01-01T00:00:00+530",
        "now",
        "1704067200",
    ] {
        refuses(DataType::Timestamp, &format!("\"{written}\""), WrongType);
    }
    refuses(DataType::Timestamp, "1704067200", WrongType);
    refuses(DataType::Timestamp, "null ,\"x\": [\"2024-01-01\"]", WrongType);
}

#[test]
fn timestamps_as_epoch_numbers_follow_the_declared_unit() {
    use TimestampFormat::*;
    let read = |format, written: &str| {
        read_field(Field { timestamp_format: format, ..field("x", DataType::Timestamp) }, written)
    };
    for (format, written, value) in [
        (EpochSeconds, "1704067200", NOW * 1000),
        (EpochSeconds, "1704067200.5", NOW * 1000 + 500_000),
        (EpochSeconds, "1704067200.1234567", NOW * 1000 + 123_456),
        (EpochSeconds, "1.7040672e9", NOW * 1000),
        (EpochSeconds, "-0.0000001", -1),
        (EpochMillis, "1704067200001", NOW * 1000 + 1000),
        (EpochMillis, "1704067200001.5", NOW * 1000 + 1500),
        (EpochMicros, "1704067200000001", NOW * 1000 + 1),
        (EpochMicros, "-1", -1),
    ] {
        assert_eq!(read(format, written), Ok(micros(value)), "{format:?} {written}");
    }
    for (format, written, kind) in [
        (EpochSeconds, "253402300800", OutOfRange),
        (EpochSeconds, "9223372036854775807", OutOfRange),
        (EpochSeconds, "1e300", OutOfRange),
        (EpochMillis, "-62135596800001", OutOfRange),
        (EpochMicros, "\"2024-01-01T00:00:00Z\"", WrongType),
        (EpochMillis, "\"1704067200000\"", WrongType),
        (EpochMillis, "true", WrongType),
    ] {
        assert_eq!(read(format, written).map_err(|(kind, _)| kind), Err(kind), "{format:?} {written}");
    }
}

#[test]
fn a_tombstone_and_an_empty_record_are_dead_letters_of_their_own_kinds() {
    let mut records = Records::new(Partition(0), Offset(5));
    records.push(Offset(5), NOW, None);
    records.push(Offset(9), NOW, Some(b""));
    records.push(Offset(12), NOW, Some(br#"{"at":"2024-01-01 00:00:00"}"#));
    let decoded = Decoder::new(&every_type(), &[]).decode(&records);
    let letters: Vec<_> = decoded.dead_letters.iter().map(|letter| (letter.index, letter.kind)).collect();
    assert_eq!(letters, [(0, Tombstone), (1, Empty)]);
    assert_eq!(cell(&decoded.events, "_offset", 0), AnyValue::Int64(12));
}

#[test]
fn what_is_not_one_json_object_is_malformed_and_the_reason_says_where() {
    for (payload, place) in [
        ("{", "byte 1"),
        ("hello", "byte 0"),
        ("  ", "byte 2"),
        ("[]", "byte 0"),
        ("null", "byte 0"),
        ("\u{feff}{}", "byte order mark"),
        (r#"{"at":"2024-01-01T00:00:00Z"} x"#, "byte 30"),
        (r#"{"at":"2024-01-01T00:00:00Z"}{}"#, "byte 29"),
        (r#"{"at":"2024-01-01T00:00:00Z",}"#, "byte 29"),
        (r#"{at:1}"#, "byte 1"),
        (r#"{"at" "x"}"#, "byte 6"),
        (r#"{"at":}"#, "byte 6"),
        (r#"{"a":01}"#, "byte 6"),
        (r#"{"a":1.}"#, "byte 7"),
        (r#"{"a":.5}"#, "byte 5"),
        (r#"{"a":+1}"#, "byte 5"),
        (r#"{"a":1e}"#, "byte 7"),
        (r#"{"a":NaN}"#, "byte 5"),
        (r#"{"a":tru}"#, "byte 5"),
        (r#"{"a":'x'}"#, "byte 5"),
        (r#"{"a":"x}"#, "byte 8"),
        (r#"{"a":"\x"}"#, "byte 7"),
        (r#"{"a":"\u12g4"}"#, "byte 10"),
        ("{\"a\":\"tab\there\"}", "byte 9"),
        (r#"{"a":[1,2}"#, "byte 9"),
        (r#"{"a":[1,]}"#, "byte 8"),
        (r#"{"a":{"b":1,}}"#, "byte 12"),
        (r#"{"a":{"b"}}"#, "byte 9"),
        (r#"{"a":[}"#, "byte 6"),
        (r#"{"a":1 "b":2}"#, "byte 7"),
        (r#"{,"a":1}"#, "byte 1"),
    ] {
        let (kind, reason) = kind_of(payload);
        assert_eq!(kind, Malformed, "{payload}: {reason}");
        assert!(reason.contains(place), "{payload}: {reason}");
    }
    let (kind, reason) = kind_of(b"{\"at\":\"\xff\"}");
    assert_eq!(kind, Malformed);
    assert!(reason.contains("byte 7") && reason.contains("UTF-8"), "{reason}");
}

#[test]
fn bytes_that_are_not_text_spoil_only_their_own_record() {
    let good = br#"{"at":"2024-01-01T00:00:00Z","name":"\u00fc"}"#;
    // Cut within a character: the two halves would be text again if they were read as one.
    let (head, tail) =
        (b"{\"at\":\"2024-01-01T00:00:00Z\",\"name\":\"\xc3".as_slice(), b"\xbc\"}".as_slice());
    let decoded = decode_all(&every_type(), &[good.as_slice(), head, tail, good]);
    assert_eq!(decoded.events.height(), 2);
    let letters: Vec<_> = decoded.dead_letters.iter().map(|letter| (letter.index, letter.kind)).collect();
    assert_eq!(letters, [(1, Malformed), (2, Malformed)]);
}

#[test]
fn a_required_field_that_is_absent_or_null_is_missing() {
    for payload in ["{}", r#"{"at":null}"#, r#"{"AT":"2024-01-01T00:00:00Z"}"#] {
        let (kind, reason) = kind_of(payload);
        assert_eq!(kind, MissingField, "{payload}");
        assert!(reason.contains("field at"), "{reason}");
    }
}

#[test]
fn a_malformed_record_is_malformed_whatever_its_fields_hold() {
    assert_eq!(kind_of(r#"{"at":5,"flag":"x""#).0, Malformed);
    assert_eq!(kind_of(r#"{"at":5,"flag":"x"}"#).0, WrongType);
}

#[test]
fn the_reason_names_the_first_faulty_field_what_it_holds_and_where() {
    let (kind, reason) = kind_of(r#"{"at":"2024-01-01T00:00:00Z","small":"seven","big":"eight"}"#);
    assert_eq!(kind, WrongType);
    assert_eq!(reason, r#"field small: expected integer, found "seven" at byte 38"#);
    let (_, reason) = kind_of(format!(r#"{{"at":"{}"}}"#, "é".repeat(1000)));
    assert!(reason.chars().count() < 150, "{reason}");
}

#[test]
fn the_last_of_equal_keys_counts_and_all_are_checked() {
    let at = r#""at":"2024-01-01T00:00:00Z""#;
    let decoded =
        decode_all(&every_type(), &[format!(r#"{{{at},"small":1,"small":2,"name":"a","name":"b\n"}}"#)]);
    assert_eq!(cell(&decoded.events, "small", 0), AnyValue::Int32(2));
    assert_eq!(cell(&decoded.events, "name", 0), text("b\n"));
    assert_eq!(kind_of(format!(r#"{{{at},"small":"x","small":2}}"#)).0, WrongType);
}

#[test]
fn unknown_keys_are_ignored_however_they_are_nested_and_escaped_keys_are_known() {
    let payload = r#"{"z":{"at":1,"b":[{},[],"]}",-1.5e3,null,true]},"\u0061t":"2024-01-01T00:00:00Z","sm\u0061ll":4,"\ud800":1}"#;
    let decoded = decode_all(&every_type(), &[payload]);
    assert_eq!(decoded.dead_letters, []);
    assert_eq!(cell(&decoded.events, "small", 0), AnyValue::Int32(4));
}

#[test]
fn keys_are_found_in_any_order_and_spelling() {
    let at = r#""at":"2024-01-01T00:00:00Z""#;
    let stream = stream(["a", "ab", "a\"b"].map(|name| field(name, DataType::BigInt)).to_vec());
    let payloads = [
        format!(r#"{{{at},"a":1,"ab":2,"a\"b":3}}"#),
        format!(r#"{{"a\"b" : 3 , "ab" :2,"a":1,{at}}}"#),
        format!(r#"{{"ab":2,{at},"abc":4,"a":1,"b":5,"a\"b":3}}"#),
        format!(r#"{{{at},"a":1,"ab":2,"a"b":3}}"#),
    ];
    let decoded = decode_all(&stream, &payloads);
    for (row, payload) in payloads.iter().enumerate().take(3) {
        let found = ["a", "ab", "a\"b"].map(|name| cell(&decoded.events, name, row));
        assert_eq!(found, [1, 2, 3].map(AnyValue::Int64), "{payload}");
    }
    // A name with a quote in it does not excuse a bare quote.
    let letters: Vec<_> = decoded.dead_letters.iter().map(|letter| (letter.index, letter.kind)).collect();
    assert_eq!(letters, [(3, Malformed)]);
}

#[test]
fn a_string_with_escapes_means_what_it_means_without_them() {
    reads(DataType::Timestamp, r#""2024-01-01T02:00:00\u002B02:00""#, micros(NOW * 1000));
    reads(DataType::Date, r#""2023\u002d12-31""#, AnyValue::Date(19722));
    reads(decimal(5, 2), r#""\u002d1.25""#, AnyValue::Decimal(-125, 5, 2));
    refuses(DataType::Date, r#""2023\u002d13-01""#, OutOfRange);
    refuses(DataType::Date, r#""\ud800""#, WrongType);
    refuses(DataType::BigInt, r#""\u0031""#, WrongType);
}

#[test]
fn deep_nesting_overflows_no_stack() {
    let at = r#""at":"2024-01-01T00:00:00Z""#;
    let deep = 5_000_000;
    let balanced = format!(r#"{{{at},"x":{}{}}}"#, "[".repeat(deep), "]".repeat(deep));
    let unbalanced = format!(r#"{{{at},"x":{}"#, "{\"a\":[".repeat(deep / 6));
    let decoded = decode_all(&every_type(), &[balanced, unbalanced]);
    assert_eq!(decoded.events.height(), 1);
    assert_eq!(decoded.dead_letters[0].kind, Malformed);
}

#[test]
fn an_event_time_beyond_the_records_own_future_is_a_dead_letter_and_the_past_is_not() {
    let at = |time: &str| format!(r#"{{"at":"{time}"}}"#);
    let decoded = decode_all(
        &every_type(),
        &[at("2024-01-02T00:00:00Z"), at("2024-01-02T00:00:00.000001Z"), at("0001-01-01T00:00:00Z")],
    );
    assert_eq!(decoded.events.height(), 2);
    assert_eq!((decoded.dead_letters[0].index, decoded.dead_letters[0].kind), (1, FutureEventTime));
    assert!(
        decoded.dead_letters[0].reason.contains("2024-01-02T00:00:00.000001Z"),
        "{}",
        decoded.dead_letters[0].reason
    );
}

#[test]
fn a_record_without_a_kafka_timestamp_has_no_future() {
    let mut records = Records::new(Partition(0), Offset(0));
    records.push(Offset(0), -1, Some(br#"{"at":"9999-01-01T00:00:00Z"}"#));
    records.push(Offset(1), i64::MAX, Some(br#"{"at":"9999-01-01T00:00:00Z"}"#));
    let decoded = Decoder::new(&every_type(), &[]).decode(&records);
    assert_eq!(decoded.events.height(), 2);
    assert_eq!(cell(&decoded.events, "_timestamp", 0), AnyValue::Null);
    assert_eq!(cell(&decoded.events, "_timestamp", 1), AnyValue::Null);
}

#[test]
fn only_wanted_fields_and_the_event_time_become_columns() {
    let decoded = Decoder::new(&every_type(), &["name", "nobody"]).decode(&records(&[
        r#"{"name":"x","at":"2024-01-01T00:00:00Z","big":5}"#,
        r#"{"name":"x","at":"2024-01-01T00:00:00Z","big":"5"}"#,
    ]));
    assert_eq!(decoded.events.get_column_names(), ["at", "name", "_partition", "_offset", "_timestamp"]);
    assert_eq!((decoded.events.height(), decoded.dead_letters.len()), (1, 1));
}

#[test]
fn a_large_message_is_decoded_like_any_other() {
    let name = "x".repeat(10 << 20);
    let payload = format!(r#"{{"at":"2024-01-01T00:00:00Z","name":"{name}"}}"#);
    let decoded = decode_all(&every_type(), &[payload]);
    assert_eq!(cell(&decoded.events, "name", 0), text(&name));
}

#[test]
fn events_keep_their_records_positions_and_times() {
    let event = Some(&br#"{"at":"2024-01-01T00:00:00Z"}"#[..]);
    for spoilt in [None, event] {
        let mut records = Records::new(Partition(2), Offset(7));
        records.push(Offset(7), NOW, spoilt);
        records.push(Offset(8), NOW, event);
        records.push(Offset(10), -1, event);
        let decoded = Decoder::new(&every_type(), &[]).decode(&records);
        let rows = decoded.events.height();
        assert_eq!(rows + decoded.dead_letters.len(), 3);
        let last = |name: &str| [rows - 2, rows - 1].map(|row| cell(&decoded.events, name, row));
        assert_eq!(last("_offset"), [8, 10].map(AnyValue::Int64));
        assert_eq!(last("_partition"), [2, 2].map(AnyValue::Int32));
        assert_eq!(last("_timestamp"), [micros(NOW * 1_000), AnyValue::Null]);
    }
}
