//! From events to spans.
//!
//! A call is held until it is over: until its outcome comes, its session ends, or [`HOLD_US`] pass; one that waits for
//! a human until that is settled, too. At most [`HELD_MAX`] calls are held; beyond it those go first whose time is up
//! first. What a span says depends on the log alone.

use super::messages::{Link, Span};
use super::session_span::{Ended, Opening};
use super::{call_span, micros, nanos, review_span, session_span, short};
use crate::domain::time::SECOND_US;
use crate::proto::v1::{self, event::Data};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Longest time that a call waits for its outcome, by the times of receipt in the log, microseconds.
pub const HOLD_US: i64 = 60 * SECOND_US;
/// Longest time that a call waits for its review, and a review for its end, microseconds.
pub const REVIEW_HOLD_US: i64 = 7 * 86_400 * SECOND_US;
/// Calls that are held.
pub const HELD_MAX: usize = 4_096;
/// Sessions whose beginning is remembered until their end; that of others is read again.
pub const SESSIONS_MAX: usize = 10_000;

/// A call that is held, and its review.
#[derive(Debug)]
struct Held {
    call: Option<Span>,
    review: Option<Span>,
    session_key: String,
    tenant: String,
    call_id: String,
    review_id: String,
    decided: bool,
    /// Until when, by the times of receipt.
    until_us: i64,
}

/// What an event gave.
#[derive(Debug)]
pub enum Made {
    /// A span.
    Span(Span),
    /// A session ended whose beginning must be read: see [`session_span::session_span`].
    Ended(Ended),
}

/// Events becoming spans.
#[derive(Debug, Default)]
pub struct Spans {
    /// By the position of the proposal.
    held: BTreeMap<u64, Held>,
    /// The same by their times.
    until: BTreeSet<(i64, u64)>,
    by_call: HashMap<(String, String), u64>,
    by_review: HashMap<String, u64>,
    /// Beginnings of live sessions, by tenant and key.
    opened: HashMap<(String, String), Opening>,
    /// Position up to which everything was taken before, and the calls that were held then.
    before: u64,
    held_then: BTreeSet<u64>,
    last: u64,
    arguments: bool,
}

impl Spans {
    /// Goes on where all up to `taken` was taken before and these calls were held: at the first of them, or behind
    /// `taken`. `arguments`: put them into the spans.
    pub fn resume(taken: u64, held: impl IntoIterator<Item = u64>, arguments: bool) -> Self {
        Self {
            before: taken,
            last: taken,
            held_then: held.into_iter().collect(),
            arguments,
            ..Self::default()
        }
    }

    /// The position to go on at: no call before it is held.
    pub fn next(&self) -> u64 {
        self.held().min().unwrap_or(self.last + 1)
    }

    /// Position up to which everything was taken.
    pub const fn taken(&self) -> u64 {
        self.last
    }

    /// Positions of the calls that are held.
    pub fn held(&self) -> impl Iterator<Item = u64> {
        self.held.keys().chain(&self.held_then).copied()
    }

    /// Takes the next event.
    pub fn take(&mut self, event: &v1::Event, made: &mut Vec<Made>) {
        let mut found = Vec::new();
        self.expire(micros(event.receive_time.as_ref()), &mut found);
        self.note(event, &mut found);
        self.last = event.position.max(self.last);
        // What was taken before was made before: it is gone through again only for the calls that were held then.
        if event.position > self.before {
            made.append(&mut found);
        }
        self.held_then.remove(&event.position);
    }

    /// Lets go what waits since too long, where all of the log was taken: `now_us` is the time of receipt that whatever
    /// comes will have at least.
    pub fn tick(&mut self, now_us: i64, made: &mut Vec<Made>) {
        self.expire(now_us, made);
    }

    /// Lets everything go that is held: nothing comes any more.
    pub fn finish(&mut self, made: &mut Vec<Made>) {
        let held: Vec<u64> = self.held.keys().copied().collect();
        held.into_iter().for_each(|at| self.let_go(at, made));
    }

