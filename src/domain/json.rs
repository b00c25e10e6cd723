//! A strict reading of JSON arguments: one meaning for one text, within bounds.
//!
//! Refused: duplicate keys (two parsers may disagree on which one counts), lone surrogates, numbers
//! that no `f64` holds, nesting deeper than [`DEPTH_MAX`], more than [`NODES_MAX`] values.
//! Integers keep their exact value up to 64 bits. Strings without escapes are borrowed from the text.
//!
//! Deliberately absent: schemas, and any judgement of the values.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// Deepest nesting accepted, in levels.
pub const DEPTH_MAX: usize = 64;
/// Most values (scalars, arrays and objects together) accepted in one text.
pub const NODES_MAX: usize = 20_000;

/// A JSON value. Objects keep the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer that fits 64 bits, signed or not.
    Integer(i128),
    /// Any other finite number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object; keys are unique.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Why a text is not acceptable JSON: what and where, fit to show to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl<'a> Json<'a> {
    /// Reads `text` strictly. The error names line, column and the fault.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let nodes = Cell::new(0);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let seed = Seed { depth: 0, nodes: &nodes };
        let value = seed.deserialize(&mut reader).map_err(|fault| Error(fault.to_string()))?;
        reader.end().map_err(|fault| Error(fault.to_string()))?;
        Ok(value)
    }

    /// The value with texts of its own.
    pub fn into_static(self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Integer(value) => Json::Integer(value),
            Self::Float(value) => Json::Float(value),
            Self::Text(text) => Json::Text(Cow::Owned(text.into_owned())),
            Self::Array(items) => Json::Array(items.into_iter().map(Json::into_static).collect()),
            Self::Object(fields) => {
                let own = |(key, value): (Cow<'a, str>, Json<'a>)| {
                    (Cow::Owned(key.into_owned()), value.into_static())
                };
                Json::Object(fields.into_iter().map(own).collect())
            }
        }
    }

    /// The value with the members of every object in the order of their names, which means nothing in JSON (RFC 8259
    /// section 1).
    pub fn sorted(self) -> Self {
        match self {
            Self::Array(items) => Json::Array(items.into_iter().map(Json::sorted).collect()),
            Self::Object(fields) => {
                let mut fields: Vec<_> =
                    fields.into_iter().map(|(key, value)| (key, value.sorted())).collect();
                fields.sort_by(|(one, _), (other, _)| one.cmp(other));
                Json::Object(fields)
            }
            scalar => scalar,
        }
    }

    /// Appends the value as compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Float(value) => write_scalar(value, out),
            Self::Text(text) => write_scalar(text.as_ref(), out),
            Self::Array(items) => {
                write_list(out, b"[]", items, |item, out| item.write(out));
            }
            Self::Object(fields) => write_list(out, b"{}", fields, |(key, value), out| {
                write_scalar(key.as_ref(), out);
                out.push(b':');
                value.write(out);
            }),
        }
    }
}

fn write_scalar<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing a scalar to memory cannot fail");
}

fn write_list<T>(out: &mut Vec<u8>, brackets: &[u8; 2], items: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(brackets[1]);
}

#[derive(Clone, Copy)]
struct Seed<'n> {
    depth: usize,
    nodes: &'n Cell<usize>,
}

impl Seed<'_> {
    fn enter<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX {
            return Err(D::Error::custom(format_args!("more than {NODES_MAX} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        if value.is_finite() { Ok(Json::Float(value)) } else { Err(E::custom("number out of range")) }
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let inner = self.enter()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let inner = self.enter()?;
        let mut fields: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(key) = access.next_key_seed(KeySeed)? {
            fields.push((key, access.next_value_seed(inner)?));
        }
        refuse_duplicates(&fields)?;
        Ok(Json::Object(fields))
    }
}

/// Linear for the usual handful of keys, by sorting for larger objects.
fn refuse_duplicates<E: serde::de::Error>(fields: &[(Cow<'_, str>, Json<'_>)]) -> Result<(), E> {
    let twice = if fields.len() <= 16 {
        let seen_before = |index: usize| fields[..index].iter().any(|(key, _)| *key == fields[index].0);
        (1..fields.len()).find(|&index| seen_before(index)).map(|index| fields[index].0.as_ref())
    } else {
        let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    };
    match twice {
        Some(key) => Err(E::custom(format_args!("duplicate key `{}`", key.escape_debug()))),
        None => Ok(()),
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let result = Json::parse(text.as_bytes()).map(|json| {
            let mut out = Vec::new();
            json.write(&mut out);
            String::from_utf8(out).unwrap()
        });
        match expected {
            Ok(compact) => assert_eq!(result.as_deref(), Ok(compact), "{text}"),
            Err(part) => {
                let fault = result.expect_err(text).to_string();
                assert!(fault.contains(part), "{fault:?} should contain {part:?}");
            }
        }
    }

    #[test]
    fn reads_what_has_one_meaning() {
        check(r#"{"b": [1, -2.5, "x\n"], "a": null}"#, Ok(r#"{"b":[1,-2.5,"x\n"],"a":null}"#));
        check("18446744073709551615", Ok("18446744073709551615"));
        check("true", Ok("true"));
    }

    #[test]
    fn refuses_what_has_two_meanings_or_none() {
        check(r#"{"a":1,"a":2}"#, Err("duplicate key `a`"));
        let many: Vec<String> = (0..20).map(|n| format!("\"k{}\":0", n % 19)).collect();
        check(&format!("{{{}}}", many.join(",")), Err("duplicate key `k0`"));
        check("1e999", Err("number out of range"));
        check("NaN", Err("line 1 column"));
        check(r#""\ud800""#, Err("line 1 column"));
        check("{} x", Err("trailing characters"));
        check("", Err("EOF"));
        check(&"[".repeat(10_000), Err("deeper than 64"));
        check(&format!("[{}0]", "0,".repeat(NODES_MAX)), Err("more than 20000 values"));
    }

    #[test]
    fn borrows_plain_strings() {
        let Json::Text(text) = Json::parse(br#""plain""#).unwrap() else { panic!("not a string") };
        assert!(matches!(text, Cow::Borrowed("plain")));
    }
}
