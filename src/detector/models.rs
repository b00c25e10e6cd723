//! All learnt statistics of a tenant, and the one function that judges a call by them.

use super::arguments::ArgumentsModel;
use super::burst::RateModel;
use super::context::ContextModel;
use super::features::kind;
use super::learn::{ABSTAINED, Lesson, Observation, local_hour_and_day};
use super::notebook::Notebook;
use super::novelty::NoveltyModel;
use super::reading::{Reading, Source};
use super::results::{ResultsModel, TARGET_WORDS_MAX, ToolWords};
use super::sequence::{SequenceModel, week_of};
use super::time_of_day::{PassedHour, TimeModel};
use crate::domain::call::CallFeatures;
use crate::domain::decision::{Assessment, DETECTORS, Detector, Evidence, Floor, Score};
use crate::domain::risk::Capabilities;
use crate::stats::calibrator::Calibrator;
use crate::stats::combine::{combine, risk};
use crate::stats::millibits::MilliBits;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calibrated surprise from which a finding gets its figures: one chance in twenty.
pub const NOTABLE: i32 = 4_322;

/// Surprise from which an hour is news: its like make up at most an eighth of the active hours.
const NEWS: i32 = 3_000;

/// How much a person's word weighs when a call is to be expected again: so many sessions, so many active hours.
pub const EXPECTED: u8 = 3;

/// What a call is judged against besides what was learnt: its session so far.
#[derive(Clone, Copy, Debug)]
pub struct SessionContext<'a> {
    /// Capabilities of earlier calls.
    pub seen: Capabilities,
    /// The last two tools, latest first; zero for none.
    pub tools: [u64; 2],
    /// Detectors left out of the combination, one bit each.
    pub muted: u8,
    /// What it has read, this call's own request included.
    pub reading: &'a Reading,
    /// Number of the message that made the call.
    pub turn: Option<u32>,
    /// Words of the tool's name and description.
    pub tool_words: ToolWords<'a>,
    /// The hour in which its last call was let go.
    pub passed_hour: Option<PassedHour>,
}

/// Everything learnt of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Models {
    time: TimeModel,
    rate: RateModel,
    sequence: SequenceModel,
    context: ContextModel,
    arguments: ArgumentsModel,
    novelty: NoveltyModel,
    results: ResultsModel,
    calibrators: [Calibrator; DETECTORS],
    combined: Calibrator,
    /// Sessions learnt.
    sessions: u64,
}

