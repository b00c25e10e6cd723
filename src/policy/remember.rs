//! "Approve and remember": a narrow rule from a call that was approved.
//!
//! The rule allows the same tool of the same server, for the same chain or acting principal, with the same
//! arguments but those that are said to be free. Arguments are compared as they are recorded, with secrets
//! masked.

use super::file::parse_rule;
use super::suggest::{glob_safe, pointer, quoted};
use crate::domain::json::Json;
use crate::domain::time::Timestamp;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A call that was approved.
#[derive(Clone, Copy, Debug)]
pub struct Approved<'a> {
    /// MCP server.
    pub server: &'a str,
    /// Tool name.
    pub tool: &'a str,
    /// Outermost first.
    pub chain: &'a [String],
    /// JSON, with secrets masked.
    pub arguments: &'a [u8],
}

/// Why no rule can be made of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The arguments are not a JSON object.
    #[error("its arguments are no JSON object")]
    NoObject,
    /// A pointer leads nowhere in them.
    #[error("`{0}` is no argument of the call")]
    NoSuchPointer(String),
    /// The rule does not keep the limits of rules.
    #[error("its arguments do not fit into a rule: {0}")]
    TooLarge(String),
}

/// The rule, YAML; `free` are JSON pointers of arguments that may differ.
pub fn rule_of(call: &Approved<'_>, free: &[String], any_chain: bool) -> Result<String, Unfit> {
    let arguments = Json::parse(call.arguments).map_err(|_| Unfit::NoObject)?;
    if !matches!(arguments, Json::Object(_)) {
        return Err(Unfit::NoObject);
    }
    let mut equal = Equal { free: free.iter().map(String::as_str).collect(), conditions: Vec::new() };
    equal.value("args", "", &arguments);
    if let Some(pointer) = equal.free.first() {
        return Err(Unfit::NoSuchPointer((*pointer).to_owned()));
    }
    let mut conditions = vec![if any_chain {
        format!("principal.name == {}", literal(call.chain.last().map_or("", String::as_str)))
    } else {
        let links: Vec<String> = call.chain.iter().map(|link| literal(link)).collect();
        format!("principal.chain == [{}]", links.join(", "))
    }];
    let mut text = format!("id: remembered\ntool: {}\n", quoted(call.tool));
    if glob_safe(call.server) {
        text.push_str(&format!("server: {}\n", quoted(call.server)));
    } else {
        conditions.push(format!("server == {}", literal(call.server)));
    }
    conditions.append(&mut equal.conditions);
    text.push_str(&format!("when: {}\neffect: allow\n", quoted(&conditions.join(" && "))));
    match parse_rule(&text, Timestamp::from_micros(0)) {
        Ok(_) => Ok(text),
        Err(faults) => {
            Err(Unfit::TooLarge(faults.first().map(|fault| fault.message.clone()).unwrap_or_default()))
        }
    }
}

/// Conditions that hold for equal arguments only.
struct Equal<'a> {
    /// Pointers not met yet.
    free: BTreeSet<&'a str>,
    conditions: Vec<String>,
}

impl Equal<'_> {
    fn value(&mut self, path: &str, at: &str, value: &Json<'_>) {
        if self.free.remove(at) {
            return;
        }
        match value {
            Json::Object(fields) => {
                self.conditions.push(format!("size({path}) == {}", fields.len()));
                for (name, value) in fields {
                    let below = format!("{path}[{}]", literal(name));
                    self.value(&below, &format!("{at}{}", pointer(name)), value);
                }
            }
            Json::Array(items) if items.is_empty() => self.conditions.push(format!("{path} == []")),
            Json::Array(items) => {
                self.conditions.push(format!("size({path}) == {}", items.len()));
                for (place, value) in items.iter().enumerate() {
                    self.value(&format!("{path}[{place}]"), &format!("{at}/{place}"), value);
                }
            }
            Json::Text(text) => self.conditions.push(format!("{path} == {}", literal(text))),
            plain => {
                let mut written = Vec::new();
                plain.write(&mut written);
                self.conditions.push(format!("{path} == {}", String::from_utf8_lossy(&written)));
            }
        }
    }
}

