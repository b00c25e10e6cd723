//! All figures of an evaluation.

use super::bootstrap::{Intervals, intervals};
use super::budget::{AtOnePercent, Attacks, Reviews, at_one_percent, attacks, reviews};
use super::calibration::{self, Level};
use super::ranking::{Figures, Ranking, Side};
use super::trial::{By, Trials};
use crate::domain::decision::Detector;
use serde::Serialize;

/// Figures of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Cases to be found.
    pub positives: usize,
    /// Cases to be left in peace.
    pub negatives: usize,
    /// The figures.
    pub figures: Figures,
    /// Their 95 % intervals, where they were computed.
    pub intervals: Option<Intervals>,
}

/// One line of a table: by call and by session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What the line is about.
    pub name: String,
    /// By call; none: this line is about sessions only.
    pub calls: Option<Measured>,
    /// By session, a session counting by its highest score; none: about calls only.
    pub sessions: Option<Measured>,
}

/// How often evidence of a detector claims too much.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The detector, or `all`.
    pub name: &'static str,
    /// Calls in order that it judged.
    pub judged: u64,
    /// One level after another.
    pub levels: Vec<Level>,
}

/// All figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// By risk, by evidence, by the session's own evidence.
    pub scores: Vec<Row>,
    /// By kind of attack (by risk): of calls as the calls name it, of sessions as the sessions do.
    pub kinds: Vec<Row>,
    /// By one detector alone.
    pub detectors: Vec<Row>,
    /// With one detector left out of the combination, by risk without the last calibration.
    pub ablation: Vec<Row>,
    /// Evidence on calls in order, checked.
    pub calibration: Vec<Calibration>,
    /// Attacks found, by kind.
    pub attacks: Vec<Attacks>,
    /// Reviews as decided.
    pub reviews: Reviews,
    /// Reviews at one percent.
    pub at_one_percent: AtOnePercent,
    /// Calls that were refused and count as not found.
    pub refused: usize,
}

/// Computes all figures.
pub fn report(trials: &Trials) -> Report {
    let both = |name: &str, by: By, sure: bool| Row {
        name: name.to_owned(),
        calls: Some(measured(&trials.calls_by(by, None), sure)),
        sessions: Some(measured(&trials.sessions_by(by, None), sure)),
    };
    let scores = vec![
        both("risk", By::Risk, true),
        both("evidence", By::Evidence, true),
        both("session evidence", By::SessionEvidence, false),
    ];
    let detectors = Detector::ALL
        .into_iter()
        .map(|detector| both(detector.name(), By::Detector(detector), false))
        .collect();
    let mut ablation = Vec::new();
    if !trials.from_file {
        ablation.push(both("nothing", By::Without(None), false));
        let without = |detector: Detector| both(detector.name(), By::Without(Some(detector)), false);
        ablation.extend(Detector::ALL.into_iter().map(without));
    }
    Report {
        scores,
        kinds: kinds(trials),
        detectors,
        ablation,
        calibration: calibrations(trials),
        attacks: attacks(trials),
        reviews: reviews(trials),
        at_one_percent: at_one_percent(trials),
        refused: trials.calls.iter().filter(|call| call.scored.is_none()).count(),
    }
}

fn measured(ranking: &Ranking, sure: bool) -> Measured {
    Measured {
        positives: ranking.count(Side::Positive),
        negatives: ranking.count(Side::Negative),
        figures: ranking.figures(),
        intervals: sure.then(|| intervals(ranking)),
    }
}

fn kinds(trials: &Trials) -> Vec<Row> {
    let (calls, sessions) = trials.kinds();
    let mut rows: Vec<Row> = Vec::new();
    for name in &calls {
        let found = measured(&trials.calls_by(By::Risk, Some(name)), true);
        rows.push(Row { name: name.clone(), calls: Some(found), sessions: None });
    }
    for name in &sessions {
        let found = Some(measured(&trials.sessions_by(By::Risk, Some(name)), true));
        match rows.iter_mut().find(|row| row.name == *name) {
            Some(row) => row.sessions = found,
            None => rows.push(Row { name: name.clone(), calls: None, sessions: found }),
        }
    }
    rows
}

fn calibrations(trials: &Trials) -> Vec<Calibration> {
    let marks = || {
        let in_order =
            trials.calls.iter().filter(|call| call.side == Some(Side::Negative) && !trials.left_out(call));
        in_order.filter_map(|call| call.scored.as_ref())
    };
    let of = |name: &'static str, evidence: Vec<i32>| Calibration {
        name,
        judged: evidence.len() as u64,
        levels: calibration::table(&evidence),
    };
    let mut tables = vec![of("all", marks().map(|marks| marks.evidence).collect())];
    for detector in Detector::ALL {
        let judged = marks().filter_map(|marks| marks.scores.get(detector.index()));
        let surprises: Vec<i32> =
            judged.filter(|score| score.raw.is_some()).map(|score| score.surprise).collect();
        if !surprises.is_empty() {
            tables.push(of(detector.name(), surprises));
        }
    }
    tables
}
