//! Alternative draws of planted attacks: each in turn is put into the calls it was made for.

use super::run::{Bench, Labelled, Way};
use crate::evaluate::trial::Trials;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;

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
