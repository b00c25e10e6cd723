//! Reviews of a partition: those in which something can still happen, those settled lately, and the
//! final word on calls that were reviewed.
//!
//! Bounded by `domain::review::limits`: whoever opens a review looks at [`Reviews::live`] first. What falls
//! out of the settled ones is in the log.

use crate::domain::call::{CallFeatures, Digest};
use crate::domain::decision::Assessment;
use crate::domain::event::{
    CallRefused, CallReleased, Recorded, ReviewDelegated, ReviewJoined, ReviewOpened, ReviewResolved,
    VoteCast,
};
use crate::domain::position::Position;
use crate::domain::review::{OnDeadline, ReviewState, Vote, Why, limits};
use crate::domain::risk::RiskCategory;
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Final words on calls that are kept at hand; older ones are in the log only.
pub(super) const FINALS_MAX: usize = 16_384;

/// What is kept of a call while it is under review, to look at its risk again and to learn it once it is
/// let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What the models look at.
    pub features: CallFeatures,
    /// Number of the assistant message that made the call.
    pub turn: Option<u32>,
    /// What they said.
    pub assessment: Assessment,
    /// Position of its `CallDecided`.
    pub decided_at: Position,
}

/// A review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Position of its `ReviewOpened`, which names it.
    pub id: Position,
    /// Tenant.
    pub tenant: String,
    /// The call's session.
    pub stream: StreamId,
    /// The call.
    pub call: CallKey,
    /// The call's id.
    pub call_id: String,
    /// Digest that binds the call.
    pub digest: Digest,
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// Outermost first.
    pub principal_chain: Vec<String>,
    /// Category as decided.
    pub category: RiskCategory,
    /// The rule that asked for it; empty: none did.
    pub rule_id: String,
    /// Revision of the policy it was opened under.
    pub policy_revision: Position,
    /// When it was opened.
    pub opened: Timestamp,
    /// Where it is in its life.
    pub state: ReviewState,
    /// Distinct people that must approve.
    pub approvals: u8,
    /// Groups whose members may vote now; empty: every reviewer.
    pub groups: Vec<String>,
    /// Reviewers it was handed to by name.
    pub delegates: Vec<String>,
    /// When the next thing happens by itself: to the review, or to the approval it gave.
    pub deadline: Timestamp,
    /// What happens then, while it is open.
    pub on_deadline: OnDeadline,
    /// Microseconds that an approval holds.
    pub approval_us: i64,
    /// Votes, oldest first.
    pub votes: Vec<Vote>,
    /// When and why it was settled.
    pub settled: Option<(Timestamp, Why)>,
    /// Further calls that joined it: their keys and ids.
    pub joined: Vec<(CallKey, String)>,
    /// The call that used the approval.
    pub consumed_by: Option<CallKey>,
    /// Position of its latest event.
    pub changed: Position,
    /// What is kept of its call; none once it is settled.
    pub held: Option<Box<Held>>,
}

impl Review {
    /// Approvals so far.
    pub fn approvals_given(&self) -> usize {
        self.votes.iter().filter(|vote| vote.choice == crate::domain::review::Choice::Approve).count()
    }
}

/// The final word on a call that was to be reviewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// Whether it was let go.
    pub released: bool,
    /// Why.
    pub why: Why,
    /// The review; zero: none was opened.
    pub review: Position,
    /// Position of the event.
    pub position: Position,
}

/// All reviews of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviews {
    known: BTreeMap<Position, Review>,
    by_call: BTreeMap<CallKey, Position>,
    /// The review of a digest in which something can still happen.
    by_digest: BTreeMap<Digest, Position>,
    deadlines: BTreeSet<(Timestamp, Position)>,
    per_session: BTreeMap<StreamId, u32>,
    settled: VecDeque<Position>,
    finals: BTreeMap<CallKey, Final>,
    finals_order: VecDeque<CallKey>,
    /// Latest event of a review that is not at hand any more.
    forgotten: Position,
}

impl Reviews {
    /// A review at hand.
    pub fn get(&self, id: Position) -> Option<&Review> {
        self.known.get(&id)
    }

    /// The review that a call opened, if it is at hand.
    pub fn of_call(&self, call: &CallKey) -> Option<&Review> {
        self.known.get(self.by_call.get(call)?)
    }

    /// The review of calls with this digest in which something can still happen.
    pub fn of_digest(&self, digest: &Digest) -> Option<&Review> {
        self.known.get(self.by_digest.get(digest)?)
    }

    /// The final word on a call, if it is at hand.
    pub fn final_of(&self, call: &CallKey) -> Option<&Final> {
        self.finals.get(call)
    }

    /// What was odd about the call of a review, while something can still happen to it.
    pub fn assessment_of(&self, id: Position) -> Option<&Assessment> {
        let held = self.known.get(&id)?.held.as_ref()?;
        Some(&held.assessment)
    }

