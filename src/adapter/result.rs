//! The text of a result, whatever form a client gives it in.

use super::envelope::Ending;
use super::fields::Fields;
use crate::domain::call::limits::RESULT_BYTES_MAX;
use crate::proto::v1::OutcomeStatus;
use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes of an error's text that are handed in.
const ERROR_BYTES_MAX: usize = 16 * 1024;
/// Fields that say how a result is made, not what it says.
const FORM: [&str; 8] =
    ["type", "mimeType", "media_type", "result_type", "resultType", "interrupted", "isImage", "format"];

/// A call that ended with this result.
pub(super) fn ended(result: Option<&RawValue>) -> Ending {
    let raw = result.map_or("", RawValue::get);
    let value: Value = serde_json::from_str(raw).unwrap_or_default();
    // Some clients put the result's JSON into a text.
    let value = match &value {
        Value::String(inner) if inner.starts_with(['{', '[']) => serde_json::from_str(inner).unwrap_or(value),
        _ => value,
    };
    let mut text = String::new();
    // What the model is shown, where the client says it apart from what its user is shown.
    gather(value.get("llmContent").unwrap_or(&value), &mut text);
    let failed = ["isError", "is_error"].iter().any(|name| value.get(name) == Some(&Value::Bool(true)));
    let error = value.get("error").filter(|error| !error.is_null());
    let status = if failed || error.is_some() { OutcomeStatus::Error } else { OutcomeStatus::Ok };
    let error = error.map(|error| match error {
        Value::String(error) => error.clone(),
        other => other.to_string(),
    });
    Ending {
        status,
        text,
        bytes: raw.len() as u64,
        error: clipped(error.unwrap_or_default(), ERROR_BYTES_MAX),
        milliseconds: None,
    }
}

/// A call that failed, or never ran, with what the client says of it.
pub(super) fn failed(error: String, never_ran: bool) -> Ending {
    let status = if never_ran { OutcomeStatus::Abandoned } else { OutcomeStatus::Error };
    let bytes = error.len() as u64;
    Ending { status, text: String::new(), bytes, error: clipped(error, ERROR_BYTES_MAX), milliseconds: None }
}

/// How long the call took, where the client says so under one of these names.
pub(super) fn took(mut ending: Ending, fields: &Fields<'_>, names: &[&str]) -> Ending {
    ending.milliseconds = names.iter().find_map(|name| fields.number(name));
    ending
}

/// Adds the texts of a value, one a line, in their order.
fn gather(value: &Value, text: &mut String) {
    if text.len() >= RESULT_BYTES_MAX {
        return;
    }
    match value {
        Value::String(part) if !part.is_empty() => {
            if !text.is_empty() {
                text.push('\n');
            }
            let left = RESULT_BYTES_MAX.saturating_sub(text.len());
            let end = part.floor_char_boundary(left);
            text.push_str(part.get(..end).unwrap_or_default());
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, text)),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(name, _)| !FORM.contains(&name.as_str()));
            said.for_each(|(_, item)| gather(item, text));
        }
        _ => {}
    }
}

fn clipped(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Ending {
        ended(Some(serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn texts_of_results() {
        let shell = of(r#"{"stdout":"one\ntwo","stderr":"","interrupted":false,"isImage":false}"#);
        assert_eq!((shell.text.as_str(), shell.status), ("one\ntwo", OutcomeStatus::Ok));
        let mcp =
            of(r#"{"content":[{"type":"text","text":"hello"},{"type":"text","text":"you"}],"isError":true}"#);
        assert_eq!((mcp.text.as_str(), mcp.status), ("hello\nyou", OutcomeStatus::Error));
        assert_eq!(of(r#""plain""#).text, "plain");
        assert_eq!(of(r#""{\"output\":\"inner\"}""#).text, "inner");
        let failed = of(r#"{"llmContent":"no","error":{"message":"file not found"}}"#);
        assert!(failed.error.contains("not found") && failed.status == OutcomeStatus::Error);
        assert_eq!((ended(None).text, ended(None).bytes), (String::new(), 0));
    }

    #[test]
    fn long_texts_are_clipped_and_their_size_is_told() {
        let long = format!("\"{}\"", "ä".repeat(RESULT_BYTES_MAX));
        let ending = of(&long);
        assert!(ending.text.len() <= RESULT_BYTES_MAX && ending.text.len() > RESULT_BYTES_MAX - 4);
        assert_eq!(ending.bytes, long.len() as u64);
    }
}
