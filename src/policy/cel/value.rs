//! Values while a condition runs, and how two of them compare.

use crate::domain::json::Json;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value<'f> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'f, str>),
    /// Microseconds since 1970.
    Time(i64),
    /// Microseconds.
    Span(i64),
    List(Rc<[Value<'f>]>),
    Items(&'f [Json<'f>]),
    Fields(&'f [(Cow<'f, str>, Json<'f>)]),
}

impl<'f> Value<'f> {
    /// The value of JSON. Integers beyond 64 bits with a sign become doubles.
    pub(super) fn of_json(json: &'f Json<'f>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Integer(value) => i64::try_from(*value).map_or(Self::Double(*value as f64), Self::Int),
            Json::Float(value) => Self::Double(*value),
            Json::Text(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(items) => Self::Items(items),
            Json::Object(fields) => Self::Fields(fields),
        }
    }

    /// A list of texts.
    pub(super) fn texts<'t: 'f>(texts: impl Iterator<Item = &'t str>) -> Self {
        Self::List(texts.map(|text| Value::Text(Cow::Borrowed(text))).collect())
    }

    /// What kind of value it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Double(_) => "a number",
            Self::Text(_) => "a text",
            Self::Time(_) => "a time",
            Self::Span(_) => "a duration",
            Self::List(_) | Self::Items(_) => "a list",
            Self::Fields(_) => "a map",
        }
    }

    /// Items of a list, or keys of a map; none for what has none.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.to_vec()),
            Self::Items(items) => Some(items.iter().map(Self::of_json).collect()),
            Self::Fields(fields) => {
                Some(fields.iter().map(|(key, _)| Self::Text(Cow::Borrowed(key))).collect())
            }
            _ => None,
        }
    }

    /// How many letters, items or fields; none for what has no size.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::List(items) => Some(items.len()),
            Self::Items(items) => Some(items.len()),
            Self::Fields(fields) => Some(fields.len()),
            _ => None,
        }
    }

    /// Steps that looking at the whole value costs beyond one.
    pub(super) fn weight(&self) -> u32 {
        let bytes = match self {
            Self::Text(text) => text.len(),
            other => other.size().unwrap_or(0),
        };
        u32::try_from(bytes / 64).unwrap_or(u32::MAX)
    }
}

/// The order of two numbers, texts, times or durations; none if they have none. Integers and doubles
/// compare by their mathematical values.
pub(super) fn order(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => order_mixed(*a, *b),
        (Value::Double(a), Value::Int(b)) => order_mixed(*b, *a).map(Ordering::reverse),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) | (Value::Span(a), Value::Span(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Exact: a double of 2^63 or more is over every integer, below it its whole part fits one.
fn order_mixed(int: i64, double: f64) -> Option<Ordering> {
    const EDGE: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        None
    } else if double >= EDGE {
        Some(Ordering::Less)
    } else if double < -EDGE {
        Some(Ordering::Greater)
    } else {
        let whole = libm::trunc(double);
        let rest = double - whole;
        Some((int.cmp(&(whole as i64))).then(0.0_f64.partial_cmp(&rest)?))
    }
}
