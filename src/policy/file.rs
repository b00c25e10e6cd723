//! A whole policy file: its sections, and what they must keep among each other.

mod doubt;
mod reach;

use super::composition;
use super::document::{self, Node};
use super::fault::{Fault, Severity};
use super::file_rule::{self, Names};
use super::file_terms;
use super::names::Pattern;
use super::policy::{Policy, RULES_MAX};
use super::reader::Reader;
use super::review_terms::Groups;
use super::rule::{Defaults, Effect, Rule, Thresholds, ToolLabel};
use super::window::Window;
use crate::domain::decision::Mode;
use crate::domain::risk::RiskCategory;
use crate::domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const KEYS: [&str; 12] = [
    "version",
    "mode",
    "defaults",
    "thresholds",
    "groups",
    "review",
    "windows",
    "tools",
    "rules",
    "compositions",
    "shipped_compositions",
    "notes",
];
pub(super) const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
pub(super) const CATEGORIES: [(&str, RiskCategory); 4] = [
    ("low", RiskCategory::Low),
    ("medium", RiskCategory::Medium),
    ("high", RiskCategory::High),
    ("critical", RiskCategory::Critical),
];
/// Members of one group.
const MEMBERS_MAX: usize = 10_000;
/// Groups, windows and tool labels, each.
const NAMED_MAX: usize = 1_000;

/// What the daemon knows that a file does not say: who can vote.
#[derive(Clone, Debug, Default)]
pub enum Surroundings {
    /// Not known: whom the file names is taken for able to, and of other groups nothing can be said.
    #[default]
    Unknown,
    /// There are no tokens: whoever reaches the daemon's Unix socket votes, in anybody's group.
    NoTokens,
    /// Those with a reviewer's token.
    Tokens(Vec<Reviewer>),
}

/// A person who can vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviewer {
    /// All names of the person.
    pub names: Vec<String>,
    /// Groups by credential; those of the file come on top.
    pub groups: Vec<String>,
}

/// A policy file that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The policy; none if there are errors.
    pub policy: Option<Policy>,
    /// Everything that is wrong, by line.
    pub faults: Vec<Fault>,
}

impl Parsed {
    /// Whether it can be adopted.
    pub fn is_adoptable(&self) -> bool {
        self.policy.is_some()
    }
}

/// Reads a policy. `mode` is used where the file sets none; rules with a time to live count it from
/// `adopted` on. The error is every fault.
pub fn parse(text: &str, mode: Mode, adopted: Timestamp) -> Result<Policy, Vec<Fault>> {
    let (policy, faults) = read(text, mode, adopted);
    policy.filter(|_| is_sound(&faults)).ok_or(faults)
}

/// Reads one rule alone, such as a grant. It may have no id; it can refer to no windows.
pub fn parse_rule(text: &str, adopted: Timestamp) -> Result<Rule, Vec<Fault>> {
    let root = document::read(text).map_err(|fault| vec![fault])?;
    let mut reader = Reader::default();
    let (windows, reviews) = (BTreeMap::new(), Default::default());
    let rule = file_rule::rule(&mut reader, &root, &Names { windows: &windows, reviews: &reviews, adopted });
    match rule {
        Some(rule) if reader.faults.iter().all(|fault| fault.severity != Severity::Error) => Ok(rule),
        _ => Err(reader.faults),
    }
}

/// Reads a policy and holds it against what the daemon knows: whether the people exist that it asks for.
pub fn check(text: &str, mode: Mode, adopted: Timestamp, around: &Surroundings) -> Parsed {
    let (policy, mut faults) = read(text, mode, adopted);
    if let Some(policy) = &policy {
        faults.extend(reach::unreachable(policy, around));
        let told = |doubt: &Fault| {
            faults.iter().any(|fault| fault.rule_id == doubt.rule_id && fault.message == doubt.message)
        };
        let doubts: Vec<Fault> = doubt::doubts(policy).into_iter().filter(|doubt| !told(doubt)).collect();
        faults.extend(doubts);
    }
    faults.sort_by_key(|fault| (fault.line, fault.column));
    Parsed { policy: policy.filter(|_| is_sound(&faults)), faults }
}

fn is_sound(faults: &[Fault]) -> bool {
    faults.iter().all(|fault| fault.severity != Severity::Error)
}

/// What can be read of a policy, and everything that is wrong with it.
fn read(text: &str, mode: Mode, adopted: Timestamp) -> (Option<Policy>, Vec<Fault>) {
    let root = match document::read(text) {
        Ok(root) => root,
        Err(fault) => return (None, vec![fault]),
    };
    let mut reader = Reader::default();
    let policy = sections(&mut reader, &root, mode, adopted);
    let mut faults = reader.faults;
    faults.sort_by_key(|fault| (fault.line, fault.column));
    (policy, faults)
}

