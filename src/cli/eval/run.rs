//! Runs the engine over recorded calls and keeps what it said beside what they were.

use super::super::requests::Requests;
use super::super::trace_line::{ToolLine, TraceLine};
use super::labels::{CallTruth, SessionTruths, kind_of_call, session_of, side_of_call};
use crate::domain::decision::Floor;
use crate::domain::time::DAY_US;
use crate::evaluate::trial::{Marks, Trial, Trials};
use crate::offline::{Offline, Scored, Take};
use crate::projection::Wanted;
use crate::stats::combine::risk_exact;
use crate::stats::millibits::MilliBits;
use hashbrown::{HashMap, HashSet};

/// A recorded call with what it was.
#[derive(Clone, Debug)]
pub(super) struct Labelled {
    /// The call, which the engine sees.
    pub(super) line: TraceLine,
    /// The truth, which it does not.
    pub(super) truth: CallTruth,
}

/// A call's session.
pub(super) type Key = (String, String);

impl Labelled {
    pub(super) fn key(&self) -> Key {
        (self.line.dataset.clone(), self.line.session.clone())
    }
}

/// How a run goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Nothing is learnt from what is scored.
    pub(super) frozen: bool,
    /// Calls before this time are scored and learnt from but not counted; microseconds.
    pub(super) from: Option<i64>,
    /// Share of calls that evidence may send to review, parts per million.
    pub(super) rate_ppm: u32,
}

/// Everything that is needed beside the calls.
pub(super) struct Bench {
    pub(super) tools: Vec<ToolLine>,
    pub(super) requests: Requests,
    pub(super) sessions: SessionTruths,
    /// Calls that the engine refused.
    pub(super) refused: u64,
}

impl Bench {
    /// Lets a fresh engine learn from `train`, then score `test`, into `into`.
    pub(super) fn run(&mut self, train: &[&Labelled], test: &[&Labelled], way: Way, into: &mut Trials) {
        let mut offline = Offline::new();
        offline.set_budget(Wanted { rate_ppm: way.rate_ppm, ..Wanted::default() });
        for tool in &self.tools {
            if offline.define(tool.clone()).is_err() {
                self.refused += 1;
            }
        }
        self.train(&mut offline, train);
        if way.frozen {
            offline.freeze();
        }
        self.requests.begin();
        let flags = flags(test);
        let mut places: HashMap<Key, u32> = HashMap::new();
        let last = last_of_sessions(test);
        for (at, call) in test.iter().enumerate() {
            let request = self.requests.next(&call.line).text;
            let scored = offline.call(&call.line, &request, Take::Test).ok();
            let counted = way.from.is_none_or(|from| call.line.ts.is_none_or(|ts| ts.as_micros() >= from));
            if counted {
                let session = *places.entry(call.key()).or_insert_with(|| self.place(call, &flags, into));
                into.calls.push(self.trial(call, session, scored.as_ref().map(marks)));
            }
            let untimed = call.line.ts.is_none();
            let back = test.get(at + 1).is_some_and(|next| call.line.ends_session_before(&next.line));
            if (untimed && last.get(at) == Some(&true)) || (!untimed && back) {
                offline.end_session(&call.line);
            }
        }
    }

    fn train(&mut self, offline: &mut Offline, train: &[&Labelled]) {
        let mut train = train.to_vec();
        train.sort_by_key(|call| call.line.ts);
        let last = last_of_sessions(&train);
        self.requests.begin();
        for (call, last) in train.iter().zip(last) {
            let request = self.requests.next(&call.line).text;
            if offline.call(&call.line, &request, Take::Train).is_err() {
                self.refused += 1;
            }
            if last {
                offline.end_session(&call.line);
            }
        }
    }

    /// Adds a call's session.
    pub(super) fn place(&self, call: &Labelled, flags: &Flags, into: &mut Trials) -> u32 {
        let (label, obeyed) = flags.get(&call.key()).copied().unwrap_or_default();
        into.sessions.push(session_of(self.sessions.get(&call.key()), label, obeyed));
        u32::try_from(into.sessions.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn trial(&self, call: &Labelled, session: u32, scored: Option<Marks>) -> Trial {
        Trial {
            session,
            side: side_of_call(&call.truth, self.sessions.get(&call.key())),
            kind: kind_of_call(&call.truth),
            day: call.line.ts.map(|ts| ts.as_micros().div_euclid(DAY_US)),
            scored,
        }
    }
}

fn marks(scored: &Scored) -> Marks {
    let decision = &scored.decision;
    let assessment = &decision.assessment;
    let floor = Floor::in_set(assessment.floors).map(Floor::risk).max().unwrap_or(0);
    let base = decision.category.base_risk();
    Marks {
        risk: risk_exact(base, MilliBits::new(assessment.evidence), floor),
        base,
        weight: decision.category.weight_millibits(),
        floor,
        scores: assessment.scores.clone(),
        evidence: assessment.evidence,
        session_evidence: decision.account.session_evidence,
        threshold: decision.threshold,
        counted: decision.counted,
        verdict: decision.verdict,
    }
}

/// Whether a session was taken over, and whether a call of it is part of an attack.
pub(super) type Flags = HashMap<Key, (bool, bool)>;

/// The flags of every session, by what its calls say.
pub(super) fn flags(calls: &[&Labelled]) -> Flags {
    let mut flags = Flags::new();
    for call in calls {
        let (label, obeyed) = flags.entry(call.key()).or_default();
        *label |= call.truth.session_label != 0;
        *obeyed |= call.truth.label != 0;
    }
    flags
}

/// For each call whether it is the last of its session.
fn last_of_sessions(calls: &[&Labelled]) -> Vec<bool> {
    let mut seen = HashSet::new();
    let mut last: Vec<bool> =
        calls.iter().rev().map(|call| seen.insert((&call.line.dataset, &call.line.session))).collect();
    last.reverse();
    last
}
