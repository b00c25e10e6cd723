//! One rule of a policy file.

use super::book::GRANT_PREFIX;
use super::cel::{self, Condition};
use super::document::{Node, Value};
use super::fault::Fault;
use super::file::{CATEGORIES, MODES};
use super::file_terms;
use super::names;
use super::nearest::nearest;
use super::reader::Reader;
use super::review_terms::DefaultTerms;
use super::rule::{Effect, Rule};
use super::window::Window;
use crate::domain::risk::RiskCategory;
use crate::domain::time::{DAY_US, Timestamp};
use std::collections::BTreeMap;

pub(super) const KEYS: [&str; 18] = [
    "id",
    "tool",
    "server",
    "principal",
    "when",
    "effect",
    "risk",
    "approvers",
    "timeout",
    "release_within",
    "window",
    "ttl",
    "expires",
    "expect",
    "mode",
    "acknowledge",
    "notes",
    "description",
];
/// Longest time to live of a rule.
const TTL_MAX_US: i64 = 3_660 * DAY_US;
/// Longest id, bytes.
const ID_BYTES_MAX: usize = 128;

/// What rules can refer to.
pub(super) struct Names<'n> {
    /// Windows by name; none: it has faults of its own.
    pub(super) windows: &'n BTreeMap<String, Option<Window>>,
    /// Terms that a rule's own terms build on.
    pub(super) reviews: &'n DefaultTerms,
    /// When the policy came into force.
    pub(super) adopted: Timestamp,
}

/// Reads a rule; none if it has no id, pattern or effect.
pub(super) fn rule(reader: &mut Reader, node: &Node, names: &Names<'_>) -> Option<Rule> {
    // Faults of its keys should name it too.
    if let Value::Map(pairs) = &node.value {
        let named = |(key, _): &&(Node, Node)| matches!(&key.value, Value::Scalar(name, _) if name == "id");
        if let Some((_, Node { value: Value::Scalar(id, _), .. })) = pairs.iter().find(named) {
            reader.rule_id.clone_from(id);
        }
    }
    let fields = reader.fields(node, "a rule", &KEYS);
    let id = reader.required(&fields, "id", node, "a rule").and_then(|node| id(reader, node));
    let tool = reader.required(&fields, "tool", node, "a rule");
    let tool = tool.and_then(|node| pattern(reader, node, "tool"));
    let effect = reader.required(&fields, "effect", node, "a rule");
    let effect = effect.and_then(|node| reader.one_of(node, "effect", &Effect::NAMES));
    let server = fields.get("server").and_then(|node| pattern(reader, node, "server"));
    let principal = fields.get("principal").and_then(|node| pattern(reader, node, "principal"));
    let when = fields.get("when").and_then(|node| condition(reader, node, "when"));
    let expect = fields.get("expect").and_then(|node| condition(reader, node, "expect"));
    let risk = fields.get("risk").and_then(|node| reader.one_of(node, "risk", &CATEGORIES));
    let mode = fields.get("mode").and_then(|node| reader.one_of(node, "mode", &MODES));
    let base = names.reviews.of(risk.unwrap_or(RiskCategory::High));
    let review = file_terms::own(reader, &fields, base);
    let window = fields.get("window").and_then(|node| window(reader, node, names));
    let ttl = fields.get("ttl").and_then(|node| reader.duration(node, "ttl", TTL_MAX_US));
    let until = fields.get("expires").and_then(|node| reader.instant(node, "expires"));
    let expires = match (ttl.map(|ttl| names.adopted.plus_micros(ttl)), until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let notes = fields.get("notes").and_then(|node| reader.text(node, "notes")).unwrap_or("").to_owned();
    let acknowledged = fields.get("acknowledge").and_then(|node| reader.truth(node, "acknowledge"));
    if expect.is_some() && effect.is_some_and(|effect| effect != Effect::Allow) {
        reader.wrong::<()>(node, "`expect` is for rules that allow");
    }
    let (id, tool, effect) = (id?, tool?, effect?);
    let rule = Rule {
        id,
        line: node.line,
        tool,
        server,
        principal,
        when,
        effect,
        risk,
        review,
        window,
        expires,
        expect,
        mode,
        notes,
        acknowledged: acknowledged == Some(true),
    };
    check_breadth(reader, node, &rule);
    Some(rule)
}

fn id(reader: &mut Reader, node: &Node) -> Option<String> {
    let text = reader.text(node, "id")?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter);
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.chars().all(plain) {
        let message = format!("an id is 1 to {ID_BYTES_MAX} letters, digits and - _ . : /, not `{text}`");
        return reader.wrong(node, message);
    }
    if text.starts_with(GRANT_PREFIX) {
        return reader
            .wrong(node, format!("ids that begin with `{GRANT_PREFIX}` are those of granted rules"));
    }
    Some(text.to_owned())
}

/// A pattern over names.
pub(super) fn pattern(reader: &mut Reader, node: &Node, what: &str) -> Option<String> {
    let text = reader.text(node, what)?;
    match names::Pattern::new(text) {
        Ok(_) => Some(text.to_owned()),
        Err(fault) => reader.wrong(node, format!("{what}: {fault}")),
    }
}

/// A condition; its fault points into the text where that stands in one line.
fn condition(reader: &mut Reader, node: &Node, what: &str) -> Option<Condition> {
    let text = reader.text(node, what)?;
    match Condition::compile(text) {
        Ok(condition) => Some(condition),
        Err(fault) => {
            reader.note(placed(node, text, &fault, what));
            None
        }
    }
}

fn placed(node: &Node, text: &str, fault: &cel::Fault, what: &str) -> Fault {
    let before = text.get(..fault.offset).unwrap_or(text);
    let quoted = matches!(&node.value, Value::Scalar(_, true));
    let message = format!("{what}: {}", fault.message);
    let place = if text.contains('\n') {
        let line = u32::try_from(before.matches('\n').count()).unwrap_or(0);
        Fault::error(node.line + 1 + line, 1, message)
    } else {
        let letters = u32::try_from(before.chars().count()).unwrap_or(0);
        Fault::error(node.line, node.column + letters + u32::from(quoted), message)
    };
    place.near(fault.nearest.clone())
}

fn window(reader: &mut Reader, node: &Node, names: &Names<'_>) -> Option<Window> {
    let Value::Scalar(name, _) = &node.value else { return file_terms::window(reader, node) };
    if let Some(found) = names.windows.get(name) {
        return found.clone();
    }
    let near = nearest(name, names.windows.keys().map(String::as_str));
    reader.note(node.fault(format!("there is no window `{name}`")).near(near));
    None
}

/// A rule that allows everything, critical calls too, must say that it means it. Other ways to say so are found when a
/// file is checked.
fn check_breadth(reader: &mut Reader, node: &Node, rule: &Rule) {
    let everything = rule.tool.chars().all(|letter| letter == '*')
        && rule.server.as_deref().is_none_or(|text| text.chars().all(|letter| letter == '*'))
        && rule.principal.as_deref().is_none_or(|text| text.chars().all(|letter| letter == '*'))
        && rule.when.is_none();
    let critical = rule.risk.is_none_or(|risk| risk == RiskCategory::Critical);
    if rule.effect != Effect::Allow || !everything || !critical {
        return;
    }
    let message = "allows every tool, critical ones too";
    if rule.acknowledged {
        reader.note(node.fault(message).warning());
    } else {
        let what = "; narrow it, or write `acknowledge: true` if it is meant";
        reader.wrong::<()>(node, format!("{message}{what}"));
    }
}
