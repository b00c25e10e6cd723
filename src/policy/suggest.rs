//! Whitelist rules proposed from history: one exact tool, one acting principal, and arguments as they were
//! always given.
//!
//! A suggestion never covers a call that was denied, and says which arguments that were always the same it
//! leaves free.

use super::cel::{Arguments, Facts, SessionFacts};
use super::file::parse_rule;
use super::rule::{Effect, Rule};
use crate::domain::decision::Verdict;
use crate::domain::event::{CallDecided, CallProposed};
use crate::domain::hex::hex;
use crate::domain::json::Json;
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of call (server, tool, principal) looked at; further ones are counted in [`Suggester::dropped`].
pub const KINDS_MAX: usize = 10_000;
/// Times a kind of call must have been seen to be proposed.
pub const SEEN_MIN: u64 = 5;
/// Different values of an argument that a rule lists.
const VALUES_MAX: usize = 4;
/// Arguments of a kind that are followed.
const PATHS_MAX: usize = 16;
/// Denied calls of a kind that are kept to be held against its rule.
const DENIED_MAX: usize = 256;
/// Bytes of a value that a rule names.
const VALUE_BYTES_MAX: usize = 128;
/// Sessions and approvers counted exactly; beyond it the figure stays.
const SESSIONS_MAX: usize = 10_000;
const APPROVERS_MAX: usize = 16;

/// What a rule is proposed for: server, tool, acting principal.
type Kind = (String, String, String);

#[derive(Debug, Default)]
struct Seen {
    calls: u64,
    /// Calls that the policy in force asks a review for.
    reviewed: u64,
    /// Those of them that nobody was asked about: they ran, as in observe mode.
    unasked: u64,
    approved: u64,
    sessions: BTreeSet<StreamId>,
    approvers: BTreeSet<String>,
    /// Values by top-level argument, as compact JSON; none: too many, too long, or not plain.
    values: BTreeMap<String, Option<BTreeSet<String>>>,
    /// How often each argument was given.
    given: BTreeMap<String, u64>,
    denied: u64,
    denied_arguments: Vec<Vec<u8>>,
}

/// A call under review.
#[derive(Debug)]
struct Open {
    kind: Kind,
    stream: StreamId,
    arguments: Vec<u8>,
}

/// Collects history and proposes rules.
#[derive(Debug, Default)]
pub struct Suggester {
    kinds: BTreeMap<Kind, Seen>,
    /// Calls under review, until somebody decides.
    open: BTreeMap<CallKey, Open>,
    dropped: u64,
}

/// A rule that was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// Stable while the rule is.
    pub id: String,
    /// The rule, YAML.
    pub rule_text: String,
    /// Why, in one sentence.
    pub sentence: String,
    /// How often such a call was seen.
    pub calls: u64,
    /// In how many sessions.
    pub sessions: u64,
    /// How often it was reviewed.
    pub reviewed: u64,
    /// How often a person approved it.
    pub approved: u64,
    /// Who approved it.
    pub approvers: Vec<String>,
    /// Denied calls of the same kind, which it does not cover.
    pub denied_siblings: u64,
    /// Arguments that were always the same and that it leaves free, as JSON pointers.
    pub widened: Vec<String>,
}

impl Suggester {
    /// Kinds of call that found no place.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a decided call up. `asks`: whether the policy in force would have it reviewed, so that a rule saves that.
    pub fn decided(
        &mut self,
        stream: StreamId,
        call: CallKey,
        proposed: &CallProposed,
        decided: &CallDecided,
        arguments: &[u8],
        asks: bool,
    ) {
        let principal = proposed.principal_chain.last().cloned().unwrap_or_default();
        let kind = (proposed.server.clone(), proposed.tool.clone(), principal);
        if !self.kinds.contains_key(&kind) && self.kinds.len() >= KINDS_MAX {
            self.dropped += 1;
            return;
        }
        let seen = self.kinds.entry(kind.clone()).or_default();
        match decided.decision.verdict {
            Verdict::Deny => seen.deny(arguments),
            Verdict::Allow => seen.pass(stream, arguments),
            Verdict::Review => {
                seen.reviewed += u64::from(asks);
                if !decided.decision.enforced {
                    seen.unasked += u64::from(asks);
                    seen.pass(stream, arguments);
                } else if self.open.len() < KINDS_MAX {
                    self.open.insert(call, Open { kind, stream, arguments: arguments.to_vec() });
                } else {
                    seen.pass(stream, arguments);
                }
            }
        }
    }