    /// All reviews at hand in the order they were opened.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Review> {
        self.known.values()
    }

    /// Reviews in which something can still happen, nearest deadline first.
    pub fn by_deadline(&self) -> impl DoubleEndedIterator<Item = &Review> {
        self.deadlines.iter().filter_map(|(_, id)| self.known.get(id))
    }

    /// How many there are in which something can still happen.
    pub fn live(&self) -> usize {
        self.deadlines.len()
    }

    /// How many of them belong to a session.
    pub fn live_in(&self, stream: &StreamId) -> u32 {
        self.per_session.get(stream).copied().unwrap_or(0)
    }

    /// When the next thing happens by itself.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Reviews whose deadline has come, longest overdue first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &Review> {
        self.by_deadline().take_while(move |review| review.deadline <= now)
    }

    /// Latest event of any review that is not at hand any more: a watcher that saw less has a gap.
    pub const fn forgotten(&self) -> Position {
        self.forgotten
    }

    pub(super) fn open(&mut self, event: &ReviewOpened, recorded: &Recorded, held: Option<Held>) {
        let record = &recorded.record;
        let id = recorded.position;
        let terms = &event.terms;
        let review = Review {
            id,
            tenant: event.tenant.clone(),
            stream: record.stream,
            call: record.call,
            call_id: event.call_id.clone(),
            digest: event.digest,
            server: event.server.clone(),
            tool: event.tool.clone(),
            principal_chain: event.principal_chain.clone(),
            category: event.category,
            rule_id: event.rule_id.clone(),
            policy_revision: event.policy_revision,
            opened: record.receive_time,
            state: ReviewState::Pending,
            approvals: terms.approvals,
            groups: terms.groups.clone(),
            delegates: Vec::new(),
            deadline: terms.deadline,
            on_deadline: terms.on_deadline.clone(),
            approval_us: terms.approval_us,
            votes: Vec::new(),
            settled: None,
            joined: Vec::new(),
            consumed_by: None,
            changed: id,
            held: held.map(Box::new),
        };
        self.deadlines.insert((review.deadline, id));
        self.by_call.insert(record.call, id);
        self.by_digest.insert(event.digest, id);
        *self.per_session.entry(record.stream).or_insert(0) += 1;
        self.known.insert(id, review);
    }

    pub(super) fn join(&mut self, event: &ReviewJoined, recorded: &Recorded) {
        if let Some(review) = self.known.get_mut(&event.review).filter(|review| review.state.is_open()) {
            review.changed = recorded.position;
            review.joined.push((recorded.record.call, event.call_id.clone()));
            self.by_call.insert(recorded.record.call, event.review);
        }
    }

    pub(super) fn vote(&mut self, event: &VoteCast, position: Position) {
        if let Some(review) = self.known.get_mut(&event.review).filter(|review| review.state.is_open()) {
            review.changed = position;
            review.votes.push(event.vote.clone());
        }
    }

    pub(super) fn delegate(&mut self, event: &ReviewDelegated, position: Position) {
        if let Some(review) = self.known.get_mut(&event.review).filter(|review| review.state.is_open()) {
            review.changed = position;
            if event.group.is_empty() {
                review.delegates.push(event.delegate.clone());
            } else {
                review.groups.push(event.group.clone());
            }
        }
    }

    /// Settles a review or passes it on; hands back what was kept of its call if it is over.
    pub(super) fn resolve(&mut self, event: &ReviewResolved, recorded: &Recorded) -> Option<Box<Held>> {
        let review = self.known.get_mut(&event.review).filter(|review| review.state.is_live())?;
        review.changed = recorded.position;
        review.state = event.state;
        self.deadlines.remove(&(review.deadline, review.id));
        if let Some(deadline) = event.deadline {
            review.deadline = deadline;
        }
        match event.state {
            ReviewState::Pending | ReviewState::Escalated => {
                review.groups.clone_from(&event.groups);
                review.on_deadline = OnDeadline::Deny;
                self.deadlines.insert((review.deadline, review.id));
                None
            }
            ReviewState::Approved => {
                review.settled = Some((recorded.record.receive_time, event.why));
                self.deadlines.insert((review.deadline, review.id));
                None
            }
            ReviewState::Denied | ReviewState::Expired | ReviewState::Cancelled | ReviewState::Consumed => {
                review.settled = Some((recorded.record.receive_time, event.why));
                self.end(event.review)
            }
        }
    }

    /// Lets a call go; hands back what was kept of it.
    pub(super) fn release(&mut self, event: &CallReleased, recorded: &Recorded) -> Option<Box<Held>> {
        let call = recorded.record.call;
        self.finish(call, true, event.why, event.review, recorded.position);
        let review = self.known.get_mut(&event.review)?;
        if review.state != ReviewState::Approved {
            return None;
        }
        review.state = ReviewState::Consumed;
        review.consumed_by = Some(call);
        review.changed = recorded.position;
        self.deadlines.remove(&(review.deadline, review.id));
        self.end(event.review)
    }

    pub(super) fn refuse(&mut self, event: &CallRefused, recorded: &Recorded) {
        self.finish(recorded.record.call, false, event.why, event.review, recorded.position);
    }

    fn finish(&mut self, call: CallKey, released: bool, why: Why, review: Position, position: Position) {
        if self.finals.contains_key(&call) {
            return;
        }
        self.finals.insert(call, Final { released, why, review, position });
        self.finals_order.push_back(call);
        if self.finals_order.len() > FINALS_MAX
            && let Some(oldest) = self.finals_order.pop_front()
        {
            self.finals.remove(&oldest);
        }
    }

    /// Nothing more can happen to this review: it joins the settled ones.
    fn end(&mut self, id: Position) -> Option<Box<Held>> {
        let review = self.known.get_mut(&id)?;
        let held = review.held.take();
        if self.by_digest.get(&review.digest) == Some(&id) {
            self.by_digest.remove(&review.digest);
        }
        if let Some(count) = self.per_session.get_mut(&review.stream) {
            *count -= 1;
            if *count == 0 {
                self.per_session.remove(&review.stream);
            }
        }
        self.settled.push_back(id);
        if self.settled.len() > limits::SETTLED_MAX
            && let Some(oldest) = self.settled.pop_front()
            && let Some(gone) = self.known.remove(&oldest)
        {
            self.by_call.remove(&gone.call);
            for (call, _) in &gone.joined {
                self.by_call.remove(call);
            }
            self.forgotten = self.forgotten.max(gone.changed);
        }
        held
    }
}
