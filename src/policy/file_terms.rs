//! Review terms and change windows of a policy file.

use super::document::Node;
use super::reader::{Fields, Reader};
use super::review_terms::{APPROVERS_MAX, DefaultTerms, GROUPS_PER_TERMS_MAX, ReviewTerms, WhenSilent};
use super::window::{Outside, Window};
use crate::domain::time::DAY_US;

/// Longest time for a review or a release.
const TIME_MAX_US: i64 = 30 * DAY_US;
const TERMS_KEYS: [&str; 3] = ["approvers", "timeout", "release_within"];

#[derive(Clone, Copy)]
enum Then {
    Deny,
    Approve,
    Escalate,
}

const THEN: [(&str, Then); 3] =
    [("deny", Then::Deny), ("approve", Then::Approve), ("escalate", Then::Escalate)];

/// The section `review`: terms of all categories, and what differs for one.
pub(super) fn defaults(reader: &mut Reader, node: &Node) -> DefaultTerms {
    let categories = ["low", "medium", "high", "critical"];
    let known: Vec<&str> = TERMS_KEYS.into_iter().chain(categories).collect();
    let fields = reader.fields(node, "review", &known);
    let base = own(reader, &fields, &ReviewTerms::default()).unwrap_or_default();
    let by_category = categories.map(|name| {
        let Some(node) = fields.get(name) else { return base.clone() };
        let fields = reader.fields(node, name, &TERMS_KEYS);
        own(reader, &fields, &base).unwrap_or_else(|| base.clone())
    });
    DefaultTerms { by_category }
}

/// Terms that build on others; none if nothing is said.
pub(super) fn own(reader: &mut Reader, fields: &Fields<'_>, base: &ReviewTerms) -> Option<ReviewTerms> {
    if TERMS_KEYS.iter().all(|key| fields.get(key).is_none()) {
        return None;
    }
    let mut terms = base.clone();
    if let Some(node) = fields.get("approvers") {
        approvers(reader, node, &mut terms);
    }
    if let Some(node) = fields.get("timeout") {
        timeout(reader, node, &mut terms);
    }
    if let Some(node) = fields.get("release_within")
        && let Some(span) = reader.duration(node, "release_within", TIME_MAX_US)
    {
        terms.release_within_us = span;
    }
    Some(terms)
}

/// `approvers: 2`, or `approvers: {count: 2, groups: [sre]}`.
fn approvers(reader: &mut Reader, node: &Node, terms: &mut ReviewTerms) {
    let mut count = |reader: &mut Reader, node: &Node| {
        let count = reader.number(node, "approvers", 1, APPROVERS_MAX.into());
        if let Some(count) = count.and_then(|count| u8::try_from(count).ok()) {
            terms.approvers = count;
        }
    };
    if !matches!(node.value, super::document::Value::Map(_)) {
        return count(reader, node);
    }
    let fields = reader.fields(node, "approvers", &["count", "groups"]);
    if let Some(node) = fields.get("count") {
        count(reader, node);
    }
    if let Some(node) = fields.get("groups") {
        terms.groups = groups(reader, node);
    }
}

fn groups(reader: &mut Reader, node: &Node) -> Vec<String> {
    let mut names = reader.texts(node, "groups");
    names.sort();
    names.dedup();
    if names.len() > GROUPS_PER_TERMS_MAX {
        reader.wrong::<()>(node, format!("at most {GROUPS_PER_TERMS_MAX} groups"));
    }
    names
}

fn timeout(reader: &mut Reader, node: &Node, terms: &mut ReviewTerms) {
    let fields = reader.fields(node, "timeout", &["after", "then", "to", "deny_after"]);
    let after = reader.required(&fields, "after", node, "timeout");
    if let Some(span) = after.and_then(|node| reader.duration(node, "after", TIME_MAX_US)) {
        terms.after_us = span;
    }
    let then = reader.required(&fields, "then", node, "timeout");
    let Some(then) = then.and_then(|node| reader.one_of(node, "then", &THEN)) else { return };
    terms.when_silent = match then {
        Then::Deny => WhenSilent::Deny,
        Then::Approve => WhenSilent::Approve,
        Then::Escalate => {
            let Some(to) = reader.required(&fields, "to", node, "a timeout that escalates") else { return };
            let to = groups(reader, to);
            let deny_after = fields.get("deny_after");
            let deny_after = deny_after.and_then(|node| reader.duration(node, "deny_after", TIME_MAX_US));
            WhenSilent::Escalate { to, deny_after_us: deny_after.unwrap_or(terms.after_us) }
        }
    };
}

const DAYS: [(&str, usize); 7] =
    [("mon", 0), ("tue", 1), ("wed", 2), ("thu", 3), ("fri", 4), ("sat", 5), ("sun", 6)];
const OUTSIDE: [(&str, Outside); 2] = [("review", Outside::Review), ("deny", Outside::Deny)];

/// A change window: `{days: [mon-fri], hours: "09:00-17:00", zone: Europe/Berlin, outside: review}`.
pub(super) fn window(reader: &mut Reader, node: &Node) -> Option<Window> {
    let fields = reader.fields(node, "a window", &["days", "hours", "zone", "outside"]);
    let days = match fields.get("days") {
        Some(node) => days(reader, node),
        None => Some([true; 7]),
    };
    let hours = reader.required(&fields, "hours", node, "a window");
    let hours = hours.and_then(|node| {
        let text = reader.text(node, "hours")?;
        let found = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        found.or_else(|| reader.wrong(node, format!("hours are written 09:00-17:00, not `{text}`")))
    });
    let zone = reader.required(&fields, "zone", node, "a window");
    let zone = zone.and_then(|node| Some((node, reader.text(node, "zone")?)));
    let outside = fields.get("outside").and_then(|node| reader.one_of(node, "outside", &OUTSIDE));
    let ((from, to), (place, zone)) = (hours?, zone?);
    match Window::new(days?, from, to, zone, outside.unwrap_or(Outside::Review)) {
        Ok(window) => Some(window),
        Err(fault) => reader.wrong(place, fault),
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours <= 24).then_some(hours * 60 + minutes)
}

fn days(reader: &mut Reader, node: &Node) -> Option<[bool; 7]> {
    let mut open = [false; 7];
    let day = |name: &str| DAYS.iter().find(|(known, _)| *known == name).map(|(_, place)| *place);
    for text in reader.texts(node, "days") {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let (Some(first), Some(last)) = (day(first.trim()), day(last.trim())) else {
            return reader.wrong(node, format!("days are mon to sun, or mon-fri, not `{text}`"));
        };
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|step| {
            if let Some(slot) = open.get_mut((first + step) % 7) {
                *slot = true;
            }
        });
    }
    Some(open)
}