fn sections(reader: &mut Reader, root: &Node, mode: Mode, adopted: Timestamp) -> Option<Policy> {
    let fields = reader.fields(root, "the policy", &KEYS);
    let version = reader.required(&fields, "version", root, "the policy");
    if let Some(node) = version
        && reader.text(node, "version") != Some("1")
    {
        reader.wrong::<()>(node, "this build reads version 1");
    }
    let own_mode = fields.get("mode").and_then(|node| reader.one_of(node, "mode", &MODES));
    let defaults = fields.get("defaults").map(|node| read_defaults(reader, node)).unwrap_or_default();
    let thresholds = fields.get("thresholds").map(|node| read_thresholds(reader, node)).unwrap_or_default();
    let groups = fields.get("groups").map(|node| read_groups(reader, node)).unwrap_or_default();
    let reviews = fields.get("review").map(|node| file_terms::defaults(reader, node)).unwrap_or_default();
    let windows = fields.get("windows").map(|node| read_windows(reader, node)).unwrap_or_default();
    let labels = fields.get("tools").map(|node| read_labels(reader, node)).unwrap_or_default();
    let names = Names { windows: &windows, reviews: &reviews, adopted };
    let rules = fields.get("rules").map(|node| read_rules(reader, node, &names)).unwrap_or_default();
    let own = fields.get("compositions").map(|node| composition::read(reader, node, &[]));
    let own = own.unwrap_or_default();
    let shipped =
        fields.get("shipped_compositions").and_then(|node| reader.truth(node, "shipped_compositions"));
    let compositions = if own.is_empty() && shipped != Some(false) {
        composition::shipped()
    } else {
        let replaced = |id: &str| own.iter().any(|rule| rule.id == id);
        let kept = composition::shipped();
        let kept = kept.iter().filter(|rule| shipped != Some(false) && !replaced(&rule.id)).cloned();
        Arc::new(kept.chain(own.iter().cloned()).collect())
    };
    let mode = own_mode.unwrap_or(mode);
    let mut policy =
        Policy { mode, defaults, thresholds, reviews, groups, labels, compositions, ..Policy::default() };
    match policy.set_rules(rules) {
        Ok(()) => Some(policy),
        Err(faults) => {
            // What the sections found has a place; only what they did not see is told at the top.
            if reader.faults.is_empty() {
                faults.into_iter().for_each(|fault| reader.note(root.fault(fault)));
            }
            None
        }
    }
}

fn read_defaults(reader: &mut Reader, node: &Node) -> Defaults {
    let fields = reader.fields(node, "defaults", &CATEGORIES.map(|(name, _)| name));
    let mut effect = |name: &str, other: Effect| {
        let found = fields.get(name).and_then(|node| reader.one_of(node, name, &Effect::NAMES));
        found.unwrap_or(other)
    };
    let built_in = Defaults::default();
    Defaults {
        low: effect("low", built_in.low),
        medium: effect("medium", built_in.medium),
        high: effect("high", built_in.high),
        critical: effect("critical", built_in.critical),
    }
}

fn read_thresholds(reader: &mut Reader, node: &Node) -> Thresholds {
    let fields = reader.fields(node, "thresholds", &["deny"]);
    let deny = fields.get("deny").and_then(|node| reader.number(node, "deny", 1, 100));
    Thresholds { deny: deny.and_then(|risk| u8::try_from(risk).ok()) }
}

fn read_groups(reader: &mut Reader, node: &Node) -> Groups {
    let mut groups = BTreeMap::new();
    for (name, key, value) in reader.pairs(node, "groups") {
        let members: BTreeSet<String> = reader.texts(value, "members").into_iter().collect();
        if members.len() > MEMBERS_MAX || groups.len() >= NAMED_MAX {
            let message = format!("at most {NAMED_MAX} groups of at most {MEMBERS_MAX} members");
            reader.wrong::<()>(key, message);
            break;
        }
        if members.is_empty() {
            reader.wrong::<()>(key, format!("group `{name}` has no members"));
        }
        groups.insert(name.to_owned(), members);
    }
    Groups(groups)
}

fn read_windows(reader: &mut Reader, node: &Node) -> BTreeMap<String, Option<Window>> {
    let mut windows = BTreeMap::new();
    for (name, _, value) in reader.pairs(node, "windows").into_iter().take(NAMED_MAX) {
        windows.insert(name.to_owned(), file_terms::window(reader, value));
    }
    windows
}

fn read_labels(reader: &mut Reader, node: &Node) -> Vec<ToolLabel> {
    let mut labels = Vec::new();
    for item in reader.list(node, "tools").iter().take(NAMED_MAX) {
        let fields = reader.fields(item, "a tool", &["tool", "server", "risk", "capabilities", "notes"]);
        let tool = reader.required(&fields, "tool", item, "a tool");
        let tool = tool.and_then(|node| file_rule::pattern(reader, node, "tool"));
        let server = fields.get("server").map(|node| file_rule::pattern(reader, node, "server"));
        let risk = fields.get("risk").and_then(|node| reader.one_of(node, "risk", &CATEGORIES));
        let capabilities =
            fields.get("capabilities").map(|node| composition::capabilities(reader, Some(node)));
        let compiled = |text: &str| Pattern::new(text).ok();
        let (Some(tool), server) = (tool.as_deref().and_then(compiled), server.flatten()) else { continue };
        let server = server.as_deref().and_then(compiled);
        labels.push(ToolLabel { tool, server, risk, capabilities });
    }
    labels
}

fn read_rules(reader: &mut Reader, node: &Node, names: &Names<'_>) -> Vec<Rule> {
    let items = reader.list(node, "rules");
    if items.len() > RULES_MAX {
        reader.wrong::<()>(node, format!("{} rules, at most {RULES_MAX}", items.len()));
        return Vec::new();
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    for item in items {
        reader.rule_id.clear();
        rules.extend(file_rule::rule(reader, item, names));
        // The id of a rule that has other faults counts too.
        let id = reader.rule_id.clone();
        if let Some(line) = lines.insert(id.clone(), item.line).filter(|_| !id.is_empty()) {
            reader.wrong::<()>(item, format!("two rules have the id `{id}`; the other is in line {line}"));
        }
    }
    reader.rule_id.clear();
    rules
}

#[cfg(test)]
mod tests;
