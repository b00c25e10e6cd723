//! Values of protobuf's `Struct`: what is read from one, and one that is written.

use super::super::fields::Fault;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// A text of this name; empty if there is none.
pub(super) fn text(fields: Option<&Struct>, name: &str) -> String {
    let value = fields.and_then(|fields| fields.fields.get(name));
    value.and_then(as_text).unwrap_or_default().to_owned()
}

/// The texts of the first of these names that is there: one, or a list of them.
pub(super) fn names<const N: usize>(fields: Option<&Struct>, of: [&str; N]) -> Result<Vec<String>, Fault> {
    let Some(fields) = fields else { return Ok(Vec::new()) };
    let Some(value) = of.iter().find_map(|name| fields.fields.get(*name)) else { return Ok(Vec::new()) };
    let fault = || Fault(format!("`{}` is neither a text nor a list of texts", of.join("` or `")));
    match &value.kind {
        Some(Kind::StringValue(name)) => Ok(vec![name.clone()]),
        Some(Kind::ListValue(list)) => {
            let all = list.values.iter().map(|value| as_text(value).map(str::to_owned).ok_or_else(fault));
            all.collect()
        }
        _ => Err(fault()),
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// A struct of texts.
pub(super) fn of_texts<const N: usize>(texts: [(&str, String); N]) -> Struct {
    let value = |text| Value { kind: Some(Kind::StringValue(text)) };
    Struct { fields: texts.into_iter().map(|(name, text)| (name.to_owned(), value(text))).collect() }
}
