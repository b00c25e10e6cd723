//! Scored calls with what they really were.

use super::ranking::{Case, Ranking, Side};
use crate::domain::decision::{DETECTORS, Detector, Score, Verdict};
use crate::stats::combine::risk_exact;

/// One scored call.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its session's place in [`Trials::sessions`].
    pub session: u32,
    /// What it really is; none: neither to be found nor to be left in peace (a call of an attacked session
    /// that is not part of the attack).
    pub side: Option<Side>,
    /// Name of the kind of attack it is part of; empty: none.
    pub kind: String,
    /// Local or UTC day since 1970; none: it has no time.
    pub day: Option<i64>,
    /// How it was scored; none: it was refused.
    pub scored: Option<Marks>,
}

/// What the engine said of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Marks {
    /// Risk, 0 to 100, unrounded.
    pub risk: f64,
    /// Base risk of its category, 0 to 100.
    pub base: u8,
    /// Weight of its category, milli-bits.
    pub weight: i32,
    /// Least risk by the floors that fired; 0: none did.
    pub floor: u8,
    /// Each detector's part.
    pub scores: [Score; DETECTORS],
    /// Combined evidence after calibration, milli-bits.
    pub evidence: i32,
    /// Evidence of the session up to this call, milli-bits.
    pub session_evidence: i32,
    /// The threshold as it stood, milli-bits.
    pub threshold: i32,
    /// Whether the call counts against the review budget.
    pub counted: bool,
    /// The verdict.
    pub verdict: Verdict,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// What it really is; none: left out, or attacked in vain.
    pub side: Option<Side>,
    /// Whether it is flagged as fit for no figure.
    pub left_out: bool,
    /// The kind of attack, as the data name it; empty: none.
    pub kind: String,
    /// Attacked, the injected text was met, and not obeyed.
    pub resisted: bool,
}

/// All scored calls of an evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trials {
    /// Calls, in the order they were scored.
    pub calls: Vec<Trial>,
    /// Sessions.
    pub sessions: Vec<Session>,
    /// The scores were read from a file, which does not say what they were made of.
    pub from_file: bool,
}

/// What is ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Risk, 0 to 100.
    Risk,
    /// Combined evidence.
    Evidence,
    /// Evidence of the session.
    SessionEvidence,
    /// One detector's calibrated surprise; 0 where it abstained.
    Detector(Detector),
    /// Risk from all detectors but one, combined without the last calibration; none: of all.
    Without(Option<Detector>),
}

impl Marks {
    /// The call's score.
    pub fn score(&self, by: By) -> f64 {
        match by {
            By::Risk => self.risk,
            By::Evidence => f64::from(self.evidence),
            By::SessionEvidence => f64::from(self.session_evidence),
            By::Detector(detector) => {
                self.scores.get(detector.index()).map_or(0.0, |score| f64::from(score.surprise))
            }
            By::Without(left_out) => {
                let combined = crate::detector::weigh::combined(&self.scores, left_out);
                risk_exact(self.base, combined, self.floor)
            }
        }
    }

    /// Whether the soft tier would review it at this threshold, whatever the policy says.
    pub fn over(&self, threshold: i32) -> bool {
        self.evidence + self.weight >= threshold
    }
}

impl Trials {
    /// Calls ranked. `kind`: of the positive ones those of this kind only.
    pub fn calls_by(&self, by: By, kind: Option<&str>) -> Ranking {
        let wanted = |call: &&Trial| {
            !self.left_out(call)
                && (call.side != Some(Side::Positive) || kind.is_none_or(|kind| call.kind == kind))
        };
        let case =
            |call: &Trial| Some(Case { session: call.session, side: call.side?, score: score_of(call, by) });
        Ranking::new(self.calls.iter().filter(wanted).filter_map(case).collect())
    }

    /// Sessions ranked by the maximum over their calls. Sessions without a call are not there.
    pub fn sessions_by(&self, by: By, kind: Option<&str>) -> Ranking {
        let best = self.best(by);
        let cases = self.sessions.iter().zip(&best).enumerate().filter_map(|(number, (session, best))| {
            let wanted = session.side != Some(Side::Positive) || kind.is_none_or(|kind| session.kind == kind);
            let session_ = u32::try_from(number).ok()?;
            let side = session.side.filter(|_| wanted && !session.left_out)?;
            best.map(|score| Case { session: session_, side, score })
        });
        Ranking::new(cases.collect())
    }

    /// The highest score of each session; none where it has no call.
    pub fn best(&self, by: By) -> Vec<Option<f64>> {
        let mut best: Vec<Option<f64>> = vec![None; self.sessions.len()];
        for call in &self.calls {
            if let Some(slot) = best.get_mut(call.session as usize) {
                let score = score_of(call, by);
                *slot = Some(slot.map_or(score, |before: f64| before.max(score)));
            }
        }
        best
    }

    /// Whether the call's session is left out of every figure.
    pub fn left_out(&self, call: &Trial) -> bool {
        self.sessions.get(call.session as usize).is_some_and(|session| session.left_out)
    }

    /// Names of the kinds of attack, of calls and of sessions.
    pub fn kinds(&self) -> (Vec<String>, Vec<String>) {
        let names = |kinds: &mut dyn Iterator<Item = &String>| {
            let mut names: Vec<String> = kinds.filter(|kind| !kind.is_empty()).cloned().collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let positive = |side: Option<Side>| side == Some(Side::Positive);
        let calls = self.calls.iter().filter(|call| positive(call.side)).map(|call| &call.kind);
        let sessions =
            self.sessions.iter().filter(|session| positive(session.side)).map(|session| &session.kind);
        let (mut calls, mut sessions) = (calls, sessions);
        (names(&mut calls), names(&mut sessions))
    }
}

fn score_of(call: &Trial, by: By) -> f64 {
    call.scored.as_ref().map_or(f64::NEG_INFINITY, |marks| marks.score(by))
}
