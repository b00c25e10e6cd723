//! Functions of conditions: a table for the checker, and what they do.

use super::eval::Failure;
use super::value::Value;
use crate::domain::time::Timestamp;
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// A function, after its arguments were checked.
#[derive(Clone, Debug)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    Int,
    Double,
    Text,
    Hours(TimeZone),
    Minutes(TimeZone),
    DayOfWeek(TimeZone),
    Seconds,
}

/// Names that can follow a dot or stand alone, for the nearest name of an unknown one.
pub(super) const NAMES: [&str; 21] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "int",
    "double",
    "string",
    "timestamp",
    "duration",
    "getHours",
    "getMinutes",
    "getDayOfWeek",
    "getSeconds",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
];

/// What a function gives for these values.
pub(super) fn call<'f>(function: &Function, values: &[Value<'f>]) -> Result<Value<'f>, Failure> {
    let wrong = |name: &str| {
        let kinds: Vec<&str> = values.iter().map(Value::kind).collect();
        Failure::Kind(format!("{name} does not take {}", kinds.join(" and ")))
    };
    match (function, values) {
        (Function::Size, [value]) => {
            let size = value.size().ok_or_else(|| wrong("size"))?;
            Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
        }
        (Function::Contains, [Value::Text(text), Value::Text(part)]) => {
            Ok(Value::Bool(text.contains(part.as_ref())))
        }
        (Function::StartsWith, [Value::Text(text), Value::Text(part)]) => {
            Ok(Value::Bool(text.starts_with(part.as_ref())))
        }
        (Function::EndsWith, [Value::Text(text), Value::Text(part)]) => {
            Ok(Value::Bool(text.ends_with(part.as_ref())))
        }
        (Function::LowerAscii, [Value::Text(text)]) => Ok(Value::Text(Cow::Owned(text.to_ascii_lowercase()))),
        (Function::Int, [value]) => to_int(value).ok_or_else(|| wrong("int")),
        (Function::Double, [value]) => to_double(value).ok_or_else(|| wrong("double")),
        (Function::Text, [value]) => to_text(value).ok_or_else(|| wrong("string")),
        (Function::Hours(zone), [Value::Time(at)]) => local(*at, zone, |local| local.hour().into()),
        (Function::Minutes(zone), [Value::Time(at)]) => local(*at, zone, |local| local.minute().into()),
        (Function::DayOfWeek(zone), [Value::Time(at)]) => {
            local(*at, zone, |local| local.date().weekday().to_sunday_zero_offset().into())
        }
        (Function::Seconds, [Value::Span(span)]) => Ok(Value::Int(span / 1_000_000)),
        _ => Err(wrong("the function")),
    }
}

fn local<'f>(
    at: i64,
    zone: &TimeZone,
    part: impl FnOnce(&jiff::civil::DateTime) -> i64,
) -> Result<Value<'f>, Failure> {
    let instant = jiff::Timestamp::from_microsecond(at);
    let instant =
        instant.map_err(|_| Failure::Range("the time is outside the years 1 to 9999".to_owned()))?;
    Ok(Value::Int(part(&zone.to_datetime(instant))))
}

fn to_int<'f>(value: &Value<'f>) -> Option<Value<'f>> {
    match value {
        Value::Int(value) => Some(Value::Int(*value)),
        Value::Double(value) if value.abs() < 9_007_199_254_740_992.0 => Some(Value::Int(*value as i64)),
        Value::Text(text) if text.len() <= 20 => text.parse().ok().map(Value::Int),
        Value::Time(at) => Some(Value::Int(at.div_euclid(1_000_000))),
        _ => None,
    }
}

fn to_double<'f>(value: &Value<'f>) -> Option<Value<'f>> {
    match value {
        Value::Int(value) => Some(Value::Double(*value as f64)),
        Value::Double(value) => Some(Value::Double(*value)),
        Value::Text(text) if text.len() <= 32 => text.parse().ok().map(Value::Double),
        _ => None,
    }
}

fn to_text<'f>(value: &Value<'f>) -> Option<Value<'f>> {
    let text = match value {
        Value::Text(text) => return Some(Value::Text(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Time(at) => Timestamp::from_micros(*at).to_string(),
        _ => return None,
    };
    Some(Value::Text(Cow::Owned(text)))
}
