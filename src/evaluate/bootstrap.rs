//! Intervals of figures, by drawing sessions again with replacement.
//!
//! Cases of one session depend on each other, so whole sessions are drawn (cluster bootstrap, Davison and
//! Hinkley 1997, 3.8), within each kind of session apart: those with a positive case and those without. The same
//! seed gives the same intervals.

use super::ranking::{Case, Figures, Ranking, Side};
use serde::Serialize;

/// Draws of an interval.
pub const DRAWS: usize = 400;
const SEED: u64 = 0x0a5c_a9ce;

/// The middle 95 % of the draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Intervals of [`Figures`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    /// Of the area.
    pub auc: Interval,
    /// Of the shares found.
    pub tpr: [Interval; 3],
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// The 95 % intervals of a ranking's figures.
pub fn intervals(ranking: &Ranking) -> Intervals {
    let strata = strata(ranking.cases());
    let sessions = ranking.cases().iter().map(|case| case.session).max().map_or(0, |most| most as usize + 1);
    let mut draws = Draws(SEED);
    let mut weights = vec![0u64; sessions];
    let mut figures: Vec<Figures> = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        weights.fill(0);
        for stratum in &strata {
            for _ in 0..stratum.len() {
                if let Some(weight) = stratum
                    .get(draws.below(stratum.len()))
                    .and_then(|session| weights.get_mut(*session as usize))
                {
                    *weight += 1;
                }
            }
        }
        figures.push(ranking.weighted(|session| weights.get(session as usize).copied().unwrap_or(0)));
    }
    let of = |figure: &dyn Fn(&Figures) -> f64| middle(figures.iter().map(figure).collect());
    Intervals {
        auc: of(&|figures| figures.auc),
        tpr: [of(&|figures| figures.tpr[0]), of(&|figures| figures.tpr[1]), of(&|figures| figures.tpr[2])],
    }
}

/// Sessions with a positive case, and the others.
fn strata(cases: &[Case]) -> [Vec<u32>; 2] {
    let mut sessions: Vec<(u32, bool)> =
        cases.iter().map(|case| (case.session, case.side == Side::Positive)).collect();
    sessions.sort_unstable();
    sessions.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        earlier.1 |= same && later.1;
        same
    });
    let of = |positive: bool| {
        sessions.iter().filter(|(_, found)| *found == positive).map(|(session, _)| *session).collect()
    };
    [of(true), of(false)]
}

fn middle(mut values: Vec<f64>) -> Interval {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * values.len() as f64) as usize;
        values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    };
    Interval { low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_the_figure_and_narrows_with_more_sessions() {
        let made = |sessions: u32| {
            let case = |session: u32| Case {
                session,
                side: if session.is_multiple_of(2) { Side::Positive } else { Side::Negative },
                score: f64::from((session * 37) % 101) + if session.is_multiple_of(2) { 20.0 } else { 0.0 },
            };
            Ranking::new((0..sessions).map(case).collect())
        };
        let (few, many) = (made(60), made(2_000));
        let width = |ranking: &Ranking| {
            let found = intervals(ranking);
            let auc = ranking.figures().auc;
            assert!(found.auc.low <= auc && auc <= found.auc.high, "{found:?} {auc}");
            found.auc.high - found.auc.low
        };
        assert!(width(&few) > 3.0 * width(&many));
        assert_eq!(intervals(&few), intervals(&few));
    }

    #[test]
    fn sessions_are_drawn_whole() {
        // Ten sessions of a hundred equal calls each: the width is that of ten, not of a thousand.
        let case = |number: u32| Case {
            session: number / 100,
            side: if number < 500 { Side::Positive } else { Side::Negative },
            score: f64::from((number / 100 * 3) % 7),
        };
        let found = intervals(&Ranking::new((0..1_000).map(case).collect()));
        assert!(found.auc.high - found.auc.low > 0.3, "{found:?}");
    }
}
