//! Cursor: `preToolUse` and `postToolUse` for every tool, and the older events for one kind of tool each.
//!
//! Its names of MCP tools do not say the server's (`MCP:query`); the older event for them says its address or command.

use super::super::envelope::{About, BUILT_IN, Call, Envelope, of_name, server_name};
use super::super::fields::{Fault, Fields};
use super::super::result::{ended, failed, took};
use serde_json::{Value, json};

/// Its name as a principal and a client.
pub(super) const NAME: &str = "cursor";
/// The server of MCP tools whose server is not named.
const NAMELESS: &str = "mcp";
/// The event whose answer lets a prompt pass.
const PROMPT: &str = "beforeSubmitPrompt";

/// Reads a message.
pub(super) fn read(fields: &Fields<'_>) -> Result<Envelope, Fault> {
    let event = fields.must(&["hook_event_name"])?;
    let session = fields.first_text(&["conversation_id", "session_id"])?;
    let about = about(&event, fields)?;
    Ok(Envelope { client: NAME.to_owned(), session, about, ..Envelope::default() })
}

fn about(event: &str, fields: &Fields<'_>) -> Result<About, Fault> {
    let took = |ending| took(ending, fields, &["duration", "duration_ms"]);
    Ok(match event {
        "preToolUse" => About::Before(call(fields)?),
        "postToolUse" => About::After(call(fields)?, took(ended(fields.raw("tool_output")))),
        "postToolUseFailure" => {
            let refused = fields.text("failure_type")? == "permission_denied";
            let never_ran = refused || fields.is_true("is_interrupt");
            About::After(call(fields)?, took(failed(fields.text("error_message")?, never_ran)))
        }
        "beforeShellExecution" => About::Before(shell(fields)?),
        "afterShellExecution" => About::After(shell(fields)?, took(ended(fields.raw("output")))),
        "beforeMCPExecution" => About::Before(call(fields)?),
        "afterMCPExecution" => About::After(call(fields)?, took(ended(fields.raw("result_json")))),
        "beforeReadFile" => {
            let path = fields.must(&["file_path"])?;
            let arguments = json!({ "file_path": path }).to_string().into_bytes();
            About::Before(Call {
                id: String::new(),
                server: BUILT_IN.to_owned(),
                tool: "Read".to_owned(),
                arguments,
            })
        }
        PROMPT => About::Request(fields.text("prompt")?),
        "sessionEnd" => About::End,
        _ => About::Nothing,
    })
}

fn call(fields: &Fields<'_>) -> Result<Call, Fault> {
    let name = fields.must(&["tool_name"])?;
    let mcp = name.strip_prefix("MCP:");
    let (server, tool) = match mcp.map(|rest| rest.split_once(':').unwrap_or((NAMELESS, rest))) {
        Some((server, tool)) => (server_name(server), tool.to_owned()),
        None if fields.text("hook_event_name")?.ends_with("MCPExecution") => (addressed(fields)?, name),
        None => of_name(&name),
    };
    let arguments = fields.arguments("tool_input");
    Ok(Call { id: fields.text("tool_use_id")?, server, tool, arguments })
}

/// A server by its address or command.
fn addressed(fields: &Fields<'_>) -> Result<String, Fault> {
    let told = fields.first_text(&["url", "command"])?;
    Ok(if crate::mcp::scope::is_name(&told) { server_name(&told) } else { NAMELESS.to_owned() })
}

fn shell(fields: &Fields<'_>) -> Result<Call, Fault> {
    let command = fields.must(&["command"])?;
    let mut arguments = json!({ "command": command });
    let place = fields.text("cwd")?;
    if let (false, Some(object)) = (place.is_empty(), arguments.as_object_mut()) {
        object.insert("cwd".to_owned(), place.into());
    }
    let arguments = arguments.to_string().into_bytes();
    Ok(Call { id: String::new(), server: BUILT_IN.to_owned(), tool: "Shell".to_owned(), arguments })
}

/// Says nothing against it.
pub(super) fn pass(event: &str) -> Value {
    if event == PROMPT { json!({ "continue": true }) } else { json!({}) }
}

/// Says no.
pub(super) fn refuse(why: &str) -> Value {
    json!({ "permission": "deny", "user_message": why, "agent_message": why })
}
