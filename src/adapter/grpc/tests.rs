//! What gateways send over gRPC, what is understood, and what they are answered.

use super::super::envelope::{About, Call};
use super::value::of_texts;
use super::wire::*;
use super::*;
use crate::proto::v1::{Decision, ReasonCode};
use prost::Message;
use prost::bytes::Bytes;
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn called(envelope: &Envelope) -> &Call {
    let About::Before(call) = &envelope.about else { panic!("{envelope:?}") };
    call
}

fn waits() -> Refusal {
    Refusal::Waits(Box::new(Decision {
        risk: 93,
        review_id: "0-17".to_owned(),
        reason: "a floor fired".to_owned(),
        call_id: "hook-1".to_owned(),
        reason_code: ReasonCode::FloorFired.into(),
        ..Decision::default()
    }))
}

fn params() -> Value {
    json!({ "name": "read_text", "arguments": { "path": "/a" } })
}

fn mcp() -> McpRequest {
    let session = McpHeader { key: "Mcp-Session-Id".to_owned(), value: Bytes::from_static(b"m-1") };
    McpRequest {
        service_names: vec!["files".to_owned()],
        method: "tools/call".to_owned(),
        metadata_context: Some(of_texts([("principal", "user:ann".to_owned())])),
        mcp_request: Some(params().to_string().into()),
        headers: vec![session],
    }
}

fn authz() -> CheckRequest {
    let body = json!({ "jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params() });
    let claims = prost_types::Value { kind: Some(Kind::StructValue(of_texts([("sub", "ann".to_owned())]))) };
    let tokens = Struct { fields: BTreeMap::from([("payload".to_owned(), claims)]) };
    let http = HttpRequest {
        method: "POST".to_owned(),
        headers: BTreeMap::from([("mcp-session-id".to_owned(), "m-1".to_owned())]),
        path: "/mcp".to_owned(),
        host: "files.example".to_owned(),
        body: body.to_string(),
        raw_body: Bytes::new(),
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(AttributePeer { principal: "spiffe://example/planner".to_owned() }),
            request: Some(AttributeRequest { http: Some(http) }),
            context_extensions: BTreeMap::new(),
            metadata_context: Some(Metadata {
                filter_metadata: BTreeMap::from([("envoy.filters.http.jwt_authn".to_owned(), tokens)]),
            }),
        }),
    }
}

fn http(request: &mut CheckRequest) -> &mut HttpRequest {
    request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap()
}

