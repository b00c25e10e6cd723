//! How long answers take and which tools are asked for: counted where calls are answered.
//!
//! Only the answer to the call counts, not the time that a caller chose to wait for a human. Tools are told by name for
//! the first [`TOOLS_MAX`] that were seen since the start, together for all tenants; further ones are `other`, of no tenant.

use crate::domain::decision::Verdict;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Upper bounds of the buckets, seconds; a last one has none.
pub const BOUNDS_S: [f64; 15] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 5.0];
/// What a call can be answered with: the verdicts, and the fallback of a call that there was no time to decide.
pub const ANSWERS: [&str; 4] = ["allow", "review", "deny", "fallback"];
/// Tools told by name.
pub const TOOLS_MAX: usize = 200;
/// What all others are told as.
pub const OTHER: &str = "other";

/// Times in buckets.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_S.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    fn view(&self) -> Times {
        Times {
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// Times in buckets, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many in each bucket of [`BOUNDS_S`], and over the last bound.
    pub buckets: [u64; BOUNDS_S.len() + 1],
    /// Their sum, microseconds.
    pub sum_us: u64,
}

impl Times {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Calls of tools.
#[derive(Debug, Default)]
struct Tools {
    /// By tenant and tool.
    named: BTreeMap<String, BTreeMap<String, AtomicU64>>,
    /// How many of them.
    count: usize,
}

impl Tools {
    fn of(&self, tenant: &str, tool: &str) -> Option<&AtomicU64> {
        self.named.get(tenant)?.get(tool)
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    times: [Histogram; ANSWERS.len()],
    tools: RwLock<Tools>,
    /// Calls of tools that are not named.
    others: AtomicU64,
}

impl Tally {
    /// Notes the answer to a call. No verdict: the fallback.
    pub(super) fn note(&self, tenant: &str, tool: &str, verdict: Option<Verdict>, took: Duration) {
        let place = match verdict {
            Some(Verdict::Allow) => 0,
            Some(Verdict::Review) => 1,
            Some(Verdict::Deny) => 2,
            None => 3,
        };
        if let Some(times) = self.times.get(place) {
            times.add(took);
        }
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = tools.of(tenant, tool) {
            calls.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Without a name that is left, a flood of tools takes no lock that keeps others out.
        let is_full = tools.count >= TOOLS_MAX;
        drop(tools);
        if is_full || !self.name(tenant, tool) {
            self.others.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call of a tool that has no name yet; whether there was one left.
    fn name(&self, tenant: &str, tool: &str) -> bool {
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = tools.of(tenant, tool) {
            calls.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        if tools.count >= TOOLS_MAX {
            return false;
        }
        tools.count += 1;
        tools.named.entry(tenant.to_owned()).or_default().insert(tool.to_owned(), AtomicU64::new(1));
        true
    }

    /// Times by answer, in the order of [`ANSWERS`].
    pub(super) fn times(&self) -> [Times; ANSWERS.len()] {
        self.times.each_ref().map(Histogram::view)
    }

    /// Tenant, tool and calls since the start; those of tools without a name last, under no tenant.
    pub(super) fn tools(&self) -> Vec<(String, String, u64)> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let others = self.others.load(Ordering::Relaxed);
        let of_tenant = |(tenant, tools): (&String, &BTreeMap<String, AtomicU64>)| {
            let one = |(tool, calls): (&String, &AtomicU64)| {
                (tenant.clone(), tool.clone(), calls.load(Ordering::Relaxed))
            };
            tools.iter().map(one).collect::<Vec<_>>()
        };
        let others = (others > 0).then(|| (String::new(), OTHER.to_owned(), others));
        tools.named.iter().flat_map(of_tenant).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets() {
        let tally = Tally::default();
        for micros in [1, 250, 251, 7_000_000] {
            tally.note("t", "a", Some(Verdict::Deny), Duration::from_micros(micros));
        }
        tally.note("t", "a", None, Duration::ZERO);
        let [allow, _, deny, fallback] = tally.times();
        assert_eq!((allow.count(), deny.count(), fallback.count()), (0, 4, 1));
        assert_eq!((deny.buckets[0], deny.buckets[1], deny.buckets[BOUNDS_S.len()]), (2, 1, 1));
        assert_eq!(deny.sum_us, 7_000_502);
        assert_eq!(tally.tools(), [("t".to_owned(), "a".to_owned(), 5)]);
    }

    #[test]
    fn a_flood_of_names_makes_no_flood_of_labels() {
        let tally = Tally::default();
        for index in 0..1_000 {
            tally.note("t", &format!("tool-{index}"), Some(Verdict::Allow), Duration::ZERO);
        }
        tally.note("t", "tool-0", Some(Verdict::Allow), Duration::ZERO);
        let tools = tally.tools();
        assert_eq!(tools.len(), TOOLS_MAX + 1);
        assert!(tools.contains(&(String::new(), OTHER.to_owned(), 800)));
        assert!(tools.contains(&("t".to_owned(), "tool-0".to_owned(), 2)));
    }

    #[test]
    fn a_tool_of_that_name_is_not_the_rest() {
        let tally = Tally::default();
        tally.note(OTHER, OTHER, None, Duration::ZERO);
        for index in 0..TOOLS_MAX {
            tally.note("t", &format!("tool-{index}"), None, Duration::ZERO);
        }
        tally.note(OTHER, OTHER, None, Duration::ZERO);
        let named = |tenant: &str| {
            let tools = tally.tools();
            tools.iter().find(|(of, tool, _)| of == tenant && tool == OTHER).map(|(_, _, calls)| *calls)
        };
        assert_eq!((named(OTHER), named("")), (Some(2), Some(1)));
    }
}
