//! agentgateway's protocol for external MCP policy servers (`agentgateway.dev.ext_mcp.ExtMcp`).
//!
//! It sends method and parameters of each request. Who asks, and in which session, its configuration must add as
//! metadata: `principal` or `principals`, `session`, `server`. A response names no call, so that it is let through unseen.

use super::super::envelope::Envelope;
use super::super::fields::Fault;
use super::super::gateway::{chain, inner, word};
use super::value::{names, text};
use super::wire::{
    AuthorizationError, INVALID, McpRequest, McpRequestResult, McpResult, PERMISSION_DENIED, Pass,
    RESOURCE_EXHAUSTED,
};
use crate::mcp::refusal::Refusal;
use crate::mcp::scope::is_name;
use serde_json::{Value, json};

/// Its name as a client, and as a server where it names none.
const NAME: &str = "agentgateway";
/// The method that is judged.
const CALL: &str = "tools/call";
/// The header that names a session of MCP before 2026-07-28.
const SESSION: &str = "mcp-session-id";

/// Reads a request.
pub(super) fn read(request: &McpRequest) -> Result<Envelope, Fault> {
    let mut envelope = Envelope { client: NAME.to_owned(), never_tells_endings: true, ..Envelope::default() };
    if request.method != CALL {
        return Ok(envelope);
    }
    let said = |name| text(request.metadata_context.as_ref(), name);
    let named = [said("server"), request.service_names.first().cloned().unwrap_or_default()];
    let server = named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| NAME.to_owned());
    let params = request.mcp_request.as_deref().unwrap_or(b"{}");
    let message = [br#"{"method":"tools/call","params":"#, params, b"}"].concat();
    let inner = inner(&message, &server, "")?;
    let carried = request.headers.iter().find(|header| header.key.eq_ignore_ascii_case(SESSION));
    let carried = carried.map(|header| String::from_utf8_lossy(&header.value).into_owned());
    let sessions = [said("session"), inner.session, carried.unwrap_or_default()];
    envelope.session = sessions.into_iter().find(|id| is_name(id)).unwrap_or_default();
    envelope.principals = chain(names(request.metadata_context.as_ref(), ["principals", "principal"])?)?;
    envelope.about = inner.about;
    Ok(envelope)
}

/// Lets a request go on, or not and why.
pub(super) fn answer(refusal: Option<&Refusal>) -> McpRequestResult {
    let result = match refusal {
        None => McpResult::Pass(Pass {}),
        Some(refusal) => McpResult::Error(AuthorizationError {
            code: code(refusal),
            reason: refusal.text(),
            mcp_error: Some(data(refusal).to_string().into_bytes().into()),
        }),
    };
    McpRequestResult { result: Some(result) }
}

const fn code(refusal: &Refusal) -> i32 {
    match refusal {
        Refusal::Denied(_) | Refusal::Waits(_) | Refusal::Away(..) => PERMISSION_DENIED,
        Refusal::TooMuch(_) => RESOURCE_EXHAUSTED,
        Refusal::Unacceptable(_) => INVALID,
    }
}

/// What a program can go by. The gateway makes JSON-RPC's error of the code and the reason, and this is its `data`.
fn data(refusal: &Refusal) -> Value {
    let mut ours = json!({ "refused": refusal.kind(), "reason": word(refusal) });
    if let (Some(decision), Some(fields)) = (refusal.decision(), ours.as_object_mut()) {
        fields.insert("evaluationId".to_owned(), decision.call_id.clone().into());
        fields.insert("risk".to_owned(), decision.risk.into());
        if !decision.review_id.is_empty() {
            fields.insert("reviewId".to_owned(), decision.review_id.clone().into());
        }
    }
    json!({ "dev.askance/decision": ours })
}