    /// A reviewed call was approved by these people.
    pub fn approved(&mut self, stream: StreamId, call: CallKey, approvers: &[String]) {
        let Some(Open { kind, arguments, .. }) = self.open.remove(&call) else { return };
        let Some(seen) = self.kinds.get_mut(&kind) else { return };
        seen.approved += 1;
        let free = APPROVERS_MAX.saturating_sub(seen.approvers.len());
        seen.approvers.extend(approvers.iter().take(free).cloned());
        seen.pass(stream, &arguments);
    }

    /// A reviewed call was denied by a person.
    pub fn denied(&mut self, call: CallKey) {
        let Some(Open { kind, arguments, .. }) = self.open.remove(&call) else { return };
        if let Some(seen) = self.kinds.get_mut(&kind) {
            seen.deny(&arguments);
        }
    }

    /// A reviewed call was refused without anybody having said no: it tells nothing.
    pub fn lapsed(&mut self, call: CallKey) {
        self.open.remove(&call);
    }

    /// The rules that history gives ground for, the one that would save most reviews first. Calls that are
    /// still under review count as seen.
    pub fn suggestions(mut self) -> Vec<Suggestion> {
        for Open { kind, stream, arguments } in std::mem::take(&mut self.open).into_values() {
            if let Some(seen) = self.kinds.get_mut(&kind) {
                seen.pass(stream, &arguments);
            }
        }
        let mut found: Vec<Suggestion> =
            self.kinds.iter().filter_map(|(kind, seen)| suggestion(kind, seen)).collect();
        found.sort_by(|one, other| {
            (other.reviewed, other.calls, &one.id).cmp(&(one.reviewed, one.calls, &other.id))
        });
        found
    }
}

impl Seen {
    fn pass(&mut self, stream: StreamId, arguments: &[u8]) {
        self.calls += 1;
        if !stream.is_none() && self.sessions.len() < SESSIONS_MAX {
            self.sessions.insert(stream);
        }
        let Ok(Json::Object(fields)) = Json::parse(arguments) else { return };
        for (name, value) in fields {
            if !self.values.contains_key(name.as_ref()) && self.values.len() >= PATHS_MAX {
                continue;
            }
            *self.given.entry(name.to_string()).or_default() += 1;
            let slot = self.values.entry(name.to_string()).or_insert_with(|| Some(BTreeSet::new()));
            let plain = plain(&value);
            *slot = match (slot.take(), plain) {
                (Some(mut known), Some(text)) => {
                    known.insert(text);
                    (known.len() <= VALUES_MAX).then_some(known)
                }
                _ => None,
            };
        }
    }

    fn deny(&mut self, arguments: &[u8]) {
        self.denied += 1;
        if self.denied_arguments.len() < DENIED_MAX {
            self.denied_arguments.push(arguments.to_vec());
        }
    }
}

/// A plain value as it stands in a condition; none for lists, maps and long texts.
fn plain(value: &Json<'_>) -> Option<String> {
    let mut out = Vec::new();
    match value {
        Json::Bool(_) | Json::Integer(_) | Json::Float(_) => value.write(&mut out),
        Json::Text(text) if text.len() <= VALUE_BYTES_MAX && !text.chars().any(char::is_control) => {
            out.push(b'"');
            out.extend(text.replace('\\', "\\\\").replace('"', "\\\"").into_bytes());
            out.push(b'"');
        }
        _ => return None,
    }
    String::from_utf8(out).ok()
}

