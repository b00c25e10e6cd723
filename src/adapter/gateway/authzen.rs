//! The Authorization API 1.0 of OpenID AuthZEN: `POST /access/v1/evaluation`.
//!
//! An evaluation of `tools/call` on a resource is a call of that tool, as the MCP binding of its profile COAZ has it.
//! Any other action is a call of a tool of that name, on a server that is named as the resource's type, so that nothing
//! passes unjudged. Arguments are judged where they are sent: as `arguments` in the properties of the action or the
//! resource, or in the context. There is no id of a call, and no word of how it ended.

use super::super::envelope::{About, Call, Envelope, server_name};
use super::super::fields::{Fault, Fields};
use super::place::Place;
use super::{Answer, agent, chain, word};
use crate::domain::call::limits::CHAIN_LINKS_MAX;
use crate::mcp::delegation;
use crate::mcp::peek::Meta;
use crate::mcp::refusal::Refusal;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Its name as a client, and as a server where none is named.
const NAME: &str = "authzen";
/// The action that is a call of a tool.
const CALL: &str = "tools/call";

/// Reads an evaluation.
pub(in crate::adapter) fn read(fields: &Fields<'_>, place: &Place) -> Result<Envelope, Fault> {
    let [subject, action, resource] = parts(fields)?;
    let context = fields.object("context")?;
    let named = context.first_text(&["session_id", "session"])?;
    let mut principals = place.principals.clone();
    principals.push(format!("{}:{}", subject.must(&["type"])?, subject.must(&["id"])?));
    principals.extend(actors(subject.object("properties")?.raw("act"))?);
    let client = context.text("agent")?;
    if !client.is_empty() && principals.last() != Some(&agent(&client)) {
        principals.push(agent(&client));
    }
    let mut whence = place.whence(Meta::default());
    if !named.is_empty() {
        whence.named.clone_from(&named);
    }
    let parent = context.first_text(&["parent_session_id", "parent_session"])?;
    if !parent.is_empty() {
        whence.parent = parent;
    }
    Ok(Envelope {
        client: NAME.to_owned(),
        session: if named.is_empty() { place.session.clone() } else { named },
        whence: Some(Box::new(whence)),
        principals: chain(principals)?,
        about: About::Before(call(&action, &resource, &context, place)?),
        never_tells_endings: true,
        ..Envelope::default()
    })
}

fn parts<'a>(fields: &Fields<'a>) -> Result<[Fields<'a>; 3], Fault> {
    let part = |name: &str| {
        if fields.has(name) {
            fields.object(name)
        } else {
            Err(Fault(format!("the field `{name}` is missing")))
        }
    };
    Ok([part("subject")?, part("action")?, part("resource")?])
}

fn call(
    action: &Fields<'_>,
    resource: &Fields<'_>,
    context: &Fields<'_>,
    place: &Place,
) -> Result<Call, Fault> {
    let (name, kind) = (action.must(&["name"])?, resource.must(&["type"])?);
    let id = resource.must(&["id"])?;
    let (done, on) = (action.object("properties")?, resource.object("properties")?);
    let sent = [&done, &on, context].into_iter().find_map(|part| part.raw("arguments"));
    if name != CALL {
        let of = |part: &Fields<'_>| part.raw("properties").map_or("{}", RawValue::get).to_owned();
        let arguments = format!(
            r#"{{"resource":{},"resource_properties":{},"action_properties":{},"arguments":{}}}"#,
            Value::from(id),
            of(resource),
            of(action),
            sent.map_or("{}", RawValue::get)
        );
        let arguments = arguments.into_bytes();
        return Ok(Call { id: String::new(), server: server_name(&kind), tool: name, arguments });
    }
    let told = [on.text("server")?, context.text("server")?];
    let told = told.into_iter().find(|server| !server.is_empty());
    let server = server_name(&told.unwrap_or_else(|| place.server_or(NAME)));
    let arguments = sent.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') {
        return Err(Fault("the arguments are no object".to_owned()));
    }
    Ok(Call { id: String::new(), server, tool: id, arguments: arguments.as_bytes().to_vec() })
}

/// Those who act for the subject, the latest last.
fn actors(act: Option<&RawValue>) -> Result<Vec<String>, Fault> {
    let links = delegation::actors(act, |raw: &RawValue| {
        let (actor, fault) = Fields::read(raw.get().as_bytes());
        fault.map_or(Ok(()), Err)?;
        Ok((actor.must(&["sub"])?, actor.raw("act")))
    })?;
    links.ok_or_else(|| Fault(format!("more than {CHAIN_LINKS_MAX} actors stand within each other")))
}

/// An actor as it is named beside the subject: `id`, and within it `act` as in a subject.
pub(in crate::adapter) fn actor(actor: &Fields<'_>) -> Result<Vec<String>, Fault> {
    let mut links = actors(actor.raw("act"))?;
    links.push(agent(&actor.must(&["id"])?));
    Ok(links)
}

/// The decision, and why it is a no.
pub(super) fn answer(refusal: Option<&Refusal>) -> String {
    let decision = match refusal {
        None => json!({ "decision": true }),
        Some(refusal) => json!({ "decision": false, "context": context(refusal) }),
    };
    decision.to_string()
}

/// Why it is a no.
pub(in crate::adapter) fn context(refusal: &Refusal) -> Value {
    let mut context = json!({ "reason": word(refusal), "reason_user": { "en": refusal.text() } });
    if let (Some(decision), Some(fields)) = (refusal.decision(), context.as_object_mut()) {
        fields.insert("evaluation_id".to_owned(), decision.call_id.clone().into());
        fields.insert("risk".to_owned(), decision.risk.into());
        if !decision.review_id.is_empty() {
            fields.insert("review_id".to_owned(), decision.review_id.clone().into());
        }
    }
    context
}

/// A request that is none: its sender must take that for a no.
pub(in crate::adapter) fn unreadable(why: &str) -> Answer {
    let why = crate::detector::sentence::shown(why);
    Answer { status: 400, body: Value::from(format!("askance cannot read this request: {why}")).to_string() }
}
