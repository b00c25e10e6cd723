//! The fields of a client's message: one JSON object, each key once.
//!
//! What stands before a fault is kept, so that a message that breaks off still tells which event it was about.

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Fields a message may have.
const FIELDS_MAX: usize = 256;

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

/// A message's fields, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    found: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// The fields that could be read, and what is wrong with the rest.
    pub(super) fn read(message: &'a [u8]) -> (Self, Option<Fault>) {
        let mut fields = Self::default();
        let text = match std::str::from_utf8(message) {
            Ok(text) => text,
            // The part before a torn or foreign byte may still tell what it is about.
            Err(fault) => message
                .get(..fault.valid_up_to())
                .map_or("", |part| std::str::from_utf8(part).unwrap_or_default()),
        };
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_map(Into(&mut fields)).and_then(|()| reader.end());
        let cut = text.len() < message.len();
        let fault = match read {
            Ok(()) if !cut => None,
            Ok(()) => Some("bytes that are no UTF-8 follow the message".to_owned()),
            Err(fault) => Some(format!("the message is not one JSON object: {fault}")),
        };
        (fields, fault.map(Fault))
    }

    /// A field as it stands.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.found.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// These fields, and those of `others` by these names that are not among them.
    pub(super) fn or(&self, others: &Self, names: &[&str]) -> Self {
        let mut found = self.found.clone();
        found.retain(|(key, _)| self.has(key));
        let further = others.found.iter().filter(|(key, _)| names.contains(&key.as_ref()));
        found.extend(further.filter(|(key, _)| !self.has(key)).cloned());
        Self { found }
    }

    /// Whether a field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// A field that is a text; empty if it is not there or null.
    pub(super) fn text(&self, name: &str) -> Result<String, Fault> {
        self.raw(name).map_or_else(|| Ok(String::new()), |value| text_of(name, value))
    }

    /// The first of these fields that is there, which is a text.
    pub(super) fn first_text(&self, names: &[&str]) -> Result<String, Fault> {
        names.iter().find(|name| self.has(name)).map_or_else(|| Ok(String::new()), |name| self.text(name))
    }

    /// A text that must be there.
    pub(super) fn must(&self, names: &[&str]) -> Result<String, Fault> {
        let text = self.first_text(names)?;
        if text.is_empty() {
            Err(Fault(format!("the field `{}` is missing", names.join("` or `"))))
        } else {
            Ok(text)
        }
    }

    /// A whole number, if there is one; digits behind the point are cut off.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let number: f64 = serde_json::from_str(self.raw(name)?.get()).ok()?;
        // Casts of floats saturate; what is negative or no number becomes 0.
        number.is_finite().then_some(number.max(0.0) as u64)
    }

    /// Whether a field is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| value.get() == "true")
    }

    /// The fields of a field that is an object.
    pub(super) fn inside(&self, name: &str) -> Fields<'a> {
        self.raw(name).map_or_else(Fields::default, |value| Fields::read(value.get().as_bytes()).0)
    }

    /// The fields of a field that is an object or not there, read as strictly as a message.
    pub(super) fn object(&self, name: &str) -> Result<Fields<'a>, Fault> {
        let Some(value) = self.raw(name) else { return Ok(Fields::default()) };
        match Fields::read(value.get().as_bytes()) {
            (fields, None) => Ok(fields),
            (_, Some(Fault(why))) => Err(Fault(format!("in the field `{name}`: {why}"))),
        }
    }

    /// The arguments of a call: an object as it stands; the object in a text; anything else under `input`.
    pub(super) fn arguments(&self, name: &str) -> Vec<u8> {
        let Some(value) = self.raw(name) else { return b"{}".to_vec() };
        if value.get().starts_with('{') {
            return value.get().as_bytes().to_vec();
        }
        let inner = serde_json::from_str::<String>(value.get()).unwrap_or_default();
        let inner = inner.trim();
        if inner.starts_with('{') && serde_json::from_str::<&RawValue>(inner).is_ok() {
            return inner.as_bytes().to_vec();
        }
        format!(r#"{{"input":{}}}"#, value.get()).into_bytes()
    }
}

fn text_of(name: &str, value: &RawValue) -> Result<String, Fault> {
    serde_json::from_str(value.get()).map_err(|_| Fault(format!("the field `{name}` is no text")))
}

struct Into<'f, 'a>(&'f mut Fields<'a>);

impl<'a> Visitor<'a> for Into<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Key<'a>>()? {
            let Key(key) = key;
            if self.0.found.iter().any(|(known, _)| *known == key) {
                return Err(M::Error::custom("a key stands there twice"));
            }
            if self.0.found.len() >= FIELDS_MAX {
                return Err(M::Error::custom("it has more than 256 fields"));
            }
            let value = map.next_value()?;
            self.0.found.push((key, value));
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_came_before_a_fault_is_kept() {
        let (fields, fault) = Fields::read(br#"{"hook_event_name":"PostToolUse","tool_response":"aaaa"#);
        assert_eq!(fields.text("hook_event_name"), Ok("PostToolUse".to_owned()));
        assert!(fault.is_some());
        let (fields, fault) = Fields::read(b"{\"a\":\"b\",\"c\":\"\xff\"}");
        assert_eq!((fields.text("a"), fault.is_some()), (Ok("b".to_owned()), true));
        for bad in ["", "[]", "7", "{\"a\":1,\"a\":2}", "{} {}", "{\"a\":1", "null"] {
            assert!(Fields::read(bad.as_bytes()).1.is_some(), "{bad}");
        }
    }

    #[test]
    fn arguments_keep_their_bytes() {
        let of = |text: &str| {
            let (fields, fault) = Fields::read(text.as_bytes());
            assert_eq!(fault, None);
            String::from_utf8(fields.arguments("a")).unwrap()
        };
        assert_eq!(of(r#"{"a": {"x": 1.50} }"#), r#"{"x": 1.50}"#);
        assert_eq!(of(r#"{"a":"{\"x\": 1}"}"#), r#"{"x": 1}"#);
        assert_eq!(of(r#"{"a":"ls"}"#), r#"{"input":"ls"}"#);
        assert_eq!(of(r#"{"a":"{x"}"#), r#"{"input":"{x"}"#);
        assert_eq!(of(r#"{"a":[1]}"#), r#"{"input":[1]}"#);
        assert_eq!((of(r#"{"a":null}"#), of("{}")), ("{}".to_owned(), "{}".to_owned()));
    }

    #[test]
    fn kinds_of_fields() {
        let (fields, _) = Fields::read(br#"{"n":12.7,"t":true,"s":"x","o":{"k":"v"},"m":-3}"#);
        assert_eq!((fields.number("n"), fields.number("m"), fields.number("s")), (Some(12), Some(0), None));
        assert!(fields.is_true("t") && !fields.is_true("s"));
        assert_eq!(fields.inside("o").text("k"), Ok("v".to_owned()));
        assert!(fields.text("n").is_err() && fields.must(&["a", "b"]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _read = Fields::read(&bytes);
        }
    }
}
