//! A request for access: which evaluation was denied, and the call once more, so that nobody asks for another.

use super::super::envelope::Envelope;
use super::super::fields::{Fault, Fields};
use super::super::gateway::{Place as Query, authzen};
use super::super::hook::MESSAGE_BYTES_MAX;
use super::Handle;
use super::problem::{Kind, Problem};

/// What is not offered, and what to do instead.
const NOT_OFFERED: [(&str, &str); 2] = [
    ("items", "several requests in one are not taken; send one for each denied evaluation"),
    ("callback", "nobody is called back; ask for the status of the task"),
];

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// The denied evaluation.
    pub(super) handle: Handle,
    /// The call that it is about.
    pub(super) envelope: Envelope,
}

/// Reads a request, of which at most [`MESSAGE_BYTES_MAX`] bytes and one are given.
pub(super) fn read(message: &[u8], query: &str) -> Result<Request, Problem> {
    let malformed = |Fault(why): Fault| Problem::new(Kind::Malformed, why);
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Problem::new(Kind::Malformed, "the message is over 16 MiB long"));
    }
    let (fields, fault) = Fields::read(message);
    if let Some(fault) = fault {
        return Err(malformed(fault));
    }
    if let Some((_, instead)) = NOT_OFFERED.iter().find(|(name, _)| fields.has(name)) {
        return Err(Problem::new(Kind::NotOffered, *instead));
    }
    let handle = denied(&fields)?;
    let query = Query::read(query).map_err(malformed)?;
    let mut envelope = authzen::read(&fields, &query).map_err(malformed)?;
    actor(&fields, &mut envelope)?;
    Ok(Request { handle, envelope })
}

/// The evaluation that was denied. Its expiry must be repeated, but what counts is when it does expire.
fn denied(fields: &Fields<'_>) -> Result<Handle, Problem> {
    let unbound = |detail: &str| Problem::new(Kind::InvalidDenialBinding, detail);
    let denial = fields.object("denial").map_err(|Fault(why)| Problem::new(Kind::Malformed, why))?;
    let text = |name: &str| denial.text(name).map_err(|Fault(why)| Problem::new(Kind::Malformed, why));
    let id = text("evaluation_id")?;
    if id.is_empty() {
        return Err(unbound("`denial.evaluation_id` is missing; there are no binding tokens here"));
    }
    if denial.has("binding_token") {
        return Err(unbound("`denial.binding_token` was never handed out"));
    }
    if text("expires_at")?.parse::<jiff::Timestamp>().is_err() {
        return Err(unbound("`denial.expires_at` is not the time that the denial told"));
    }
    Handle::of_evaluation(&id).ok_or_else(|| unbound("`denial.evaluation_id` is not of an evaluation here"))
}

/// Whoever acts for the subject may be named as `client.actor` instead of in the subject, not beside it as somebody
/// else.
fn actor(fields: &Fields<'_>, envelope: &mut Envelope) -> Result<(), Problem> {
    let malformed = |Fault(why): Fault| Problem::new(Kind::Malformed, why);
    let client = fields.object("client").map_err(malformed)?;
    if !client.has("actor") {
        return Ok(());
    }
    let actor = client.object("actor").map_err(malformed)?;
    let links = authzen::actor(&actor).map_err(malformed)?;
    if envelope.principals.ends_with(&links) {
        return Ok(());
    }
    let subject = fields.object("subject").and_then(|subject| subject.object("properties"));
    if subject.map_err(malformed)?.has("act") {
        let detail = "`client.actor` and the subject's `act` name different actors";
        return Err(Problem::new(Kind::InvalidDenialBinding, detail));
    }
    envelope.principals.extend(links);
    Ok(())
}
