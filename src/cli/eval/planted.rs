//! Alternative draws of planted attacks: each in turn is put into the calls it was made for.

use super::super::trace_line::{LineFault, parse_call};
use super::labels::call_truth;
use super::run::{Bench, Labelled, Way};
use crate::evaluate::trial::Trials;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;

/// Reads a planted call. It has no place in its session yet.
pub(super) fn parse(line: &[u8]) -> Result<Labelled, LineFault> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)
        .map_err(|fault| LineFault { field: "line".to_owned(), why: fault.to_string() })?;
    fields.insert("index".to_owned(), u64::MAX.into());
    let text = serde_json::to_vec(&fields).unwrap_or_default();
    Ok(Labelled { line: parse_call(&text)?, truth: call_truth(&text)? })
}

/// Runs every draw over a fresh engine; gives how many there were.
pub(super) fn run(
    bench: &mut Bench,
    train: &[&Labelled],
    base: &[Labelled],
    planted: &[Labelled],
    way: Way,
    into: &mut Trials,
) -> usize {
    let mut draws: BTreeMap<u32, Vec<&Labelled>> = BTreeMap::new();
    for call in planted {
        draws.entry(call.truth.replica.unwrap_or(0)).or_default().push(call);
    }
    for draw in draws.values() {
        let merged = merge(base, draw);
        bench.run(train, &merged.iter().collect::<Vec<_>>(), way, into);
    }
    draws.len()
}

/// The calls with a draw among them, in order of time, numbered anew within each session.
fn merge(base: &[Labelled], draw: &[&Labelled]) -> Vec<Labelled> {
    let touched: HashSet<_> = draw.iter().map(|call| call.key()).collect();
    let mut merged: Vec<Labelled> = base.iter().chain(draw.iter().copied()).cloned().collect();
    merged.sort_by(|one, other| {
        let key = |call: &Labelled| (call.line.ts, call.line.index);
        key(one).cmp(&key(other)).then_with(|| one.line.session.cmp(&other.line.session))
    });
    let mut next: HashMap<_, u64> = HashMap::new();
    for call in &mut merged {
        let key = call.key();
        call.truth.session_label = u8::from(touched.contains(&key));
        let index = next.entry(key).or_insert(0);
        call.line.index = *index;
        *index += 1;
    }
    merged
}