    fn note(&mut self, event: &v1::Event, made: &mut Vec<Made>) {
        match &event.data {
            Some(Data::SessionOpened(_)) => self.open(event),
            Some(Data::SessionClosed(closed)) => self.close(event, closed, made),
            Some(Data::CallProposed(proposed)) => self.propose(event, proposed, made),
            Some(Data::CallDecided(decided)) => self.decide(event, decided, made),
            Some(Data::CallCompleted(completed)) => {
                if let Some(at) = self.at_call(&event.tenant, &completed.call_id) {
                    self.end_call(at, made, |span| call_span::complete(span, completed));
                }
            }
            Some(Data::CallReleased(released)) => self.release(event, released),
            Some(Data::CallRefused(refused)) => {
                if let Some(at) = self.at_call(&event.tenant, &refused.call_id) {
                    self.end_call(at, made, |span| call_span::refuse(span, event, refused));
                }
            }
            Some(Data::ReviewOpened(opened)) => self.open_review(event, opened),
            Some(Data::ReviewJoined(joined)) => self.join(event, joined),
            Some(Data::VoteCast(cast)) => {
                let vote = cast.vote.clone().unwrap_or_default();
                self.on_review(&cast.review_id, |span| review_span::vote(span, event, &vote));
            }
            Some(Data::ReviewDelegated(delegated)) => {
                self.on_review(&delegated.review_id, |span| review_span::delegate(span, event, delegated));
            }
            Some(Data::ReviewResolved(resolved)) => self.resolve(event, resolved, made),
            _ => {}
        }
    }

    fn open(&mut self, event: &v1::Event) {
        if self.opened.len() < SESSIONS_MAX
            && let Some(opening) = Opening::of(event)
        {
            self.opened.insert((event.tenant.clone(), event.session_key.clone()), opening);
        }
    }

    fn close(&mut self, event: &v1::Event, closed: &v1::SessionClosed, made: &mut Vec<Made>) {
        let of_session = |held: &Held| held.session_key == event.session_key && held.tenant == event.tenant;
        let held: Vec<u64> =
            self.held.iter().filter(|(_, held)| of_session(held)).map(|(at, _)| *at).collect();
        held.into_iter().for_each(|at| self.end_call(at, made, |_| {}));
        let ended = Ended {
            tenant: event.tenant.clone(),
            session_key: event.session_key.clone(),
            position: event.position,
            end_nano: nanos(event.event_time.as_ref()),
            end: short(closed.end().as_str_name(), "SESSION_END_"),
        };
        let opening = self.opened.remove(&(event.tenant.clone(), event.session_key.clone()));
        made.push(match opening {
            Some(opening) => Made::Span(session_span::span(&ended, &opening)),
            None => Made::Ended(ended),
        });
    }

    fn propose(&mut self, event: &v1::Event, proposed: &v1::CallProposed, made: &mut Vec<Made>) {
        let (at, call) = (event.position, proposed.call.clone().unwrap_or_default());
        if at <= self.before && !self.held_then.contains(&at) {
            return;
        }
        let until_us = micros(event.receive_time.as_ref()).saturating_add(HOLD_US);
        let held = Held {
            call: Some(call_span::begin(event, proposed, self.arguments)),
            review: None,
            session_key: event.session_key.clone(),
            tenant: event.tenant.clone(),
            call_id: call.call_id,
            review_id: String::new(),
            decided: false,
            until_us,
        };
        self.by_call.insert((held.tenant.clone(), held.call_id.clone()), at);
        self.until.insert((until_us, at));
        self.held.insert(at, held);
        while self.held.len() > HELD_MAX
            && let Some((_, first)) = self.until.first().copied()
        {
            self.let_go(first, made);
        }
    }

    fn decide(&mut self, event: &v1::Event, decided: &v1::CallDecided, made: &mut Vec<Made>) {
        let at = event.position.saturating_sub(1);
        let decision = decided.decision.clone().unwrap_or_default();
        let Some(held) = self.held.get_mut(&at) else { return };
        held.decided = true;
        if let Some(span) = &mut held.call {
            call_span::decide(span, event, &decision);
        }
        match decision.verdict() {
            v1::Verdict::Allow => {}
            v1::Verdict::Review if decision.enforced => {
                let until_us = micros(event.receive_time.as_ref()).saturating_add(REVIEW_HOLD_US);
                self.hold_until(at, until_us);
            }
            _ => self.end_call(at, made, |_| {}),
        }
    }

