//! How well a score tells one side from the other: area under the ROC curve, and the share found at a
//! given share of false alarms.
//!
//! Ties are never broken in our favour: cases of one score are found together or not at all.

use serde::Serialize;

/// Shares of false alarms at which the share found is told.
pub const BUDGETS: [f64; 3] = [0.003, 0.01, 0.05];

/// What a case really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Side {
    /// To be found.
    Positive,
    /// To be left in peace.
    Negative,
}

/// A case to rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Its session: cases of one session depend on each other and are resampled together.
    pub session: u32,
    /// What it really is.
    pub side: Side,
    /// Its score; minus infinity: it was not scored.
    pub score: f64,
}

/// What is told of a ranking. Not a number where a side has no case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Chance that a positive case scores higher than a negative one, ties counting half.
    pub auc: f64,
    /// Share of the positive cases found at each of [`BUDGETS`]: those that score over the lowest
    /// threshold at which no more than that share of the negative cases does.
    pub tpr: [f64; 3],
}

/// Cases by falling score.
#[derive(Clone, Debug)]
pub struct Ranking {
    cases: Vec<Case>,
}

impl Ranking {
    /// Ranks cases.
    pub fn new(mut cases: Vec<Case>) -> Self {
        cases.sort_by(|one, other| other.score.total_cmp(&one.score));
        Self { cases }
    }

    /// The cases by falling score.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Cases of a side.
    pub fn count(&self, side: Side) -> usize {
        self.cases.iter().filter(|case| case.side == side).count()
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        self.weighted(|_| 1)
    }

    /// The figures with each case counted as often as `times` says of its session.
    pub fn weighted(&self, times: impl Fn(u32) -> u64) -> Figures {
        let total = |side: Side| -> u64 {
            self.cases.iter().filter(|case| case.side == side).map(|case| times(case.session)).sum()
        };
        let (positives, negatives) = (total(Side::Positive), total(Side::Negative));
        let allowed = BUDGETS.map(|budget| (budget * negatives as f64) as u64);
        let mut found_at = [None; 3];
        let (mut found, mut false_, mut area) = (0u64, 0u64, 0.0);
        for tied in self.cases.chunk_by(|one, other| one.score == other.score) {
            let (mut up, mut right) = (0u64, 0u64);
            for case in tied {
                let weight = times(case.session);
                match case.side {
                    Side::Positive => up += weight,
                    Side::Negative => right += weight,
                }
            }
            for (slot, allowed) in found_at.iter_mut().zip(allowed) {
                if slot.is_none() && false_ + right > allowed {
                    *slot = Some(found);
                }
            }
            area += right as f64 * (found as f64 + up as f64 / 2.0);
            found += up;
            false_ += right;
        }
        let share = |found: u64| found as f64 / positives as f64;
        Figures {
            auc: area / (positives as f64 * negatives as f64),
            tpr: found_at
                .map(|found_| if negatives == 0 { f64::NAN } else { share(found_.unwrap_or(found)) }),
        }
    }

    /// The lowest threshold at which no more than `budget` of the negative cases score over it.
    pub fn threshold(&self, budget: f64) -> f64 {
        let negatives = self.count(Side::Negative);
        let allowed = (budget * negatives as f64) as usize;
        let mut scores = self.cases.iter().filter(|case| case.side == Side::Negative);
        scores.nth(allowed).map_or(f64::NEG_INFINITY, |case| case.score)
    }