#[test]
fn agentgateway_says_the_call_and_its_metadata_who_asks() {
    let envelope = ext_mcp::read(&mcp()).unwrap();
    let call = called(&envelope);
    assert_eq!((call.server.as_str(), call.tool.as_str()), ("files", "read_text"));
    assert_eq!(call.arguments, br#"{"path":"/a"}"#);
    assert_eq!((envelope.principals.join(" ").as_str(), envelope.session.as_str()), ("user:ann", "m-1"));
    let list = McpRequest { method: "tools/list".to_owned(), ..mcp() };
    assert_eq!(ext_mcp::read(&list).unwrap().about, About::Nothing);
    let torn = McpRequest { mcp_request: Some(Bytes::from_static(b"{\"name\":")), ..mcp() };
    assert!(ext_mcp::read(&torn).is_err());
    let twice = Bytes::from_static(br#"{"name":"a"},"params":{"name":"b"}"#);
    assert!(
        ext_mcp::read(&McpRequest { mcp_request: Some(twice), ..mcp() }).is_err(),
        "nothing is smuggled in"
    );
    let odd = Some(of_texts([("principal", "a\u{202e}".to_owned())]));
    assert!(ext_mcp::read(&McpRequest { metadata_context: odd, ..mcp() }).is_err());
}

#[test]
fn agentgateways_responses_tell_of_tools_and_ends() {
    use ext_mcp::{Told, told};
    let response = |method: &str, services: &[&str], body: &str| McpResponse {
        service_names: services.iter().map(|&name| name.to_owned()).collect(),
        method: method.to_owned(),
        metadata_context: Some(of_texts([("askance_call", "hook-1".to_owned())])),
        mcp_response: Bytes::from(body.to_owned()),
    };
    let list = r#"{"tools":[{"name":"a","inputSchema":{}}],"nextCursor":"x"}"#;
    let Told::Tools(server, tools) = told(&response("tools/list", &["files"], list)) else { panic!("tools") };
    assert_eq!((server.as_str(), tools.len()), ("files", 1));
    assert_eq!(told(&response("tools/list", &["a", "b"], list)), Told::Nothing, "names are the gateway's");
    assert_eq!(told(&response("tools/list", &["a"], "{")), Told::Nothing);
    let result = r#"{"content":[{"type":"text","text":"no such file"}],"isError":true}"#;
    let Told::Ended(id, ending) = told(&response("tools/call", &["a"], result)) else { panic!("an end") };
    assert_eq!((id.as_str(), ending.text.as_str()), ("hook-1", "no such file"));
    assert_eq!(ending.status, crate::proto::v1::OutcomeStatus::Error);
    let unnamed = McpResponse { metadata_context: None, ..response("tools/call", &["a"], result) };
    assert_eq!(told(&unnamed), Told::Nothing);
    assert_eq!(told(&response("prompts/get", &["a"], result)), Told::Nothing);
    let passed = ext_mcp::answer(None, "hook-1").metadata;
    assert_eq!(value::text(passed.as_ref(), "askance_call"), "hook-1");
    assert_eq!(ext_mcp::answer(Some(&waits()), "hook-1").metadata, None);
}

#[test]
fn agentgateway_is_told_why() {
    assert_eq!(ext_mcp::answer(None, "").result, Some(McpResult::Pass(Pass {})));
    let Some(McpResult::Error(error)) = ext_mcp::answer(Some(&waits()), "").result else {
        panic!("a refusal")
    };
    assert_eq!(error.code, PERMISSION_DENIED);
    let told: Value = serde_json::from_slice(&error.mcp_error.unwrap()).unwrap();
    assert_eq!(told["dev.askance/decision"]["reviewId"], "0-17");
    assert!(error.reason.contains("review 0-17"), "{}", error.reason);
}

#[test]
fn envoy_says_the_request_and_who_sent_it() {
    let asked = ext_authz::read(&authz()).unwrap();
    let call = called(&asked.envelope);
    assert_eq!((call.server.as_str(), call.tool.as_str()), ("files.example", "read_text"));
    assert_eq!(asked.envelope.principals.join(" "), "user:ann agent:spiffe://example/planner");
    assert_eq!(asked.envelope.session, "m-1");
    let mut get = authz();
    http(&mut get).method = "GET".to_owned();
    assert_eq!(ext_authz::read(&get).unwrap().envelope.about, About::Nothing);
    let mut bare = authz();
    http(&mut bare).body = String::new();
    assert!(ext_authz::read(&bare).is_err(), "what is not shown is not allowed");
    let mut packed = authz();
    let body = std::mem::take(&mut http(&mut packed).body);
    http(&mut packed).raw_body = body.into();
    assert_eq!(called(&ext_authz::read(&packed).unwrap().envelope).tool, "read_text");
    let mut cut = authz();
    http(&mut cut).body.truncate(40);
    assert!(ext_authz::read(&cut).is_err());
    assert!(ext_authz::read(&CheckRequest::default()).is_err());
}

#[test]
fn envoy_answers_what_a_model_can_read() {
    let asked = ext_authz::read(&authz()).unwrap();
    let passed = ext_authz::answer(Some(&asked), None);
    assert_eq!(passed.status.unwrap().code, 0);
    let refused = ext_authz::answer(Some(&asked), Some(&waits()));
    assert_ne!(refused.status.unwrap().code, 0);
    let Some(HttpResponse::Denied(denied)) = refused.http_response else { panic!("a refusal") };
    assert_eq!(denied.status.unwrap().code, 200);
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!((&body["id"], &body["result"]["isError"]), (&json!("a"), &json!(true)));
    let unread = ext_authz::answer(None, Some(&Refusal::Unacceptable("x".to_owned())));
    let Some(HttpResponse::Denied(denied)) = unread.http_response else { panic!("a refusal") };
    assert_eq!(denied.status.unwrap().code, 403);
}

/// What we write by hand is what the proto files say: every field that is set is known there, on every level.
#[test]
fn messages_are_those_of_the_proto_files() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/neighbours");
    let files = protox::compile(["ext_mcp.proto", "ext_authz.proto"], [root]).unwrap();
    let pool = prost_reflect::DescriptorPool::from_file_descriptor_set(files).unwrap();
    let fields = |name: &str, bytes: Vec<u8>| {
        let schema = pool.get_message_by_name(name).unwrap();
        let message = prost_reflect::DynamicMessage::decode(schema, bytes.as_slice()).unwrap();
        known(&message);
        let mut names: Vec<String> = message.fields().map(|(field, _)| field.name().to_owned()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(
        fields("agentgateway.dev.ext_mcp.McpRequest", mcp().encode_to_vec()),
        "headers mcp_request metadata_context method service_names"
    );
    let refused = ext_mcp::answer(Some(&waits()), "").encode_to_vec();
    assert_eq!(fields("agentgateway.dev.ext_mcp.McpRequestResult", refused), "error");
    let passed = ext_mcp::answer(None, "").encode_to_vec();
    assert_eq!(fields("agentgateway.dev.ext_mcp.McpRequestResult", passed), "pass");
    assert_eq!(fields("envoy.service.auth.v3.CheckRequest", authz().encode_to_vec()), "attributes");
    let asked = ext_authz::read(&authz()).unwrap();
    let refused = ext_authz::answer(Some(&asked), Some(&waits())).encode_to_vec();
    assert_eq!(
        fields("envoy.service.auth.v3.CheckResponse", refused),
        "denied_response dynamic_metadata status"
    );
    let passed = ext_authz::answer(Some(&asked), None).encode_to_vec();
    assert_eq!(fields("envoy.service.auth.v3.CheckResponse", passed), "ok_response status");
}

/// Stops at a field that the schema does not know.
fn known(message: &prost_reflect::DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0, "{message:?}");
    message.fields().for_each(|(_, value)| known_inside(value));
}

fn known_inside(value: &prost_reflect::Value) {
    match value {
        prost_reflect::Value::Message(inner) => known(inner),
        prost_reflect::Value::List(items) => items.iter().for_each(known_inside),
        prost_reflect::Value::Map(entries) => entries.values().for_each(known_inside),
        _ => {}
    }
}

/// Requests and answers as they are on the wire: `ASKANCE_GOLDEN=write` writes a file that is not there.
#[test]
fn bytes_stay_as_they_are() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let shown = |envelope: &Envelope| {
        let call = called(envelope);
        let arguments: Value = serde_json::from_slice(&call.arguments).unwrap();
        json!({
            "server": call.server, "tool": call.tool, "arguments": arguments,
            "session": envelope.session, "principals": envelope.principals,
        })
    };
    let asked = ext_authz::read(&authz()).unwrap();
    let cases = [
        json!({
            "request": hex(&mcp().encode_to_vec()),
            "understood": shown(&ext_mcp::read(&mcp()).unwrap()),
            "passed": hex(&ext_mcp::answer(None, "").encode_to_vec()),
            "waits": hex(&ext_mcp::answer(Some(&waits()), "").encode_to_vec()),
        }),
        json!({
            "request": hex(&authz().encode_to_vec()),
            "understood": shown(&asked.envelope),
            "passed": hex(&ext_authz::answer(Some(&asked), None).encode_to_vec()),
            "waits": hex(&ext_authz::answer(Some(&asked), Some(&waits())).encode_to_vec()),
        }),
    ];
    for (name, found) in ["ext_mcp", "ext_authz"].into_iter().zip(cases) {
        let path = format!("{}/tests/golden/gateways/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("ASKANCE_GOLDEN").as_deref() == Ok("write") && !Path::new(&path).exists() {
            std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
        }
        let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(found, golden, "{path}");
    }
}