impl Models {
    /// Nothing learnt.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sessions learnt.
    pub const fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Judges a call as of now. `base`: risk of its category, 0 to 100. `floors`: those that fired.
    /// A detector that panics is a floor, never silence.
    pub fn assess(
        &self,
        features: &CallFeatures,
        session: &SessionContext<'_>,
        base: u8,
        floors: u16,
    ) -> Assessment {
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(features, session, base)));
        match judged {
            Ok((scores, combined)) => {
                let evidence = self.combined.calibrate(combined);
                finish(scores, combined.as_i32(), evidence, base, floors)
            }
            Err(_) => unknown(base, floors | Floor::DetectorFailed.bit()),
        }
    }

    fn judge(
        &self,
        features: &CallFeatures,
        session: &SessionContext<'_>,
        base: u8,
    ) -> ([Score; DETECTORS], MilliBits) {
        let day = local_hour_and_day(features).map_or(0, |(_, day, _)| day);
        let raw = [
            self.hour(features, session, base),
            self.rate.score(features),
            self.sequence.score(features, session.tools, self.novelty.tools_known(), day),
            self.context.score(session.seen, features.capabilities),
            self.arguments.score(features),
            self.novelty.score(features),
            self.results.score(features, session.reading, session.turn, session.tool_words),
        ];
        // Those of time and rate from the front, the others from the back.
        let mut present = [MilliBits::ZERO; DETECTORS];
        let (mut hard, mut soft) = (0, DETECTORS);
        let mut results = None;
        let scores = Detector::ALL.map(|detector| {
            let raw = raw[detector.index()];
            let surprise = raw.map(|raw| self.calibrators[detector.index()].calibrate(raw));
            let heard = session.muted >> detector.index() & 1 == 0;
            match (surprise.filter(|_| heard), detector) {
                (None, _) => {}
                (Some(_), Detector::Results) => results = surprise,
                (Some(surprise), Detector::Time | Detector::Rate) => {
                    present[hard] = surprise;
                    hard += 1;
                }
                (Some(surprise), _) => {
                    soft -= 1;
                    present[soft] = surprise;
                }
            }
            let surprise = surprise.map_or(0, MilliBits::as_i32);
            let evidence =
                if surprise >= NOTABLE { self.explain(detector, features, session) } else { Evidence::None };
            Score { detector, raw: raw.map(MilliBits::as_i32), surprise, evidence }
        });
        (scores, weigh(&present[..hard], &present[soft..], results))
    }

    /// Surprise at the hour, where it is news: no ordinary hour, and none in which the like was let go before.
    fn hour(&self, features: &CallFeatures, session: &SessionContext<'_>, base: u8) -> Option<MilliBits> {
        let (hour, day, _) = local_hour_and_day(features)?;
        let surprise = self.time.score(features, hour, day)?;
        let known = session.passed_hour.is_some_and(|passed| passed.covers(hour, day, base));
        Some(if known || surprise.as_i32() < NEWS { MilliBits::ZERO } else { surprise })
    }

    fn explain(&self, detector: Detector, features: &CallFeatures, session: &SessionContext<'_>) -> Evidence {
        let time = local_hour_and_day(features);
        let day = time.map_or(0, |(_, day, _)| day);
        match detector {
            Detector::Time => time
                .map_or(Evidence::None, |(hour, day, minute)| self.time.explain(features, hour, minute, day)),
            Detector::Rate => self.rate.explain(features),
            Detector::Sequence => self.sequence.explain(features, session.tools, day),
            Detector::Context => self.context.explain(session.seen, features.capabilities),
            Detector::Arguments => self.arguments.explain(features),
            Detector::Novelty => self.novelty.explain(features),
            Detector::Results => {
                self.results.explain(features, session.reading, session.turn, session.tool_words)
            }
        }
    }

    /// The e-value of a call for its session's slow evidence (detection.md 5); none where sequences are not
    /// judged yet.
    pub fn e_value(&self, features: &CallFeatures, session: &SessionContext<'_>) -> Option<f64> {
        let day = local_hour_and_day(features).map_or(0, |(_, day, _)| day);
        self.sequence.e_value(features, session.tools, self.novelty.tools_known(), day)
    }

    /// Whether a call aims at something new that the user did not name: a short text that was never given in
    /// this place before. Without arguments: no.
    pub fn aims_anew(&self, features: &CallFeatures, reading: &Reading) -> bool {
        let values = features.arguments.iter().map(|argument| argument.value);
        let sources = reading.sources(&features.words, values);
        let words = features.words.by_argument();
        features.arguments.iter().zip(words).zip(sources).any(|((argument, words), source)| {
            argument.kind == kind::TEXT
                && (1..=TARGET_WORDS_MAX).contains(&words.len())
                && source != Some(Source::Request)
                && !self.arguments.knows(features, argument)
        })
    }

    /// Whether a value of the call was told by text of strangers: see `results`.
    pub fn told_by_stranger(&self, features: &CallFeatures, reading: &Reading, turn: Option<u32>) -> bool {
        let known = |argument: &_| self.arguments.knows(features, argument);
        self.results.told_by_stranger(features, reading, turn, known)
    }

    /// What the results of a tenant's tools are compared with.
    pub const fn results(&self) -> &ResultsModel {
        &self.results
    }

    /// Counts an attempt, whatever becomes of it.
    pub fn attempt(&mut self, features: &CallFeatures) {
        self.rate.attempt(features);
    }

    /// Notes that an attempt was allowed.
    pub fn allowed(&mut self, features: &CallFeatures) {
        self.rate.allowed(features);
    }

    /// A person says that calls like this are to be expected again: as if [`EXPECTED`] sessions had made it, at
    /// its hour, with its tool and its arguments. What came before it in its session is not known here.
    pub fn expect(&mut self, features: &CallFeatures) {
        let mut notebook = Notebook::default();
        notebook.note(0, features, &unknown(0, 0));
        let lesson = notebook.lesson();
        let time = local_hour_and_day(features);
        let day = time.map_or(0, |(_, day, _)| day);
        if let Some((hour, day, _)) = time {
            self.time.expect(features.principal, features.tool, hour, day, EXPECTED);
        }
        for _ in 0..EXPECTED {
            self.arguments.learn(&lesson, week_of(day));
            self.novelty.learn(&lesson, week_of(day));
        }
    }

    /// Learns a session that is over.
    pub fn learn(&mut self, lesson: &Lesson, reading: &Reading) {
        if lesson.tools.is_empty() {
            return;
        }
        let day = lesson.calls.last().map_or(0, |call| call.day);
        let week = week_of(day);
        for observed in lesson.calls.iter().filter(|observed| !observed.abandoned) {
            self.time.learn(lesson.principal, observed);
            self.calibrate(observed);
        }
        self.sequence.learn(lesson, day);
        self.context.learn(lesson);
        self.arguments.learn(lesson, week);
        self.novelty.learn(lesson, week);
        self.results.learn(reading, &lesson.tools);
        self.sessions += 1;
    }

    /// Takes a call's surprises as ordinary ones.
    fn calibrate(&mut self, observed: &Observation) {
        let mut any = false;
        for (calibrator, raw) in self.calibrators.iter_mut().zip(observed.raw) {
            if raw != ABSTAINED {
                any = true;
                calibrator.add(MilliBits::new(raw.into()));
            }
        }
        if any {
            self.combined.add(MilliBits::new(observed.combined.into()));
        }
    }
}

