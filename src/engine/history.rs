//! Looking back at calls: what the policy covers, what another one would have done, and which rules history
//! gives ground for. Reads the log beside the running engine; never writes, never calls a tool.

use super::Error;
use super::policies::not_accepted;
use super::query::{arguments_at, decode};
use crate::decide::{moment, redecide};
use crate::domain::call::Origin;
use crate::domain::decision::{Decision, Reason, Verdict};
use crate::domain::event::{CallDecided, CallProposed, Event, Payload, Recorded, kind};
use crate::domain::position::Position;
use crate::domain::review::{Choice, ReviewState, Why};
use crate::domain::time::{DAY_US, Timestamp};
use crate::eventlog::Log;
use crate::policy::examples::{self, Example};
use crate::policy::suggest::{Suggester, Suggestion};
use crate::policy::{Book, Policy};
use crate::projection::State;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Which calls to look at.
#[derive(Clone, Debug)]
pub struct Range {
    /// Of this tenant.
    pub tenant: String,
    /// Received at or after; none: from the beginning. History goes by its own times.
    pub from: Option<Timestamp>,
    /// Received before; none: until now.
    pub to: Option<Timestamp>,
}

impl Range {
    fn admits(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }
}

/// Shows every event of the log in order; the first error ends it.
fn scan(log: &Log, mut each: impl FnMut(&Recorded) -> Result<(), Error>) -> Result<(), Error> {
    let mut fault = None;
    log.scan(Position::FIRST, log.position(), |view| {
        match decode(&view, Payload::default()).and_then(|recorded| each(&recorded)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or(Ok(()), Err)
}

/// Positions where policies were adopted for a tenant or for all, or the tenant's own was withdrawn, oldest first.
pub fn policy_revisions(log: &Log, tenant: &str) -> Result<Vec<Position>, Error> {
    let mut found = Vec::new();
    log.scan(Position::FIRST, log.position(), |view| {
        if [kind::POLICY_ADOPTED, kind::POLICY_WITHDRAWN].contains(&view.kind())
            && let Ok(Recorded { record, .. }) = decode(&view, Payload::default())
        {
            let concerns = match &record.event {
                Event::PolicyAdopted(event) => event.tenant.is_empty() || event.tenant == tenant,
                Event::PolicyWithdrawn(event) => event.tenant == tenant,
                _ => false,
            };
            found.extend(concerns.then(|| view.position()));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Pairs each decision with its proposal, which stands right before it.
#[derive(Default)]
struct Pairs(Option<(Position, Timestamp, Box<CallProposed>)>);

impl Pairs {
    /// The proposal of a decision of this tenant within the range.
    fn see<'e>(
        &mut self,
        recorded: &'e Recorded,
        range: &Range,
    ) -> Option<(Position, Box<CallProposed>, &'e CallDecided)> {
        let record = &recorded.record;
        match &record.event {
            Event::CallProposed(proposed) if proposed.tenant == range.tenant => {
                let at = moment(proposed.origin, record.event_time, record.receive_time);
                self.0 = range.admits(at).then(|| (recorded.position, at, Box::new(proposed.clone())));
                None
            }
            Event::CallDecided(decided) => {
                let (position, _, proposed) = self.0.take()?;
                (position.next() == recorded.position).then_some((position, proposed, decided))
            }
            _ => None,
        }
    }
}

/// Calls of one tool that match no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// The latest call's category.
    pub category: crate::domain::risk::RiskCategory,
    /// How many.
    pub calls: u64,
    /// In how many sessions; counted up to 10,000.
    pub sessions: u64,
}

/// What the policy covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// All calls.
    pub calls: u64,
    /// Allowed by a rule or grant.
    pub by_rule: u64,
    /// Allowed by the default of their category.
    pub by_default: u64,
    /// Reviewed.
    pub reviewed: u64,
    /// Denied.
    pub denied: u64,
    /// What matches no rule, the most frequent first.
    pub unmatched: Vec<Unmatched>,
}

/// Kinds of unmatched call that are told apart; further ones count in the sums only.
const UNMATCHED_MAX: usize = 10_000;
/// Sessions counted a kind.
const SESSIONS_MAX: usize = 10_000;

/// How much of the traffic each kind of decision covers, by what was decided (in observe mode too). Calls recorded as
/// history are counted as the rules and defaults of this policy would have it.
pub fn coverage(log: &Log, range: &Range, policy: &Policy) -> Result<Coverage, Error> {
    let mut found = Coverage::default();
    let mut kinds: BTreeMap<(String, String), (Unmatched, BTreeSet<_>)> = BTreeMap::new();
    let mut pairs = Pairs::default();
    scan(log, |recorded| {
        let Some((position, proposed, decided)) = pairs.see(recorded, range) else { return Ok(()) };
        let decision = &decided.decision;
        found.calls += 1;
        // A lock stands above all rules.
        let locked = is_lock(decision.reason);
        let (verdict, matched) = match proposed.origin {
            Origin::Imported => by_policy(log, position, &proposed, recorded, policy)?,
            Origin::Live => (decision.verdict, locked || !decision.rule_id.is_empty()),
        };
        match verdict {
            Verdict::Allow if matched => found.by_rule += 1,
            Verdict::Allow => found.by_default += 1,
            Verdict::Review => found.reviewed += 1,
            Verdict::Deny => found.denied += 1,
        }
        let key = (proposed.server, proposed.tool);
        if !matched && (kinds.len() < UNMATCHED_MAX || kinds.contains_key(&key)) {
            let slot = kinds.entry(key).or_insert_with_key(|(server, tool)| {
                let (server, tool) = (server.clone(), tool.clone());
                (
                    Unmatched { server, tool, category: decision.category, calls: 0, sessions: 0 },
                    BTreeSet::new(),
                )
            });
            slot.0.calls += 1;
            slot.0.category = decision.category;
            if slot.1.len() < SESSIONS_MAX {
                slot.1.insert(recorded.record.stream);
            }
        }
        Ok(())
    })?;
    let told =
        kinds.into_values().map(|(kind, sessions)| Unmatched { sessions: sessions.len() as u64, ..kind });
    found.unmatched = told.collect();
    found.unmatched.sort_by(|one, other| (other.calls, &one.tool).cmp(&(one.calls, &other.tool)));
    Ok(found)
}

const fn is_lock(reason: Reason) -> bool {
    use Reason::{PrincipalLocked, ServerLocked, SessionLocked, TenantLocked, ToolLocked};
    matches!(reason, SessionLocked | PrincipalLocked | ToolLocked | ServerLocked | TenantLocked)
}

/// What rules and defaults alone say of a call, and whether a rule says it. Without its arguments, if they were erased,
/// what was recorded.
fn by_policy(
    log: &Log,
    position: Position,
    proposed: &CallProposed,
    recorded: &Recorded,
    policy: &Policy,
) -> Result<(Verdict, bool), Error> {
    let arguments = if policy.needs_arguments() { arguments_at(log, position)? } else { Some(Vec::new()) };
    let record = &recorded.record;
    let example = Example {
        tool: proposed.tool.clone(),
        server: proposed.server.clone(),
        chain: proposed.principal_chain.clone(),
        arguments: arguments.unwrap_or_default(),
        at: moment(proposed.origin, record.event_time, record.receive_time),
        risk: None,
        category: Some(proposed.category),
    };
    Ok(examples::ask(policy, &example, |outcome, _| (outcome.effect.verdict(), outcome.rule.is_some())))
}

/// Rules that history gives ground for and that the policy in force does not have. A call recorded as history counts as
/// that policy would decide it.
pub fn suggestions(log: &Log, range: &Range, policy: &Policy) -> Result<Vec<Suggestion>, Error> {
    let mut suggester = Suggester::default();
    let mut pairs = Pairs::default();
    let mut votes = Votes::default();
    scan(log, |recorded| {
        votes.see(recorded, &range.tenant, &mut suggester);
        if let Some((position, proposed, decided)) = pairs.see(recorded, range) {
            let Some(arguments) = arguments_at(log, position)? else { return Ok(()) };
            let mut decided = decided.clone();
            let (verdict, _) = by_policy(log, position, &proposed, recorded, policy)?;
            if proposed.origin == Origin::Imported {
                decided.decision.verdict = verdict;
            }
            let (record, asks) = (&recorded.record, verdict == Verdict::Review);
            suggester.decided(record.stream, record.call, &proposed, &decided, &arguments, asks);
        }
        Ok(())
    })?;
    Ok(suggester.suggestions())
}

/// Who approved reviews that are open.
#[derive(Debug, Default)]
struct Votes(BTreeMap<Position, Vec<String>>);

impl Votes {
    /// Tells the suggester how a review ended.
    fn see(&mut self, recorded: &Recorded, tenant: &str, suggester: &mut Suggester) {
        let record = &recorded.record;
        match &record.event {
            Event::VoteCast(event) if event.tenant == tenant && event.vote.choice == Choice::Approve => {
                self.0.entry(event.review).or_default().push(event.vote.reviewer.clone());
            }
            Event::ReviewResolved(event) if event.tenant == tenant => {
                let approvers = match event.state {
                    state if state.is_open() => return,
                    _ => self.0.remove(&event.review).unwrap_or_default(),
                };
                match (event.state, event.why) {
                    // Silence is nobody's word.
                    (ReviewState::Approved, Why::Approved) => {
                        suggester.approved(record.stream, record.call, &approvers);
                    }
                    (ReviewState::Denied, _) => suggester.denied(record.call),
                    (ReviewState::Expired | ReviewState::Cancelled, _) => suggester.lapsed(record.call),
                    _ => {}
                }
            }
            Event::CallRefused(event) if event.tenant == tenant => suggester.lapsed(record.call),
            _ => {}
        }
    }
}

/// A call whose verdict another policy would change.
#[derive(Clone, Debug)]
pub struct Reversed {
    /// The call's id.
    pub call_id: String,
    /// Its session.
    pub stream: crate::domain::stream::StreamId,
    /// Position of its `CallDecided`.
    pub position: Position,
    /// As decided; for history as the policy in force would have.
    pub before: Decision,
    /// As the policy tried decides.
    pub after: Decision,
}

/// What a backtest came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backtest {
    /// Calls decided again.
    pub calls: u64,
    /// Calls left out, because a rule looks at their arguments and those were erased.
    pub erased: u64,
    /// Verdict changes by rule that decides now, and how many, with up to 5 call ids.
    pub changes: BTreeMap<(String, Verdict, Verdict), (u64, Vec<String>)>,
    /// Reviews as decided before.
    pub reviews_before: u64,
    /// Reviews by the policy tried.
    pub reviews_after: u64,
    /// Days from the first call to the last; at least 1.
    pub days: f64,
    /// Calls that it would allow and that were denied.
    pub denied_now_allowed: u64,
}

/// Examples a kind of change.
const EXAMPLE_IDS_MAX: usize = 5;
/// Kinds of change told.
const CHANGES_MAX: usize = 1_000;

/// Decides every call of the range again by another policy, with the state as of each call. `changed` is
/// handed each call whose verdict changes, `progress` the position and the calls so far; false ends it.
pub fn backtest(
    log: &Log,
    range: &Range,
    policy: &Policy,
    mut changed: impl FnMut(Reversed) -> bool,
    mut progress: impl FnMut(Position, u64) -> bool,
) -> Result<Backtest, Error> {
    let mut run = Run {
        state: State::empty(),
        book: Book::default(),
        tried: None,
        found: Backtest::default(),
        span: None,
    };
    let mut stopped = false;
    scan(log, |recorded| {
        if stopped {
            return Ok(());
        }
        if let Some(example) = run.step(log, recorded, range, policy)? {
            stopped |= !changed(example);
        }
        if recorded.position.get().is_multiple_of(PROGRESS_RECORDS) {
            stopped |= !progress(recorded.position, run.found.calls);
        }
        Ok(())
    })?;
    let (first, last) = run.span.unwrap_or_default();
    run.found.days = (last.since(first) as f64 / DAY_US as f64).max(1.0);
    Ok(run.found)
}

/// Records between two words of progress.
const PROGRESS_RECORDS: u64 = 10_000;

struct Run {
    state: State,
    book: Book,
    /// The call at hand as both policies decide it; none before for a live call: its decision follows.
    tried: Option<(String, Option<Decision>, Decision)>,
    found: Backtest,
    span: Option<(Timestamp, Timestamp)>,
}

impl Run {
    fn step(
        &mut self,
        log: &Log,
        recorded: &Recorded,
        range: &Range,
        policy: &Policy,
    ) -> Result<Option<Reversed>, Error> {
        let record = &recorded.record;
        self.book
            .apply(&record.event, record.receive_time)
            .map_err(|faults| not_accepted(recorded.position, &faults))?;
        let mut example = None;
        match &record.event {
            Event::CallProposed(proposed) if proposed.tenant == range.tenant => {
                self.tried = self.try_call(log, recorded, proposed, range, policy)?;
            }
            Event::CallDecided(decided) => {
                if let Some((call_id, before, after)) = self.tried.take() {
                    let before = before.unwrap_or_else(|| decided.decision.clone());
                    example = self.compare(recorded, call_id, before, after);
                }
            }
            _ => {}
        }
        self.state.apply(recorded);
        Ok(example)
    }

    fn try_call(
        &mut self,
        log: &Log,
        recorded: &Recorded,
        proposed: &CallProposed,
        range: &Range,
        policy: &Policy,
    ) -> Result<Option<(String, Option<Decision>, Decision)>, Error> {
        let record = &recorded.record;
        let at = moment(proposed.origin, record.event_time, record.receive_time);
        if !range.admits(at) {
            return Ok(None);
        }
        let current = self.book.of(&proposed.tenant);
        let imported = proposed.origin == Origin::Imported;
        let needed = policy.needs_arguments() || imported && current.needs_arguments();
        let arguments = if needed { arguments_at(log, recorded.position)? } else { Some(Vec::new()) };
        let Some(arguments) = arguments else {
            self.found.erased += 1;
            return Ok(None);
        };
        let (first, _) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), at));
        let live = CallProposed { origin: Origin::Live, ..proposed.clone() };
        let decide = |policy: &Policy| redecide(&self.state, record.stream, &live, policy, &arguments, at);
        let before = imported.then(|| decide(current));
        Ok(Some((proposed.call_id.clone(), before, decide(policy))))
    }

    fn compare(
        &mut self,
        recorded: &Recorded,
        call_id: String,
        before: Decision,
        after: Decision,
    ) -> Option<Reversed> {
        let found = &mut self.found;
        found.calls += 1;
        found.reviews_before += u64::from(before.verdict == Verdict::Review);
        found.reviews_after += u64::from(after.verdict == Verdict::Review);
        if before.verdict == after.verdict {
            return None;
        }
        found.denied_now_allowed +=
            u64::from(before.verdict == Verdict::Deny && after.verdict == Verdict::Allow);
        let key = (after.rule_id.clone(), before.verdict, after.verdict);
        if found.changes.len() < CHANGES_MAX || found.changes.contains_key(&key) {
            let (count, ids) = found.changes.entry(key).or_default();
            *count += 1;
            if ids.len() < EXAMPLE_IDS_MAX {
                ids.push(call_id.clone());
            }
        }
        let (stream, position) = (recorded.record.stream, recorded.position);
        Some(Reversed { call_id, stream, position, before, after })
    }
}
