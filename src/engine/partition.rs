//! What goes into a partition's queue, and what comes back.

use super::Error;
use super::overseer::Oversight;
use super::relearn::Relearning;
use crate::decide::observe::Definition;
use crate::decide::ruling::Ruling;
use crate::domain::call::{Call, Digest, Outcome, SessionSource};
use crate::domain::decision::Decision;
use crate::domain::event::ModelAdopted;
use crate::domain::position::Position;
use crate::domain::review::Why;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::projection::{Final, State};
use std::sync::Arc;

/// Where an answer goes. Called on the committer's thread once what it speaks of is durable: it must be
/// quick and must not panic.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// A question about the state, answered on the worker's thread; it hands back what to do once
/// everything it saw is durable. In place of the state it may get the reason why it is not answered.
pub(super) type Question =
    Box<dyn FnOnce(Result<&State, Error>) -> Box<dyn FnOnce(Result<(), Error>) + Send> + Send>;

/// A decided call.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// Position of its `CallDecided`; zero for a dry run.
    pub position: Position,
    /// Position of the state it was scored at.
    pub state_position: Position,
    /// Its session.
    pub stream: StreamId,
    /// The session's id.
    pub session_id: String,
    /// Where the id came from.
    pub session_source: SessionSource,
    /// Digest that binds the call.
    pub digest: Digest,
    /// Position of the policy it was decided by.
    pub policy_revision: Position,
    /// Whether this is the recorded decision of an earlier request.
    pub repeated: bool,
    /// Whether the caller's time was off by more than the allowed skew.
    pub skewed: bool,
    /// Where and how the arguments do not match the tool's schema; empty: they do.
    pub schema_fault: String,
    /// The review that was opened or joined, or that settled the call; zero: none.
    pub review: Position,
    /// The final word on a call that was to be reviewed.
    pub settled: Option<Final>,
    /// Why an approved call is not let go yet.
    pub not_yet: Option<Why>,
    /// What the one who denied or locked said about it.
    pub comment: String,
}

/// A call of history with its outcome.
#[derive(Clone, Debug)]
pub struct Import {
    /// The call, with `Origin::Imported`.
    pub call: Call,
    /// How it ended, if known.
    pub outcome: Option<Outcome>,
    /// Whether it is the last of its session.
    pub ends_session: bool,
}

/// What became of an imported call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Position of its `CallDecided`.
    pub position: Position,
    /// Whether it was in the log already.
    pub duplicate: bool,
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Position of the `CallCompleted`; of the call's `CallProposed` if it was recorded before.
    pub position: Position,
    /// Whether the same outcome was recorded before.
    pub repeated: bool,
}

/// What became of a decision about rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// Position of its event; of the state if it was so already.
    pub position: Position,
    /// Whether it was so already.
    pub repeated: bool,
}

/// What a partition can be asked.
pub enum Command {
    /// Decide a call and record it.
    Evaluate(Box<Call>, Reply<Arc<Decided>>),
    /// Score and decide a call without recording or learning anything.
    Score(Box<Call>, Reply<Arc<Decided>>),
    /// Record a call of history.
    Import(Box<Import>, Reply<Imported>),
    /// Record how a call ended: tenant, call id, outcome, and now.
    Complete {
        /// Tenant.
        tenant: String,
        /// The client's idempotency key.
        call_id: String,
        /// How it ended.
        outcome: Box<Outcome>,
        /// When we learnt of it.
        now: Timestamp,
        /// Answered once it is recorded.
        reply: Reply<Completed>,
    },
    /// Record tool definitions; answered with how many were new or changed.
    DefineTools {
        /// Tenant.
        tenant: String,
        /// The definitions.
        definitions: Vec<Definition>,
        /// Subject of the credential that hands them in; empty: there is none.
        actor: String,
        /// When we learnt of them.
        now: Timestamp,
        /// For each definition whether it is new, changed, or known.
        reply: Reply<Vec<Definedness>>,
    },
    /// End a live session.
    EndSession {
        /// Tenant.
        tenant: String,
        /// Its stream.
        stream: StreamId,
        /// Subject of the credential that asks; empty: there is none.
        actor: String,
        /// When we learnt of it.
        now: Timestamp,
        /// Answered with the position of `SessionClosed`; none if it was not live.
        reply: Reply<Option<Position>>,
    },
    /// Take what a session taught out of what is learnt.
    Unlearn {
        /// Tenant.
        tenant: String,
        /// The session's stream.
        session: StreamId,
        /// Why.
        reason: String,
        /// The tenant's statistics without it, almost up to the present.
        relearning: Box<Relearning>,
        /// When we learnt of it.
        now: Timestamp,
        /// Answered with the position of `SessionUnlearned`; none if it was unlearnt already.
        reply: Reply<Option<Position>>,
    },
    /// Adopt a fitted model.
    AdoptModel {
        /// The model.
        model: Box<ModelAdopted>,
        /// When we learnt of it.
        now: Timestamp,
        /// Answered with the position of `ModelAdopted`; none if it is in use already.
        reply: Reply<Option<Position>>,
    },
    /// A person's decision about rules: what, and when.
    Rule(Box<Ruling>, Timestamp, Reply<Ruled>),
    /// Something about reviews, locks or tokens.
    Oversee(Box<Oversight>),
    /// Look past the queue: something urgent is there.
    Wake,
    /// Ask about the state.
    Ask(Question),
    /// Finish what is queued, write a snapshot, and stop.
    Stop(Reply<Position>),
}

/// What a tool definition was when it was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definedness {
    /// Never seen before.
    New,
    /// Differs from the one known: a finding until somebody accepts it.
    Changed,
    /// Known as it is.
    Known,
}
