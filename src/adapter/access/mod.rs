//! OpenID AuthZEN beyond the single evaluation: evaluations by the dozen, the metadata of a decision point, and its
//! Access Request and Approval Profile (draft 1), for callers that want to ask how a review goes on.
//!
//! ```text
//! POST /access/v1/evaluation(s) ─▶ evaluation ─▶ Desk       denied, waits: context.access_request
//! POST /access/v1/requests      ─▶ request    ─▶ the review of that very call ─▶ task
//! GET  /access/v1/requests/ID   ─▶                the review as it stands     ─▶ task
//! ```
//!
//! Evaluations, requests and approvals share their state, which is the log's: a request is bound to its denial by
//! `evaluation_id`, and an approval by the digest of the call. A task is a view of a review, so that there is nothing to
//! keep for it. Pure: [`evaluation`], [`request`], [`task`], [`problem`]; [`keys`] remembers `Idempotency-Key`s, [`door`]
//! asks and answers.
//!
//! Deliberately absent: bulk requests, callbacks, forms, cancellation by the caller, signed tokens.

mod door;
mod evaluation;
mod keys;
mod problem;
mod request;
mod task;

pub(super) use door::{Arrived, Door, Route};

/// Where one evaluation is asked for.
pub(super) const EVALUATION: &str = "/access/v1/evaluation";
/// Where several are.
const EVALUATIONS: &str = "/access/v1/evaluations";
/// Where access is requested, and, with an id behind it, where its task is.
const REQUESTS: &str = "/access/v1/requests";
/// Where the metadata is.
pub(super) const METADATA: &str = "/.well-known/authzen-configuration";

/// What the id of a call begins with if it was made for a message without one; 32 hex digits follow.
const CALL: &str = "hook-";
/// What a task's id begins with.
const TASK: &str = "arq_";
/// What an approval's id begins with.
const APPROVAL: &str = "apr_";
/// Hex digits of an id: 128 random bits.
const DIGITS: usize = 32;

/// What evaluation, task and approval are known by: the random part of the call's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handle(String);

impl Handle {
    fn read(text: &str, start: &str) -> Option<Self> {
        let digits = text.strip_prefix(start)?;
        let is_one = digits.len() == DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_one.then(|| Self(digits.to_owned()))
    }

    /// Of an evaluation's id, which is the call's.
    pub(super) fn of_evaluation(id: &str) -> Option<Self> {
        Self::read(id, CALL)
    }

    fn of_task(id: &str) -> Option<Self> {
        Self::read(id, TASK)
    }

    fn of_approval(id: &str) -> Option<Self> {
        Self::read(id, APPROVAL)
    }

    fn call_id(&self) -> String {
        format!("{CALL}{}", self.0)
    }

    fn task(&self) -> String {
        format!("{TASK}{}", self.0)
    }

    fn approval(&self) -> String {
        format!("{APPROVAL}{}", self.0)
    }
}

/// Where callers find this decision point, and what they added to the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Scheme and authority.
    pub(super) url: String,
    /// The query of the request at hand, without its question mark.
    pub(super) query: String,
}

impl Place {
    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Where to request access: with the same query, which is a part of the call.
    fn requests(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.at(REQUESTS), self.query)
    }

    fn status_of(&self, handle: &Handle) -> String {
        format!("{}/{}", self.at(REQUESTS), handle.task())
    }
}

#[cfg(test)]
mod tests;