    /// The ROC curve: shares of false alarms and shares found, from (0, 0) to (1, 1), a point where the
    /// score changes.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let (positives, negatives) = (self.count(Side::Positive), self.count(Side::Negative));
        let mut points = vec![(0.0, 0.0)];
        let (mut found, mut false_) = (0usize, 0usize);
        for tied in self.cases.chunk_by(|one, other| one.score == other.score) {
            let up = tied.iter().filter(|case| case.side == Side::Positive).count();
            found += up;
            false_ += tied.len() - up;
            points.push((false_ as f64 / negatives.max(1) as f64, found as f64 / positives.max(1) as f64));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranking(positive: &[f64], negative: &[f64]) -> Ranking {
        let of = |side: Side, scores: &[f64]| -> Vec<Case> {
            scores.iter().map(|&score| Case { session: 0, side, score }).collect()
        };
        let mut cases = of(Side::Positive, positive);
        cases.extend(of(Side::Negative, negative));
        Ranking::new(cases)
    }

    #[test]
    fn known_values() {
        let perfect = ranking(&[3.0, 4.0], &[1.0, 2.0]);
        assert_eq!(perfect.figures(), Figures { auc: 1.0, tpr: [1.0; 3] });
        let tied = ranking(&[1.0, 1.0], &[1.0, 1.0]);
        assert_eq!(tied.figures(), Figures { auc: 0.5, tpr: [0.0; 3] });
        assert_eq!(tied.curve(), [(0.0, 0.0), (1.0, 1.0)]);
        let none = ranking(&[1.0], &[]);
        assert!(none.figures().auc.is_nan() && none.figures().tpr[0].is_nan());
        let unscored = ranking(&[f64::NEG_INFINITY, 2.0], &[1.0]);
        assert_eq!(unscored.figures(), Figures { auc: 0.5, tpr: [0.5; 3] });
    }

    #[test]
    fn the_threshold_lets_the_budget_through_and_no_more() {
        let negative: Vec<f64> = (0..1000).map(f64::from).collect();
        let ranking = ranking(&[994.5, 985.0, 5.0, 999.0], &negative);
        assert_eq!(ranking.threshold(0.01), 989.0, "ten of a thousand lie over it");
        assert_eq!(ranking.figures().tpr, [0.25, 0.5, 0.75]);
    }

    /// The area and the shares by their definitions, pair by pair.
    fn plainly(positive: &[f64], negative: &[f64]) -> (f64, [f64; 3]) {
        let mut wins = 0.0;
        for p in positive {
            for n in negative {
                wins += if p > n {
                    1.0
                } else if p == n {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let mut falling = negative.to_vec();
        falling.sort_by(|one, other| other.total_cmp(one));
        let tpr = BUDGETS.map(|budget| {
            let threshold = falling[(budget * negative.len() as f64) as usize];
            positive.iter().filter(|score| **score > threshold).count() as f64 / positive.len() as f64
        });
        (wins / (positive.len() * negative.len()) as f64, tpr)
    }

    proptest! {
        #[test]
        fn the_figures_are_their_definitions(
            positive in prop::collection::vec(0u8..40, 1..60),
            negative in prop::collection::vec(0u8..40, 1..300),
        ) {
            let floats = |scores: &[u8]| -> Vec<f64> { scores.iter().map(|score| f64::from(*score)).collect() };
            let (positive, negative) = (floats(&positive), floats(&negative));
            let figures = ranking(&positive, &negative).figures();
            let (auc, tpr) = plainly(&positive, &negative);
            prop_assert!((figures.auc - auc).abs() < 1e-12);
            prop_assert_eq!(figures.tpr, tpr);
        }

        #[test]
        fn a_weight_is_a_repetition(
            cases in prop::collection::vec((0u32..6, any::<bool>(), 0u8..20), 1..60),
            weights in prop::collection::vec(0u64..4, 6),
        ) {
            let case = |&(session, positive, score): &(u32, bool, u8)| Case {
                session,
                side: if positive { Side::Positive } else { Side::Negative },
                score: score.into(),
            };
            let weighted = Ranking::new(cases.iter().map(case).collect());
            let repeated = cases.iter().flat_map(|made| {
                std::iter::repeat_n(case(made), weights[made.0 as usize] as usize)
            });
            let repeated = Ranking::new(repeated.collect()).figures();
            let weighted = weighted.weighted(|session| weights[session as usize]);
            prop_assert_eq!(format!("{repeated:?}"), format!("{weighted:?}"));
        }
    }
}
