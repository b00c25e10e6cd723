//! From parts of a document to values, noting every fault on the way.

use super::document::{Node, Value};
use super::fault::Fault;
use super::nearest::nearest;
use crate::domain::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, Timestamp};

/// Faults told of one policy.
pub(super) const FAULTS_MAX: usize = 1_000;

/// Reads parts and collects faults.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) faults: Vec<Fault>,
    /// Id of the rule being read; empty: none.
    pub(super) rule_id: String,
}

/// The fields of a map whose keys are all known.
pub(super) struct Fields<'d> {
    fields: Vec<(&'d str, &'d Node)>,
}

impl<'d> Fields<'d> {
    /// The field of this name; one without a value counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'d Node> {
        self.fields.iter().find(|(key, node)| *key == name && !node.is_null()).map(|(_, node)| *node)
    }
}

impl Reader {
    /// Notes a fault.
    pub(super) fn note(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { rule_id: self.rule_id.clone(), ..fault });
        }
    }

    /// Notes an error at a place.
    pub(super) fn wrong<T>(&mut self, node: &Node, message: impl Into<String>) -> Option<T> {
        self.note(node.fault(message));
        None
    }

    /// Keys and values of a map.
    pub(super) fn pairs<'d>(&mut self, node: &'d Node, what: &str) -> Vec<(&'d str, &'d Node, &'d Node)> {
        let Value::Map(pairs) = &node.value else {
            self.wrong::<()>(node, format!("{what} must be a map"));
            return Vec::new();
        };
        let mut found: Vec<(&str, &Node, &Node)> = Vec::new();
        for (key, value) in pairs {
            let Value::Scalar(name, _) = &key.value else {
                self.wrong::<()>(key, "a key must be a plain name");
                continue;
            };
            if found.iter().any(|(known, ..)| known == name) {
                self.wrong::<()>(key, format!("`{name}` stands twice in {what}"));
                continue;
            }
            found.push((name, key, value));
        }
        found
    }

    /// A map whose keys are among `known`.
    pub(super) fn fields<'d>(&mut self, node: &'d Node, what: &str, known: &[&str]) -> Fields<'d> {
        let mut fields = Vec::new();
        for (name, key, value) in self.pairs(node, what) {
            if known.contains(&name) {
                fields.push((name, value));
            } else {
                let near = nearest(name, known.iter().copied());
                self.note(key.fault(format!("{what} has no key `{name}`")).near(near));
            }
        }
        Fields { fields }
    }

    /// A field that must be there.
    pub(super) fn required<'d>(
        &mut self,
        fields: &Fields<'d>,
        name: &str,
        node: &Node,
        what: &str,
    ) -> Option<&'d Node> {
        let found = fields.get(name);
        if found.is_none() {
            self.wrong::<()>(node, format!("{what} needs `{name}`"));
        }
        found
    }

    /// Items of a list.
    pub(super) fn list<'d>(&mut self, node: &'d Node, what: &str) -> &'d [Node] {
        if let Value::List(items) = &node.value {
            return items;
        }
        self.wrong::<()>(node, format!("{what} must be a list"));
        &[]
    }

    /// A text.
    pub(super) fn text<'d>(&mut self, node: &'d Node, what: &str) -> Option<&'d str> {
        match &node.value {
            Value::Scalar(text, _) => Some(text),
            _ => self.wrong(node, format!("{what} must be a text")),
        }
    }

    /// Texts: a list of them, or one alone.
    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        match &node.value {
            Value::Scalar(text, _) => vec![text.clone()],
            _ => {
                let items = self.list(node, what);
                items.iter().filter_map(|item| self.text(item, what).map(str::to_owned)).collect()
            }
        }
    }

    /// One of some names.
    pub(super) fn one_of<T: Clone>(&mut self, node: &Node, what: &str, known: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
            return Some(value.clone());
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let near = nearest(text, names.iter().copied());
        self.note(node.fault(format!("{what} is one of {}, not `{text}`", names.join(", "))).near(near));
        None
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, node: &Node, what: &str, least: u64, most: u64) -> Option<u64> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => self
                .wrong(node, format!("{what} must be a whole number from {least} to {most}, not `{text}`")),
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        self.one_of(node, what, &[("true", true), ("false", false)])
    }

    /// A duration such as `30s`, `5m`, `2h` or `7d`, in microseconds.
    pub(super) fn duration(&mut self, node: &Node, what: &str, most: i64) -> Option<i64> {
        let text = self.text(node, what)?;
        match duration(text) {
            Some(span) if span > 0 && span <= most => Some(span),
            Some(_) => self.wrong(node, format!("{what} must be longer than 0 and at most {}", shown(most))),
            None => {
                self.wrong(node, format!("{what} must be a duration such as 30s, 5m, 2h or 7d, not `{text}`"))
            }
        }
    }

    /// An instant: RFC 3339, or a date, whose end in UTC is meant.
    pub(super) fn instant(&mut self, node: &Node, what: &str) -> Option<Timestamp> {
        let text = self.text(node, what)?;
        let day = Timestamp::parse(&format!("{text}T00:00:00Z")).map(|start| start.plus_micros(DAY_US));
        match Timestamp::parse(text).or(day) {
            Some(at) => Some(at),
            None => {
                self.wrong(node, format!("{what} must be a date or a time such as 2026-12-31, not `{text}`"))
            }
        }
    }
}

/// A duration in microseconds.
pub fn duration(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: i64 = text.get(..digits)?.parse().ok()?;
    let factor = match text.get(digits..)? {
        "s" => SECOND_US,
        "m" => MINUTE_US,
        "h" => HOUR_US,
        "d" => DAY_US,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A duration as it is written.
pub fn shown(span: i64) -> String {
    let units = [(DAY_US, "d"), (HOUR_US, "h"), (MINUTE_US, "m")];
    let unit = units.iter().find(|(factor, _)| span % factor == 0);
    unit.map_or_else(|| format!("{}s", span / SECOND_US), |(factor, unit)| format!("{}{unit}", span / factor))
}
