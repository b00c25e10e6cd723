//! How long answers take and which tools are asked for: counted where calls are answered.
//!
//! Only the answer to the call counts, not the time that a caller chose to wait for a human. Tools are told by name for
//! the first [`TOOLS_MAX`] that were seen since the start, together for all tenants; further ones are `other`.

use crate::domain::decision::Verdict;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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

/// Calls of tools: by tenant and tool.
type Tools = BTreeMap<String, BTreeMap<String, u64>>;

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    times: [Histogram; ANSWERS.len()],
    tools: Mutex<Tools>,
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
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = tools.get_mut(tenant).and_then(|tools| tools.get_mut(tool)) {
            *calls += 1;
            return;
        }
        let named: usize = tools.values().map(BTreeMap::len).sum();
        let (tenant, tool) = if named < TOOLS_MAX { (tenant, tool) } else { (OTHER, OTHER) };
        *tools.entry(tenant.to_owned()).or_default().entry(tool.to_owned()).or_default() += 1;
    }

    /// Times by answer, in the order of [`ANSWERS`].
    pub(super) fn times(&self) -> [Times; ANSWERS.len()] {
        self.times.each_ref().map(Histogram::view)
    }

    /// Tenant, tool and calls since the start.
    pub(super) fn tools(&self) -> Vec<(String, String, u64)> {
        let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = |(tenant, tools): (&String, &BTreeMap<String, u64>)| {
            let one = |(tool, calls): (&String, &u64)| (tenant.clone(), tool.clone(), *calls);
            tools.iter().map(one).collect::<Vec<_>>()
        };
        tools.iter().flat_map(of_tenant).collect()
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
        assert!(tools.contains(&(OTHER.to_owned(), OTHER.to_owned(), 800)));
        assert!(tools.contains(&("t".to_owned(), "tool-0".to_owned(), 2)));
    }
}