    fn release(&mut self, event: &v1::Event, released: &v1::CallReleased) {
        let Some(at) = self.at_call(&event.tenant, &released.call_id) else { return };
        if let Some(span) = self.held.get_mut(&at).and_then(|held| held.call.as_mut()) {
            call_span::release(span, event, released);
        }
        self.hold_until(at, micros(event.receive_time.as_ref()).saturating_add(HOLD_US));
    }

    fn open_review(&mut self, event: &v1::Event, opened: &v1::ReviewOpened) {
        let review = opened.review.clone().unwrap_or_default();
        let call_id = review.call.as_ref().map_or("", |call| call.call_id.as_str());
        let Some(at) = self.at_call(&event.tenant, call_id) else { return };
        let Some(held) = self.held.get_mut(&at) else { return };
        if let Some(call) = &held.call {
            held.review = Some(review_span::begin(event, &review, call));
            held.review_id.clone_from(&review.review_id);
            self.by_review.insert(review.review_id, at);
        }
    }

    fn join(&mut self, event: &v1::Event, joined: &v1::ReviewJoined) {
        let mut link = None;
        self.on_review(&joined.review_id, |span| {
            review_span::join(span, event, joined);
            link = Some(Link { trace_id: span.trace_id.clone(), span_id: span.span_id.clone() });
        });
        let at = self.at_call(&event.tenant, &joined.call_id);
        let held = at.and_then(|at| self.held.get_mut(&at));
        if let (Some(span), Some(link)) = (held.and_then(|held| held.call.as_mut()), link) {
            span.links.push(link);
        }
    }

    fn on_review(&mut self, review_id: &str, change: impl FnOnce(&mut Span)) {
        let held = self.by_review.get(review_id).and_then(|at| self.held.get_mut(at));
        if let Some(span) = held.and_then(|held| held.review.as_mut()) {
            change(span);
        }
    }

    fn resolve(&mut self, event: &v1::Event, resolved: &v1::ReviewResolved, made: &mut Vec<Made>) {
        let Some(at) = self.by_review.get(&resolved.review_id).copied() else { return };
        let Some(held) = self.held.get_mut(&at) else { return };
        let over = held.review.as_mut().is_some_and(|review| review_span::resolve(review, event, resolved));
        if over {
            made.extend(held.review.take().map(Made::Span));
            self.by_review.remove(&resolved.review_id);
            self.forget_if_over(at);
        }
    }

    fn at_call(&self, tenant: &str, call_id: &str) -> Option<u64> {
        self.by_call.get(&(tenant.to_owned(), call_id.to_owned())).copied()
    }

    fn hold_until(&mut self, at: u64, until_us: i64) {
        if let Some(held) = self.held.get_mut(&at) {
            self.until.remove(&(held.until_us, at));
            held.until_us = until_us;
            self.until.insert((until_us, at));
        }
    }

    /// Ends the span of a call; its review may go on.
    fn end_call(&mut self, at: u64, made: &mut Vec<Made>, last: impl FnOnce(&mut Span)) {
        let Some(held) = self.held.get_mut(&at) else { return };
        let decided = held.decided;
        if let Some(mut span) = held.call.take().filter(|_| decided) {
            last(&mut span);
            made.push(Made::Span(span));
        }
        self.by_call.remove(&(held.tenant.clone(), held.call_id.clone()));
        self.forget_if_over(at);
    }

    fn forget_if_over(&mut self, at: u64) {
        if self.held.get(&at).is_some_and(|held| held.call.is_none() && held.review.is_none()) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: u64) -> Option<Held> {
        let held = self.held.remove(&at)?;
        self.until.remove(&(held.until_us, at));
        self.by_review.remove(&held.review_id);
        self.by_call.remove(&(held.tenant.clone(), held.call_id.clone()));
        Some(held)
    }

    /// Lets a call and its review go as they are.
    fn let_go(&mut self, at: u64, made: &mut Vec<Made>) {
        let Some(held) = self.remove(at) else { return };
        made.extend(held.call.filter(|_| held.decided).map(Made::Span));
        made.extend(held.review.map(Made::Span));
    }

    fn expire(&mut self, now_us: i64, made: &mut Vec<Made>) {
        while let Some((until_us, at)) = self.until.first().copied()
            && until_us < now_us
        {
            self.let_go(at, made);
        }
    }
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
