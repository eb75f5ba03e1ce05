//! JSON text from outside into values.
//!
//! Not `serde_json::Value`'s own reading: that takes an object with the key `$serde_json::private::RawValue` (where the
//! feature is on, in whichever crate of the build) for JSON inside a string and reads it with a fresh nesting limit, so
//! a text could exhaust the host's stack.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The key under which `serde_json` hands over a number as it was written: a fraction, or beyond 64 bits. A document's own
/// object may have it too; what is under it tells which, see [`NumberOr`].
pub(crate) const NUMBER: &str = "$serde_json::private::Number";

/// Reads one JSON text. Nesting beyond `serde_json`'s limit (127), a byte order mark and bad UTF-8 are errors.
pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Whole.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads any value; nesting is limited by the deserializer.
struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Whole)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = if key == NUMBER && object.is_empty() {
                match map.next_value_seed(NumberOr(Whole))? {
                    Ok(text) => return text.parse().map(Value::Number).map_err(|_| A::Error::custom("invalid number")),
                    Err(value) => value,
                }
            } else {
                map.next_value_seed(Whole)?
            };
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Reads what is under [`NUMBER`]: `Ok` is the text of a number, `Err` a value of the document, read by the visitor.
///
/// `serde_json` hands over its own text as a `String`, and a document's as a part of the document or of its buffer.
pub(crate) struct NumberOr<V>(pub(crate) V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for NumberOr<V> {
    type Value = Result<String, V::Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for NumberOr<V> {
    type Value = Result<String, V::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Ok(text))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.0.visit_unit().map(Err)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.0.visit_bool(value).map(Err)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.0.visit_u64(value).map(Err)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.0.visit_i64(value).map(Err)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.0.visit_str(value).map(Err)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        self.0.visit_seq(list).map(Err)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.visit_map(map).map(Err)
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
            (r#"{"$serde_json::private::RawValue":"[1]"}"#, r#"{"$serde_json::private::RawValue":"[1]"}"#),
            // What serde_json calls a number is one only where it says so itself.
            (
                r#"[{"$serde_json::private::Number":"1"},{"$serde_json::private::Number":"x"},{"$serde_json::private::Number":1.5}]"#,
                r#"[{"$serde_json::private::Number":"1"},{"$serde_json::private::Number":"x"},{"$serde_json::private::Number":1.5}]"#,
            ),
            (
                r#"{"\u0024serde_json::private::Number":"\u0031","b":1e2}"#,
                r#"{"$serde_json::private::Number":"1","b":1e+2}"#,
            ),
            (" 7\n", "7"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn nesting_has_a_limit_that_no_key_gets_around() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        parse(nested(127).as_bytes()).unwrap();
        let error = parse(nested(128).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("recursion limit exceeded"), "{error}");

        // JSON in a string in JSON: read anew at each level, it would go past the limit.
        let inner = Value::String(nested(127)).to_string();
        let key = "$serde_json::private::RawValue";
        let value = parse(format!("{{\"{key}\":{inner}}}").as_bytes()).unwrap();
        assert!(value[key].is_string());
    }
}
