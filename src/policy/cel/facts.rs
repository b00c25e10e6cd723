//! What conditions can ask about a call.

use crate::domain::decision::{Assessment, Completed};
use crate::domain::json::Json;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::time::Timestamp;
use std::cell::OnceCell;

/// A call's masked arguments, read when a condition first asks for them.
#[derive(Debug)]
pub struct Arguments<'a> {
    text: &'a [u8],
    read: OnceCell<Json<'a>>,
}

impl<'a> Arguments<'a> {
    /// Of this JSON text; `null` stands in for a text that is none.
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, read: OnceCell::new() }
    }

    /// The arguments.
    pub fn json(&self) -> &Json<'a> {
        self.read.get_or_init(|| Json::parse(self.text).unwrap_or(Json::Null))
    }
}

/// What a session has done before the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// Calls proposed.
    pub calls: u32,
    /// Calls decided REVIEW.
    pub reviews: u32,
    /// Calls decided DENY.
    pub denies: u32,
    /// Highest risk so far.
    pub risk_max: u8,
    /// Capabilities of its calls so far.
    pub capabilities: Capabilities,
    /// Microseconds since its first event.
    pub age_us: i64,
    /// Whether it has a parent.
    pub nested: bool,
}

/// Everything that a rule can look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// Tool name.
    pub tool: &'f str,
    /// MCP server.
    pub server: &'f str,
    /// Outermost first; the last link acts.
    pub chain: &'f [String],
    /// Category inferred for the call.
    pub category: RiskCategory,
    /// What the tool can do.
    pub capabilities: Capabilities,
    /// Whether its definition is known.
    pub registered: bool,
    /// Whether its definition changed since it was accepted.
    pub changed: bool,
    /// The call's arguments.
    pub arguments: &'f Arguments<'f>,
    /// The session so far.
    pub session: SessionFacts,
    /// What the detectors say; none where they were not asked.
    pub assessment: Option<&'f Assessment>,
    /// Composition rules that this call completes.
    pub compositions: &'f [Completed],
    /// When the call came in.
    pub now: Timestamp,
}
