//! A call's arguments to features: the one function for live, replay and evaluation.
//!
//! Each scalar in the arguments becomes an [`ArgumentFeature`]: a keyed hash of its path (array indices
//! dropped, so that `to[0]` and `to[1]` share a history), a keyed hash of its value, its magnitude and its
//! kind. Values themselves are never kept. Arguments must be masked before they come here, so that a
//! secret is only ever seen as its digest.

use crate::domain::call::{ArgumentFeature, CallWords, limits};
use crate::domain::json::Json;
use crate::stats::fingerprint::FingerprintKey;
use crate::stats::words::each_word;

/// Kinds of values, as stored.
pub mod kind {
    /// `null`
    pub const NULL: u8 = 0;
    /// `true` or `false`
    pub const BOOL: u8 = 1;
    /// Any number.
    pub const NUMBER: u8 = 2;
    /// A string.
    pub const TEXT: u8 = 3;
    /// An array or object without elements.
    pub const EMPTY: u8 = 4;
}

/// Bytes of a text for each of its words, more or less: how much room its words are given at once.
const WORD_BYTES_USUAL: usize = 8;

/// Features of `arguments`, in document order, and how many scalars lay beyond the limit.
pub fn of_arguments(arguments: &Json<'_>, key: &FingerprintKey) -> (Vec<ArgumentFeature>, u32) {
    let mut walk = Walk { key, features: Vec::with_capacity(8), dropped: 0 };
    walk.visit(0, arguments);
    (walk.features, walk.dropped)
}

/// Words of the scalars in `arguments`, in the order of [`of_arguments`]: numbers and texts, without words of
/// one or two letters.
pub fn words_of_arguments(arguments: &Json<'_>, key: &FingerprintKey) -> CallWords {
    let mut found = CallWords { counts: Vec::with_capacity(8), ..CallWords::default() };
    visit_words(arguments, key, &mut found);
    found
}

fn visit_words(json: &Json<'_>, key: &FingerprintKey, found: &mut CallWords) {
    if found.counts.len() == limits::ARGUMENT_PATHS_MAX {
        return;
    }
    let mut take = |text: &str| {
        let room = limits::ARGUMENTS_WORDS_MAX.saturating_sub(found.arguments.len());
        let room = room.min(limits::ARGUMENT_WORDS_MAX);
        let before = found.arguments.len();
        found.arguments.reserve((text.len() / WORD_BYTES_USUAL).min(room));
        each_word(text, key, |word| {
            let taken = found.arguments.len() - before;
            if word.letters > 2 && taken < room {
                found.arguments.push(word.print);
            }
            taken < room
        });
        found.counts.push((found.arguments.len() - before) as u8);
    };
    match json {
        Json::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(_, value)| visit_words(value, key, found));
        }
        Json::Array(items) if !items.is_empty() => {
            items.iter().for_each(|item| visit_words(item, key, found));
        }
        Json::Text(text) => take(text),
        Json::Integer(value) => take(&value.to_string()),
        Json::Float(value) => take(&value.to_string()),
        _ => found.counts.push(0),
    }
}

/// Names of the paths, in the same order as the features: for whoever renders a finding.
pub fn path_names(arguments: &Json<'_>) -> Vec<String> {
    let mut names = Vec::new();
    name_paths(arguments, String::new(), &mut names);
    names.truncate(limits::ARGUMENT_PATHS_MAX);
    names
}

fn name_paths(json: &Json<'_>, path: String, names: &mut Vec<String>) {
    if names.len() >= limits::ARGUMENT_PATHS_MAX {
        return;
    }
    match json {
        Json::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let name = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                name_paths(value, name, names);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            items.iter().for_each(|item| name_paths(item, format!("{path}[]"), names));
        }
        _ => names.push(path),
    }
}

struct Walk<'k> {
    key: &'k FingerprintKey,
    features: Vec<ArgumentFeature>,
    dropped: u32,
}

impl Walk<'_> {
    fn visit(&mut self, path: u64, json: &Json<'_>) {
        match json {
            Json::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let inner = crate::stats::fingerprint::mix(path, self.key.text(key));
                    self.visit(inner, value);
                }
            }
            Json::Array(items) if !items.is_empty() => {
                items.iter().for_each(|item| self.visit(path ^ ARRAY_MARK, item));
            }
            scalar => self.push(path, scalar),
        }
    }

    fn push(&mut self, path: u64, scalar: &Json<'_>) {
        if self.features.len() == limits::ARGUMENT_PATHS_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let (value, magnitude, kind) = match scalar {
            Json::Null => (0, 0, kind::NULL),
            Json::Bool(value) => (u64::from(*value) + 1, 0, kind::BOOL),
            Json::Integer(value) => (
                self.key.numbers(&[*value as u64, (*value >> 64) as u64]),
                magnitude(*value as f64),
                kind::NUMBER,
            ),
            Json::Float(value) => (self.key.numbers(&[value.to_bits(), 1]), magnitude(*value), kind::NUMBER),
            Json::Text(text) => (self.key.text(text), magnitude(text.len() as f64), kind::TEXT),
            Json::Array(_) | Json::Object(_) => (0, 0, kind::EMPTY),
        };
        self.features.push(ArgumentFeature { path: fold(path), value: fold(value), magnitude, kind });
    }
}

