//! A client's call, rewritten where the server must not see it as it came: what it brings back for us, and what
//! follows a task instead of a request. Whatever else is in it stays as it stands.

use super::peek::{Id, Key};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What a client can do, as it tells it with every request.
const ABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A call's message without what its client brings back, for a server that never gave it. None: it is no call.
pub fn without_answers(message: &[u8]) -> Option<Vec<u8>> {
    let strip =
        |key: &str, raw: &str| (!matches!(key, "requestState" | "inputResponses")).then(|| raw.to_owned());
    of_message(message, &|key, raw| match key {
        "params" => rewritten(raw, &strip),
        _ => Some(raw.to_owned()),
    })
}

/// A call's message under an id of ours, whose answer comes when its client does not wait for it any more: no progress
/// is to be told, and nothing can be asked of the client. None: it is no call.
pub fn as_own(message: &[u8], id: &Id) -> Option<Vec<u8>> {
    let meta = |key: &str, raw: &str| match key {
        "progressToken" => None,
        ABILITIES => Some("{}".to_owned()),
        _ => Some(raw.to_owned()),
    };
    let params = |key: &str, raw: &str| match key {
        "_meta" => rewritten(raw, &meta),
        _ => Some(raw.to_owned()),
    };
    of_message(message, &|key, raw| match key {
        "id" => Some(id.json().to_owned()),
        "params" => rewritten(raw, &params),
        _ => Some(raw.to_owned()),
    })
}

fn of_message(message: &[u8], change: &dyn Fn(&str, &str) -> Option<String>) -> Option<Vec<u8>> {
    let mut out = rewritten(std::str::from_utf8(message).ok()?, change)?.into_bytes();
    if message.ends_with(b"\n") {
        out.push(b'\n');
    }
    Some(out)
}

/// An object with other values; members without one are left out.
fn rewritten(text: &str, change: &dyn Fn(&str, &str) -> Option<String>) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members).ok()?;
    let kept = members.into_iter().filter_map(|(key, raw)| {
        change(&key, raw.get()).map(|value| format!("{}:{value}", serde_json::Value::from(key.as_ref())))
    });
    Some(format!("{{{}}}", kept.collect::<Vec<_>>().join(",")))
}

/// All members of an object, in their order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = access.next_key_seed(Key)? {
            members.push((key, access.next_value()?));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_under_an_id_of_ours_asks_nothing_of_its_client() {
        let message = concat!(
            r#"{"id":7,"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","arguments":{"x":1.50},"#,
            r#""_meta":{"progressToken":"p","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"y":[2]}}}"#,
            "\n"
        );
        let own = as_own(message.as_bytes(), &Id::of_text("askance-1")).unwrap();
        let wanted = concat!(
            r#"{"id":"askance-1","jsonrpc":"2.0","method":"tools/call","params":{"name":"a","arguments":{"x":1.50},"#,
            r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{},"y":[2]}}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(own).unwrap(), wanted);
        assert!(as_own(b"[]", &Id::of_text("x")).is_none());
    }
}
