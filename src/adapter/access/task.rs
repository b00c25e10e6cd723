//! A review as the profile's task.
//!
//! | review | task |
//! |---|---|
//! | pending, escalated | `pending` |
//! | approved, used up, or approved and then out of time | `approved` |
//! | denied | `denied` |
//! | nobody answered in time | `expired` |
//! | a lock, another policy, the end of its session | `cancelled`, an approval that was there with it |

use super::problem::{Kind, Problem};
use super::{Handle, Place};
use crate::domain::time::{DAY_US, Timestamp};
use crate::proto::v1::{GetCallReviewResponse, ReviewState, TimeoutAction};
use prost_types::Timestamp as ProtoTimestamp;
use serde_json::{Value, json};

/// How long a task is told of after its review or its approval is over.
const KEPT_US: i64 = DAY_US;

/// What is read off a review.
pub(super) trait Standing {
    /// Until when the denial may be asked to be lifted; none: it may not.
    fn asked_until(&self) -> Option<String>;
}

impl Standing for GetCallReviewResponse {
    fn asked_until(&self) -> Option<String> {
        text_of(self.progress.as_ref()?.deadline.as_ref()?)
    }
}

/// Its status, in the profile's words.
pub(super) fn status(review: &GetCallReviewResponse) -> &'static str {
    match review.state() {
        ReviewState::Pending | ReviewState::Escalated => "pending",
        ReviewState::Approved | ReviewState::Consumed => "approved",
        ReviewState::Expired if review.approval_expire_time.is_some() => "approved",
        ReviewState::Expired => "expired",
        ReviewState::Denied => "denied",
        ReviewState::Cancelled => "cancelled",
        ReviewState::Unspecified => "failed",
    }
}

/// The answer that tells of a task.
pub(super) fn task(
    review: &GetCallReviewResponse,
    handle: &Handle,
    place: &Place,
    now: Timestamp,
) -> Result<Value, Problem> {
    let expires = handle_expires(review);
    if expires.is_some_and(|at| now.as_micros() >= at) && status(review) != "pending" {
        return Err(Problem::new(Kind::TaskExpired, "the review was over more than a day ago"));
    }
    let mut task = json!({
        "id": handle.task(),
        "status": status(review),
        "status_endpoint": place.status_of(handle),
    });
    let Some(fields) = task.as_object_mut() else { return Ok(Value::Null) };
    if let Some(text) = expires.and_then(text_of_micros) {
        fields.insert("expires_at".to_owned(), text.into());
    }
    if let Some(progress) = &review.progress {
        let current = progress.approvals.saturating_add(1).min(progress.approvals_needed.max(1));
        let steps = json!({ "current_step": current, "total_steps": progress.approvals_needed });
        fields.insert("progress".to_owned(), steps);
    }
    let mut answer = json!({ "task": task });
    if let (Some(until), Some(fields)) = (approved_until(review), answer.as_object_mut()) {
        let mut approval = json!({ "id": handle.approval(), "approved_until": until });
        let is_settled_by_it = review.state() != ReviewState::Expired;
        let at = review.resolve_time.as_ref().filter(|_| is_settled_by_it).and_then(text_of);
        if let (Some(at), Some(fields)) = (at, approval.as_object_mut()) {
            fields.insert("approved_at".to_owned(), at.into());
        }
        fields.insert("result".to_owned(), json!({ "mode": "reevaluate", "approval": approval }));
    }
    Ok(answer)
}

fn approved_until(review: &GetCallReviewResponse) -> Option<String> {
    review.approval_expire_time.as_ref().filter(|_| status(review) == "approved").and_then(text_of)
}

/// When the task's address stops to answer; none: silence does not end the review at a time that is known.
fn handle_expires(review: &GetCallReviewResponse) -> Option<i64> {
    let over = match status(review) {
        "pending" if review.on_deadline() == TimeoutAction::Deny => {
            review.progress.as_ref()?.deadline.as_ref()
        }
        "pending" => None,
        "approved" => review.approval_expire_time.as_ref(),
        _ => review.resolve_time.as_ref(),
    };
    Some(micros(over?).saturating_add(KEPT_US))
}

fn micros(at: &ProtoTimestamp) -> i64 {
    at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos / 1_000))
}

/// An instant as RFC 3339 has it.
pub(super) fn text_of(at: &ProtoTimestamp) -> Option<String> {
    text_of_micros(micros(at))
}

fn text_of_micros(micros: i64) -> Option<String> {
    jiff::Timestamp::from_microsecond(micros).ok().map(|at| at.to_string())
}
