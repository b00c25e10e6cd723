//! All learnt statistics of a tenant, and the one function that judges a call by them.

use super::arguments::ArgumentsModel;
use super::burst::RateModel;
use super::context::ContextModel;
use super::features::kind;
use super::learn::{ABSTAINED, Lesson, local_hour_and_day};
use super::notebook::Notebook;
use super::novelty::NoveltyModel;
use super::reading::{Reading, Source};
use super::results::{ResultsModel, TARGET_WORDS_MAX, ToolWords};
use super::sequence::{SequenceModel, week_of};
use super::time_of_day::{PassedHour, TimeModel};
use super::weigh::weigh;
use crate::domain::call::CallFeatures;
use crate::domain::decision::{Assessment, DETECTORS, Detector, Evidence, Floor, Score};
use crate::domain::risk::Capabilities;
use crate::stats::calibrator::Calibrator;
use crate::stats::combine::risk;
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
        let mut heard = [None; DETECTORS];
        let scores = Detector::ALL.map(|detector| {
            let raw = raw[detector.index()];
            let surprise = raw.map(|raw| self.calibrators[detector.index()].calibrate(raw));
            heard[detector.index()] = surprise.filter(|_| session.muted >> detector.index() & 1 == 0);
            let surprise = surprise.map_or(0, MilliBits::as_i32);
            let evidence =
                if surprise >= NOTABLE { self.explain(detector, features, session) } else { Evidence::None };
            Score { detector, raw: raw.map(MilliBits::as_i32), surprise, evidence }
        });
        (scores, weigh(&heard))
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

    /// A call was sent to review: a burst that led up to it is not what is usual.
    pub fn doubt(&mut self, features: &CallFeatures, assessment: &Assessment) {
        if is_for_rate(assessment) {
            self.rate.doubt(features);
        }
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
        }
        self.calibrate(lesson);
        self.sequence.learn(lesson, day);
        self.context.learn(lesson);
        self.arguments.learn(lesson, week);
        self.novelty.learn(lesson, week);
        self.results.learn(reading, &lesson.tools);
        self.sessions += 1;
    }

    /// Takes the surprises of a session's calls as ordinary ones.
    fn calibrate(&mut self, lesson: &Lesson) {
        let calls = || lesson.calls.iter().filter(|observed| !observed.abandoned);
        let mut session = Vec::with_capacity(lesson.calls.len());
        for (detector, calibrator) in self.calibrators.iter_mut().enumerate() {
            if detector == Detector::Rate.index() && lesson.rate_doubted {
                continue;
            }
            let raw = calls().map(|observed| observed.raw[detector]).filter(|raw| *raw != ABSTAINED);
            session.clear();
            session.extend(raw.map(|raw| MilliBits::new(raw.into())));
            calibrator.add_session(&mut session);
        }
        if lesson.rate_doubted {
            return;
        }
        let judged = calls().filter(|observed| observed.raw.iter().any(|raw| *raw != ABSTAINED));
        session.clear();
        session.extend(judged.map(|observed| MilliBits::new(observed.combined.into())));
        self.combined.add_session(&mut session);
    }
}

/// Whether the rate is what is oddest about a call.
pub(super) fn is_for_rate(assessment: &Assessment) -> bool {
    let rate = assessment.scores[Detector::Rate.index()].surprise;
    rate >= NOTABLE && assessment.scores.iter().all(|score| score.surprise <= rate)
}

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
