//! What the worker does about reviews, locks and tokens: commands, and what a decided call that must be
//! reviewed leads to. The rules are in `decide::{review, lock}`.

use super::Error;
use super::committer::Deferred;
use super::hub::Notice;
use super::overseer::{Cast, Lifting, Oversight, Placed, Reviewed};
use super::partition::{Decided, Reply};
use super::worker::Worker;
use crate::decide::review::{About, Asked, Ballot, Release, VoteFault, Voted, ask, claim};
use crate::decide::ruling::{self, Refusal, Ruling};
use crate::decide::{lock, review};
use crate::domain::decision::Verdict;
use crate::domain::event::{Event, FeedbackGiven, Pending, ReviewDelegated, TokenCreated, TokenRevoked};
use crate::domain::lock::Lock;
use crate::domain::position::Position;
use crate::domain::review::{ReviewState, Why};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::projection::{Final, KnownLock, KnownToken, Review};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Overdue reviews settled in one tick.
const OVERDUE_MAX: usize = 256;
/// Reviews without ground settled between two commands.
const GROUNDLESS_MAX: usize = 64;

impl Worker {
    /// Why nothing can be written, if so.
    pub(super) fn cannot_write(&self) -> Option<Error> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Some(Error::WritesOff(self.log.writes_off().unwrap_or("see the log").to_owned()));
        }
        let full = self.shared.disk_full.load(Ordering::Relaxed);
        full.then(|| Error::DiskFull("below the hard watermark".to_owned()))
    }

    /// The decision about a call on record, as it stands now.
    pub(super) fn decided_of(&mut self, tenant: &str, call_id: &str) -> Result<Decided, Error> {
        let key = self.call_key(tenant, call_id);
        let known = self.known_by(key)?;
        let known = known.ok_or_else(|| Error::NotFound(format!("call_id `{call_id}`")))?;
        let mut decided = self.decided_again(known)?;
        self.stand(key, call_id, &mut decided);
        Ok(decided)
    }

    /// Does what is on the way past the queue.
    pub(super) fn do_urgent(&mut self) {
        let urgent = self.overseer.hub.take_urgent();
        if urgent.is_empty() {
            return;
        }
        for oversight in urgent {
            if let Some(error) = self.cannot_write() {
                if matches!(oversight, Oversight::Tick) {
                    self.overseer.hub.end_tick();
                }
                oversight.refuse(error);
            } else {
                self.oversee(oversight);
            }
        }
        self.hand_over();
    }

    /// Does one command.
    pub(super) fn oversee(&mut self, oversight: Oversight) {
        match oversight {
            Oversight::Claim(call, review, reply) => self.evaluate_claiming(*call, review, reply),
            Oversight::Stand(tenant, call_id, reply) => self.stand_of(&tenant, &call_id, reply),
            Oversight::Vote(ballot, feedback, reply) => self.vote(*ballot, feedback, reply),
            Oversight::Delegate(event, reply) => self.delegate(*event, reply),
            Oversight::Feedback(event, reply) => match self.feedback(*event) {
                Ok(position) => self.defer(reply, position),
                Err(error) => reply(Err(error)),
            },
            Oversight::Place(lock, reply) => self.place(*lock, reply),
            Oversight::Lift(lifting, reply) => self.lift(*lifting, reply),
            Oversight::CreateToken(event, reply) => self.create_token(*event, reply),
            Oversight::RevokeToken(event, reply) => self.revoke_token(*event, reply),
            Oversight::Tick => self.tick(),
        }
    }

    /// Opens the review of a call just decided, or finds the one that is there; the answer says so.
    pub(super) fn under_review(&mut self, reviewed: &Reviewed, decided: &mut Decided) {
        let now = self.overseer.clock.deadlines().late;
        let asking = reviewed.asking(decided.position);
        let asked = match reviewed.claims {
            Some(id) => claim(&self.state, &asking, id, now),
            None => ask(&self.state, &asking, self.book.of(&reviewed.tenant), now),
        };
        let (stream, call, cause) = (reviewed.stream, reviewed.call, decided.position);
        match asked {
            Asked::Opens(event) | Asked::Joins(event) | Asked::Refused(event) => {
                self.put(&reviewed.tenant, stream, (call, *event), cause);
            }
            Asked::Claims(id) => {
                if let Some(why) = self.release(id, stream, (call, &reviewed.call_id)) {
                    decided.review = id;
                    decided.not_yet = Some(why);
                }
            }
        }
        self.standing(call, decided);
    }

    /// Adds to the decision about a call what has become of its review; uses its approval up.
    pub(super) fn stand(&mut self, call: CallKey, call_id: &str, decided: &mut Decided) {
        if decided.decision.answer() != Verdict::Review {
            return;
        }
        if self.state.reviews.final_of(&call).is_none()
            && let Some(review) = self.state.reviews.of_call(&call)
        {
            let (id, stream) = (review.id, review.stream);
            let overdue = review::overdue(review, self.overseer.clock.deadlines());
            if !overdue.is_empty() {
                self.settle(id, overdue);
            }
            let is_approved =
                self.state.reviews.get(id).is_some_and(|review| review.state == ReviewState::Approved);
            if is_approved {
                decided.not_yet = self.release(id, stream, (call, call_id));
            }
        }
        self.standing(call, decided);
        if decided.settled.is_none() && decided.review == Position::ZERO {
            let proposed_at = Position::new(decided.position.get().saturating_sub(1));
            decided.settled = super::query::final_of(&self.log, decided.stream, proposed_at, &call);
            decided.review = decided.settled.as_ref().map_or(Position::ZERO, |settled| settled.review);
        }
    }

    /// What the state at hand says of a call's review.
    fn standing(&self, call: CallKey, decided: &mut Decided) {
        if let Some(settled) = self.state.reviews.final_of(&call) {
            decided.review = settled.review;
            decided.comment = self.said_against(settled);
            decided.settled = Some(settled.clone());
        } else if let Some(review) = self.state.reviews.of_call(&call) {
            decided.review = review.id;
        }
    }

    /// What the one who denied a review said.
    fn said_against(&self, settled: &Final) -> String {
        let review = self.state.reviews.get(settled.review);
        let review = review.filter(|_| settled.why == Why::DeniedByReviewer);
        let vote = review.and_then(|review| review.votes.last());
        vote.map(|vote| vote.comment.clone()).unwrap_or_default()
    }

    /// What the one who placed the lock on a call said; empty: no lock covers it.
    pub(super) fn lock_comment(&self, proposed: &Pending) -> String {
        let Event::CallProposed(event) = &proposed.event else { return String::new() };
        let known = lock::lock_on_call(&self.state, proposed.stream, event, proposed.receive_time);
        known.map(|known| known.lock.reason.clone()).unwrap_or_default()
    }

    /// Lets a call go on the approval of a review, or settles why not; tells why not yet.
    fn release(&mut self, id: Position, stream: StreamId, claimant: (CallKey, &str)) -> Option<Why> {
        let review = self.state.reviews.get(id)?;
        let now = self.overseer.clock.deadlines().late;
        let tenant = review.tenant.clone();
        match review::release(&self.state, review, claimant, self.book.of(&tenant), now) {
            Release::NotYet(why) => return Some(why),
            Release::Goes(events) | Release::Refused(events) => {
                for about in events {
                    self.put(&tenant, stream, about, id);
                }
            }
        }
        None
    }

    /// Puts an event into the stream of a session, at the time of deadlines.
    fn put(&mut self, tenant: &str, stream: StreamId, (call, event): About, cause: Position) -> Position {
        let now = self.overseer.clock.deadlines().late;
        let last = self.last_of(tenant, &stream);
        self.take_up(review::pending(event, stream, last, call, cause, now))
    }

    /// Puts the events of a review into its session's stream; tells the first one's position.
    fn settle(&mut self, id: Position, events: Vec<About>) -> Option<Position> {
        let review = self.state.reviews.get(id)?;
        let (tenant, stream) = (review.tenant.clone(), review.stream);
        let mut first = None;
        for about in events {
            let position = self.put(&tenant, stream, about, id);
            first.get_or_insert(position);
        }
        first
    }

    fn stand_of(&mut self, tenant: &str, call_id: &str, reply: Reply<Arc<Decided>>) {
        match self.decided_of(tenant, call_id) {
            Ok(decided) => self.group.deferred.push(Deferred::Decided(reply, Arc::new(decided))),
            Err(error) => reply(Err(error)),
        }
    }

    fn vote(&mut self, ballot: Ballot, feedback: Option<Box<FeedbackGiven>>, reply: Reply<Cast>) {
        let id = ballot.review;
        let now = self.overseer.clock.deadlines().late;
        if let Err(refusal) = self.may_remember(&ballot, now) {
            return reply(Err(Error::Refused(refusal)));
        }
        let policy = Arc::clone(self.book.of(&ballot.tenant));
        let position = match review::vote(&self.state, ballot, &policy, now) {
            Err(fault) => return reply(Err(Error::Vote(fault))),
            Ok(Voted::Again) => None,
            Ok(Voted::Counts(events)) => {
                let position = self.settle(id, events);
                self.remember(id, now);
                position
            }
        };
        if let Some(feedback) = feedback
            && let Err(error) = self.feedback(*feedback)
        {
            return reply(Err(error));
        }
        match self.state.reviews.get(id) {
            None => reply(Err(Error::Vote(VoteFault::Unknown))),
            Some(review) => {
                let position = position.unwrap_or(review.changed);
                let review = Arc::new(review.clone());
                self.defer(reply, Cast { review, position });
            }
        }
    }

    /// Whether what a vote is to leave behind would be accepted, before anything is recorded.
    fn may_remember(&self, ballot: &Ballot, now: Timestamp) -> Result<(), Refusal> {
        let Some(remember) = &ballot.remember else { return Ok(()) };
        let said = (ballot.voter.subject.as_str(), ballot.comment.as_str());
        let grant = ruling::grant_of(&ballot.tenant, ballot.review, said, remember, now);
        ruling::check_grant(&self.state, grant, now)
    }

    /// Grants what the votes of a review that has just been approved asked for.
    fn remember(&mut self, id: Position, now: Timestamp) {
        let review = self.state.reviews.get(id).filter(|review| review.state == ReviewState::Approved);
        let Some(grant) = review.and_then(|review| ruling::remembered(review, now)) else { return };
        match ruling::rule(&self.state, Ruling::Grant(grant), now) {
            Ok(Some(pending)) => {
                self.take_up(pending);
            }
            Ok(None) => {}
            // Room for it was there when its vote was cast; the approval stands without it.
            Err(refusal) => {
                let why = Error::Refused(refusal).to_string();
                tracing::warn!(review = id.get(), why = ?why, "an approval is not remembered");
            }
        }
    }

    fn delegate(&mut self, event: ReviewDelegated, reply: Reply<Arc<Review>>) {
        let id = event.review;
        let now = self.overseer.clock.deadlines().late;
        match review::delegate(&self.state, event, now) {
            Err(fault) => return reply(Err(Error::Vote(fault))),
            Ok(None) => {}
            Ok(Some(event)) => {
                let call = self.state.reviews.get(id).map_or(CallKey::NONE, |review| review.call);
                self.settle(id, vec![(call, event)]);
            }
        }
        match self.state.reviews.get(id).cloned() {
            None => reply(Err(Error::Vote(VoteFault::Unknown))),
            Some(review) => self.defer(reply, Arc::new(review)),
        }
    }

    /// Writes a judgement down, with what is to be learnt of the call.
    fn feedback(&mut self, mut event: FeedbackGiven) -> Result<Position, Error> {
        let key = self.call_key(&event.tenant, &event.call_id);
        let known = self.known_by(key)?;
        let known = known.ok_or_else(|| Error::NotFound(format!("call_id `{}`", event.call_id)))?;
        if event.expect_again
            && let Event::CallProposed(proposed) =
                super::query::event_at(&self.log, known.proposed_at)?.record.event
        {
            event.features = Some(Box::new(proposed.features));
        }
        let tenant = event.tenant.clone();
        Ok(self.put(&tenant, known.stream, (key, Event::FeedbackGiven(event)), known.proposed_at))
    }

    fn place(&mut self, lock: Lock, reply: Reply<Placed>) {
        let now = self.overseer.clock.deadlines().late;
        let id = match lock::place(&self.state, lock, now) {
            Err(fault) => return reply(Err(Error::Lock(fault))),
            Ok(Err(same)) => same,
            Ok(Ok(event)) => {
                let Event::LockPlaced(placed) = &event else { return };
                let id = placed.lock.id.clone();
                self.take_up(lock::own(&self.state, event, now));
                self.find_groundless();
                id
            }
        };
        let cancelled = u32::try_from(self.overseer.groundless.len()).unwrap_or(u32::MAX);
        match self.state.locks.get(&id).cloned() {
            None => reply(Err(Error::Lock(lock::Fault::Unknown))),
            Some(lock) => self.defer(reply, Placed { lock: Arc::new(lock), cancelled }),
        }
    }

    fn lift(&mut self, lifting: Lifting, reply: Reply<Arc<KnownLock>>) {
        let now = self.overseer.clock.deadlines().late;
        let Lifting { id, reason, actor, by } = lifting;
        match lock::lift(&self.state, &id, reason, actor, by) {
            Err(fault) => return reply(Err(Error::Lock(fault))),
            Ok(None) => {}
            Ok(Some(event)) => {
                self.take_up(lock::own(&self.state, event, now));
            }
        }
        match self.state.locks.get(&id).cloned() {
            None => reply(Err(Error::Lock(lock::Fault::Unknown))),
            Some(lock) => self.defer(reply, Arc::new(lock)),
        }
    }

    fn create_token(&mut self, event: TokenCreated, reply: Reply<KnownToken>) {
        let id = event.token.id.clone();
        let made = lock::create_token(&self.state, event);
        self.take_up_token(&id, made.map(Some), reply);
    }

    fn revoke_token(&mut self, event: TokenRevoked, reply: Reply<KnownToken>) {
        let id = event.token_id.clone();
        let revoked = lock::revoke_token(&self.state, event);
        self.take_up_token(&id, revoked, reply);
    }

    fn take_up_token(
        &mut self,
        id: &str,
        event: Result<Option<Event>, lock::Fault>,
        reply: Reply<KnownToken>,
    ) {
        match event {
            Err(fault) => return reply(Err(Error::Token(fault))),
            Ok(None) => {}
            Ok(Some(event)) => {
                let now = self.overseer.clock.deadlines().late;
                self.take_up(lock::own(&self.state, event, now));
            }
        }
        match self.state.access.get(id).cloned() {
            None => reply(Err(Error::Token(lock::Fault::Unknown))),
            Some(token) => self.defer(reply, token),
        }
    }

    /// What time does by itself: locks run out, reviews and approvals too.
    fn tick(&mut self) {
        self.overseer.hub.end_tick();
        let now = self.overseer.clock.deadlines();
        let over: Vec<Event> = self.state.locks.due(now.late).map(lock::ran_out).collect();
        for event in over {
            self.take_up(lock::own(&self.state, event, now.late));
        }
        let due = self.state.reviews.due(now.late).map(|review| (review.id, review::overdue(review, now)));
        let due: Vec<_> = due.filter(|(_, events)| !events.is_empty()).take(OVERDUE_MAX).collect();
        for (id, events) in due {
            self.settle(id, events);
        }
    }

    /// Looks for reviews whose ground a lock or another policy has taken away.
    pub(super) fn find_groundless(&mut self) {
        let now = self.overseer.clock.deadlines().late;
        let state = &self.state;
        let groundless = state.reviews.by_deadline();
        let groundless = groundless.filter(|review| review::ground_lost(state, review, now).is_some());
        self.overseer.groundless = groundless.map(|review| review.id).collect();
        self.overseer.hub.set_policies(self.book.clone());
    }

    /// Settles a few of them; whether there are more.
    pub(super) fn settle_groundless(&mut self) -> bool {
        for _ in 0..GROUNDLESS_MAX {
            let Some(id) = self.overseer.groundless.pop_front() else { return false };
            let now = self.overseer.clock.deadlines().late;
            let Some(review) = self.state.reviews.get(id).filter(|review| review.state.is_live()) else {
                continue;
            };
            if let Some(why) = review::ground_lost(&self.state, review, now) {
                let events = review::ending(review, ReviewState::Cancelled, why);
                self.settle(id, events);
            }
        }
        !self.overseer.groundless.is_empty()
    }

    /// Cancels the reviews of a session that its host ended.
    pub(super) fn cancel_of_session(&mut self, stream: &StreamId) {
        if self.state.reviews.live_in(stream) == 0 {
            return;
        }
        let of_session = self.state.reviews.by_deadline().filter(|review| review.stream == *stream);
        let ending = |review| review::ending(review, ReviewState::Cancelled, Why::SessionEnded);
        let ends: Vec<_> = of_session.map(|review| (review.id, ending(review))).collect();
        for (id, events) in ends {
            self.settle(id, events);
        }
    }

    /// What is to be told once the events of this group are durable.
    pub(super) fn announce(&mut self) {
        if std::mem::take(&mut self.overseer.policy_changed) {
            self.find_groundless();
        }
        let overseer = &mut self.overseer;
        if overseer.reviews_changed.is_empty() && overseer.locks_changed.is_empty() {
            return;
        }
        overseer.hub.set_next_deadline(self.state.next_deadline());
        let reviews = std::mem::take(&mut overseer.reviews_changed);
        let locks = std::mem::take(&mut overseer.locks_changed);
        let locks_now = (!locks.is_empty()).then(|| self.state.locks.clone());
        let reviews = reviews.into_iter().filter_map(|id| self.state.reviews.get(id).cloned());
        let locks = locks.into_iter().filter_map(|id| self.state.locks.get(&id).cloned());
        let mut changes: Vec<Notice> = locks.map(|lock| Notice::Lock(Arc::new(lock))).collect();
        changes.extend(reviews.map(|review| Notice::Review(Arc::new(review))));
        let (hub, as_of) = (Arc::clone(&overseer.hub), self.state.position);
        let tell = move |durable: Result<(), Error>| {
            if durable.is_ok() {
                if let Some(locks) = locks_now {
                    hub.set_locks(locks);
                }
                hub.publish(as_of, changes);
            }
        };
        self.group.deferred.push(Deferred::Other(Box::new(tell)));
    }

    /// Begins: what was open when the daemon stopped goes on.
    pub(super) fn begin_oversight(&mut self) {
        self.overseer.hub.set_next_deadline(self.state.next_deadline());
        self.overseer.hub.set_locks(self.state.locks.clone());
        self.find_groundless();
        while self.settle_groundless() {}
    }
}
