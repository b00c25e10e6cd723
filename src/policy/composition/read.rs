//! Composition rules from a document.

use super::super::document::Node;
use super::super::fault::Fault;
use super::super::names::Pattern;
use super::super::nearest::nearest;
use super::super::reader::{Fields, Reader};
use super::{
    COMPOSITIONS_MAX, Composition, Field, OnFire, STEPS_MAX, Scope, Shape, Step, TAG_BYTES_MAX, TAGS_MAX,
    TITLE_BYTES_MAX,
};
use crate::domain::risk::Capabilities;
use crate::domain::time::DAY_US;

const KEYS: [&str; 7] = ["id", "title", "level", "tags", "effect", "steps", "correlation"];
const CORRELATION_KEYS: [&str; 6] = ["type", "rules", "group-by", "timespan", "condition", "same_value"];
const STEP_KEYS: [&str; 6] = ["tool", "server", "all", "any", "none", "at_least"];
/// Levels of Sigma and the least risk that each sets.
const LEVELS: [(&str, u8); 5] =
    [("informational", 0), ("low", 25), ("medium", 50), ("high", 80), ("critical", 90)];
const EFFECTS: [(&str, OnFire); 3] =
    [("note", OnFire::Note), ("review", OnFire::Review), ("deny", OnFire::Deny)];
const SCOPES: [(&str, Scope); 3] =
    [("session", Scope::Session), ("principal", Scope::Principal), ("session_tree", Scope::Tree)];
const FIELDS: [(&str, Field); 3] =
    [("tool", Field::Tool), ("server", Field::Server), ("value", Field::Value)];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ordered,
    Temporal,
    EventCount,
    ValueCount,
}

const KINDS: [(&str, Kind); 4] = [
    ("temporal_ordered", Kind::Ordered),
    ("temporal", Kind::Temporal),
    ("event_count", Kind::EventCount),
    ("value_count", Kind::ValueCount),
];

/// Reads a list of rules. `taken` are ids that are in use.
pub(in crate::policy) fn read(reader: &mut Reader, node: &Node, taken: &[&str]) -> Vec<Composition> {
    let mut found: Vec<Composition> = Vec::new();
    for item in reader.list(node, "compositions") {
        reader.rule_id.clear();
        let Some(rule) = rule(reader, item) else { continue };
        if found.iter().any(|known| known.id == rule.id) || taken.contains(&rule.id.as_str()) {
            reader.wrong::<()>(item, format!("two compositions have the id `{}`", rule.id));
        }
        found.push(rule);
        if found.len() > COMPOSITIONS_MAX {
            reader.wrong::<()>(item, format!("more than {COMPOSITIONS_MAX} compositions"));
            break;
        }
    }
    reader.rule_id.clear();
    found
}

fn rule(reader: &mut Reader, node: &Node) -> Option<Composition> {
    let fields = reader.fields(node, "a composition", &KEYS);
    let id = reader.required(&fields, "id", node, "a composition");
    let id = id.and_then(|node| reader.text(node, "id")).map(str::to_owned)?;
    reader.rule_id.clone_from(&id);
    let title =
        fields.get("title").and_then(|node| short(reader, node, "title", TITLE_BYTES_MAX)).unwrap_or(&id);
    let title = title.to_owned();
    let risk = fields.get("level").and_then(|node| reader.one_of(node, "level", &LEVELS)).unwrap_or(80);
    let effect = fields.get("effect").and_then(|node| reader.one_of(node, "effect", &EFFECTS));
    let tags = fields.get("tags").map(|node| tags(reader, node)).unwrap_or_default();
    let steps = reader.required(&fields, "steps", node, "a composition").map(|node| steps(reader, node));
    let correlation = reader.required(&fields, "correlation", node, "a composition")?;
    let parts = correlated(reader, correlation, steps?)?;
    let effect = effect.unwrap_or(OnFire::Review);
    Some(Composition { id, title, tags, risk, effect, ..parts })
}

/// A text of so many bytes at most: it is recorded with every call that completes the rule.
fn short<'n>(reader: &mut Reader, node: &'n Node, name: &str, most: usize) -> Option<&'n str> {
    let text = reader.text(node, name)?;
    if text.len() > most {
        return reader.wrong(node, format!("{name} is {} bytes long, at most {most}", text.len()));
    }
    Some(text)
}

fn tags(reader: &mut Reader, node: &Node) -> Vec<String> {
    let tags = reader.texts(node, "tags");
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.len() > TAG_BYTES_MAX) {
        let message = format!("at most {TAGS_MAX} tags of at most {TAG_BYTES_MAX} bytes");
        return reader.wrong(node, message).unwrap_or_default();
    }
    tags
}

fn steps(reader: &mut Reader, node: &Node) -> Vec<Step> {
    let mut found = Vec::new();
    for (name, _, value) in reader.pairs(node, "steps") {
        let fields = reader.fields(value, "a step", &STEP_KEYS);
        let at_least = fields.get("at_least").and_then(|node| reader.number(node, "at_least", 1, 48));
        let step = Step {
            name: name.to_owned(),
            tools: patterns(reader, &fields, "tool"),
            servers: patterns(reader, &fields, "server"),
            all: capabilities(reader, fields.get("all")),
            any: capabilities(reader, fields.get("any")),
            none: capabilities(reader, fields.get("none")),
            at_least: at_least.and_then(|number| u32::try_from(number).ok()).unwrap_or(1),
        };
        let asks = !step.tools.is_empty() || !step.servers.is_empty();
        if !asks && step.all == Capabilities::NONE && step.any == Capabilities::NONE {
            reader.wrong::<()>(value, format!("step `{name}` matches every call"));
        }
        found.push(step);
    }
    found
}

