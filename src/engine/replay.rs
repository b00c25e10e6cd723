//! Folds the log again and decides every call anew: the same log must give the same decisions, bit for bit.

use super::Error;
use super::policies::not_accepted;
use super::query::{arguments_at, decode};
use crate::decide::{SCORING_VERSION, moment, redecide};
use crate::domain::decision::Decision;
use crate::domain::event::{Event, Payload, Recorded};
use crate::domain::position::Position;
use crate::eventlog::Log;
use crate::policy::Book;
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
    /// Calls not compared, because a rule looks at their arguments and those were erased.
    pub erased: u64,
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

/// Replays the log up to `to`. With `rescore`, every call is decided anew; without, the log is only
/// folded. `progress` is told the position now and then.
pub fn replay(
    log: &Log,
    to: Position,
    rescore: bool,
    mut progress: impl FnMut(Position),
) -> Result<ReplayReport, Error> {
    let mut run = Run::new();
    let mut fault = None;
    log.scan(Position::FIRST, to, |view| {
        let step = decode(&view, Payload::default()).and_then(|recorded| run.step(log, &recorded, rescore));
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

struct Run {
    state: State,
    book: Book,
    expected: Option<Decision>,
    report: ReplayReport,
}

impl Run {
    fn new() -> Self {
        let report = ReplayReport {
            records: 0,
            decided: 0,
            other_version: 0,
            erased: 0,
            differences: Vec::new(),
            differing: 0,
            state_digest: [0; 32],
            position: Position::ZERO,
        };
        Self { state: State::empty(), book: Book::default(), expected: None, report }
    }

    fn step(&mut self, log: &Log, recorded: &Recorded, rescore: bool) -> Result<(), Error> {
        let record = &recorded.record;
        self.book
            .apply(&record.event, record.receive_time)
            .map_err(|faults| not_accepted(recorded.position, &faults))?;
        match &record.event {
            Event::CallProposed(proposed) if rescore => {
                let policy = self.book.of(&proposed.tenant);
                let arguments = if policy.needs_arguments() {
                    arguments_at(log, recorded.position)?
                } else {
                    Some(Vec::new())
                };
                self.expected = arguments.map(|arguments| {
                    let now = moment(proposed.origin, record.event_time, record.receive_time);
                    redecide(&self.state, record.stream, proposed, policy, &arguments, now)
                });
                self.report.erased += u64::from(self.expected.is_none());
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
        self.state.apply(recorded);
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
