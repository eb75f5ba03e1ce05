//! JSON pointers (RFC 6901): read a value, or put one in place.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorClass, Result};
use crate::json;

/// The nesting that every reader of ours accepts; nothing deeper is made either.
const MAX_DEPTH: usize = 127;

/// Reads JSON; `name` is the parameter's.
pub(super) fn parse(name: &str, text: &str) -> Result<Value> {
    json::parse(text.as_bytes()).map_err(|error| Error::invalid(format!("{name}: not JSON: {error}")))
}

/// The value at `pointer` as JSON; a string comes as it is.
pub(super) fn get(json: &str, pointer: &str) -> Result<String> {
    let steps = steps(pointer)?;
    let document = parse("json", json)?;
    let found = steps.iter().try_fold(&document, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => elements.get(index(step)?),
        _ => None,
    });
    match found {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value) => Ok(value.to_string()),
        None => Err(Error::new(ErrorClass::NotFound, format!("there is no value at {pointer:?}"))),
    }
}

/// `json` (absent: an empty object) with `value` at `pointer`.
pub(super) fn set(json: Option<&str>, pointer: &str, value: Value) -> Result<Value> {
    let steps = steps(pointer)?;
    if steps.len() + depth(&value) > MAX_DEPTH {
        return Err(Error::invalid(format!("pointer: the value would be nested more than {MAX_DEPTH} deep")));
    }
    let mut document = json.map_or_else(|| Ok(Value::Object(Map::new())), |text| parse("json", text))?;
    let place = steps.iter().try_fold(&mut document, |parent, step| enter(parent, step, pointer))?;
    *place = value;
    Ok(document)
}

/// The place that `step` names in `parent`, made where it may be.
fn enter<'a>(parent: &'a mut Value, step: &str, pointer: &str) -> Result<&'a mut Value> {
    if parent.is_null() {
        *parent = Value::Object(Map::new());
    }
    match parent {
        Value::Object(members) => Ok(members.entry(step).or_insert(Value::Null)),
        Value::Array(elements) => {
            if step == "-" {
                elements.push(Value::Null);
            }
            let position = if step == "-" { Some(elements.len() - 1) } else { index(step) };
            position.and_then(|position| elements.get_mut(position)).ok_or_else(|| {
                Error::new(
                    ErrorClass::NotFound,
                    format!("there is no element {step:?} of a list on the way to {pointer:?}"),
                )
            })
        }
        _ => Err(Error::invalid(format!("pointer: on the way to {pointer:?}, {step:?} is asked of a plain value"))),
    }
}

/// The steps of a pointer, unescaped.
fn steps(pointer: &str) -> Result<Vec<String>> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(path) = pointer.strip_prefix('/') else {
        return Err(Error::invalid(format!("pointer: {pointer:?} does not begin with \"/\"")));
    };
    path.split('/').map(|step| unescape(step, pointer)).collect()
}

fn unescape(step: &str, pointer: &str) -> Result<String> {
    let mut parts = step.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            _ => return Err(Error::invalid(format!("pointer: in {pointer:?}, \"~\" is not followed by 0 or 1"))),
        };
        text.push(letter);
        text.push_str(rest);
    }
    Ok(text)
}

/// A list index: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { step.parse().ok() } else { None }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_as_the_rfc_says() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8,"~1":9,"deep":{"x":[{"y":null}]},"n":12345678901234567890.10}"#;
        for (pointer, value) in [
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", "bar"),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/m~0n", "8"),
            ("/~01", "9"),
            ("/deep/x/0/y", "null"),
            ("/n", "12345678901234567890.10"),
        ] {
            assert_eq!(get(json, pointer).unwrap(), value, "{pointer}");
        }
        assert_eq!(get("[1]", "").unwrap(), "[1]");
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_malformed() {
        for (json, pointer, class) in [
            ("{}", "/a", ErrorClass::NotFound),
            ("[1]", "/1", ErrorClass::NotFound),
            ("[1]", "/-", ErrorClass::NotFound),
            ("[1]", "/00", ErrorClass::NotFound),
            ("[1]", "/+0", ErrorClass::NotFound),
            ("[1]", "/", ErrorClass::NotFound),
            ("\"text\"", "/0", ErrorClass::NotFound),
            ("{}", "a", ErrorClass::InvalidArgument),
            ("{}", "/~2", ErrorClass::InvalidArgument),
            ("{}", "/~", ErrorClass::InvalidArgument),
            ("{", "", ErrorClass::InvalidArgument),
        ] {
            assert_eq!(get(json, pointer).unwrap_err().class(), class, "{json} {pointer}");
        }
    }

    #[test]
    fn values_are_put_where_the_pointer_says() {
        for (json, pointer, expected) in [
            (None, "/a/b", r#"{"a":{"b":"v"}}"#),
            (None, "", "\"v\""),
            (Some(r#"{"a":[1]}"#), "/a/-", r#"{"a":[1,"v"]}"#),
            (Some(r#"{"a":[1]}"#), "/a/0", r#"{"a":["v"]}"#),
            (Some(r#"{"a":[]}"#), "/a/-/b", r#"{"a":[{"b":"v"}]}"#),
            (Some(r#"{"a":null}"#), "/a/b", r#"{"a":{"b":"v"}}"#),
            (Some(r#"{"a":1,"n":1.10}"#), "/a", r#"{"a":"v","n":1.10}"#),
            (Some("{}"), "/x~1y", r#"{"x/y":"v"}"#),
        ] {
            assert_eq!(set(json, pointer, "v".into()).unwrap().to_string(), expected, "{pointer}");
        }
    }

    #[test]
    fn places_that_cannot_be_are_refused() {
        for (json, pointer, class) in [
            (r#"{"a":1}"#, "/a/b", ErrorClass::InvalidArgument),
            (r#"{"a":[1]}"#, "/a/1", ErrorClass::NotFound),
            (r#"{"a":[1]}"#, "/a/x", ErrorClass::NotFound),
            ("{}", "a", ErrorClass::InvalidArgument),
            ("nil", "/a", ErrorClass::InvalidArgument),
        ] {
            assert_eq!(set(Some(json), pointer, Value::Null).unwrap_err().class(), class, "{json} {pointer}");
        }
    }

    #[test]
    fn nothing_is_made_that_could_not_be_read_again() {
        let made = set(None, &"/a".repeat(MAX_DEPTH), Value::Null).unwrap().to_string();
        parse("json", &made).unwrap();
        let error = set(None, &"/a".repeat(100_000), Value::Null).unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidArgument);
        let deep = parse("value", &format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap();
        set(None, &"/a".repeat(28), deep).unwrap_err();
    }
}
