//! Gateways that ask over gRPC, at the real daemon's own address, with messages of a few fields that are written here
//! once more.

use crate::support::{Daemon, Place, eventually};
use prost::bytes::Bytes;
use serde_json::{Value, json};
use std::process::Stdio;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct McpRequest {
    #[prost(string, repeated, tag = "1")]
    service_names: Vec<String>,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "bytes", optional, tag = "4")]
    mcp_request: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct McpResult {
    #[prost(message, optional, tag = "1")]
    pass: Option<Nothing>,
    #[prost(message, optional, tag = "3")]
    error: Option<Error>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<prost_types::Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct McpResponse {
    #[prost(string, repeated, tag = "1")]
    service_names: Vec<String>,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(message, optional, tag = "3")]
    metadata_context: Option<prost_types::Struct>,
    #[prost(bytes = "bytes", tag = "4")]
    mcp_response: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Error {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attributes {
    #[prost(message, optional, tag = "4")]
    request: Option<HttpOf>,
    #[prost(btree_map = "string, string", tag = "10")]
    extensions: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HttpOf {
    #[prost(message, optional, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Http {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(string, tag = "11")]
    body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Error>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Denied {
    #[prost(string, tag = "3")]
    body: String,
}

async fn asked<Q, A>(channel: &Channel, path: &'static str, message: Q) -> A
where
    Q: prost::Message + Default + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let mut request = tonic::Request::new(message);
    request.set_timeout(std::time::Duration::from_secs(30));
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    client.unary(request, path, codec).await.unwrap().into_inner()
}

fn params(tool: &str) -> Value {
    json!({ "name": tool, "arguments": {} })
}

async fn mcp(channel: &Channel, method: &str, tool: &str) -> McpResult {
    let message = McpRequest {
        service_names: vec!["files".to_owned()],
        method: method.to_owned(),
        mcp_request: Some(params(tool).to_string().into()),
    };
    asked(channel, "/agentgateway.dev.ext_mcp.ExtMcp/CheckRequest", message).await
}

async fn mcp_response(
    channel: &Channel,
    services: &[&str],
    method: &str,
    metadata: Option<prost_types::Struct>,
    result: &Value,
) {
    let message = McpResponse {
        service_names: services.iter().map(|&name| name.to_owned()).collect(),
        method: method.to_owned(),
        metadata_context: metadata,
        mcp_response: result.to_string().into(),
    };
    let answer: McpResult = asked(channel, "/agentgateway.dev.ext_mcp.ExtMcp/CheckResponse", message).await;
    assert!(answer.pass.is_some(), "a response goes back whatever it is");
}

async fn authz(channel: &Channel, tool: &str) -> CheckResponse {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params(tool) });
    let http = Http { method: "POST".to_owned(), body: body.to_string() };
    let extensions =
        [("principal".to_owned(), "user:erin".to_owned()), ("server".to_owned(), "files".to_owned())];
    let attributes = Attributes {
        request: Some(HttpOf { http: Some(http) }),
        extensions: extensions.into_iter().collect(),
    };
    let message = CheckRequest { attributes: Some(attributes) };
    asked(channel, "/envoy.service.auth.v3.Authorization/Check", message).await
}

#[test]
fn gateways_over_grpc_are_answered_in_their_own_form() {
    let place = Place::new();
    let socket = place.path().join("askance-data/askance.sock");
    let mut command = place.askance();
    command.args(["serve", "--set", "http.hold=0s"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = Daemon(command.spawn().unwrap());
    eventually("the daemon's socket", || socket.exists());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        assert!(mcp(&channel, "tools/call", "get_note").await.pass.is_some());
        assert!(mcp(&channel, "tools/list", "").await.pass.is_some());
        let refused = mcp(&channel, "tools/call", "drop_table").await.error.unwrap();
        assert!(refused.code == 1 && refused.reason.contains("denied it"), "{refused:?}");
        let waits = mcp(&channel, "tools/call", "delete_note").await.error.unwrap();
        assert!(waits.reason.contains("approve review"), "{waits:?}");
        assert_eq!(authz(&channel, "get_note").await.status.unwrap_or_default().code, 0);
        let refused = authz(&channel, "drop_table").await;
        assert_ne!(refused.status.unwrap().code, 0);
        let body: Value = serde_json::from_str(&refused.denied.unwrap().body).unwrap();
        assert_eq!((&body["id"], &body["result"]["isError"]), (&json!(1), &json!(true)));
    });
    daemon.kill();
    let calls = place.calls();
    let asked = |name: &str| {
        calls.iter().any(|event| {
            event["kind"] == "call_proposed" && event["data"]["principal_chain"].to_string().contains(name)
        })
    };
    assert!(asked("user:erin") && asked("agent:agentgateway"), "{calls:?}");
}

#[test]
fn responses_tell_of_tools_and_of_ends() {
    let place = Place::new();
    let daemon = place.serve();
    let socket = place.path().join("askance-data/askance.sock");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let tools = |description: &str| {
            let schema = json!({ "type": "object" });
            json!({ "tools": [{ "name": "get_note", "description": description, "inputSchema": schema }] })
        };
        mcp_response(&channel, &["files"], "tools/list", None, &tools("Reads a note.")).await;
        mcp_response(&channel, &["a", "b"], "tools/list", None, &json!({ "tools": [{ "name": "a_x" }] }))
            .await;
        mcp_response(&channel, &["files"], "tools/list", None, &json!("no list")).await;
        let passed = mcp(&channel, "tools/call", "get_note").await;
        let metadata = passed.metadata.expect("the call's id for its response");
        let content = json!([{ "type": "text", "text": "a note about harbors" }]);
        mcp_response(&channel, &["files"], "tools/call", Some(metadata), &json!({ "content": content }))
            .await;
        mcp_response(&channel, &["files"], "tools/call", None, &json!({ "content": [] })).await;
        assert!(mcp(&channel, "tools/call", "drop_table").await.metadata.is_none());
        mcp_response(&channel, &["files"], "tools/list", None, &tools("Reads a note, and sends it away."))
            .await;
        let changed = mcp(&channel, "tools/call", "get_note").await.error.expect("a definition that changed");
        assert!(changed.reason.contains("approve review"), "{changed:?}");
    });
    daemon.kill();
    let calls = place.calls();
    let of = |kind: &str| calls.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("tool_defined").len(), 1, "{calls:?}");
    assert_eq!(of("tool_redefined").len(), 1);
    let ended = of("call_completed");
    assert_eq!(ended.len(), 1, "one that names no call is nobody's");
    assert!(ended[0].to_string().contains("harbors"), "{}", ended[0]);
}
