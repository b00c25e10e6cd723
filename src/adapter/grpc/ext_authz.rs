//! Envoy's external authorization, version 3 (`envoy.service.auth.v3.Authorization`), in front of MCP servers over HTTP.
//!
//! The request's body must be sent along (`with_request_body`), or its call cannot be judged and does not pass. A call
//! that does not run is answered with a tool result, which a model can read; where nobody waits for an answer, with 403.
//!
//! Who asks comes from the route (`context_extensions`: `principal`, `server`, `session`), the token that Envoy's filter
//! `jwt_authn` checked, and the certificate of the client. A header names nobody: the client writes it.

use super::super::envelope::{About, Carried, Envelope, Whence};
use super::super::fields::Fault;
use super::super::gateway::{agent, chain, inner, word};
use super::value::{of_texts, text};
use super::wire::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption,
    HttpRequest, HttpResponse, HttpStatus, OkHttpResponse, RpcStatus,
};
use crate::mcp::peek::Id;
use crate::mcp::refusal::{Refusal, answer as json_rpc};
use crate::mcp::scope::is_name;
use prost_types::value::Kind;
use tonic::Code;

/// Its name as a client, and as a server where it names none.
const NAME: &str = "envoy";
/// The filter whose token is believed.
const JWT: &str = "envoy.filters.http.jwt_authn";
/// The header that names a session of MCP before 2026-07-28.
const SESSION: &str = "mcp-session-id";

/// A request that was read.
pub(super) struct Asked {
    /// What it says.
    pub(super) envelope: Envelope,
    /// The id to answer, and whether the answer is of a revision whose results have a type.
    waits: Option<(Id, bool)>,
}

/// Reads a request.
pub(super) fn read(request: &CheckRequest) -> Result<Asked, Fault> {
    let missing = |what: &str| Fault(format!("the attribute `{what}` is missing"));
    let about = request.attributes.as_ref().ok_or_else(|| missing("request"))?;
    let http = about.request.as_ref().and_then(|request| request.http.as_ref());
    let http = http.ok_or_else(|| missing("request.http"))?;
    let mut envelope = Envelope { client: NAME.to_owned(), never_tells_endings: true, ..Envelope::default() };
    if http.method != "POST" {
        // Streams are opened and sessions are ended by other methods; calls come by this one only.
        return Ok(Asked { envelope, waits: None });
    }
    let body = if http.raw_body.is_empty() { http.body.as_bytes() } else { &*http.raw_body };
    if body.is_empty() {
        return Err(Fault("the request's body is not sent along: set `with_request_body`".to_owned()));
    }
    let found = inner(body, &server(about, http), "")?;
    if matches!(found.about, About::Before(_)) {
        envelope.principals = chain(people(about)?)?;
    }
    let carried = http.headers.get(SESSION).cloned().unwrap_or_default();
    let told = |name| about.context_extensions.get(name).cloned().unwrap_or_default();
    let mut whence = Whence {
        named: told("session"),
        parent: told("parent"),
        connection: carried.clone(),
        meta: found.meta,
    };
    whence.fill(&Carried::of(http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))));
    envelope.whence = Some(Box::new(whence));
    envelope.session =
        [told("session"), found.session, carried].into_iter().find(|id| is_name(id)).unwrap_or_default();
    envelope.about = found.about;
    Ok(Asked { envelope, waits: found.waits })
}

/// The server that the route names, or the host that the request does.
fn server(about: &AttributeContext, http: &HttpRequest) -> String {
    let named = about.context_extensions.get("server").unwrap_or(&http.host);
    if is_name(named) { named.clone() } else { NAME.to_owned() }
}

/// The route's principal, the token's subject, the certificate's name: each beneath the one before.
fn people(about: &AttributeContext) -> Result<Vec<String>, Fault> {
    let mut links: Vec<String> = about.context_extensions.get("principal").cloned().into_iter().collect();
    let tokens = about.metadata_context.as_ref().and_then(|found| found.filter_metadata.get(JWT));
    let subjects = tokens.into_iter().flat_map(|tokens| tokens.fields.values()).filter_map(|token| {
        let Some(Kind::StructValue(claims)) = &token.kind else { return None };
        Some(text(Some(claims), "sub")).filter(|subject| !subject.is_empty())
    });
    let subjects: Vec<String> = subjects.collect();
    if subjects.len() > 1 {
        return Err(Fault("more than one token says who asks".to_owned()));
    }
    links.extend(subjects.into_iter().map(|subject| format!("user:{subject}")));
    let certificate = about.source.as_ref().map(|source| source.principal.as_str()).unwrap_or_default();
    if !certificate.is_empty() {
        links.push(agent(certificate));
    }
    Ok(links)
}

/// Lets a request go on, or answers it. `asked`: nothing, if it could not be read.
pub(super) fn answer(asked: Option<&Asked>, refusal: Option<&Refusal>) -> CheckResponse {
    let Some(refusal) = refusal else {
        return CheckResponse {
            status: Some(RpcStatus { code: Code::Ok.into(), message: String::new() }),
            http_response: Some(HttpResponse::Ok(OkHttpResponse {})),
            dynamic_metadata: None,
        };
    };
    let result = asked.and_then(|asked| asked.waits.as_ref()).map(|(id, is_modern)| {
        let result = refusal.result(*is_modern);
        (200, "application/json", String::from_utf8_lossy(&json_rpc(id, &result)).into_owned())
    });
    let (status, kind, body) = result.unwrap_or_else(|| (403, "text/plain; charset=utf-8", refusal.text()));
    let header = HeaderValue { key: "content-type".to_owned(), value: kind.to_owned() };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        headers: vec![HeaderValueOption { header: Some(header) }],
        body,
    };
    let decision = refusal.decision();
    let said = |part: fn(&crate::proto::v1::Decision) -> String| decision.map(part).unwrap_or_default();
    CheckResponse {
        status: Some(RpcStatus { code: Code::PermissionDenied.into(), message: word(refusal).to_owned() }),
        http_response: Some(HttpResponse::Denied(denied)),
        dynamic_metadata: Some(of_texts([
            ("askance_refused", refusal.kind().to_owned()),
            ("askance_reason", word(refusal).to_owned()),
            ("askance_call_id", said(|decision| decision.call_id.clone())),
            ("askance_review_id", said(|decision| decision.review_id.clone())),
            ("askance_risk", said(|decision| decision.risk.to_string())),
        ])),
    }
}
