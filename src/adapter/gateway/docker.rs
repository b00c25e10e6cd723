//! Docker's MCP gateway: `--interceptor=before:http:http://127.0.0.1:4753/v1/gateways/docker`.
//!
//! It sends the method and parameters of each `tools/call`. An empty answer lets the call run; anything else takes the
//! place of its result, whatever the status. It says neither server, session nor user, which the address may say
//! instead. With `after` it sends a bare result that names no call, so that nothing can be recorded of it.

use super::super::envelope::Envelope;
use super::super::fields::{Fault, Fields};
use super::message::{Inner, inner};
use super::place::Place;
use crate::mcp::refusal::Refusal;

/// Its name as a client, and as a server where the address names none.
const NAME: &str = "docker-mcp-gateway";
/// Fields of a result.
const RESULT: [&str; 3] = ["content", "structuredContent", "isError"];

pub(super) fn read(message: &[u8], fields: &Fields<'_>, place: &Place) -> Result<Envelope, Fault> {
    let mut envelope = Envelope {
        client: NAME.to_owned(),
        session: place.session.clone(),
        principals: place.principals.clone(),
        never_tells_endings: true,
        ..Envelope::default()
    };
    if !fields.has("method") && RESULT.iter().any(|name| fields.has(name)) {
        return Ok(envelope);
    }
    fields.must(&["method"])?;
    let Inner { about, session, meta, .. } = inner(message, &place.server_or(NAME), "")?;
    envelope.about = about;
    envelope.whence = Some(Box::new(place.whence(meta)));
    if envelope.session.is_empty() {
        envelope.session = session;
    }
    Ok(envelope)
}

/// Nothing, or the result of a call that did not run.
pub(super) fn answer(refusal: Option<&Refusal>) -> String {
    refusal.map(|refusal| refusal.result(false).to_string()).unwrap_or_default()
}