/// A text as a condition writes it; all but plain letters escaped, so that no reader of YAML changes it.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            ' '..='~' => out.push(letter),
            letter if u32::from(letter) <= 0xFFFF => {
                let _written = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::cel::{Arguments, Facts, SessionFacts};
    use super::super::{Effect, Policy};
    use super::*;
    use crate::domain::decision::Mode;
    use crate::domain::risk::{Capabilities, RiskCategory};
    use proptest::prelude::*;

    fn chain() -> Vec<String> {
        vec!["user:ann".to_owned(), "agent:it's".to_owned()]
    }

    fn made(arguments: &str, free: &[&str], any_chain: bool) -> Result<String, Unfit> {
        let free: Vec<String> = free.iter().map(|&text| text.to_owned()).collect();
        let call =
            Approved { server: "k8s", tool: "scale", chain: &chain(), arguments: arguments.as_bytes() };
        rule_of(&call, &free, any_chain)
    }

    fn allows(rule: &str, chain: &[String], arguments: &str) -> bool {
        let rule = parse_rule(rule, Timestamp::from_micros(0)).unwrap();
        let policy = Policy::built_in(Mode::Enforce).with_rules([rule]);
        let arguments = Arguments::new(arguments.as_bytes());
        let facts = Facts {
            tool: "scale",
            server: "k8s",
            chain,
            category: RiskCategory::High,
            capabilities: Capabilities::NONE,
            registered: false,
            changed: false,
            arguments: &arguments,
            session: SessionFacts::default(),
            assessment: None,
            compositions: &[],
            now: Timestamp::from_micros(0),
        };
        policy.evaluate(&facts).effect == Effect::Allow
    }

    #[test]
    fn the_very_same_arguments_and_nothing_else() {
        let given = r#"{"service":"a\"pi\u00e9\n","count":3,"tags":["x",{"y":null}],"none":[],"deep":{"on":true,"f":0.5}}"#;
        let rule = made(given, &[], false).unwrap();
        assert!(allows(&rule, &chain(), given), "{rule}");
        for other in [
            given.replace(":3", ":4"),
            given.replace(":null", ":0"),
            given.replace("\"none\":[]", "\"none\":[1]"),
            given.replace(",\"f\":0.5", ""),
            given.replace("{\"service\"", "{\"more\":1,\"service\""),
            given.replace(":true", ":\"true\""),
            "{}".to_owned(),
        ] {
            assert!(!allows(&rule, &chain(), &other), "{other}\n{rule}");
        }
        assert!(!allows(&rule, &["agent:it's".to_owned()], given), "another chain");
    }

    #[test]
    fn free_arguments_may_differ_and_any_chain_asks_for_the_last_link() {
        let given = r#"{"service":"api","limits":{"cpu":2,"mem":4}}"#;
        let rule = made(given, &["/limits/cpu"], true).unwrap();
        let other = given.replace(":2", ":\"many\"");
        assert!(allows(&rule, &["agent:it's".to_owned()], &other), "{rule}");
        assert!(!allows(&rule, &chain(), &other.replace(":4", ":5")));
        assert!(!allows(&rule, &["agent:it's".to_owned(), "agent:b".to_owned()], &other));
        assert_eq!(made(given, &["/limit"], true), Err(Unfit::NoSuchPointer("/limit".to_owned())));
        let all_free = made(given, &[""], true).unwrap();
        assert!(allows(&all_free, &chain(), "{}"));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        assert_eq!(made("[1]", &[], false), Err(Unfit::NoObject));
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(5_000));
        let Err(Unfit::TooLarge(why)) = made(&long, &[], false) else { panic!("it fits") };
        assert!(why.contains("bytes long"), "{why}");
        assert!(made(&long, &["/text"], false).is_ok());
        let many: Vec<String> = (0..60).map(|number| format!("\"a{number}\":{number}")).collect();
        let many = format!("{{{}}}", many.join(","));
        let rule = made(&many, &[], false).unwrap();
        assert!(allows(&rule, &chain(), &many));
    }

    proptest! {
        #[test]
        fn any_text_stands_for_itself(text in "\\PC{0,40}|[\\u{0}-\\u{ff}]{0,40}") {
            let mut given = Vec::new();
            Json::Object(vec![("k".into(), Json::Text(text.clone().into()))]).write(&mut given);
            let given = String::from_utf8(given).unwrap();
            let rule = made(&given, &[], false).unwrap();
            prop_assert!(allows(&rule, &chain(), &given), "{}", rule);
            let other = "{\"k\":\"something else entirely, and longer than any other text\"}";
            prop_assert!(!allows(&rule, &chain(), other), "{}", rule);
        }
    }
}
