//! Evaluations: several in one message, and what an evaluation is answered in whose context an approval stands.

use super::super::envelope::{Envelope, Ruling};
use super::super::fields::{Fault, Fields};
use super::super::gateway::{Place as Query, authzen};
use super::task::{Standing, status, text_of};
use super::{Handle, Place};
use crate::mcp::refusal::Refusal;
use crate::proto::v1::{GetCallReviewResponse, ReasonCode, ReviewState};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Evaluations of one message.
pub(super) const EVALUATIONS_MAX: usize = 64;
/// What an evaluation is made of; each stands for those that do not have it.
const PARTS: [&str; 4] = ["subject", "action", "resource", "context"];
/// Seconds after which an evaluation that is not refused for good is to be tried again.
const RETRY_SECONDS: u32 = 30;

/// When the rest of several evaluations is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Semantic {
    /// Never.
    All,
    /// After the first no.
    FirstDeny,
    /// After the first yes.
    FirstPermit,
}

impl Semantic {
    /// Whether this decision is the last one.
    pub(super) const fn ends_with(self, decision: bool) -> bool {
        match self {
            Self::All => false,
            Self::FirstDeny => !decision,
            Self::FirstPermit => decision,
        }
    }
}

/// One evaluation: a call, and the approval that came with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evaluation {
    /// The call.
    pub(super) envelope: Envelope,
    /// The approval that its sender refers to.
    pub(super) approval: Option<Referred>,
}

/// An approval as a message refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Referred {
    /// Its id as it stands there.
    id: String,
    /// Whose approval it would be; none: no id of ours.
    pub(super) handle: Option<Handle>,
}

/// What a message asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// One evaluation.
    One(Box<Evaluation>),
    /// Several, each of them or why it cannot be read.
    Several(Vec<Result<Evaluation, Fault>>, Semantic),
}

/// Reads one evaluation.
pub(super) fn read(fields: &Fields<'_>, query: &Query) -> Result<Evaluation, Fault> {
    let envelope = authzen::read(fields, query)?;
    let context = fields.object("context")?;
    let approval = if context.has("approval") {
        let id = context.object("approval")?.must(&["id"])?;
        Some(Referred { handle: Handle::of_approval(&id), id })
    } else {
        None
    };
    Ok(Evaluation { envelope, approval })
}

/// Reads a message of several evaluations; one without them is one evaluation.
pub(super) fn several(fields: &Fields<'_>, query: &Query) -> Result<Asked, Fault> {
    let list: Vec<&RawValue> = match fields.raw("evaluations") {
        None => Vec::new(),
        Some(list) => serde_json::from_str(list.get())
            .map_err(|_| Fault("the field `evaluations` is no array".to_owned()))?,
    };
    if list.is_empty() {
        return read(fields, query).map(|one| Asked::One(Box::new(one)));
    }
    if list.len() > EVALUATIONS_MAX {
        return Err(Fault(format!("there are {} evaluations, at most {EVALUATIONS_MAX}", list.len())));
    }
    let semantic = match fields.object("options")?.text("evaluations_semantic")?.as_str() {
        "" | "execute_all" => Semantic::All,
        "deny_on_first_deny" => Semantic::FirstDeny,
        "permit_on_first_permit" => Semantic::FirstPermit,
        _ => return Err(Fault("`options.evaluations_semantic` is none of the three there are".to_owned())),
    };
    let each = list.into_iter().map(|one| match Fields::read(one.get().as_bytes()) {
        (one, None) => read(&one.or(fields, &PARTS), query),
        (_, Some(fault)) => Err(fault),
    });
    Ok(Asked::Several(each.collect(), semantic))
}

/// An evaluation among several that cannot be read.
pub(super) fn unreadable(Fault(why): &Fault) -> Value {
    let message = format!("askance cannot read this evaluation: {}", crate::detector::sentence::shown(why));
    json!({ "decision": false, "context": { "error": { "status": 400, "message": message } } })
}

/// What was known of the approval that came with an evaluation, before it was ruled on.
#[derive(Clone, Debug)]
pub(in crate::adapter) enum Presented {
    /// None came.
    Nothing,
    /// One that does not exist, or that could not be asked about.
    Unknown,
    /// The review it would come from, and whether it is of this very call.
    Of(Box<GetCallReviewResponse>),
}

/// The decision, with all that the profile adds. `waits`: the review that the call waits for, if it is open.
pub(super) fn decision(
    ruling: &Ruling,
    referred: Option<&Referred>,
    presented: &Presented,
    waits: Option<&GetCallReviewResponse>,
    place: &Place,
) -> Value {
    let Ruling::Refuse(refusal) = ruling else { return permitted(referred, presented) };
    let mut context = authzen::context(refusal);
    let Some(fields) = context.as_object_mut() else { return json!({ "decision": false }) };
    let until = waits.and_then(GetCallReviewResponse::asked_until);
    if let Some(until) = &until {
        let request = json!({ "endpoint": place.requests(), "expires_at": until });
        fields.insert("access_request".to_owned(), request);
    }
    if !matches!(presented, Presented::Nothing) {
        let (reason, next) = after(refusal, presented, until.is_some());
        fields.insert("reason".to_owned(), reason.into());
        fields.insert("next_action".to_owned(), next.into());
        if next == "retry" {
            fields.insert("retry_after".to_owned(), RETRY_SECONDS.into());
        }
    }
    json!({ "decision": false, "context": context })
}

/// A yes. It tells until when an approval holds if that is what came with the call, not that it was needed.
fn permitted(referred: Option<&Referred>, presented: &Presented) -> Value {
    let (Some(referred), Presented::Of(review)) = (referred, presented) else {
        return json!({ "decision": true });
    };
    let fits = review.same_call && review.state() == ReviewState::Approved;
    match review.approval_expire_time.as_ref().filter(|_| fits).and_then(text_of) {
        Some(until) => {
            json!({ "decision": true, "context": { "approval": { "id": referred.id, "approved_until": until } } })
        }
        None => json!({ "decision": true }),
    }
}

/// Why an approval did not help, and what to do next.
fn after(refusal: &Refusal, presented: &Presented, may_ask: bool) -> (&'static str, &'static str) {
    let window =
        refusal.decision().is_some_and(|decision| decision.reason_code() == ReasonCode::WindowClosed);
    let reason = match presented {
        Presented::Of(review) if review.same_call => match review.state() {
            ReviewState::Approved if window => return ("grant_pending", "retry"),
            ReviewState::Approved => "policy_denied",
            ReviewState::Consumed | ReviewState::Cancelled => "approval_expired",
            ReviewState::Expired if status(review) == "approved" => "approval_expired",
            _ => "approval_unverifiable",
        },
        _ => "approval_unverifiable",
    };
    if matches!(refusal, Refusal::Away(..) | Refusal::TooMuch(_)) {
        return (reason, "retry");
    }
    (reason, if may_ask { "request" } else { "none" })
}
