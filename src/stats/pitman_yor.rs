//! The next symbol of a sequence given the ones before it: interpolated Pitman-Yor back-off.
//!
//! `P(x|c) = (max(n_cx - d, 0) + (alpha + d K_c) P(x|parent)) / (N_c + alpha)` with d = 1/2 and
//! alpha = 1 down a chain of contexts, the longest first, then a unigram, then uniform over the
//! alphabet (Teh 2006; detection.md 3.3). Two things make its ratios usable as evidence (E12):
//! *update exclusion*, a parent learns a symbol only if it was new to the child, and one per cent
//! of the uniform distribution mixed in, so that no single call costs more than about 12 bits.
//!
//! Contexts and symbols are fingerprints made by the caller. Everything decays with a half-life of
//! four weeks, lazily: a cell is brought up to its week when it is next touched.

use super::decay;
use super::fingerprint::mix;
use super::millibits::MilliBits;
use super::table::{SetTable, Weigh, decayed_weight};
use serde::{Deserialize, Serialize};

/// One observation in the fixed point of the counts (Q24.8).
const ONE: u32 = 1 << 8;
/// d, the share of an observation that is set aside for the unseen.
const DISCOUNT: f64 = 0.5;
/// alpha, the weight of the parent at a context with no observations.
const CONCENTRATION: f64 = 1.0;
/// The share of the uniform distribution.
const FLOOR: f64 = 0.01;
/// Symbols the uniform distribution spares for the never seen.
const SPARE_SYMBOLS: f64 = 5.0;
/// The context of the unigram, below all others.
const UNIGRAM: u64 = 0x756e_6967_7261_6d00;
/// Cells for each context of the table of contexts.
const CELLS_A_CONTEXT: usize = 4;

/// Contexts of a chain, longest first; the unigram and the uniform distribution follow by themselves.
pub type Contexts = [u64; 3];

/// How often a symbol followed a context. 16 bytes with its key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cell {
    /// n_cx, Q24.8, as of `week`.
    count: u32,
    /// The week it was last learned in; its discount decays from there, too.
    week: u16,
}

impl Weigh for Cell {
    fn weight(&self) -> u64 {
        decayed_weight(self.count, self.week)
    }
}

/// All that followed a context. 24 bytes with its key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Total {
    /// N_c, Q24.8, as of `week`.
    count: u32,
    /// K_c, distinct symbols, each weighing `2^(-weeks since it was last learned / 4)`; Q24.8.
    kinds: u32,
    week: u16,
}

impl Weigh for Total {
    fn weight(&self) -> u64 {
        decayed_weight(self.count, self.week)
    }
}

/// Observed counts behind a probability, for the explanation: "0 times in 212".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Times the symbol followed the context, decayed, rounded.
    pub times: u32,
    /// Times anything followed the context, decayed, rounded.
    pub of: u32,
}

/// An order-2 sequence model of one tenant, in two bounded tables.
///
/// With the default 65,536 cells at most 1.0 MB of cells, 0.4 MB of contexts and 0.3 MB of set
/// heads; next to nothing while empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PitmanYor {
    cells: SetTable<Cell>,
    totals: SetTable<Total>,
}

impl Default for PitmanYor {
    fn default() -> Self {
        Self::new(65_536)
    }
}

impl PitmanYor {
    /// A model that has seen nothing, for this many (context, symbol) pairs, rounded up to a power of two.
    pub fn new(cells: usize) -> Self {
        Self { cells: SetTable::new(cells), totals: SetTable::new(cells / CELLS_A_CONTEXT) }
    }

    /// Probability of `symbol` after `contexts` in `week`, in (0, 1].
    ///
    /// `alphabet`: number of distinct symbols known to the tenant. `week` counts from any fixed
    /// start. With every context empty it is uniform: `1 / (alphabet + 5)`.
    pub fn probability(&self, contexts: &Contexts, symbol: u64, alphabet: u32, week: u16) -> f64 {
        let uniform = 1.0 / (f64::from(alphabet) + SPARE_SYMBOLS);
        let mut p = self.interpolate(UNIGRAM, symbol, week, uniform);
        for &context in contexts.iter().rev() {
            p = self.interpolate(context, symbol, week, p);
        }
        (1.0 - FLOOR) * p + FLOOR * uniform
    }

    /// `-log2` of [`PitmanYor::probability`].
    pub fn surprise(&self, contexts: &Contexts, symbol: u64, alphabet: u32, week: u16) -> MilliBits {
        MilliBits::from_p(self.probability(contexts, symbol, alphabet, week))
    }

    /// Probability of `symbol` regardless of what went before, floored in the same way; for the
    /// alternative of the session's e-value.
    pub fn unigram(&self, symbol: u64, alphabet: u32, week: u16) -> f64 {
        let uniform = 1.0 / (f64::from(alphabet) + SPARE_SYMBOLS);
        (1.0 - FLOOR) * self.interpolate(UNIGRAM, symbol, week, uniform) + FLOOR * uniform
    }