fn suggestion(kind: &Kind, seen: &Seen) -> Option<Suggestion> {
    let (server, tool, principal) = kind;
    let worth = seen.reviewed > 0 && seen.calls >= SEEN_MIN;
    // More denials than are kept cannot be held against the rule.
    if !worth || seen.denied as usize > seen.denied_arguments.len() {
        return None;
    }
    let (mut conditions, mut free, mut widened) = (Vec::new(), Vec::new(), Vec::new());
    for (name, values) in &seen.values {
        let always = seen.given.get(name) == Some(&seen.calls);
        let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|first: char| first.is_ascii_digit());
        match values {
            Some(values) if named => {
                let list: Vec<&str> = values.iter().map(String::as_str).collect();
                let test = match list.as_slice() {
                    [only] => format!("args.{name} == {only}"),
                    several => format!("args.{name} in [{}]", several.join(", ")),
                };
                conditions.push(if always { test } else { format!("(!has(args.{name}) || {test})") });
            }
            Some(values) if values.len() == 1 && always => widened.push(pointer(name)),
            _ => free.push(pointer(name)),
        }
    }
    let condition = conditions.join(" && ");
    let condition = if condition.len() > super::cel::TEXT_BYTES_MAX { String::new() } else { condition };
    let rule_text = rule_text(server, tool, principal, &condition);
    let rule = parse_rule(&rule_text, Timestamp::from_micros(0)).ok()?;
    if seen.denied_arguments.iter().any(|arguments| covers(&rule, kind, arguments)) {
        return None;
    }
    let digest = Sha256::digest(&rule_text);
    let id = format!("s-{}", hex(&digest[..6]));
    Some(Suggestion {
        id,
        sentence: sentence(tool, principal, seen, &free, &widened),
        rule_text,
        calls: seen.calls,
        sessions: seen.sessions.len() as u64,
        reviewed: seen.reviewed,
        approved: seen.approved,
        approvers: seen.approvers.iter().cloned().collect(),
        denied_siblings: seen.denied,
        widened,
    })
}

pub(super) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A text in single quotes, as YAML reads it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn glob_safe(name: &str) -> bool {
    !name.is_empty() && !name.contains(['*', '?', '[', ']', '{', '}', '\\', '!'])
}

fn rule_text(server: &str, tool: &str, principal: &str, condition: &str) -> String {
    let mut text = format!("id: suggested\ntool: {}\n", quoted(tool));
    if glob_safe(server) {
        text.push_str(&format!("server: {}\n", quoted(server)));
    }
    if glob_safe(principal) {
        text.push_str(&format!("principal: {}\n", quoted(principal)));
    }
    if !condition.is_empty() {
        text.push_str(&format!("when: {}\n", quoted(condition)));
    }
    text.push_str("effect: allow\n");
    text
}

fn covers(rule: &Rule, kind: &Kind, arguments: &[u8]) -> bool {
    let Some(when) = &rule.when else { return true };
    let arguments = Arguments::new(arguments);
    let chain = [kind.2.clone()];
    let facts = Facts {
        tool: &kind.1,
        server: &kind.0,
        chain: &chain,
        category: crate::domain::risk::RiskCategory::High,
        capabilities: crate::domain::risk::Capabilities::NONE,
        registered: false,
        changed: false,
        arguments: &arguments,
        session: SessionFacts::default(),
        assessment: None,
        compositions: &[],
        now: Timestamp::from_micros(0),
    };
    debug_assert_eq!(rule.effect, Effect::Allow);
    // A condition without an answer does not match an allow rule.
    when.holds(&facts) == Ok(true)
}

fn sentence(tool: &str, principal: &str, seen: &Seen, free: &[String], widened: &[String]) -> String {
    let escaped = |text: &str| text.escape_debug().to_string();
    let mut text = format!(
        "{} was called {} times by {} in {} sessions, and the rule would have let all of them pass",
        escaped(tool),
        seen.calls,
        escaped(principal),
        seen.sessions.len(),
    );
    let asked = seen.reviewed - seen.unasked;
    if asked > 0 {
        let who: Vec<String> = seen.approvers.iter().map(|name| escaped(name)).collect();
        let by = if who.is_empty() { String::new() } else { format!(" by {}", who.join(", ")) };
        text.push_str(&format!("; {asked} were reviewed, {} approved{by}", seen.approved));
    }
    if seen.unasked > 0 {
        text.push_str(&format!("; {} ran without the review that the policy asks for", seen.unasked));
    }
    match seen.denied {
        0 => text.push_str("; none of this kind was ever denied"),
        denied => text.push_str(&format!("; {denied} others were denied, and the rule covers none of them")),
    }
    if !free.is_empty() {
        text.push_str(&format!("; it says nothing of {}, which differed", free.join(", ")));
    }
    if !widened.is_empty() {
        text.push_str(&format!("; always the same until now, and left free: {}", widened.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests;
