//! Whether the calls of a trail complete a rule.

use super::{Composition, Field, Shape, Step};
use crate::domain::risk::Capabilities;
use crate::domain::time::Timestamp;
use std::collections::BTreeSet;

/// A call that was made, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Happened<'t> {
    /// When.
    pub at: Timestamp,
    /// MCP server.
    pub server: &'t str,
    /// Tool name.
    pub tool: &'t str,
    /// What the tool can do.
    pub capabilities: Capabilities,
    /// Hashes of its telling argument values.
    pub values: &'t [u32],
    /// Hashes of telling values in its result.
    pub brought: &'t [u32],
}

impl Happened<'_> {
    /// Whether a value of `later` came up here.
    fn feeds(&self, later: &Happened<'_>) -> bool {
        later.values.iter().any(|value| self.values.contains(value) || self.brought.contains(value))
    }
}

/// Tries of one search; a rule that needs more is taken as not complete.
const TRIES_MAX: u32 = 4_096;

impl Step {
    /// Whether a call is of this step.
    pub(super) fn matches(&self, call: &Happened<'_>) -> bool {
        let found = call.capabilities;
        found.has_all(self.all)
            && (self.any == Capabilities::NONE || found.has_any(self.any))
            && !found.has_any(self.none)
            && (self.tools.is_empty() || self.tools.iter().any(|tool| tool.matches(call.tool)))
            && (self.servers.is_empty() || self.servers.iter().any(|server| server.matches(call.server)))
    }
}

impl Composition {
    /// Whether `call` could be the last of a chain; cheap, and asked first.
    pub fn can_end_with(&self, call: &Happened<'_>) -> bool {
        match self.shape {
            Shape::Ordered => self.steps.last().is_some_and(|step| step.matches(call)),
            _ => self.steps.iter().any(|step| step.matches(call)),
        }
    }

    /// Whether `call` completes the rule after `before`, newest first.
    pub fn fires(&self, call: &Happened<'_>, before: &[Happened<'_>]) -> bool {
        let within = |earlier: &&Happened<'_>| call.at.since(earlier.at) <= self.timespan_us;
        match self.shape {
            Shape::Ordered => {
                let Some((last, earlier)) = self.steps.split_last() else { return false };
                if !last.matches(call) {
                    return false;
                }
                let before: Vec<&Happened<'_>> = before.iter().filter(within).collect();
                let mut search = Search { rule: self, chosen: vec![None; self.steps.len()], tries: 0 };
                search.choose(self.steps.len() - 1, call);
                search.backwards(earlier.len(), &before)
            }
            Shape::Unordered => {
                let before: Vec<&Happened<'_>> = before.iter().filter(within).collect();
                let mut search = Search { rule: self, chosen: vec![None; self.steps.len()], tries: 0 };
                (0..self.steps.len()).any(|place| {
                    let matches = self.steps.get(place).is_some_and(|step| step.matches(call));
                    matches && search.with(place, call, |search| search.rest(0, &before))
                })
            }
            Shape::EventCount(least) => {
                let matching = |call: &Happened<'_>| self.steps.iter().any(|step| step.matches(call));
                let earlier = before.iter().filter(within).filter(|earlier| matching(earlier)).count();
                matching(call) && earlier + 1 >= least as usize
            }
            Shape::ValueCount(field, least) => {
                let matching = |call: &Happened<'_>| self.steps.iter().any(|step| step.matches(call));
                if !matching(call) {
                    return false;
                }
                let all = before.iter().filter(within).filter(|earlier| matching(earlier));
                let all = all.chain(std::iter::once(call));
                let distinct = match field {
                    Field::Tool => all.map(|call| (call.server, call.tool)).collect::<BTreeSet<_>>().len(),
                    Field::Server => all.map(|call| call.server).collect::<BTreeSet<_>>().len(),
                    Field::Value => all.flat_map(|call| call.values).collect::<BTreeSet<_>>().len(),
                };
                distinct >= least as usize
            }
        }
    }
}

/// A search for calls that fill the steps, one call a step.
struct Search<'s, 't> {
    rule: &'s Composition,
    chosen: Vec<Option<&'s Happened<'t>>>,
    tries: u32,
}

impl<'s, 't> Search<'s, 't> {
    fn choose(&mut self, place: usize, call: &'s Happened<'t>) {
        if let Some(slot) = self.chosen.get_mut(place) {
            *slot = Some(call);
        }
    }

    fn with(&mut self, place: usize, call: &'s Happened<'t>, then: impl FnOnce(&mut Self) -> bool) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        self.choose(place, call);
        let found = self.values_flow() && then(self);
        if let (false, Some(slot)) = (found, self.chosen.get_mut(place)) {
            *slot = None;
        }
        found
    }

    /// Whether every pair of chosen steps that must share a value does.
    fn values_flow(&self) -> bool {
        let chosen = |place: usize| self.chosen.get(place).copied().flatten();
        self.rule.same_value.iter().all(|(from, to)| match (chosen(*from), chosen(*to)) {
            (Some(from), Some(to)) => from.feeds(to),
            _ => true,
        })
    }

    /// Fills the first `open` steps, the last of them first, from `before`, newest first.
    fn backwards(&mut self, open: usize, before: &[&'s Happened<'t>]) -> bool {
        let Some(place) = open.checked_sub(1) else { return true };
        let Some(step) = self.rule.steps.get(place) else { return false };
        let mut seen = 0;
        for (index, call) in before.iter().enumerate() {
            if !step.matches(call) {
                continue;
            }
            seen += 1;
            if seen >= step.at_least
                && self.with(place, call, |search| {
                    search.backwards(place, before.get(index + 1..).unwrap_or_default())
                })
            {
                return true;
            }
        }
        false
    }

    /// Fills the steps from `place` on that are open, each by a call of its own.
    fn rest(&mut self, place: usize, before: &[&'s Happened<'t>]) -> bool {
        let Some(step) = self.rule.steps.get(place) else { return true };
        if self.chosen.get(place).is_some_and(Option::is_some) {
            return self.rest(place + 1, before);
        }
        before.iter().any(|call| {
            let taken = self.chosen.iter().flatten().any(|chosen| std::ptr::eq(*chosen, *call));
            !taken && step.matches(call) && self.with(place, call, |search| search.rest(place + 1, before))
        })
    }
}