    /// Learns that `symbol` followed `contexts` in `week`: at the longest, and at each shorter one
    /// only while it was new to the longer.
    pub fn learn(&mut self, contexts: &Contexts, symbol: u64, week: u16) {
        for &context in contexts.iter().chain([&UNIGRAM]) {
            if !self.learn_at(context, symbol, week) {
                return;
            }
        }
    }

    /// How often `symbol` followed `context`, by `week`.
    pub fn seen(&self, context: u64, symbol: u64, week: u16) -> Seen {
        let round = |count: u32, since: u16| (weekly(count, since, week) + ONE / 2) / ONE;
        let of = self.totals.get(context).map_or(0, |total| round(total.count, total.week));
        let times = self.cells.get(mix(context, symbol)).map_or(0, |cell| round(cell.count, cell.week));
        Seen { times: times.min(of), of }
    }

    /// Entries displaced and insertions refused in both tables since the start.
    pub fn losses(&self) -> u64 {
        let of = |evictions: u64, refusals: u64| evictions + refusals;
        of(self.cells.evictions(), self.cells.refusals())
            + of(self.totals.evictions(), self.totals.refusals())
    }

    /// One level of the formula. The discount of a cell that was not learned lately has decayed with
    /// its count, and so has its part of K_c: the probabilities of all symbols sum to 1.
    fn interpolate(&self, context: u64, symbol: u64, week: u16, parent: f64) -> f64 {
        let Some(total) = self.totals.get(context) else { return parent };
        let one = f64::from(ONE);
        let decay = decay::weekly_factor(u32::from(week.saturating_sub(total.week)));
        let (number, kinds) = (f64::from(total.count) / one * decay, f64::from(total.kinds) / one * decay);
        let own = self.cells.get(mix(context, symbol)).map_or(0.0, |cell| {
            let decay = decay::weekly_factor(u32::from(week.saturating_sub(cell.week)));
            (f64::from(cell.count) / one - DISCOUNT).max(0.0) * decay
        });
        // A context evicted and begun anew may own less than its old cells.
        let own = own.min(number);
        ((own + (CONCENTRATION + DISCOUNT * kinds) * parent) / (number + CONCENTRATION)).min(1.0)
    }

    /// Adds one observation at one context; true if the symbol was new there.
    fn learn_at(&mut self, context: u64, symbol: u64, week: u16) -> bool {
        let empty = Total { count: 0, kinds: 0, week };
        let Some(total) = self.totals.entry(context, || empty) else { return true };
        let Some(cell) = self.cells.entry(mix(context, symbol), || Cell { count: 0, week }) else {
            return true;
        };

        // A late event, from an earlier week, counts as of the week already reached.
        let now = week.max(total.week).max(cell.week);
        let before = weekly(cell.count, cell.week, now);
        let already_counted = if before == 0 { 0 } else { weekly(ONE, cell.week, now) };
        *cell = Cell { count: before.saturating_add(ONE), week: now };
        *total = Total {
            count: weekly(total.count, total.week, now).saturating_add(ONE),
            kinds: weekly(total.kinds, total.week, now).saturating_add(ONE - already_counted),
            week: now,
        };
        before == 0
    }
}

