//! Folds the log again and decides every call anew: the same log must give the same decisions, bit for bit.

use super::Error;
use super::query::decode;
use super::relearn;
use crate::decide::{SCORING_VERSION, redecide};
use crate::domain::decision::Decision;
use crate::domain::event::{Event, Payload, PolicyAdopted, Recorded};
use crate::domain::position::Position;
use crate::eventlog::Log;
use crate::policy::{Policy, parse};
use crate::projection::State;
use std::ops::ControlFlow;

/// A decision that came out otherwise than recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Position of the recorded `CallDecided`.
    pub position: Position,
    /// What was recorded.
    pub recorded: Decision,
    /// What came out now.
    pub now: Decision,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records folded.
    pub records: u64,
    /// Calls decided anew.
    pub decided: u64,
    /// Calls not compared, because another version of the scoring decided them.
    pub other_version: u64,
    /// Decisions that differ; the first [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// How many differ in all.
    pub differing: u64,
    /// SHA-256 of the state at the end.
    pub state_digest: [u8; 32],
    /// Position of the state at the end.
    pub position: Position,
}

/// Differences kept in a report.
pub(super) const DIFFERENCES_MAX: usize = 100;

/// The policy of an event.
pub(super) fn adopted_policy(event: &PolicyAdopted) -> Result<Policy, Error> {
    if event.text.is_empty() {
        return Ok(Policy::built_in(event.mode));
    }
    parse(&event.text, event.mode).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Error::DataLoss(format!("the recorded policy is not accepted any more: {}", faults.join("; ")))
    })
}

/// Replays the log up to `to`. With `rescore`, every call is decided anew; without, the log is only
/// folded. `progress` is told the position now and then.
pub fn replay(
    log: &Log,
    to: Position,
    rescore: bool,
    mut progress: impl FnMut(Position),
) -> Result<ReplayReport, Error> {
    let mut run = Run::new(log);
    let mut fault = None;
    log.scan(Position::FIRST, to, |view| {
        let step = decode(&view, Payload::default()).and_then(|recorded| run.step(&recorded, rescore));
        if run.state.position.get().is_multiple_of(PROGRESS_RECORDS) {
            progress(run.state.position);
        }
        match step {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or_else(|| Ok(run.finish()), Err)
}

/// Records between two words of progress.
const PROGRESS_RECORDS: u64 = 10_000;

struct Run<'l> {
    log: &'l Log,
    state: State,
    policy: Policy,
    expected: Option<Decision>,
    report: ReplayReport,
}

impl<'l> Run<'l> {
    fn new(log: &'l Log) -> Self {
        let report = ReplayReport {
            records: 0,
            decided: 0,
            other_version: 0,
            differences: Vec::new(),
            differing: 0,
            state_digest: [0; 32],
            position: Position::ZERO,
        };
        Self { log, state: State::empty(), policy: Policy::default(), expected: None, report }
    }

    fn step(&mut self, recorded: &Recorded, rescore: bool) -> Result<(), Error> {
        match &recorded.record.event {
            Event::PolicyAdopted(event) => self.policy = adopted_policy(event)?,
            Event::CallProposed(proposed) if rescore => {
                let tenant = self.state.tenant(&proposed.tenant);
                let session = tenant.and_then(|tenant| tenant.sessions.get(&recorded.record.stream));
                self.expected = Some(redecide(tenant, session, proposed, &self.policy));
            }
            Event::CallDecided(event) => {
                if event.scoring_version != SCORING_VERSION {
                    self.report.other_version += 1;
                } else if let Some(now) = self.expected.take() {
                    self.compare(recorded.position, &event.decision, now);
                }
            }
            _ => {}
        }
        relearn::apply(self.log, &mut self.state, recorded)?;
        self.report.records += 1;
        Ok(())
    }

    fn compare(&mut self, position: Position, recorded: &Decision, now: Decision) {
        self.report.decided += 1;
        if *recorded == now {
            return;
        }
        self.report.differing += 1;
        if self.report.differences.len() < DIFFERENCES_MAX {
            self.report.differences.push(Difference { position, recorded: recorded.clone(), now });
        }
    }

    fn finish(mut self) -> ReplayReport {
        self.report.position = self.state.position;
        self.report.state_digest = self.state.digest();
        self.report
    }
}