/// What the scores of a call come to, before calibration, as if detector `left_out` had abstained.
pub fn combined(scores: &[Score; DETECTORS], left_out: Option<Detector>) -> MilliBits {
    let judged: Vec<Score> =
        scores.iter().filter(|score| Some(score.detector) != left_out).cloned().collect();
    together(&judged, None)
}

/// What the scores of a call come to, before calibration; `left_out` counts as nothing odd.
pub fn together(scores: &[Score], left_out: Option<Detector>) -> MilliBits {
    let (mut hard, mut soft, mut results) = (Vec::new(), Vec::new(), None);
    for score in scores.iter().filter(|score| score.raw.is_some()) {
        let odd = if left_out == Some(score.detector) { 0 } else { score.surprise };
        match score.detector {
            Detector::Results => results = Some(MilliBits::new(odd)),
            Detector::Time | Detector::Rate => hard.push(MilliBits::new(odd)),
            _ => soft.push(MilliBits::new(odd)),
        }
    }
    weigh(&hard, &soft, results)
}

/// One surprise of all.
///
/// Where it is known what the user asked and what the results said, whether a call follows the one or the
/// other says more than how usual it is: what is merely new is seldom wrong. So what depends on habits of work
/// (`soft`: sequence, context, arguments, novelty) then counts [`SOFT_SHARE`] of its bits beside the results,
/// and raises an alarm of its own only [`SOFT_LESS`] later. Times and rates (`hard`) do not depend on what
/// was asked.
fn weigh(hard: &[MilliBits], soft: &[MilliBits], results: Option<MilliBits>) -> MilliBits {
    let Some(results) = results else {
        let mut all = [MilliBits::ZERO; DETECTORS];
        for (slot, surprise) in all.iter_mut().zip(hard.iter().chain(soft)) {
            *slot = *surprise;
        }
        return combine(&all[..hard.len() + soft.len()]);
    };
    let (hard, soft) = (combine(hard), combine(soft));
    let share = MilliBits::new(soft.as_i32() * SOFT_SHARE / 100);
    let late = MilliBits::new(soft.as_i32() - SOFT_LESS);
    results.saturating_add(share).max(late).max(hard)
}

/// Percent.
const SOFT_SHARE: i32 = 30;
/// Milli-bits.
const SOFT_LESS: i32 = 12_000;

/// The assessment of a call that nothing is known of.
pub fn unknown(base: u8, floors: u16) -> Assessment {
    let scores =
        Detector::ALL.map(|detector| Score { detector, raw: None, surprise: 0, evidence: Evidence::None });
    finish(scores, 0, MilliBits::ZERO, base, floors)
}

fn finish(
    scores: [Score; DETECTORS],
    combined_raw: i32,
    evidence: MilliBits,
    base: u8,
    floors: u16,
) -> Assessment {
    let floor = Floor::in_set(floors).map(Floor::risk).max().unwrap_or(0);
    Assessment {
        scores,
        evidence: evidence.as_i32(),
        combined_raw,
        floors,
        risk: risk(base, evidence, floor),
    }
}
