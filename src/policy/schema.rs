//! Arguments against a tool's JSON Schema.
//!
//! Schemas come from servers that are not trusted, so: references to other documents are refused, regular
//! expressions run in linear time, and a schema that refers to itself or unfolds to more than
//! [`UNFOLDED_MAX`] parts is not used. A schema that cannot be used is said to be so; it is never skipped.

use serde_json::Value;
use std::collections::BTreeMap;

/// Parts of a schema with every reference written out.
const UNFOLDED_MAX: u64 = 20_000;
/// Parts of a schema times parts of the arguments: about how many comparisons a check may take.
const WORK_MAX: u64 = 4_000_000;
/// Bytes of a path that is told.
const PATH_BYTES_MAX: usize = 200;
/// Bytes of a compiled regular expression.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// A schema ready to check.
#[derive(Debug)]
pub struct Schema {
    validator: Option<Box<jsonschema::Validator>>,
    unfolded: u64,
    unusable: String,
}

/// Refuses every document but the schema itself.
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("refers to another document, {uri}").into())
    }
}

impl Schema {
    /// Compiles a schema; an empty text admits everything.
    pub fn new(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self { validator: None, unfolded: 0, unusable: String::new() };
        }
        match compile(text) {
            Ok((validator, unfolded)) => {
                Self { validator: Some(Box::new(validator)), unfolded, unusable: String::new() }
            }
            Err(why) => Self { validator: None, unfolded: 0, unusable: why },
        }
    }

    /// Why it cannot be used; empty: it can.
    pub fn unusable(&self) -> &str {
        &self.unusable
    }

    /// Where and how arguments do not match; empty: they do. Values are not told, only their places.
    pub fn fault(&self, arguments: &[u8]) -> String {
        if !self.unusable.is_empty() {
            return format!("the tool's schema cannot be used: it {}", self.unusable);
        }
        let Some(validator) = &self.validator else { return String::new() };
        let Ok(value) = serde_json::from_slice::<Value>(arguments) else {
            return "the arguments are no JSON".to_owned();
        };
        let work = self.unfolded.saturating_mul(parts(&value));
        if work > WORK_MAX {
            return "the arguments are too large to be checked against the tool's schema".to_owned();
        }
        let Some(error) = validator.iter_errors(&value).next() else { return String::new() };
        let path = error.instance_path().to_string();
        let what = if path.is_empty() {
            "the arguments break".to_owned()
        } else {
            format!("{} breaks", clip(&path))
        };
        let rule = error.schema_path().to_string();
        format!("{what} {} of the tool's schema", clip(&rule))
    }
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(PATH_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("").chars().flat_map(char::escape_debug).collect()
}

fn compile(text: &[u8]) -> Result<(jsonschema::Validator, u64), String> {
    let schema: Value = serde_json::from_slice(text).map_err(|_| "is no JSON".to_owned())?;
    let unfolded = unfold(&schema)?;
    let patterns =
        jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let built = jsonschema::options()
        .with_retriever(Nowhere)
        .with_pattern_options(patterns)
        .should_validate_formats(false)
        .build(&schema);
    let validator = built.map_err(|fault| format!("is no JSON Schema: {}", clip(&fault.to_string())))?;
    Ok((validator, unfolded))
}

/// How many parts the schema has with its references written out.
fn unfold(schema: &Value) -> Result<u64, String> {
    let mut known = BTreeMap::new();
    let total = size(schema, schema, &mut known, 0)?;
    if total > UNFOLDED_MAX {
        return Err(format!("unfolds to more than {UNFOLDED_MAX} parts"));
    }
    Ok(total)
}

/// References inside each other.
const NESTING_MAX: usize = 64;

/// `known` holds sizes of references; none: being unfolded, so that meeting it again is a circle.
fn size(
    part: &Value,
    root: &Value,
    known: &mut BTreeMap<String, Option<u64>>,
    depth: usize,
) -> Result<u64, String> {
    if depth > NESTING_MAX * 4 {
        return Err("is nested too deep".to_owned());
    }
    let mut total = 1_u64;
    match part {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "$dynamicRef" || key == "$recursiveRef" {
                    return Err(format!("uses {key}"));
                }
                if let ("$ref", Value::String(target)) = (key.as_str(), value) {
                    total = total.saturating_add(reference(target, root, known, depth)?);
                } else {
                    total = total.saturating_add(size(value, root, known, depth + 1)?);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                total = total.saturating_add(size(item, root, known, depth + 1)?);
            }
        }
        _ => {}
    }
    Ok(total)
}