/// Sets array elements apart from the fields of an object.
const ARRAY_MARK: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes of the telling values of a text, made as those of argument values: words of 7 to 256 bytes that
/// hold a digit or a sign that values have, such as `@` or `/`. The first [`BROUGHT_MAX`] different ones.
pub fn brought(text: &str, key: &FingerprintKey) -> Vec<u32> {
    let mut found = Vec::new();
    for word in text.split(|letter: char| letter.is_whitespace() || "\"'`{}[]()<>,;=|\\".contains(letter)) {
        let word = word.trim_matches(|letter: char| ".:!?".contains(letter));
        let value_like = |byte: u8| byte.is_ascii_digit() || b"@/_-.:%+".contains(&byte);
        if !(TELLING_BYTES.contains(&word.len()) && word.bytes().any(value_like)) {
            continue;
        }
        let hash = fold(key.text(word));
        if !found.contains(&hash) {
            found.push(hash);
        }
        if found.len() == BROUGHT_MAX {
            break;
        }
    }
    found
}

/// Values kept of one result.
pub const BROUGHT_MAX: usize = 32;
/// Lengths of words that tell.
const TELLING_BYTES: std::ops::RangeInclusive<usize> = 7..=256;

fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// Half-octave bin of a number: 128 for zero, one more for each factor of the square root of two in
/// `|x| + 1`, mirrored below 128 for negative numbers. Saturates at 0 and 255; exact integer arithmetic.
pub fn magnitude(number: f64) -> u8 {
    let size = number.abs() + 1.0;
    if !size.is_finite() {
        return if number < 0.0 { 0 } else { 255 };
    }
    let bits = size.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let upper_half = (bits & ((1 << 52) - 1)) >= SQRT_2_MANTISSA;
    let bin = (2 * exponent + i64::from(upper_half)).clamp(0, 127);
    let signed = if number < 0.0 { 128 - bin } else { 128 + bin };
    signed.clamp(0, 255) as u8
}

/// Mantissa bits of the square root of two.
const SQRT_2_MANTISSA: u64 = 0x6_a09e_667f_3bcd;

#[cfg(test)]
mod tests {
    use super::*;

    fn features(text: &str) -> Vec<ArgumentFeature> {
        let json = Json::parse(text.as_bytes()).unwrap();
        of_arguments(&json, &FingerprintKey::new([3; 16])).0
    }

    #[test]
    fn paths_ignore_array_places_and_values_differ() {
        let list = features(r#"{"to":["a@x","b@x"],"n":5}"#);
        assert_eq!(list.len(), 3);
        assert_eq!(list[0].path, list[1].path);
        assert_ne!(list[0].value, list[1].value);
        assert_ne!(list[0].path, list[2].path);
        assert_ne!(features(r#"{"to":"a@x"}"#)[0].path, list[0].path);
    }

    #[test]
    fn names_go_with_features() {
        let json = Json::parse(br#"{"a":{"b":1,"c":[true,{"d":null}]},"e":[]}"#).unwrap();
        assert_eq!(path_names(&json), ["a.b", "a.c[]", "a.c[].d", "e"]);
        assert_eq!(of_arguments(&json, &FingerprintKey::new([0; 16])).0.len(), 4);
    }

    #[test]
    fn values_of_a_result_are_known_again_as_arguments() {
        let key = FingerprintKey::new([3; 16]);
        let text = r#"{"iban":"DE89370400440532013000","to":"eve@evil.example, please","note":"transfer"}"#;
        let found = brought(text, &key);
        let argument = |value: &str| features(&format!("{{\"a\":\"{value}\"}}"))[0].value;
        assert_eq!(found, [argument("DE89370400440532013000"), argument("eve@evil.example")]);
        let many: String = (0..100).map(|n| format!("value-{n} ")).collect();
        assert_eq!(brought(&many, &key).len(), BROUGHT_MAX);
    }

    #[test]
    fn magnitudes_are_ordered_and_bounded() {
        assert_eq!(magnitude(0.0), 128);
        assert_eq!(magnitude(1.0), 130);
        assert_eq!(magnitude(-1.0), 126);
        assert_eq!(magnitude(f64::MAX), 255);
        assert_eq!(magnitude(f64::INFINITY), 255);
        assert_eq!(magnitude(f64::NEG_INFINITY), 0);
        let rising = [-1e9, -7.0, 0.0, 1.0, 3.0, 8.0, 400.0, 1e12].map(magnitude);
        assert!(rising.is_sorted(), "{rising:?}");
    }

    #[test]
    fn the_limit_is_counted_not_crossed() {
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let json = format!("[{}]", many.join(","));
        let json = Json::parse(json.as_bytes()).unwrap();
        let (features, dropped) = of_arguments(&json, &FingerprintKey::new([0; 16]));
        assert_eq!((features.len(), dropped), (32, 68));
    }
}
