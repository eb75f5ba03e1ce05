//! JSON text of configurations into objects. Knows no keys.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorClass, Result};
use crate::json;

/// An error about a configuration.
pub(super) fn refused(words: impl Into<String>) -> Error {
    Error::new(ErrorClass::Config, words)
}

/// Reads one JSON text with an object in it; `null` is an empty object, as for Go.
pub(super) fn parse(bytes: &[u8]) -> Result<Map<String, Value>> {
    let text = std::str::from_utf8(bytes).map_err(|error| refused(format!("not UTF-8: {error}")))?;
    if text.starts_with('\u{feff}') {
        return Err(refused("not JSON: it starts with a byte order mark"));
    }
    let value = json::parse(bytes).map_err(|error| refused(format!("not JSON: {error}")))?;
    into_object(value)
}

/// The object in `value`; `null` is an empty one.
pub(super) fn into_object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        other => Err(refused(format!("expected an object, found {}", go_type(&other)))),
    }
}

/// The text of an object, keys sorted.
pub(super) fn print(object: Map<String, Value>) -> Vec<u8> {
    Value::Object(object).to_string().into_bytes()
}

/// Whether lists and objects in `value` are nested at most `levels` deep.
pub(super) fn nested_within(value: &Value, levels: usize) -> bool {
    let within = |inner: &Value| nested_within(inner, levels - 1);
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => false,
        Value::Array(values) => values.iter().all(within),
        Value::Object(object) => object.values().all(within),
        _ => true,
    }
}

/// What Go's `%T` prints for a value, as libcni's messages have it.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_out_as_it_went_in_with_sorted_keys() {
        for (text, printed) in [
            (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (
                r#"{"a":12345678901234567890,"b":1.50,"c":-0,"d":1e400}"#,
                r#"{"a":12345678901234567890,"b":1.50,"c":-0,"d":1e+400}"#,
            ),
            (r#"{"a":[true,false,null,"\u00e9<&>\n",[],{}]}"#, "{\"a\":[true,false,null,\"\u{e9}<&>\\n\",[],{}]}"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (" {}\n", "{}"),
            ("null", "{}"),
            (r#"{"$serde_json::private::RawValue":"[1]"}"#, r#"{"$serde_json::private::RawValue":"[1]"}"#),
        ] {
            assert_eq!(String::from_utf8(print(parse(text.as_bytes()).unwrap())).unwrap(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_not_an_object_in_json_is_refused() {
        for (text, words) in [
            (&b""[..], "not JSON: EOF while parsing a value at line 1 column 0"),
            (b"{", "not JSON: EOF while parsing an object at line 1 column 1"),
            (b"{} {}", "not JSON: trailing characters at line 1 column 4"),
            (b"\xef\xbb\xbf{}", "not JSON: it starts with a byte order mark"),
            (b"{\"a\":\"\xff\"}", "not UTF-8: invalid utf-8 sequence of 1 bytes from index 6"),
            (b"\xff\xfe{\0}\0", "not UTF-8: invalid utf-8 sequence of 1 bytes from index 0"),
            (b"[]", "expected an object, found []interface {}"),
            (b"7", "expected an object, found float64"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.class()), (words, ErrorClass::Config));
        }
    }

    #[test]
    fn nesting_has_a_limit_that_no_key_gets_around() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        let value = Value::Object(parse(nested(127).as_bytes()).unwrap());
        assert!(nested_within(&value, 127) && !nested_within(&value, 126));
        let error = parse(nested(128).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("not JSON: recursion limit exceeded"), "{error}");
    }
}
