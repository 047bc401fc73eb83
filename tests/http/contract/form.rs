//! JSON against a schema: as much of JSON Schema as the document uses. What it does not know it does not pass over.

use serde_json::Value as Json;

/// Keywords that say nothing about what is allowed.
const WORDS: [&str; 6] = ["description", "example", "examples", "format", "title", "default"];

/// What of `value` does not have the form of `schema`. References lead into `document`.
pub fn compare(document: &Json, schema: &Json, value: &Json, at: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    let Some(schema) = schema.as_object() else { return mistakes };
    for (keyword, wanted) in schema {
        let several = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
        let fits = |schema: &Json| compare(document, schema, value, at);
        match keyword.as_str() {
            "$ref" => {
                let path =
                    wanted.as_str().and_then(|path| path.strip_prefix('#')).expect("a reference is a text");
                let schema = document.pointer(path).unwrap_or_else(|| panic!("{path} is described nowhere"));
                mistakes.extend(fits(schema));
            }
            "type" => {
                let types = if several.is_empty() { std::slice::from_ref(wanted) } else { several };
                if !types.iter().any(|name| is(name.as_str().expect("a type is a text"), value)) {
                    mistakes.push(format!("{at}: found {value}, expected {wanted}"));
                }
            }
            "enum" if !several.contains(value) => {
                mistakes.push(format!("{at}: found {value}, expected one of {wanted}"))
            }
            "minimum" if value.as_f64().is_some_and(|value| value < wanted.as_f64().unwrap_or(value)) => {
                mistakes.push(format!("{at}: found {value}, expected at least {wanted}"));
            }
            "required" => {
                let missing =
                    several.iter().filter(|name| value.get(name.as_str().unwrap_or_default()).is_none());
                mistakes.extend(missing.map(|name| format!("{at}: {name} is missing")));
            }
            "allOf" => mistakes.extend(several.iter().flat_map(fits)),
            "oneOf" | "anyOf" if !several.iter().any(|schema| fits(schema).is_empty()) => {
                mistakes.push(format!("{at}: {value} has none of the forms {wanted}"));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    mistakes.extend(compare(document, wanted, item, &format!("{at}/{index}")));
                }
            }
            "properties" | "additionalProperties" => {
                let named = schema.get("properties").and_then(Json::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    let own = named.and_then(|named| named.get(name));
                    let at = format!("{at}/{name}");
                    match (keyword.as_str(), own) {
                        ("properties", Some(schema)) => {
                            mistakes.extend(compare(document, schema, value, &at))
                        }
                        ("additionalProperties", None) if *wanted == false => {
                            mistakes.push(format!("{at} is not described"));
                        }
                        ("additionalProperties", None) => {
                            mistakes.extend(compare(document, wanted, value, &at))
                        }
                        _ => {}
                    }
                }
            }
            "enum" | "minimum" | "oneOf" | "anyOf" | "propertyNames" => {}
            word => assert!(WORDS.contains(&word), "{at}: the keyword {word} is not known here"),
        }
    }
    mistakes
}

fn is(name: &str, value: &Json) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{name} is no type"),
    }
}
