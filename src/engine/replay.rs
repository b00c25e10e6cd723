//! Folds the log again and decides calls anew: the same log must give the same decisions, bit for bit; under
//! another policy it shows what would have been decided, each call on what was learnt until then.

use super::exchange::{Exchange, Exchanged, Reviewed};
use super::policies::not_accepted;
use super::query::{arguments_at, decode};
use super::relearn;
use super::{Error, ahead};
use crate::decide::{SCORING_VERSION, moment, redecide};
use crate::domain::decision::{Decision, Verdict};
use crate::domain::event::{CallProposed, Event, Payload, Recorded};
use crate::domain::json::Json;
use crate::domain::position::Position;
use crate::domain::stream::StreamId;
use crate::eventlog::{Log, RecordView};
use crate::policy::{Book, Policy, category};
use crate::projection::State;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What to decide anew, and with what.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Only fold: decide nothing anew.
    pub fold_only: bool,
    /// The policy to decide by; none: each call by the one that held.
    pub policy: Option<Policy>,
    /// Parts of a model to decide by; none: what was used then.
    pub model: Option<Exchange>,
    /// Decide only calls of this session; none: of all.
    pub only: Option<StreamId>,
    /// Decide only calls of this tenant; none: of all.
    pub tenant: Option<String>,
    /// Decide only calls from this position on.
    pub from: Position,
}

/// A call that was decided anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redecided {
    /// Position of the recorded `CallDecided`.
    pub position: Position,
    /// Its session.
    pub stream: StreamId,
    /// Its id.
    pub call_id: String,
    /// What was recorded.
    pub recorded: Decision,
    /// What came out now.
    pub now: Decision,
}

impl Redecided {
    /// Whether both are the same, bit for bit.
    pub fn is_equal(&self) -> bool {
        self.recorded == self.now
    }
}

/// Calls whose verdict came out otherwise, for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// How many.
    pub calls: u64,
    /// Ids of the first [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

/// A change of verdict: the rule that decides now (empty: a default), the verdict before, the one now.
pub type Change = (String, Verdict, Verdict);

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq)]
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
    pub differences: Vec<Redecided>,
    /// How many differ in all.
    pub differing: u64,
    /// How many differ in their verdict.
    pub verdicts_differing: u64,
    /// Changes of verdict; at most [`CHANGES_MAX`] kinds.
    pub changes: BTreeMap<Change, Changed>,
    /// What the review model of the plan says of the calls that go to a human.
    pub reviewed: Reviewed,
    /// SHA-256 of the state at the end.
    pub state_digest: [u8; 32],
    /// Position of the state at the end.
    pub position: Position,
}

/// Differences kept in a report.
pub(super) const DIFFERENCES_MAX: usize = 100;
/// Kinds of changes kept in a report.
const CHANGES_MAX: usize = 100;
/// Calls named as examples of a change.
const EXAMPLES_MAX: usize = 5;
/// Records between two words of progress.
const PROGRESS_RECORDS: u64 = 10_000;

