//! ToolHive's validating webhook, version `v0.1.0`: each message of a client before it reaches the server, with who
//! sent it. A refusal's sentence stays in ToolHive's log: its client reads only that a policy refused.

use super::super::envelope::Envelope;
use super::super::fields::{Fault, Fields};
use super::message::{Inner, inner};
use super::place::Place;
use super::{agent, chain, word};
use crate::mcp::refusal::Refusal;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Its name as a client, and as a server where it names none.
const NAME: &str = "toolhive";
/// The version that answers are given in.
const VERSION: &str = "v0.1.0";
/// What the versions begin with that are understood.
const VERSIONS: &str = "v0.1.";

pub(super) fn read(fields: &Fields<'_>, place: &Place) -> Result<Envelope, Fault> {
    let version = fields.must(&["version"])?;
    if !version.starts_with(VERSIONS) {
        return Err(Fault("the webhook's version is not v0.1".to_owned()));
    }
    let uid = fields.must(&["uid"])?;
    let context = fields.object("context")?;
    // Behind a virtual server stand several; `server_name` is then the virtual one's.
    let told = [context.text("backend_server")?, context.text("server_name")?];
    let told = told.into_iter().find(|name| !name.is_empty());
    let server = told.unwrap_or_else(|| place.server_or(NAME));
    let request = fields.raw("mcp_request").ok_or_else(|| Fault("`mcp_request` is missing".to_owned()))?;
    let Inner { about, session, meta, .. } = inner(request.get().as_bytes(), &server, &uid)?;
    let mut principals = place.principals.clone();
    principals.extend(people(&fields.object("principal")?)?);
    Ok(Envelope {
        client: NAME.to_owned(),
        session: if place.session.is_empty() { session } else { place.session.clone() },
        whence: Some(Box::new(place.whence(meta))),
        principals: chain(principals)?,
        about,
        never_tells_endings: true,
        ..Envelope::default()
    })
}

/// The user, then those who act for them, the latest last.
fn people(principal: &Fields<'_>) -> Result<Vec<String>, Fault> {
    let subject = principal.text("sub")?;
    if subject.is_empty() {
        return Ok(Vec::new());
    }
    let mut links = vec![format!("user:{subject}")];
    let delegation = principal.object("delegation")?;
    if let Some(chain) = delegation.raw("chain") {
        // The latest first, which is innermost for us.
        let actors: Vec<&RawValue> = serde_json::from_str(chain.get())
            .map_err(|_| Fault("the delegation's chain is no list".to_owned()))?;
        for actor in actors.into_iter().rev() {
            let (actor, fault) = Fields::read(actor.get().as_bytes());
            fault.map_or(Ok(()), Err)?;
            links.push(agent(&actor.must(&["sub"])?));
        }
    }
    Ok(links)
}

/// Allowed, or not and why.
pub(super) fn answer(uid: &str, refusal: Option<&Refusal>) -> String {
    let mut answer = json!({ "version": VERSION, "uid": uid, "allowed": refusal.is_none() });
    if let (Some(refusal), Some(fields)) = (refusal, answer.as_object_mut()) {
        fields.insert("code".to_owned(), 403.into());
        fields.insert("message".to_owned(), refusal.text().into());
        fields.insert("reason".to_owned(), word(refusal).into());
        fields.insert("details".to_owned(), details(refusal));
    }
    answer.to_string()
}

/// Texts only.
fn details(refusal: &Refusal) -> Value {
    let Some(decision) = refusal.decision() else { return json!({ "refused": refusal.kind() }) };
    json!({
        "refused": refusal.kind(),
        "call_id": decision.call_id,
        "review_id": decision.review_id,
        "risk": decision.risk.to_string(),
    })
}
