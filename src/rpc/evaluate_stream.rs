//! `EvaluateStream`: many calls in flight on one stream, one task for all of it.
//!
//! The stream of answers is also what reads the requests, so that there is neither a second task nor a
//! queue between the two, and a client that does not read is not read from. The engine's committer
//! drops its replies into a [`Mailbox`] and wakes the stream once for as many as it finds there. Time
//! limits are looked at every [`TICK`], not by a timer each.
//!
//! A request that ran out of time is answered with the fallback; its place stays taken until the engine
//! has replied, so that the engine never holds more than the stream's limit.

use super::convert::call::{Echo, Intake, admit};
use super::convert::{decision, span};
use super::gateway::claimed;
use super::identity::Identity;
use super::shared::Shared;
use super::status::Failure;
use super::waiting;
use crate::domain::decision::Verdict;
use crate::engine::{Command, Decided, Engine, Error};
use crate::proto::v1::evaluate_stream_response::Result as Answer;
use crate::proto::v1::{CallError, ErrorCode, EvaluateStreamRequest, EvaluateStreamResponse};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// How exactly time limits are kept.
const TICK: Duration = Duration::from_millis(5);
/// Requests read before answers that are ready are let out, and others get their turn.
const READ_BATCH: usize = 32;

type Reply = (usize, Result<Arc<Decided>, Failure>);

/// Where the engine leaves its replies.
#[derive(Default)]
struct Mailbox(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    replies: Vec<Reply>,
    /// Set while the stream sleeps.
    waker: Option<Waker>,
}

impl Mailbox {
    fn put(&self, reply: Reply) {
        let mut mail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mail.replies.push(reply);
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Swaps all replies into `into`, which must be empty; if there is none, sees to being woken.
    fn take(&self, into: &mut Vec<Reply>, cx: &Context<'_>) {
        let mut mail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if mail.replies.is_empty() {
            if !mail.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                mail.waker = Some(cx.waker().clone());
            }
        } else {
            std::mem::swap(&mut mail.replies, into);
        }
    }
}

/// A request that the engine has.
struct Open {
    tag: u64,
    /// When it came; none: its answer is counted.
    since: Option<Instant>,
    until: Instant,
    /// Until when it waits for a review; none: it does not, or does already.
    wait: Option<Instant>,
    /// None once it was answered with the fallback.
    echo: Option<Echo>,
}

/// The stream of answers.
pub(super) struct EvaluateStream {
    shared: Arc<Shared>,
    /// Who asks.
    identity: Arc<Identity>,
    requests: Option<Streaming<EvaluateStreamRequest>>,
    mailbox: Arc<Mailbox>,
    /// Replies taken from the mailbox, the next one last.
    replies: Vec<Reply>,
    /// Answers that needed no engine.
    ready: Vec<EvaluateStreamResponse>,
    open: Vec<Option<Open>>,
    free: Vec<usize>,
    in_flight: usize,
    tick: Pin<Box<Sleep>>,
    ticking: bool,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Calls that wait for a review; their waits end with the stream.
    waiting: JoinSet<()>,
    /// How the stream ends once nothing is in flight.
    end: Option<Status>,
    _place: OwnedSemaphorePermit,
}

impl EvaluateStream {
    /// Answers these requests.
    pub(super) fn new(
        shared: Arc<Shared>,
        identity: Arc<Identity>,
        requests: Streaming<EvaluateStreamRequest>,
    ) -> Result<Self, Failure> {
        let place = shared.stream_place()?;
        let stopping = Box::pin(shared.stopping());
        Ok(Self {
            shared,
            identity,
            requests: Some(requests),
            mailbox: Arc::default(),
            replies: Vec::new(),
            ready: Vec::new(),
            open: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            tick: Box::pin(sleep_until(Instant::now())),
            ticking: false,
            stopping,
            waiting: JoinSet::new(),
            end: None,
            _place: place,
        })
    }

    /// Takes a request up: hands its call to the engine, or answers it at once.
    fn take_up(&mut self, request: EvaluateStreamRequest) {
        let tag = request.tag;
        if let Err(failure) = self.submit(request) {
            self.ready.push(refusal(tag, failure));
        }
    }

