//! What a call's arguments say of its danger.

use super::words::{PLACES, PRODUCTION};
use super::{RiskCategory, words};
use crate::domain::json::Json;

/// Danger that arguments show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Danger {
    /// They aim at production: `production` or `prod-db` under a key that names a place.
    pub production: bool,
    /// They destroy, force, or aim at everything: `DROP TABLE`, `rm -rf`, `--force`, `*`.
    pub destroys: bool,
}

/// Values looked at.
const VALUES_MAX: usize = 256;
/// Bytes of a value looked at.
const VALUE_BYTES_MAX: usize = 4_096;
/// Keys under which a text is a statement or command.
const STATEMENTS: [&str; 7] = ["sql", "query", "statement", "command", "cmd", "script", "code"];
/// How statements and commands begin or what they hold when they destroy.
const DESTROYING: [&str; 12] = [
    "drop table",
    "drop database",
    "drop schema",
    "drop index",
    "drop column",
    "truncate ",
    "delete from",
    "rm -rf",
    "rm -fr",
    "mkfs",
    "--force",
    "git push -f",
];
/// Keys under which `*` means everything.
const TARGETS: [&str; 9] = ["target", "id", "ids", "name", "path", "pattern", "selector", "resource", "key"];

/// The danger of arguments. Looks at the first [`VALUES_MAX`] values.
pub fn danger(arguments: &Json<'_>) -> Danger {
    let mut found = Danger::default();
    let mut left = VALUES_MAX;
    visit("", arguments, &mut found, &mut left);
    found
}

fn visit(key: &str, value: &Json<'_>, found: &mut Danger, left: &mut usize) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    match value {
        Json::Object(fields) => fields.iter().for_each(|(key, value)| visit(key, value, found, left)),
        Json::Array(items) => items.iter().for_each(|item| visit(key, item, found, left)),
        Json::Bool(true) if key.eq_ignore_ascii_case("force") => found.destroys = true,
        Json::Text(text) => {
            let end = (0..=text.len().min(VALUE_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
            let text = text.get(..end.unwrap_or(0)).unwrap_or("");
            let is = |names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name));
            if is(PLACES) && words(text).iter().any(|word| PRODUCTION.contains(&word.as_str())) {
                found.production = true;
            }
            if is(&TARGETS) && matches!(text.trim(), "*" | "**" | "/" | "/*" | "%" | "all") {
                found.destroys = true;
            }
            if is(&STATEMENTS) {
                let plain = text.to_ascii_lowercase();
                let plain: Vec<&str> = plain.split_whitespace().collect();
                let plain = format!("{} ", plain.join(" "));
                found.destroys |= DESTROYING.iter().any(|sign| plain.contains(sign));
            }
        }
        _ => {}
    }
}

/// Category of a call: of its tool, raised by its arguments. Any change of production is CRITICAL; what
/// destroys is at least HIGH, also where the tool only claims to query.
pub fn of_call(tool: RiskCategory, danger: Danger) -> RiskCategory {
    let raised = if danger.destroys { tool.max(RiskCategory::High) } else { tool };
    if danger.production && raised >= RiskCategory::Medium { RiskCategory::Critical } else { raised }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RiskCategory::{Critical, High, Low, Medium};

    #[test]
    fn arguments_raise_and_never_lower() {
        let check = |text: &str, tool: RiskCategory, expected: RiskCategory| {
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(of_call(tool, danger(&json)), expected, "{text}");
        };
        check(r#"{"env":"production"}"#, Medium, Critical);
        check(r#"{"env":"staging"}"#, Medium, Medium);
        check(r#"{"db":"prod-postgres"}"#, High, Critical);
        check(r#"{"env":"production"}"#, Low, Low);
        check(r#"{"spec":{"cluster":["eu-live-1"]}}"#, Medium, Critical);
        check(r#"{"sql":"  DROP\n TABLE users"}"#, Low, High);
        check(r#"{"sql":"drop table users","database":"prod"}"#, Low, Critical);
        check(r#"{"sql":"SELECT dropped FROM tables"}"#, Low, Low);
        check(r#"{"command":"rm -rf /var"}"#, High, High);
        check(r#"{"command":"git push --force origin main"}"#, Medium, High);
        check(r#"{"force":true}"#, Medium, High);
        check(r#"{"force":false}"#, Medium, Medium);
        check(r#"{"path":"*"}"#, Medium, High);
        check(r#"{"note":"drop table"}"#, Low, Low);
        check(r#"{"replicas":3}"#, Medium, Medium);
    }
}
