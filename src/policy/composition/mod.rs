//! Rules over several calls: each alone is harmless, together they are an attack.
//!
//! In the shape of Sigma correlation rules (specification 2.1.0, "Sigma Correlation Rules"): named steps, a
//! correlation type (`temporal_ordered`, `temporal`, `event_count`, `value_count`), `group-by`, `timespan`
//! and `condition`. The steps are over what calls are (patterns of tool and server, capabilities), not over
//! log lines. A rule fires on the call that completes it, before that call is made.
//!
//! Deliberately absent: memory. What happened before is handed in, newest first (`projection::Trail`), so
//! that a changed policy is judged on the same history at once.

mod matching;
mod read;

pub use matching::Happened;
pub(super) use read::{capabilities, read};

use super::names::Pattern;
use crate::domain::risk::Capabilities;
use std::sync::{Arc, LazyLock};

/// Composition rules of a policy, the shipped ones counted.
pub(super) const COMPOSITIONS_MAX: usize = 256;
/// A rule's title, bytes.
pub(super) const TITLE_BYTES_MAX: usize = 256;
/// Tags of one rule.
pub(super) const TAGS_MAX: usize = 16;
/// One tag, bytes.
pub(super) const TAG_BYTES_MAX: usize = 64;
/// Steps of one rule.
pub(super) const STEPS_MAX: usize = 8;

/// What a rule does when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnFire {
    /// It is noted as a finding; the verdict stays.
    Note,
    /// A human must approve.
    Review,
    /// The call is denied.
    Deny,
}

/// Over whose calls a rule looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Calls of one session.
    Session,
    /// Calls of one acting principal, in any session.
    Principal,
    /// Calls of a session, its parents, and all sessions nested in them.
    Tree,
}

/// What of several calls must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Every step in its order; the last one is the call at hand.
    Ordered,
    /// Every step in any order.
    Unordered,
    /// At least so many calls of any step.
    EventCount(u32),
    /// Calls of any step with at least so many different values of a field.
    ValueCount(Field, u32),
}

/// What is counted by [`Shape::ValueCount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Different tools.
    Tool,
    /// Different servers.
    Server,
    /// Different telling argument values.
    Value,
}

/// One step of a rule: all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The tool matches one of these; empty: any tool.
    pub(super) tools: Vec<Pattern>,
    /// The server matches one of these; empty: any server.
    pub(super) servers: Vec<Pattern>,
    /// Has all of these.
    pub(super) all: Capabilities,
    /// Has one of these; none: not asked.
    pub(super) any: Capabilities,
    /// Has none of these.
    pub(super) none: Capabilities,
    /// So many calls like this; at least 1.
    pub(super) at_least: u32,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Composition {
    /// Name, unique in the policy.
    pub id: String,
    /// What it is about, one sentence; it stands in the finding.
    pub title: String,
    /// Ids of what it is in ATLAS, OWASP and the like, such as `atlas.aml.t0086`.
    pub tags: Vec<String>,
    /// Least risk of the call that completes it, 0 to 100.
    pub risk: u8,
    /// What it does.
    pub effect: OnFire,
    /// Over whose calls.
    pub scope: Scope,
    /// What must hold.
    pub shape: Shape,
    /// Longest time from the first call to the last, microseconds.
    pub timespan_us: i64,
    /// The steps.
    pub steps: Vec<Step>,
    /// Pairs of steps (earlier, later): a telling argument value of the later one came up in arguments or
    /// result of the earlier one.
    pub same_value: Vec<(usize, usize)>,
}

/// The shipped rules.
pub fn shipped() -> Arc<Vec<Composition>> {
    static SHIPPED: LazyLock<Arc<Vec<Composition>>> = LazyLock::new(|| {
        let read = super::document::read(SHIPPED_TEXT).map(|root| {
            let mut reader = super::reader::Reader::default();
            let found = read(&mut reader, &root, &[]);
            (found, reader.faults)
        });
        // A test reads the pack and fails on its first fault.
        Arc::new(read.map(|(found, _)| found).unwrap_or_default())
    });
    Arc::clone(&SHIPPED)
}

/// The shipped rules as they are written.
pub const SHIPPED_TEXT: &str = include_str!("shipped.yaml");

#[cfg(test)]
mod tests;
