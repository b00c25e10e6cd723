//! Calls that their client follows as tasks, before a stdio server: they wait aside, and the server's answer goes to
//! the task and not to the client.

use super::super::peek::Id;
use super::super::refusal::Refusal;
use super::super::rewrite::as_own;
use super::super::task_room::ONLY_CLIENT;
use super::super::tasks::Made;
use super::{Asked, Session, Ticket, lock};
use crate::proto::v1::Decision;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// What came of a call.
#[derive(Debug)]
pub(super) enum Came {
    /// The server's answer.
    Whole(Vec<u8>),
    /// One that is too long to be kept.
    TooLong,
}

/// Answers that tasks wait for.
#[derive(Debug, Default)]
pub(super) struct Asides(Mutex<BTreeMap<Id, oneshot::Sender<Came>>>);

impl Asides {
    /// Whether any task waits for an answer.
    pub(super) fn await_any(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    /// Whether a task waits for the answer to this request.
    pub(super) fn awaits(&self, id: Option<&Id>) -> bool {
        id.is_some_and(|id| lock(&self.0).contains_key(id))
    }

    /// Hands over an answer.
    pub(super) fn bring(&self, id: &Id, came: Came) {
        if let Some(waiting) = lock(&self.0).remove(id) {
            // It was let go of meanwhile.
            let _gone = waiting.send(came);
        }
    }

    /// No answer comes any more.
    pub(super) fn close(&self) {
        lock(&self.0).clear();
    }
}

impl Session {
    /// Makes a task of a call that people must look at; without room for one it is held as for other clients.
    pub(super) async fn make_task(
        self: &Arc<Self>,
        asked: Asked,
        decision: Box<Decision>,
        aside: &mut JoinSet<()>,
    ) {
        let made = self.tasks.make(ONLY_CLIENT, &decision, asked.message.len());
        let (Some(id), Some(made)) = (asked.id.clone(), made) else {
            aside.spawn(Arc::clone(self).hold(asked, decision));
            return;
        };
        if !lock(&self.calls).refuse(&id) {
            self.tasks.forget(&made.id);
            return self.guard.abandoned(asked.envelope.call.call_id);
        }
        let created = self.tasks.created(&id, &made.id);
        if let Some(created) = created {
            self.answer(created).await;
        }
        aside.spawn(Arc::clone(self).follow(asked, decision, made));
    }

    /// Waits for people, then lets the call run or tells that it does not.
    async fn follow(self: Arc<Self>, asked: Asked, decision: Box<Decision>, made: Made) {
        let Made { id: task, stopped } = made;
        let ruling = tokio::select! {
            ruling = self.guard.follow(&asked.envelope.call, decision) => ruling,
            _ = stopped => return self.guard.abandoned(asked.envelope.call.call_id),
        };
        match ruling.or_refusal() {
            Ok(ticket) => self.run_task(asked, ticket, task).await,
            Err(refusal) => self.tasks.completed(&task, &refusal.result(true)),
        }
    }

    /// Passes the call on under an id of ours, and waits for its answer elsewhere.
    async fn run_task(self: Arc<Self>, asked: Asked, ticket: Option<Ticket<Instant>>, task: String) {
        let own = Id::of_text(&task);
        let Some(message) = as_own(&asked.message, &own) else { return };
        if let Some(ticket) = ticket {
            let held = lock(&self.calls).hold(&own, message.len());
            if let Err(why) = held {
                self.guard.abandoned(ticket.call_id);
                return self.tasks.completed(&task, &Refusal::TooMuch(why).result(true));
            }
            lock(&self.calls).run(&own, ticket);
        }
        let (bring, brought) = oneshot::channel();
        lock(&self.asides.0).insert(own, bring);
        self.tasks.runs(&task);
        self.forward(message).await;
        tokio::spawn(async move {
            match brought.await {
                Ok(Came::Whole(answer)) => self.tasks.answered(&task, &answer),
                Ok(Came::TooLong) => self.tasks.failed(&task, "the server's answer is over 16 MiB long"),
                Err(_) => self.tasks.failed(&task, "the server ended before it answered"),
            }
        });
    }
}
