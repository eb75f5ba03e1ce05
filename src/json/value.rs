//! JSON text from outside into values.
//!
//! Not `serde_json::Value`'s own reading: that takes an object with the key `$serde_json::private::RawValue` (where the
//! feature is on, in whichever crate of the build) for JSON inside a string and reads it with a fresh nesting limit, so
//! a text could exhaust the host's stack.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The key under which `serde_json` hands over a number as it was written: a fraction, or beyond 64 bits.
const NUMBER: &str = "$serde_json::private::Number";

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
            if key == NUMBER && object.is_empty() {
                return map.next_value_seed(Digits).map(Value::Number);
            }
            object.insert(key, map.next_value_seed(Whole)?);
        }
        Ok(Value::Object(object))
    }
}

/// Reads the text of a number.
struct Digits;

impl<'de> DeserializeSeed<'de> for Digits {
    type Value = Number;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Number, D::Error> {
        String::deserialize(reader)?.parse().map_err(|_| D::Error::custom("invalid number"))
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
            (" 7\n", "7"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), printed, "{text}");
        }
        assert!(parse(br#"{"$serde_json::private::Number":"x"}"#).is_err());
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