/// What a replay tells while it runs.
#[derive(Debug)]
pub enum Step<'a> {
    /// It has come this far, and decided so many calls anew.
    Progress(Position, u64),
    /// An event is about to be folded.
    Event(&'a Recorded),
    /// A call was decided anew.
    Call(&'a Redecided),
}

/// Replays the log up to `to`. With `rescore`, every call is decided anew; without, the log is only
/// folded. `progress` is told the position now and then.
pub fn replay(
    log: &Log,
    to: Position,
    rescore: bool,
    mut progress: impl FnMut(Position),
) -> Result<ReplayReport, Error> {
    let plan = Plan { fold_only: !rescore, ..Plan::default() };
    replay_with(log, to, &plan, |step| {
        if let Step::Progress(position, _) = step {
            progress(position);
        }
        ControlFlow::Continue(())
    })
}

/// Replays the log up to `to` by a plan. `told` hears each step, and may break off.
pub fn replay_with(
    log: &Log,
    to: Position,
    plan: &Plan,
    mut told: impl FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<ReplayReport, Error> {
    let mut run = Run {
        log,
        state: State::empty(),
        book: Book::default(),
        expected: None,
        exchange: (plan.policy.is_some() || plan.model.is_some())
            .then(|| (plan.model.clone().unwrap_or_default(), Exchanged::default())),
        plan,
        report: ReplayReport::default(),
    };
    let decode = |view: &RecordView<'_>| decode(view, Payload::default());
    ahead::each(log, Position::FIRST, to, decode, |recorded| run.step(log, recorded, &mut told))?;
    Ok(run.finish())
}

struct Run<'p> {
    log: &'p Log,
    state: State,
    book: Book,
    /// Of the call proposed last: its id, and what came out now.
    expected: Option<(String, Decision)>,
    /// What is exchanged, where another policy or model decides.
    exchange: Option<(Exchange, Exchanged)>,
    plan: &'p Plan,
    report: ReplayReport,
}

impl Run<'_> {
    fn step(
        &mut self,
        log: &Log,
        recorded: &mut Recorded,
        told: &mut impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut flow = told(Step::Event(recorded));
        let record = &recorded.record;
        self.book
            .apply(&record.event, record.receive_time)
            .map_err(|faults| not_accepted(recorded.position, &faults))?;
        if let Some((exchange, exchanged)) = &mut self.exchange {
            exchanged.note(exchange, &self.state.key(), &record.event);
        }
        match &record.event {
            Event::CallProposed(proposed) if self.is_wanted(recorded, &proposed.tenant) => {
                let decision = self.decide(log, recorded, proposed)?;
                self.report.erased += u64::from(decision.is_none());
                self.expected = decision.map(|decision| (proposed.call_id.clone(), decision));
            }
            Event::CallDecided(event) => {
                if let Some((call_id, now)) = self.expected.take() {
                    if event.scoring_version == SCORING_VERSION {
                        let call = Redecided {
                            position: recorded.position,
                            stream: recorded.record.stream,
                            call_id,
                            recorded: event.decision.clone(),
                            now,
                        };
                        if flow.is_continue() {
                            flow = told(Step::Call(&call));
                        }
                        if let Some((exchange, exchanged)) = &mut self.exchange {
                            exchanged.decided(exchange, &call.now);
                        }
                        self.compare(call);
                    } else {
                        self.report.other_version += 1;
                    }
                }
            }
            _ => {}
        }
        relearn::take(self.log, &mut self.state, recorded)?;
        self.report.records += 1;
        if flow.is_continue() && self.state.position.get().is_multiple_of(PROGRESS_RECORDS) {
            flow = told(Step::Progress(self.state.position, self.report.decided));
        }
        Ok(flow)
    }

    /// Decides a call anew; none: its arguments are needed and were erased.
    fn decide(
        &self,
        log: &Log,
        recorded: &Recorded,
        proposed: &CallProposed,
    ) -> Result<Option<Decision>, Error> {
        let (record, held) = (&recorded.record, self.book.of(&proposed.tenant));
        let policy = self.plan.policy.as_ref().unwrap_or(held);
        let base = self.exchange.as_ref().and_then(|(exchange, exchanged)| {
            exchanged.base(exchange, &self.state.key(), proposed, (held, policy))
        });
        let arguments = if policy.needs_arguments() || base.is_some() {
            arguments_at(log, recorded.position)?
        } else {
            Some(Vec::new())
        };
        let now = moment(proposed.origin, record.event_time, record.receive_time);
        Ok(arguments.map(|arguments| match base {
            None => redecide(&self.state, record.stream, proposed, policy, &arguments, now),
            Some(base) => {
                let danger = Json::parse(&arguments).map(|json| category::danger(&json)).unwrap_or_default();
                let category = category::of_call(base, danger);
                let proposed = CallProposed { category, ..proposed.clone() };
                redecide(&self.state, record.stream, &proposed, policy, &arguments, now)
            }
        }))
    }

    /// Whether the call of this proposal is to be decided anew.
    fn is_wanted(&self, recorded: &Recorded, tenant: &str) -> bool {
        !self.plan.fold_only
            && recorded.position >= self.plan.from
            && self.plan.only.is_none_or(|only| only == recorded.record.stream)
            && self.plan.tenant.as_deref().is_none_or(|only| only == tenant)
    }

    fn compare(&mut self, call: Redecided) {
        let report = &mut self.report;
        report.decided += 1;
        if call.is_equal() {
            return;
        }
        report.differing += 1;
        if call.recorded.verdict != call.now.verdict {
            report.verdicts_differing += 1;
            let change = (call.now.rule_id.clone(), call.recorded.verdict, call.now.verdict);
            if report.changes.len() < CHANGES_MAX || report.changes.contains_key(&change) {
                let changed = report.changes.entry(change).or_default();
                changed.calls += 1;
                if changed.examples.len() < EXAMPLES_MAX {
                    changed.examples.push(call.call_id.clone());
                }
            }
        }
        if report.differences.len() < DIFFERENCES_MAX {
            report.differences.push(call);
        }
    }

    fn finish(mut self) -> ReplayReport {
        self.report.position = self.state.position;
        self.report.state_digest = self.state.digest();
        self.report.reviewed =
            self.exchange.take().map(|(_, exchanged)| exchanged.reviewed).unwrap_or_default();
        self.report
    }
}
