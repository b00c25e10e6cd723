//! How the review of a call stands, for gateways that poll: `GetCallReview`.

use super::convert::call::{Intake, admit};
use super::convert::review::{approved_until, on_deadline, review_id, state, why};
use super::convert::timestamp;
use super::intake::check_call_id;
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::domain::review::ReviewState;
use crate::proto::v1;

/// Looks at a review without changing anything.
pub(super) async fn look(
    shared: &Shared,
    request: v1::GetCallReviewRequest,
) -> Result<v1::GetCallReviewResponse, Failure> {
    let v1::GetCallReviewRequest { tenant, call_id, call } = request;
    let tenant = tenant_of(&tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    check_call_id(&call_id)?;
    let asked = match call {
        None => None,
        Some(call) => {
            let call = v1::ToolCall { call_id: call_id.clone(), tenant: tenant.clone(), ..call };
            Some(admit(&shared.engine, Some(call), false, Intake::Live)?.0)
        }
    };
    let Some(review) = shared.engine.review_of_call(&tenant, &call_id).await? else {
        // Nothing can be used up: an approval is found by its review only, and there is none.
        shared.engine.stand(&tenant, &call_id).await?;
        return Ok(v1::GetCallReviewResponse::default());
    };
    let is_open = review.state.is_open();
    let on_deadline = if is_open { on_deadline(&review.on_deadline) } else { v1::TimeoutAction::Unspecified };
    Ok(v1::GetCallReviewResponse {
        state: state(review.state).into(),
        progress: Some(v1::ReviewProgress {
            review_id: review_id(shared.engine.partition_of(&tenant), review.id),
            approvals: u32::try_from(review.approvals_given()).unwrap_or(u32::MAX),
            approvals_needed: review.approvals.into(),
            deadline: is_open.then(|| timestamp(review.deadline)),
            escalated: review.state == ReviewState::Escalated,
        }),
        on_deadline: on_deadline.into(),
        open_time: Some(timestamp(review.opened)),
        resolve_time: review.settled.map(|(at, _)| timestamp(at)),
        resolve_reason: review
            .settled
            .map_or(v1::ReasonCode::Unspecified, |(_, because)| why(because))
            .into(),
        approval_expire_time: approved_until(&review).map(timestamp),
        same_call: asked.is_some_and(|call| call.digest == review.digest),
    })
}
