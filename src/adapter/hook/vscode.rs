//! VS Code: its own harness (`sessionId`, `tool_name`) and Copilot's, which Copilot CLI uses too, in both forms that
//! that one has (`hook_event_name` with `tool_name`, or `toolName` without an event's name).

use super::super::envelope::{About, Call, Envelope, of_name};
use super::super::fields::{Fault, Fields};
use super::super::result::{ended, failed};
use super::claude;
use serde_json::Value;

/// Its name as a principal and a client.
pub(super) const NAME: &str = "vscode";

/// Reads a message.
pub(super) fn read(fields: &Fields<'_>) -> Result<Envelope, Fault> {
    if fields.has("hook_event_name") || fields.has("hookEventName") {
        return claude::shaped(fields, NAME);
    }
    let about = unnamed(fields)?;
    Ok(Envelope {
        client: NAME.to_owned(),
        session: fields.must(&["sessionId"])?,
        about,
        ..Envelope::default()
    })
}

/// What a message without an event's name is about, by what it holds.
fn unnamed(fields: &Fields<'_>) -> Result<About, Fault> {
    if fields.has("toolName") {
        let (server, tool) = of_name(&fields.must(&["toolName"])?);
        let call = Call { id: String::new(), server, tool, arguments: fields.arguments("toolArgs") };
        return Ok(match (fields.raw("toolResult"), fields.raw("error")) {
            (Some(result), _) => About::After(call, ended(Some(result))),
            (None, Some(_)) => About::After(call, failed(fields.text("error")?, false)),
            (None, None) => About::Before(call),
        });
    }
    if fields.has("prompt") {
        return Ok(About::Request(fields.text("prompt")?));
    }
    let is_known =
        ["reason", "source", "stopReason", "trigger", "message"].iter().any(|name| fields.has(name));
    if fields.has("reason") {
        return Ok(About::End);
    }
    if is_known {
        Ok(About::Nothing)
    } else {
        Err(Fault("the message does not say which event it is about".to_owned()))
    }
}

/// Says no, where either harness looks for it.
pub(super) fn refuse(why: &str, stops: bool) -> Value {
    let mut answer = claude::refuse(why, stops);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("permissionDecision".to_owned(), "deny".into());
        fields.insert("permissionDecisionReason".to_owned(), why.into());
    }
    answer
}