/// `count` as of `since`, decayed to `week`.
fn weekly(count: u32, since: u16, week: u16) -> u32 {
    decay::weekly(u64::from(count), u32::from(week.saturating_sub(since))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{SplitMix64, round_trip};
    use proptest::prelude::*;

    const ALPHABET: u32 = 24;

    fn contexts(agent: u64, before: u64, last: u64) -> Contexts {
        [mix(mix(agent, before), last), mix(agent, last), mix(0, last)]
    }

    fn symbol(x: u64) -> u64 {
        mix(0xabc, x)
    }

    #[test]
    fn by_hand() {
        let mut model = PitmanYor::new(256);
        let chain = contexts(1, 2, 3);
        let uniform = 1.0 / 29.0;
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(model.probability(&chain, symbol(7), ALPHABET, 0), uniform);
        model.learn(&chain, symbol(7), 0);
        model.learn(&chain, symbol(7), 0);
        // The second time it was not new at the longest context, so the parents saw it once.
        assert_eq!(model.seen(chain[0], symbol(7), 0), Seen { times: 2, of: 2 });
        assert_eq!(model.seen(chain[1], symbol(7), 0), Seen { times: 1, of: 1 });
        assert_eq!(model.seen(chain[0], symbol(8), 0), Seen { times: 0, of: 2 });
        let once = |parent: f64| (0.5 + 1.5 * parent) / 2.0;
        let p = (1.5 + 1.5 * once(once(once(uniform)))) / 3.0;
        near(model.probability(&chain, symbol(7), ALPHABET, 0), 0.99 * p + 0.01 * uniform);
        near(model.unigram(symbol(7), ALPHABET, 0), 0.99 * once(uniform) + 0.01 * uniform);
    }

    #[test]
    fn probabilities_sum_to_one_before_and_after_decay() {
        let mut random = SplitMix64(4);
        let mut model = PitmanYor::new(65_536);
        for week in 0..12u16 {
            for _ in 0..300 {
                let x = random.below(12).min(random.below(12));
                model.learn(&contexts(1, random.below(3), random.below(3)), symbol(x), week);
            }
            for at in [week, week + 1, week + 9] {
                let chain = contexts(1, 1, 2);
                let known: f64 = (0..12).map(|x| model.probability(&chain, symbol(x), 12, at)).sum();
                let unknown = model.probability(&chain, symbol(999), 12, at) * 5.0;
                // Fixed-point rounding loses at most 1/256 a cell and decay.
                assert!((known + unknown - 1.0).abs() < 0.02, "week {week} at {at}: {}", known + unknown);
            }
        }
    }

    #[test]
    fn forgets_in_weeks() {
        let mut model = PitmanYor::new(256);
        let chain = contexts(1, 2, 3);
        (0..64).for_each(|_| model.learn(&chain, symbol(1), 10));
        assert_eq!(model.seen(chain[0], symbol(1), 14), Seen { times: 32, of: 32 });
        assert_eq!(model.seen(chain[0], symbol(1), 10 + 60), Seen { times: 0, of: 0 });
        let p = model.probability(&chain, symbol(1), ALPHABET, u16::MAX);
        assert!((p - 1.0 / 29.0).abs() < 1e-6);
        // A late event changes no more than one observation would.
        model.learn(&chain, symbol(1), 3);
        assert_eq!(model.seen(chain[0], symbol(1), 10), Seen { times: 65, of: 65 });
    }

    /// Order-2 truth, 24 tools: each pair of tools is followed by one of three in 95 of 100 cases,
    /// else by a tool of skewed popularity.
    fn next_tool(random: &mut SplitMix64, before: u64, last: u64) -> u64 {
        if random.chance(0.95) {
            mix(mix(before, last), random.below(3)) % 24
        } else {
            random.below(24).min(random.below(24))
        }
    }

    /// Mean ratio of the alternative to the model, bits of clean calls and of foreign ones, over the
    /// 300 sessions after the first `trained`.
    fn clean_sessions(trained: u32, seed: u64) -> (f64, f64, f64) {
        let mut random = SplitMix64(seed);
        let mut model = PitmanYor::default();
        let (mut ratios, mut clean, mut foreign) = (0.0, 0.0, 0.0);
        for session in 0..trained + 300 {
            let (mut before, mut last) = (97, 98);
            for _ in 0..25 {
                let x = next_tool(&mut random, before, last);
                let chain = contexts(1, before, last);
                if session >= trained {
                    let p = model.probability(&chain, symbol(x), 24, 0);
                    ratios += (0.5 * model.unigram(symbol(x), 24, 0) + 0.5 / 29.0) / p;
                    clean -= p.log2();
                    foreign -= model.probability(&chain, symbol(random.below(24)), 24, 0).log2();
                }
                model.learn(&chain, symbol(x), 0);
                (before, last) = (last, x);
            }
        }
        let n = 300.0 * 25.0;
        (ratios / n, clean / n, foreign / n)
    }

    #[test]
    fn ratios_of_clean_sessions_stay_below_one_on_average() {
        // E12 measured .54 to .59 on its traffic. With 15 % of calls uniformly random it is 1.02 to
        // 1.25 here: d = 1/2 expects popularity to be skewed.
        for (trained, seed) in [(100, 5), (300, 6), (1000, 7)] {
            let (ratio, clean, foreign) = clean_sessions(trained, seed);
            assert!(ratio <= 1.0, "{trained} sessions: mean ratio {ratio}");
            assert!(foreign > clean + 3.0, "{trained} sessions: {foreign} bits against {clean}");
        }
    }

    #[test]
    fn a_flood_of_strange_symbols_leaves_the_known_alone() {
        let mut model = PitmanYor::new(1024);
        let mut random = SplitMix64(6);
        let chain = contexts(1, 2, 3);
        (0..200).for_each(|k| model.learn(&chain, symbol(k % 4), 0));
        let before = model.probability(&chain, symbol(1), ALPHABET, 0);
        for _ in 0..50_000 {
            let strange = contexts(random.next(), random.next(), random.next());
            model.learn(&strange, random.next(), 0);
        }
        let after = model.probability(&chain, symbol(1), ALPHABET, 0);
        assert!((after / before - 1.0).abs() < 0.05, "{before} {after}");
        assert!(model.losses() > 10_000);
        assert!(postcard::to_stdvec(&model).unwrap().len() < 40_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn always_a_probability(
            events in prop::collection::vec((0u64..3, 0u64..4, 0u64..4, 0u64..30, 0u16..40), 0..300),
            alphabet in 0u32..,
            week in 0u16..,
        ) {
            let mut model = PitmanYor::new(64);
            for (agent, before, last, x, at) in events {
                model.learn(&contexts(agent, before, last), symbol(x), at);
                let p = model.probability(&contexts(agent, before, last), symbol(x), alphabet, week);
                prop_assert!(p > 0.0 && p <= 1.0, "{}", p);
            }
            round_trip(&model);
        }
    }
}
