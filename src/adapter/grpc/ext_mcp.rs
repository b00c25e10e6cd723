//! agentgateway's protocol for external MCP policy servers (`agentgateway.dev.ext_mcp.ExtMcp`).
//!
//! It sends method and parameters of each request. Who asks, and in which session, its configuration must add as
//! metadata: `principal` or `principals`, `session`, `parent`, `server`. A response names no call either: a request that
//! passes is answered with the call's id as metadata, which the configuration can add to the response's.

use super::super::envelope::{Carried, Ending, Envelope, Whence, server_name};
use super::super::fields::Fault;
use super::super::gateway::{chain, inner, word};
use super::super::result::ended;
use super::value::{names, of_texts, text};
use super::wire::{
    AuthorizationError, INVALID, McpRequest, McpRequestResult, McpResponse, McpResult, PERMISSION_DENIED,
    Pass, RESOURCE_EXHAUSTED,
};
use crate::mcp::refusal::Refusal;
use crate::mcp::scope::is_name;
use crate::mcp::tools::{LIST_BYTES_MAX, definitions};
use crate::proto::v1::ToolDefinition;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Its name as a client, and as a server where it names none.
const NAME: &str = "agentgateway";
/// The method that is judged.
const CALL: &str = "tools/call";
/// The method whose answers tell of tools.
const LIST: &str = "tools/list";
/// Metadata that names the call: of our answer to its request, and then of its response.
const CALL_KEY: &str = "askance_call";
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
    let connection = request.headers.iter().find(|header| header.key.eq_ignore_ascii_case(SESSION));
    let connection = connection.map(|header| String::from_utf8_lossy(&header.value).into_owned());
    let connection = connection.unwrap_or_default();
    let sessions = [said("session"), inner.session, connection.clone()];
    envelope.session = sessions.into_iter().find(|id| is_name(id)).unwrap_or_default();
    let (named, parent) = (said("session"), said("parent"));
    let mut whence = Whence { named, parent, connection, meta: inner.meta };
    whence.fill(&Carried::of(request.headers.iter().map(|header| (header.key.as_str(), &*header.value))));
    envelope.whence = Some(Box::new(whence));
    envelope.principals = chain(names(request.metadata_context.as_ref(), ["principals", "principal"])?)?;
    envelope.about = inner.about;
    Ok(envelope)
}

/// What is to be told of a response.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// The tools of a server.
    Tools(String, Vec<ToolDefinition>),
    /// How the call of this id ended.
    Ended(String, Ending),
    /// Nothing.
    Nothing,
}

/// Reads a response: the tools of a server that it lists, or the end of a call.
pub(super) fn told(response: &McpResponse) -> Told {
    let said = |name| text(response.metadata_context.as_ref(), name);
    match response.method.as_str() {
        LIST => {
            let named = match response.service_names.as_slice() {
                // With several servers the names of tools are the gateway's, not the servers'.
                [one] => [said("server"), one.clone()],
                _ => [String::new(), String::new()],
            };
            let Some(server) = named.into_iter().find(|name| !name.is_empty()) else { return Told::Nothing };
            if response.mcp_response.len() > LIST_BYTES_MAX {
                return Told::Nothing;
            }
            let (tools, unread) = definitions(&[br#"{"result":"#, &*response.mcp_response, b"}"].concat());
            if unread > 0 {
                tracing::warn!(server = ?server, unread, "tools that a gateway lists cannot be read");
            }
            if tools.is_empty() { Told::Nothing } else { Told::Tools(server_name(&server), tools) }
        }
        CALL => {
            let id = said(CALL_KEY);
            let result: Option<&RawValue> = serde_json::from_slice(&response.mcp_response).ok();
            if id.is_empty() || !is_name(&id) { Told::Nothing } else { Told::Ended(id, ended(result)) }
        }
        _ => Told::Nothing,
    }
}

/// Lets a request go on under this id of its call, or not and why.
pub(super) fn answer(refusal: Option<&Refusal>, call: &str) -> McpRequestResult {
    let result = match refusal {
        None => McpResult::Pass(Pass {}),
        Some(refusal) => McpResult::Error(AuthorizationError {
            code: code(refusal),
            reason: refusal.text(),
            mcp_error: Some(data(refusal).to_string().into_bytes().into()),
        }),
    };
    let known = refusal.is_none() && !call.is_empty();
    let metadata = known.then(|| of_texts([(CALL_KEY, call.to_owned())]));
    McpRequestResult { result: Some(result), metadata }
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
