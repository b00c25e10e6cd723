//! Calls that their client follows as tasks, before an HTTP server: each waits for people, and then makes a request of
//! its own, whose answer is kept for the client.

use super::super::events::{Events, Part};
use super::super::guard::Envelope;
use super::super::peek::Id;
use super::super::rewrite::as_own;
use super::super::scan::Scan;
use super::super::sessions::Live;
use super::super::tasks::{Made, Owner, RESULT_BYTES_MAX};
use super::{Answer, Asked, Proxy, Ticket, empty, is_events, json};
use crate::proto::v1::Decision;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Instant;

/// Whoever brings the credential that the call came with.
pub(super) fn owner(headers: &HeaderMap) -> Owner {
    let mut hash = Sha256::new();
    headers.get_all(header::AUTHORIZATION).iter().for_each(|value| hash.update(value));
    hash.finalize().into()
}

/// A call under review, with the request that brought it.
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) decision: Box<Decision>,
    pub(super) parts: Parts,
    pub(super) body: Bytes,
}

impl Proxy {
    /// Makes a task of a call that people must look at. Without room for one it comes back, to be held.
    pub(super) fn make_task(self: &Arc<Self>, waiting: Waiting) -> Result<Response<Answer>, Box<Waiting>> {
        let owner = owner(&waiting.parts.headers);
        let made = self.tasks.make(owner, &waiting.decision, waiting.body.len());
        let (Some(made), Some(id)) = (made, waiting.asked.id.clone()) else {
            return Err(Box::new(waiting));
        };
        let Waiting { mut asked, decision, parts, body } = waiting;
        asked.is_settled = true;
        let envelope = asked.envelope.clone();
        if !asked.live.calls().refuse(&id) {
            self.tasks.forget(&made.id);
            self.guard.abandoned(envelope.call.call_id);
            return Ok(empty(StatusCode::ACCEPTED));
        }
        let created = self.tasks.created(&id, &made.id).unwrap_or_default();
        tokio::spawn(Arc::clone(self).follow(envelope, decision, made, parts, body));
        Ok(json(StatusCode::OK, created))
    }

    /// Waits for people, then lets the call run or tells that it does not.
    async fn follow(
        self: Arc<Self>,
        envelope: Envelope,
        decision: Box<Decision>,
        made: Made,
        parts: Parts,
        body: Bytes,
    ) {
        let Made { id: task, stopped } = made;
        let ruling = tokio::select! {
            ruling = self.guard.follow(&envelope.call, decision) => ruling,
            _ = stopped => return self.guard.abandoned(envelope.call.call_id),
        };
        match ruling.or_refusal() {
            Ok(ticket) => self.run_task(parts, &body, ticket, &task).await,
            Err(refusal) => self.tasks.completed(&task, &refusal.result(true)),
        }
    }

    /// Passes the call on under an id of ours, and keeps its answer.
    async fn run_task(
        self: Arc<Self>,
        parts: Parts,
        body: &[u8],
        ticket: Option<Ticket<Instant>>,
        task: &str,
    ) {
        let own = Id::of_text(task);
        let Some(message) = as_own(body, &own) else { return };
        let live = Arc::new(Live::default());
        if let Some(ticket) = ticket {
            // Nothing else is open there.
            let _held = live.calls().hold(&own, message.len());
            live.calls().run(&own, ticket);
        }
        self.tasks.runs(task);
        let answer = Arc::clone(&self).pass(parts, message.into(), live, Some(own.clone())).await;
        let (status, is_stream) = (answer.status(), is_events(answer.headers()));
        let came = Limited::new(answer.into_body(), RESULT_BYTES_MAX).collect().await;
        match came {
            Err(_) => self.tasks.failed(task, "the server's answer broke off, or is over 16 MiB long"),
            Ok(_) if !status.is_success() => {
                self.tasks.failed(task, "the server refused the request over HTTP");
            }
            Ok(body) if is_stream => {
                self.tasks.answered(task, &answer_in(&body.to_bytes(), &own).unwrap_or_default());
            }
            Ok(body) => self.tasks.answered(task, &body.to_bytes()),
        }
    }
}

/// The message of a stream that answers this request.
fn answer_in(stream: &[u8], id: &Id) -> Option<Vec<u8>> {
    let (mut events, mut message, mut answer) = (Events::default(), Vec::new(), None);
    events.feed(stream, |part| match part {
        Part::Data(bytes) => message.extend_from_slice(bytes),
        Part::End => {
            let mut scan = Scan::default();
            scan.feed(&message);
            let found = scan.finish();
            if found.is_answer() && found.id.as_ref() == Some(id) {
                answer = Some(std::mem::take(&mut message));
            }
            message.clear();
        }
    });
    answer
}