fn reference(
    target: &str,
    root: &Value,
    known: &mut BTreeMap<String, Option<u64>>,
    depth: usize,
) -> Result<u64, String> {
    match known.get(target) {
        Some(Some(size)) => return Ok(*size),
        Some(None) => return Err(format!("refers to itself at {}", clip(target))),
        None => {}
    }
    let Some(pointer) = target.strip_prefix('#') else {
        return Err(format!("refers to another document, {}", clip(target)));
    };
    let Some(found) = root.pointer(pointer) else {
        return Err(format!("refers to {}, which is not in it", clip(target)));
    };
    known.insert(target.to_owned(), None);
    let total = size(found, root, known, depth + 1)?;
    known.insert(target.to_owned(), Some(total));
    Ok(total)
}

/// How many values there are in a value.
fn parts(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(parts).sum::<u64>() + 1,
        Value::Object(fields) => fields.values().map(parts).sum::<u64>() + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, arguments: &str, expected: &str) {
        assert_eq!(
            Schema::new(schema.as_bytes()).fault(arguments.as_bytes()),
            expected,
            "{schema} {arguments}"
        );
    }

    const SCALE: &str = r##"{"type":"object","required":["service"],"additionalProperties":false,
        "properties":{"service":{"type":"string","pattern":"^[a-z-]+$"},"count":{"$ref":"#/$defs/n"}},
        "$defs":{"n":{"type":"integer","minimum":1,"maximum":50}}}"##;

    #[test]
    fn the_failing_place_is_told_and_the_value_is_not() {
        check(SCALE, r#"{"service":"api","count":3}"#, "");
        check(
            SCALE,
            r#"{"service":"api","count":99}"#,
            "/count breaks /$defs/n/maximum of the tool's schema",
        );
        check(
            SCALE,
            r#"{"service":"my secret"}"#,
            "/service breaks /properties/service/pattern of the tool's schema",
        );
        check(SCALE, r#"{"count":3}"#, "the arguments break /required of the tool's schema");
        check(
            SCALE,
            r#"{"service":"api","force":true}"#,
            "the arguments break /additionalProperties of the tool's schema",
        );
        check("", r#"{"any":1}"#, "");
        check("{}", r#"{"any":1}"#, "");
    }

    fn unusable(schema: &str, part: &str) {
        let schema = Schema::new(schema.as_bytes());
        assert!(schema.unusable().contains(part), "{:?} should say {part:?}", schema.unusable());
        assert!(schema.fault(b"{}").contains("cannot be used"));
    }

    #[test]
    fn what_is_not_trusted_is_not_followed() {
        unusable(r#"{"$ref":"https://evil.example/schema.json"}"#, "another document");
        unusable(r#"{"properties":{"a":{"$ref":"file:///etc/passwd"}}}"#, "another document");
        unusable(r##"{"properties":{"a":{"$ref":"#"}}}"##, "refers to itself");
        unusable(r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##, "refers to itself");
        unusable(r##"{"$ref":"#/nowhere"}"##, "not in it");
        unusable(r#"{"type":"objekt"}"#, "no JSON Schema");
        unusable("[", "no JSON");
        let mut doubling = String::from(r#"{"$defs":{"d0":{"type":"string"}"#);
        for level in 1..30 {
            let below = level - 1;
            doubling.push_str(&format!(
                r##","d{level}":{{"allOf":[{{"$ref":"#/$defs/d{below}"}},{{"$ref":"#/$defs/d{below}"}}]}}"##
            ));
        }
        doubling.push_str("}}");
        unusable(&doubling, "unfolds to more than");
    }

    #[test]
    fn a_check_that_would_take_long_is_not_begun() {
        let many: Vec<String> = (0..3_000).map(|n| format!(r#""p{n}":{{"type":"string"}}"#)).collect();
        let schema = format!(r#"{{"items":{{"properties":{{{}}}}}}}"#, many.join(","));
        let arguments = format!("[{}0]", "0,".repeat(5_000));
        check(&schema, &arguments, "the arguments are too large to be checked against the tool's schema");
    }
}