    fn submit(&mut self, request: EvaluateStreamRequest) -> Result<(), Failure> {
        let mut faults = Vec::new();
        let timeout = span("timeout", request.timeout.as_ref(), &mut faults);
        let wait = span("wait", request.wait.as_ref(), &mut faults).filter(|wait| !wait.is_zero());
        if !faults.is_empty() {
            return Err(Failure::invalid(faults));
        }
        let timeout = match timeout {
            Some(timeout) if !timeout.is_zero() => timeout,
            _ => self.shared.options.decision_timeout,
        };
        let (mut call, echo) = admit(&self.shared.engine, request.call, request.explain, Intake::Live)?;
        call.actor.clone_from(&self.identity.subject);
        let claims = claimed(&request.review_id, echo.partition)?;
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now + FAR_AWAY);
        let wait = wait.map(|wait| now + wait.min(self.shared.options.wait_max));
        let place = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        let mailbox = Arc::clone(&self.mailbox);
        let reply =
            Box::new(move |answer: Result<_, Error>| mailbox.put((place, answer.map_err(Failure::from))));
        let command = match claims {
            None => Command::Evaluate(call, reply),
            Some(review) => Engine::claiming(call, review, reply),
        };
        self.shared.engine.submit(&echo.tenant, command);
        self.open[place] = Some(Open { tag: request.tag, since: Some(now), until, wait, echo: Some(echo) });
        self.in_flight += 1;
        Ok(())
    }

    /// The next answer that is there.
    fn next_answer(&mut self) -> Option<EvaluateStreamResponse> {
        if let Some(answer) = self.ready.pop() {
            return Some(answer);
        }
        while let Some((place, reply)) = self.replies.pop() {
            if let Ok(decided) = &reply {
                self.count(place, Some(decided.decision.answer()));
                if self.waits(place, decided) {
                    continue;
                }
            }
            let Some(open) = self.open[place].take() else { continue };
            self.free.push(place);
            self.in_flight -= 1;
            let Some(echo) = open.echo else { continue };
            return Some(match reply {
                Ok(decided) => answer(open.tag, Answer::Decision(decision::decided(&decided, echo))),
                Err(failure) => refusal(open.tag, failure),
            });
        }
        None
    }

    /// Counts the answer to a call, once. No verdict: the fallback.
    fn count(&mut self, place: usize, verdict: Option<Verdict>) {
        let Some(open) = self.open.get_mut(place).and_then(Option::as_mut) else { return };
        if let (Some(since), Some(echo)) = (open.since.take(), &open.echo) {
            self.shared.tally.note(&echo.tenant, &echo.tool, verdict, since.elapsed());
        }
    }

    /// Leaves a call that is under review open if its caller waits for that. Whether it does.
    fn waits(&mut self, place: usize, decided: &Arc<Decided>) -> bool {
        let Some(open) = self.open.get_mut(place).and_then(Option::as_mut) else { return false };
        let (Some(until), Some(echo)) = (open.wait.take(), &open.echo) else { return false };
        if waiting::is_final(decided) {
            return false;
        }
        // The decision is there; from now on the wait is the limit.
        open.until = until + FAR_AWAY;
        let (tenant, call_id) = (echo.tenant.clone(), echo.call_id.clone());
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let decided = Arc::clone(decided);
        while self.waiting.try_join_next().is_some() {}
        self.waiting.spawn(async move {
            let settled = waiting::settled_by(&shared, &tenant, &call_id, decided, until).await;
            mailbox.put((place, settled));
        });
        true
    }

    /// Answers what ran out of time with the fallback. Whether there is any.
    fn expire(&mut self, cx: &mut Context<'_>) -> bool {
        if self.in_flight == 0 {
            self.ticking = false;
            return false;
        }
        if !self.ticking {
            self.tick.as_mut().reset(Instant::now() + TICK);
            self.ticking = true;
        }
        let mut any = false;
        while self.tick.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            for open in self.open.iter_mut().flatten() {
                if open.until <= now
                    && let Some(echo) = open.echo.take()
                {
                    if let Some(since) = open.since.take() {
                        self.shared.tally.note(&echo.tenant, &echo.tool, None, now - since);
                    }
                    self.shared.engine.count(&echo.tenant, |counters| &counters.answers_degraded);
                    let verdict = self.shared.fallback(&echo.tenant);
                    self.ready.push(answer(open.tag, Answer::Decision(decision::fallback(verdict, echo))));
                    any = true;
                }
            }
            self.tick.as_mut().reset(now + TICK);
        }
        any
    }

    /// Reads requests that are there, up to a batch of them. Whether it stopped short of the last.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let most = self.shared.options.limits.stream_in_flight_max;
        for _ in 0..READ_BATCH {
            if self.in_flight >= most {
                return false;
            }
            let Some(requests) = &mut self.requests else { return false };
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(request))) => self.take_up(request),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Err(status))) => {
                    self.requests = None;
                    self.end = Some(Failure::of_transport(&status).into());
                }
            }
        }
        true
    }
}

/// A time limit for those who set none that fits a clock.
const FAR_AWAY: Duration = Duration::from_secs(86_400 * 365);

fn answer(tag: u64, result: Answer) -> EvaluateStreamResponse {
    EvaluateStreamResponse { tag, result: Some(result) }
}

fn refusal(tag: u64, failure: Failure) -> EvaluateStreamResponse {
    answer(tag, Answer::Error(CallError::from(failure)))
}

impl Stream for EvaluateStream {
    type Item = Result<EvaluateStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut more = false;
        loop {
            if let Some(answer) = this.next_answer() {
                return Poll::Ready(Some(Ok(answer)));
            }
            this.mailbox.take(&mut this.replies, cx);
            if !this.replies.is_empty() {
                this.replies.reverse();
                continue;
            }
            if !more {
                more = this.read(cx);
                if more || !this.ready.is_empty() {
                    continue;
                }
            }
            if this.expire(cx) {
                continue;
            }
            if this.requests.is_none() && this.in_flight == 0 {
                return Poll::Ready(this.end.take().map(Err));
            }
            if this.requests.is_some() && this.stopping.as_mut().poll(cx).is_ready() {
                this.requests = None;
                let message = "the daemon is stopping; what was read was answered";
                this.end = Some(Failure::new(ErrorCode::NotReady, message).into());
                continue;
            }
            if more {
                // Others get their turn, and what was answered goes out.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}
