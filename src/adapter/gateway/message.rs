//! The JSON-RPC message that a gateway passes on: what it is about, and the session that it names.

use super::super::envelope::{About, Call, server_name};
use super::super::fields::Fault;
use crate::mcp::peek::{Id, Meta, Peek, peek};
use crate::mcp::scope::{Fixed, scope};

/// A client's message.
#[derive(Debug)]
pub(in crate::adapter) struct Inner {
    /// A call to come, or nothing that we need to know.
    pub(in crate::adapter) about: About,
    /// The session that the client names; empty: it names none.
    pub(in crate::adapter) session: String,
    /// What else it says of itself.
    pub(in crate::adapter) meta: Meta,
    /// The call's id to its client, which waits for an answer, and whether its revision's results have a type.
    pub(in crate::adapter) waits: Option<(Id, bool)>,
}

/// Reads a message to `server`. `id` is the gateway's id of the call; empty: it gives none.
pub(in crate::adapter) fn inner(message: &[u8], server: &str, id: &str) -> Result<Inner, Fault> {
    match peek(message) {
        Peek::Call(call) => {
            let arguments = if call.arguments.is_empty() { b"{}".to_vec() } else { call.arguments.to_vec() };
            let asked =
                Call { id: id.to_owned(), server: server_name(server), tool: call.tool.clone(), arguments };
            let waits = call.id.map(|id| (id, call.meta.is_modern()));
            Ok(Inner { about: About::Before(asked), session: session(&call.meta), meta: call.meta, waits })
        }
        Peek::Malformed(fault) => Err(Fault(fault.why.to_owned())),
        _ => Ok(Inner { about: About::Nothing, session: String::new(), meta: Meta::default(), waits: None }),
    }
}

/// The session by the client's own field, or by the conversation in its baggage.
fn session(meta: &Meta) -> String {
    let hints = scope(&Fixed::default(), "", "", &[], meta).session;
    let named = [hints.session_id, hints.conversation_id].into_iter().find(|id| !id.is_empty());
    named.unwrap_or_default()
}
