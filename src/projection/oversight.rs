//! What reviews, locks and tokens change in the state.

use super::locks::Subject;
use super::made::Made;
use super::reviews::{Held, Review};
use super::state::State;
use crate::detector::learn::tool_key;
use crate::detector::reading::Origin;
use crate::domain::event::{Event, Recorded};
use crate::domain::review::ReviewState;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;

/// Sessions up from a nested one that are looked at.
const NESTING_MAX: usize = 16;

impl State {
    /// Folds in an event of a review, a lock or a token.
    pub(super) fn oversee(&mut self, recorded: &Recorded) {
        let at = recorded.record.receive_time;
        match &recorded.record.event {
            Event::ReviewOpened(event) => {
                let held = self.asked.take().filter(|held| held.decided_at.next() == recorded.position);
                self.reviews.open(event, recorded, held);
                self.follow(&event.tenant, recorded);
            }
            Event::VoteCast(event) => {
                self.reviews.vote(event, recorded.position);
                self.follow(&event.tenant, recorded);
            }
            Event::ReviewDelegated(event) => {
                self.reviews.delegate(event, recorded.position);
                self.follow(&event.tenant, recorded);
            }
            Event::ReviewResolved(event) => {
                let assessment = self.reviews.assessment_of(event.review).cloned();
                let held = self.reviews.resolve(event, recorded);
                self.follow(&event.tenant, recorded);
                let (tenant, stream) = (&event.tenant, &recorded.record.stream);
                match (event.state, held, assessment) {
                    (ReviewState::Denied, Some(held), _) => {
                        self.denied(tenant, stream, held.features.tool);
                        self.rejected(tenant, stream);
                    }
                    (ReviewState::Approved, _, Some(assessment)) => {
                        self.approved(tenant, stream, &assessment, at);
                    }
                    _ => {}
                }
            }
            Event::ReviewJoined(event) => {
                self.reviews.join(event, recorded);
                self.follow(&event.tenant, recorded);
            }
            Event::CallReleased(event) => {
                let known = self.reviews.get(event.review);
                let names = known.map(|review| (review.server.clone(), review.tool.clone()));
                let held = self.reviews.release(event, recorded);
                self.follow(&event.tenant, recorded);
                if let (Some(held), Some((server, tool))) = (held, names) {
                    let number = call_number(recorded);
                    let at = recorded.record.event_time;
                    let names = &mut self.tenant_mut(&event.tenant).names;
                    let name = names.name(held.features.tool, &server, &tool);
                    let made = Made::new(number, at, name, &held.features);
                    self.let_go(&event.tenant, &recorded.record.stream, &held, made);
                }
            }
            Event::CallRefused(event) => {
                self.reviews.refuse(event, recorded);
                self.follow(&event.tenant, recorded);
            }
            Event::FeedbackGiven(event) => {
                self.follow(&event.tenant, recorded);
                if let Some(features) = &event.features {
                    self.expected_again(&event.tenant, features);
                }
            }
            Event::LockPlaced(event) => self.locks.place(event, recorded),
            Event::LockLifted(event) => self.locks.lift(event, at),
            Event::TokenCreated(event) => self.access.create(event, recorded),
            Event::TokenRevoked(event) => self.access.revoke(event, at),
            _ => {}
        }
    }

    /// Notes an event in its session's stream that is no activity of the session.
    fn follow(&mut self, tenant: &str, recorded: &Recorded) {
        let (stream, revision) = (recorded.record.stream, recorded.record.revision);
        if stream.is_none() {
            return;
        }
        let sessions = &mut self.tenant_mut(tenant).sessions;
        if !sessions.follow(&stream, revision) {
            self.closed.set(stream, revision);
        }
    }

    fn denied(&mut self, tenant: &str, stream: &StreamId, tool: u64) {
        if let Some(session) = self.tenant_mut(tenant).sessions.get_mut(stream)
            && !session.denied_tools.contains(&tool)
        {
            session.deny(tool);
        }
    }

    /// An approved call counts as one that was allowed: its session will teach it, and compositions see it.
    fn let_go(&mut self, tenant: &str, stream: &StreamId, held: &Held, made: Made) {
        let teaches = self.teaches(stream);
        let call = made.call;
        let tenant = self.tenant_mut(tenant);
        if let Some(session) = tenant.sessions.get_mut(stream) {
            if teaches && !session.rejected {
                session.lesson.note(call, &held.features, &held.assessment);
            }
            let values = held.features.arguments.iter().map(|argument| argument.value);
            let origin = Origin {
                tool: tool_key(held.features.tool),
                turn: held.turn,
                capabilities: held.features.capabilities,
            };
            session.reading.called(call, origin, values);
            if teaches {
                tenant.models.allowed(&held.features);
            }
            tenant.remember(*stream, &made);
        }
    }

    /// A session and those it is nested in, as far as they are live.
    pub fn nesting(&self, tenant: &str, stream: StreamId) -> Vec<StreamId> {
        let mut nesting = vec![stream];
        let Some(sessions) = self.tenant(tenant).map(|tenant| &tenant.sessions) else { return nesting };
        let mut inner = stream;
        while nesting.len() < NESTING_MAX
            && let Some(outer) = sessions.get(&inner).map(|session| session.parent)
            && !outer.is_none()
            && !nesting.contains(&outer)
        {
            nesting.push(outer);
            inner = outer;
        }
        nesting
    }

    /// The lock that covers a review's call.
    pub fn lock_on(&self, review: &Review, now: Timestamp) -> Option<&super::locks::KnownLock> {
        if self.locks.is_empty() {
            return None;
        }
        let sessions = self.nesting(&review.tenant, review.stream);
        let subject = Subject {
            tenant: &review.tenant,
            sessions: &sessions,
            principal_chain: &review.principal_chain,
            server: &review.server,
            tool: &review.tool,
        };
        self.locks.covering(&subject, now)
    }

    /// When the next thing happens by itself to a review or a lock.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let of_reviews = self.reviews.next_deadline();
        let of_locks = self.locks.next_deadline();
        of_reviews.into_iter().chain(of_locks).min()
    }
}

fn call_number(recorded: &Recorded) -> u32 {
    let [one, two, three, four, ..] = *recorded.record.call.as_bytes();
    u32::from_le_bytes([one, two, three, four])
}
