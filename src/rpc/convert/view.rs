//! A call's arguments as a person should see them: whole, indented, and unable to forge the screen.

use crate::domain::json::Json;
use crate::domain::text::is_deceptive;
use crate::proto::v1;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Warnings of one call.
const WARNINGS_MAX: usize = 16;
/// Letters in a row that look like an encoded payload.
const ENCODED_LETTERS_MIN: usize = 64;

/// The view of masked arguments. Nothing is left out.
pub(in crate::rpc) fn argument_view(arguments: &[u8], erased: bool) -> v1::ArgumentView {
    if erased {
        let warnings = vec!["the arguments were erased; only their digest is left".to_owned()];
        return v1::ArgumentView { warnings, ..v1::ArgumentView::default() };
    }
    let mut warnings = BTreeSet::new();
    let indented = indent(arguments);
    let text = escape(&indented, &mut warnings);
    warn_of_words(&indented, &mut warnings);
    v1::ArgumentView {
        lines: u32::try_from(text.lines().count()).unwrap_or(u32::MAX),
        text,
        size_bytes: arguments.len() as u64,
        masked_pointers: masked_pointers(arguments),
        warnings: warnings.into_iter().take(WARNINGS_MAX).collect(),
    }
}

/// The JSON with one value a line; the text as it is if it is no JSON.
fn indent(arguments: &[u8]) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(arguments);
    let indented = value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    indented.unwrap_or_else(|| String::from_utf8_lossy(arguments).into_owned())
}

/// Escapes what a reader would not see as it is.
fn escape(text: &str, warnings: &mut BTreeSet<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' || !is_hidden(letter) {
            out.push(letter);
        } else {
            // Writing to a string cannot fail.
            let _written = write!(out, "\\u{{{:x}}}", u32::from(letter));
            warnings.insert(
                "characters that cannot be seen, or that change how others are seen, are escaped".to_owned(),
            );
        }
    }
    out
}

/// Beyond controls and the like: spaces of other widths, private use, unassigned planes, combining marks
/// in numbers are left to the terminal.
fn is_hidden(letter: char) -> bool {
    is_deceptive(letter)
        || letter.is_whitespace() && letter != ' '
        || matches!(letter, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{f0000}'..='\u{10ffff}')
}

/// Warns of words that mix scripts that look alike, and of long encoded runs.
fn warn_of_words(text: &str, warnings: &mut BTreeSet<String>) {
    for word in text.split(|letter: char| !letter.is_alphanumeric() && !"+/=_-".contains(letter)) {
        let scripts: BTreeSet<&str> = word.chars().filter_map(script).collect();
        if scripts.len() > 1 {
            let shown: String = word.chars().take(40).flat_map(mark).collect();
            let scripts: Vec<&str> = scripts.into_iter().collect();
            warnings.insert(format!("`{shown}` mixes {} letters, which look alike", scripts.join(" and ")));
        }
        let encoded = word.len() >= ENCODED_LETTERS_MIN && word.is_ascii();
        if encoded && word.bytes().any(|byte| byte.is_ascii_digit()) {
            warnings.insert(format!("a run of {} letters and digits may be an encoded payload", word.len()));
        }
    }
}

/// A letter of another script than Latin, shown by its number.
fn mark(letter: char) -> Vec<char> {
    match script(letter) {
        Some("Latin") | None => vec![letter],
        Some(_) => format!("\\u{{{:x}}}", u32::from(letter)).chars().collect(),
    }
}

/// The scripts whose letters look alike.
const fn script(letter: char) -> Option<&'static str> {
    match letter {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => Some("Latin"),
        '\u{370}'..='\u{3ff}' => Some("Greek"),
        '\u{400}'..='\u{52f}' => Some("Cyrillic"),
        '\u{530}'..='\u{58f}' => Some("Armenian"),
        '\u{13a0}'..='\u{13ff}' => Some("Cherokee"),
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => Some("fullwidth"),
        '\u{1d400}'..='\u{1d7ff}' => Some("mathematical"),
        _ => None,
    }
}

/// JSON pointers of masked values.
fn masked_pointers(arguments: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if Json::parse(arguments).is_err() {
        return found;
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(arguments) {
        walk(&value, &mut String::new(), &mut found);
    }
    found
}

fn walk(value: &serde_json::Value, pointer: &mut String, found: &mut Vec<String>) {
    let length = pointer.len();
    match value {
        serde_json::Value::String(text) if text.contains("[masked:") => found.push(pointer.clone()),
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _written = write!(pointer, "/{index}");
                walk(item, pointer, found);
                pointer.truncate(length);
            }
        }
        serde_json::Value::Object(members) => {
            for (name, item) in members {
                let _written = write!(pointer, "/{}", name.replace('~', "~0").replace('/', "~1"));
                walk(item, pointer, found);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(arguments: &str) -> v1::ArgumentView {
        argument_view(arguments.as_bytes(), false)
    }

    #[test]
    fn nothing_is_left_out_and_nothing_hides() {
        let long = "x".repeat(20_000);
        let view = view(&format!(
            "{{\"a\":\"{long}\",\"b\":\"safe\u{202e}txt.exe\",\"c\":\"z\u{200b}w\",\"d\":\"\\u001b[2J\"}}"
        ));
        assert!(view.text.contains(&long));
        assert!(view.text.contains("safe\\u{202e}txt.exe") && view.text.contains("z\\u{200b}w"));
        assert!(!view.text.contains('\u{1b}') && view.text.contains("[2J"));
        assert_eq!(view.lines, 6);
        assert!(
            view.warnings.iter().any(|warning| warning.contains("cannot be seen")),
            "{:?}",
            view.warnings
        );
    }

    #[test]
    fn look_alikes_and_payloads_are_named() {
        let view = view("{\"host\":\"p\u{430}ypal.com\",\"name\":\"\u{43c}\u{438}\u{440}\"}");
        assert_eq!(view.warnings, ["`p\\u{430}ypal` mixes Cyrillic and Latin letters, which look alike"]);
        let payload = argument_view(format!("{{\"x\":\"{}\"}}", "QUJD0".repeat(20)).as_bytes(), false);
        assert!(payload.warnings.iter().any(|warning| warning.contains("encoded payload")));
    }
}