fn patterns(reader: &mut Reader, fields: &Fields<'_>, name: &str) -> Vec<Pattern> {
    let Some(node) = fields.get(name) else { return Vec::new() };
    let texts = reader.texts(node, name);
    let compiled = texts.iter().filter_map(|text| match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(fault) => reader.wrong(node, format!("{name} `{text}`: {fault}")),
    });
    compiled.collect()
}

/// A list of capabilities by name.
pub(in crate::policy) fn capabilities(reader: &mut Reader, node: Option<&Node>) -> Capabilities {
    let Some(node) = node else { return Capabilities::NONE };
    let mut found = Capabilities::NONE;
    for name in reader.texts(node, "capabilities") {
        match Capabilities::named(&name) {
            Some(label) => found = found.with(label),
            None => {
                let near = nearest(&name, Capabilities::NAMES.iter().map(|(_, known)| *known));
                let fault: Fault = node.fault(format!("there is no capability `{name}`"));
                reader.note(fault.near(near));
            }
        }
    }
    found
}

fn correlated(reader: &mut Reader, node: &Node, steps: Vec<Step>) -> Option<Composition> {
    let fields = reader.fields(node, "a correlation", &CORRELATION_KEYS);
    let kind = reader.required(&fields, "type", node, "a correlation");
    let kind = kind.and_then(|node| reader.one_of(node, "type", &KINDS));
    let timespan = reader.required(&fields, "timespan", node, "a correlation");
    let timespan = timespan.and_then(|node| reader.duration(node, "timespan", 7 * DAY_US));
    let scope = fields.get("group-by").and_then(|node| {
        let name = reader.texts(node, "group-by");
        let found = SCOPES.iter().find(|(known, _)| [*known] == *name.as_slice()).map(|(_, scope)| *scope);
        found.or_else(|| reader.wrong(node, "group-by is one of session, principal, session_tree"))
    });
    let steps = ordered(reader, &fields, steps)?;
    let names: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
    let shape = shape(reader, &fields, node, kind?)?;
    if matches!(shape, Shape::Ordered | Shape::Unordered) && steps.len() < 2 {
        return reader.wrong(node, "a temporal correlation needs at least two steps");
    }
    let same_value =
        fields.get("same_value").map(|node| same_value(reader, node, &names)).unwrap_or_default();
    Some(Composition {
        id: String::new(),
        title: String::new(),
        tags: Vec::new(),
        risk: 0,
        effect: OnFire::Review,
        scope: scope.unwrap_or(Scope::Session),
        shape,
        timespan_us: timespan?,
        steps,
        same_value,
    })
}

/// The steps in the order of `rules`; without it as they stand.
fn ordered(reader: &mut Reader, fields: &Fields<'_>, steps: Vec<Step>) -> Option<Vec<Step>> {
    let Some(node) = fields.get("rules") else { return Some(steps) };
    let mut found = Vec::new();
    for name in reader.texts(node, "rules") {
        match steps.iter().find(|step| step.name == name) {
            Some(step) => found.push(step.clone()),
            None => {
                let near = nearest(&name, steps.iter().map(|step| step.name.as_str()));
                reader.note(node.fault(format!("there is no step `{name}`")).near(near));
            }
        }
    }
    if found.is_empty() || found.len() > STEPS_MAX {
        return reader.wrong(node, format!("a correlation has 1 to {STEPS_MAX} steps"));
    }
    Some(found)
}

fn shape(reader: &mut Reader, fields: &Fields<'_>, node: &Node, kind: Kind) -> Option<Shape> {
    if kind == Kind::Ordered || kind == Kind::Temporal {
        if let Some(node) = fields.get("condition") {
            return reader.wrong(node, "a temporal correlation has no condition");
        }
        return Some(if kind == Kind::Ordered { Shape::Ordered } else { Shape::Unordered });
    }
    let condition = reader.required(fields, "condition", node, "a counting correlation")?;
    let parts = reader.fields(condition, "a condition", &["gte", "field"]);
    let least = reader.required(&parts, "gte", condition, "a condition")?;
    let least = u32::try_from(reader.number(least, "gte", 1, 48)?).ok()?;
    if kind == Kind::EventCount {
        return Some(Shape::EventCount(least));
    }
    let field = reader.required(&parts, "field", condition, "a value_count condition")?;
    reader.one_of(field, "field", &FIELDS).map(|field| Shape::ValueCount(field, least))
}

fn same_value(reader: &mut Reader, node: &Node, names: &[String]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for item in reader.list(node, "same_value") {
        let fields = reader.fields(item, "same_value", &["from", "to"]);
        let mut place = |key: &str| {
            let node = reader.required(&fields, key, item, "same_value")?;
            let name = reader.text(node, key)?;
            match names.iter().position(|known| known == name) {
                Some(place) => Some(place),
                None => {
                    let near = nearest(name, names.iter().map(String::as_str));
                    reader.note(node.fault(format!("there is no step `{name}`")).near(near));
                    None
                }
            }
        };
        if let (Some(from), Some(to)) = (place("from"), place("to")) {
            found.push((from, to));
        }
    }
    found
}
