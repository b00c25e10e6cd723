//! From the surprises of a call's detectors to one.

use crate::domain::decision::{DETECTORS, Detector, Score};
use crate::stats::combine::combine;
use crate::stats::millibits::MilliBits;

/// Share at which habits of work count beside the results, percent.
const SOFT_SHARE: i32 = 30;
/// How much later habits of work raise an alarm of their own beside the results, milli-bits.
const SOFT_LESS: i32 = 12_000;

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
/// What depends on habits of work (which tool, after which, with which arguments) is one voice beside the time
/// and the rate, which do not depend on what was asked: of the habits several at once are odd whenever the work
/// is new, and work is often new. A tool that is new to the principal is also new after the tools before it:
/// one fact, which counts once.
///
/// Where it is known what the user asked and what the results said, whether a call follows the one or the
/// other says more than how usual it is: what is merely new is seldom wrong. So the habits then count
/// [`SOFT_SHARE`] of their bits beside the results, and raise an alarm of their own only [`SOFT_LESS`] later.
pub(super) fn weigh(surprises: &[Option<MilliBits>; DETECTORS]) -> MilliBits {
    let of = |detector: Detector| surprises[detector.index()];
    let tool = of(Detector::Sequence).max(of(Detector::Novelty));
    let soft = one_of([tool, of(Detector::Context), of(Detector::Arguments)]);
    let Some(results) = of(Detector::Results) else {
        return one_of([of(Detector::Time), of(Detector::Rate), soft]).unwrap_or(MilliBits::ZERO);
    };
    let hard = one_of([of(Detector::Time), of(Detector::Rate), None]).unwrap_or(MilliBits::ZERO);
    let soft = soft.unwrap_or(MilliBits::ZERO);
    let share = MilliBits::new(soft.as_i32() * SOFT_SHARE / 100);
    let late = MilliBits::new(soft.as_i32() - SOFT_LESS);
    results.saturating_add(share).max(late).max(hard)
}

/// Those that answered combined; none: none did.
fn one_of(surprises: [Option<MilliBits>; 3]) -> Option<MilliBits> {
    let mut present = [MilliBits::ZERO; 3];
    let mut number = 0;
    for surprise in surprises.into_iter().flatten() {
        present[number] = surprise;
        number += 1;
    }
    (number > 0).then(|| combine(&present[..number]))
}
