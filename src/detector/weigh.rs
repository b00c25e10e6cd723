//! From the surprises of a call's detectors to one.

use crate::domain::decision::{DETECTORS, Detector, Score};
use crate::stats::combine::combine;
use crate::stats::millibits::MilliBits;

/// Share at which habits of work count beside the results, percent.
const SOFT_SHARE: i32 = 30;
/// How much later habits of work raise an alarm of their own beside the results, milli-bits.
const SOFT_LESS: i32 = 12_000;
/// What the lesser of two surprises at one fact counts at most, ...
const AGAIN_MAX: MilliBits = MilliBits::new(5_000);
/// ... and what it counts at most beside the results.
const AGAIN_BESIDE_RESULTS_MAX: MilliBits = MilliBits::new(2_500);

/// What the scores of a call come to, before calibration, as if detector `left_out` had abstained.
pub fn combined(scores: &[Score; DETECTORS], left_out: Option<Detector>) -> MilliBits {
    let mut surprises = surprises(scores);
    if let Some(left_out) = left_out {
        surprises[left_out.index()] = None;
    }
    weigh(&surprises)
}

/// What the scores of a call come to, before calibration; `left_out` counts as nothing odd.
pub fn together(scores: &[Score], left_out: Option<Detector>) -> MilliBits {
    let mut surprises = surprises(scores);
    if let Some(slot) = left_out.and_then(|left_out| surprises[left_out.index()].as_mut()) {
        *slot = MilliBits::ZERO;
    }
    weigh(&surprises)
}

fn surprises(scores: &[Score]) -> [Option<MilliBits>; DETECTORS] {
    let mut surprises = [None; DETECTORS];
    for score in scores.iter().filter(|score| score.raw.is_some()) {
        surprises[score.detector.index()] = Some(MilliBits::new(score.surprise));
    }
    surprises
}

/// One surprise of all; none stands for a detector that abstained.
///
/// Where it is known what the user asked and what the results said, whether a call follows the one or the
/// other says more than how usual it is: what is merely new is seldom wrong. So what depends on habits of work
/// (sequence, context, arguments, novelty) then counts [`SOFT_SHARE`] of its bits beside the results, and
/// raises an alarm of its own only [`SOFT_LESS`] later. Times and rates do not depend on what was asked.
pub(super) fn weigh(surprises: &[Option<MilliBits>; DETECTORS]) -> MilliBits {
    let of = |detector: Detector| surprises[detector.index()];
    let Some(results) = of(Detector::Results) else {
        let (tool, again) = once(of(Detector::Sequence), of(Detector::Novelty), AGAIN_MAX);
        let (context, arguments) = (of(Detector::Context), of(Detector::Arguments));
        return together_of(&[of(Detector::Time), of(Detector::Rate), tool, again, context, arguments]);
    };
    let (tool, again) = once(of(Detector::Sequence), of(Detector::Novelty), AGAIN_BESIDE_RESULTS_MAX);
    let soft = together_of(&[tool, again, of(Detector::Context), of(Detector::Arguments)]);
    let hard = together_of(&[of(Detector::Time), of(Detector::Rate)]);
    let share = MilliBits::new(soft.as_i32() * SOFT_SHARE / 100);
    let late = MilliBits::new(soft.as_i32() - SOFT_LESS);
    results.saturating_add(share).max(late).max(hard)
}

/// A tool that is new to the principal is also new after the tools before it: of the two surprises the lesser
/// counts `most` at most.
fn once(
    one: Option<MilliBits>,
    other: Option<MilliBits>,
    most: MilliBits,
) -> (Option<MilliBits>, Option<MilliBits>) {
    match (one, other) {
        (Some(one), Some(other)) => (Some(one.max(other)), Some(one.min(other).min(most))),
        (one, other) => (one.or(other), None),
    }
}

/// Those that answered, combined.
fn together_of(surprises: &[Option<MilliBits>]) -> MilliBits {
    let mut present = [MilliBits::ZERO; DETECTORS];
    let mut number = 0;
    for (slot, surprise) in present.iter_mut().zip(surprises.iter().flatten()) {
        *slot = *surprise;
        number += 1;
    }
    combine(&present[..number])
}

#[cfg(test)]
mod tests {
    use super::*;
    use Detector::{Arguments, Novelty, Rate, Results, Sequence, Time};

    fn of(bits: &[(Detector, f64)]) -> f64 {
        let mut surprises = [None; DETECTORS];
        for (detector, bits) in bits {
            surprises[detector.index()] = Some(MilliBits::from_bits(*bits));
        }
        weigh(&surprises).to_bits()
    }

    #[test]
    fn without_results_all_that_answered_count_alike() {
        assert_eq!(of(&[]), 0.0);
        assert_eq!(of(&[(Time, 9.0)]), 9.0);
        assert_eq!(of(&[(Time, 9.0), (Rate, 1.0)]), of(&[(Arguments, 9.0), (Novelty, 1.0)]));
    }

    #[test]
    fn beside_results_habits_count_less_and_times_do_not() {
        let habits = of(&[(Results, 9.0), (Arguments, 10.0), (Time, 0.0)]);
        assert_eq!(of(&[(Results, 9.0), (Time, 0.0)]), 9.0);
        assert!((11.9..=12.0).contains(&habits), "{habits}");
        assert!(of(&[(Results, 0.0), (Arguments, 10.0), (Time, 0.0)]) < 3.1);
        assert!(of(&[(Results, 0.0), (Arguments, 0.0), (Time, 10.0)]) == 10.0);
    }

    #[test]
    fn one_fact_does_not_count_twice() {
        let twice = of(&[(Novelty, 12.0), (Sequence, 12.0), (Time, 0.0)]);
        assert_eq!(twice, of(&[(Novelty, 5.0), (Sequence, 12.0), (Time, 0.0)]));
        assert!(twice < of(&[(Arguments, 12.0), (Sequence, 12.0), (Time, 0.0)]) - 3.0);
        let mild = of(&[(Novelty, 4.0), (Sequence, 4.0), (Time, 0.0)]);
        assert_eq!(mild, of(&[(Arguments, 4.0), (Sequence, 4.0), (Time, 0.0)]), "several mild ones add up");
    }

    #[test]
    fn one_fact_does_not_count_twice_beside_results() {
        let once = of(&[(Results, 9.0), (Novelty, 12.0), (Sequence, 0.0)]);
        let twice = of(&[(Results, 9.0), (Novelty, 12.0), (Sequence, 12.0)]);
        assert!(twice > once && twice < once + 0.5, "{once} {twice}");
        assert_eq!(twice, of(&[(Results, 9.0), (Novelty, 12.0), (Sequence, 11.0)]));
    }
}
