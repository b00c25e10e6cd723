//! Gemini CLI. Its messages give calls no id, and name a tool's server beside the tool.

use super::super::envelope::{About, Call, Envelope, of_name, server_name};
use super::super::fields::{Fault, Fields};
use super::super::result::ended;
use serde_json::{Value, json};

/// Its name as a principal and a client.
pub(super) const NAME: &str = "gemini-cli";

/// Reads a message.
pub(super) fn read(fields: &Fields<'_>) -> Result<Envelope, Fault> {
    let event = fields.must(&["hook_event_name"])?;
    let about = match event.as_str() {
        "BeforeTool" => About::Before(call(fields)?),
        "AfterTool" => About::After(call(fields)?, ended(fields.raw("tool_response"))),
        "BeforeAgent" => About::Request(fields.text("prompt")?),
        "SessionEnd" => About::End,
        _ => About::Nothing,
    };
    let session = fields.text("session_id")?;
    Ok(Envelope { client: NAME.to_owned(), session, about, ..Envelope::default() })
}

fn call(fields: &Fields<'_>) -> Result<Call, Fault> {
    let name = fields.must(&["tool_name"])?;
    let beside = fields.inside("mcp_context");
    let (server, tool) = match (beside.text("server_name")?, beside.text("tool_name")?) {
        (server, _) if server.is_empty() => of_name(&name),
        (server, tool) if tool.is_empty() => (server_name(&server), of_name(&name).1),
        (server, tool) => (server_name(&server), tool),
    };
    Ok(Call { id: String::new(), server, tool, arguments: fields.arguments("tool_input") })
}

/// Says no.
pub(super) fn refuse(why: &str, stops: bool) -> Value {
    if stops {
        return json!({ "decision": "deny", "reason": why, "continue": false, "stopReason": why });
    }
    json!({ "decision": "deny", "reason": why })
}
