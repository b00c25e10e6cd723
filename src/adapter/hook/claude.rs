//! Claude Code (hooks of type `command` and `http`), and the form that VS Code and Codex took over from it.
//!
//! An allowed call is answered with no opinion, so that Claude Code still asks its user where its own settings say so.
//! `ask` is never answered: it would let the very user whose call waits for a review run it.

use super::super::envelope::{About, Call, Envelope, of_name};
use super::super::fields::{Fault, Fields};
use super::super::result::{ended, failed, took};
use serde_json::{Value, json};

/// Its name as a principal and a client.
pub(super) const NAME: &str = "claude-code";
/// The event before a call.
pub(super) const BEFORE: &str = "PreToolUse";

/// Reads a message. One that VS Code's own harness sends through Claude Code's settings is taken for VS Code's.
pub(super) fn read(fields: &Fields<'_>) -> Result<Envelope, Fault> {
    let of_code = fields.has("hookEventName") || (fields.has("timestamp") && !fields.has("permission_mode"));
    if of_code { super::vscode::read(fields) } else { shaped(fields, NAME) }
}

/// Reads a message of this form.
pub(super) fn shaped(fields: &Fields<'_>, client: &str) -> Result<Envelope, Fault> {
    let event = fields.must(&["hook_event_name", "hookEventName"])?;
    Ok(Envelope {
        client: client.to_owned(),
        session: fields.first_text(&["session_id", "sessionId"])?,
        sub_agent: fields.text("agent_type")?,
        about: about(&event, fields)?,
        ..Envelope::default()
    })
}

pub(super) fn about(event: &str, fields: &Fields<'_>) -> Result<About, Fault> {
    Ok(match event {
        BEFORE => About::Before(call(fields)?),
        "PostToolUse" => {
            let result = fields.raw("tool_response").or_else(|| fields.raw("tool_result"));
            About::After(call(fields)?, took(ended(result), fields, &["duration_ms"]))
        }
        "PostToolUseFailure" => {
            let ending = failed(fields.text("error")?, fields.is_true("is_interrupt"));
            About::After(call(fields)?, took(ending, fields, &["duration_ms"]))
        }
        "UserPromptSubmit" => About::Request(fields.text("prompt")?),
        "SessionEnd" => About::End,
        _ => About::Nothing,
    })
}

fn call(fields: &Fields<'_>) -> Result<Call, Fault> {
    let (server, tool) = of_name(&fields.must(&["tool_name"])?);
    let arguments = fields.arguments("tool_input");
    Ok(Call { id: fields.text("tool_use_id")?, server, tool, arguments })
}

/// Says no.
pub(super) fn refuse(why: &str, stops: bool) -> Value {
    let mut answer = json!({
        "hookSpecificOutput": {
            "hookEventName": BEFORE,
            "permissionDecision": "deny",
            "permissionDecisionReason": why,
        }
    });
    if let (true, Some(fields)) = (stops, answer.as_object_mut()) {
        fields.insert("continue".to_owned(), false.into());
        fields.insert("stopReason".to_owned(), why.into());
    }
    answer
}
