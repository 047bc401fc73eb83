//! JSON objects written field by field.

use serde_json::Value;

/// An object's text: fields in the order in which they are given.
pub fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<u8> {
    let mut text = Vec::with_capacity(128);
    text.push(b'{');
    for (index, (name, value)) in fields.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write(&mut text, &Value::from(name));
        text.push(b':');
        write(&mut text, value);
    }
    text.push(b'}');
    text
}

fn write(text: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(text, value)
        .expect("a value whose keys are texts always has a JSON form, and memory takes it");
}
