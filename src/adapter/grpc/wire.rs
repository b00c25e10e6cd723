//! The messages of `proto/neighbours`, written by hand: few, and the neighbours' to change. The tests hold them against
//! the files.

use prost::bytes::Bytes;
use prost_types::Struct;
use std::collections::BTreeMap;

/// A request that agentgateway asks about.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct McpRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) service_names: Vec<String>,
    #[prost(string, tag = "2")]
    pub(super) method: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata_context: Option<Struct>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(super) mcp_request: Option<Bytes>,
    #[prost(message, repeated, tag = "5")]
    pub(super) headers: Vec<McpHeader>,
}

/// A response that agentgateway asks about.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct McpResponse {
    #[prost(string, repeated, tag = "1")]
    pub(super) service_names: Vec<String>,
    #[prost(string, tag = "2")]
    pub(super) method: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata_context: Option<Struct>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) mcp_response: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct McpHeader {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct McpRequestResult {
    #[prost(oneof = "McpResult", tags = "1, 3")]
    pub(super) result: Option<McpResult>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct McpResponseResult {
    #[prost(oneof = "McpResult", tags = "1, 3")]
    pub(super) result: Option<McpResult>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum McpResult {
    #[prost(message, tag = "1")]
    Pass(Pass),
    #[prost(message, tag = "3")]
    Error(AuthorizationError),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Pass {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AuthorizationError {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) mcp_error: Option<Bytes>,
}

/// It is not allowed.
pub(super) const PERMISSION_DENIED: i32 = 1;
/// There is no room for it now.
pub(super) const RESOURCE_EXHAUSTED: i32 = 2;
/// It cannot be read.
pub(super) const INVALID: i32 = 3;

/// A request that Envoy asks about.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) attributes: Option<AttributeContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    pub(super) source: Option<AttributePeer>,
    #[prost(message, optional, tag = "4")]
    pub(super) request: Option<AttributeRequest>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub(super) context_extensions: BTreeMap<String, String>,
    #[prost(message, optional, tag = "11")]
    pub(super) metadata_context: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AttributePeer {
    #[prost(string, tag = "4")]
    pub(super) principal: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AttributeRequest {
    #[prost(message, optional, tag = "2")]
    pub(super) http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpRequest {
    #[prost(string, tag = "2")]
    pub(super) method: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(super) headers: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    pub(super) path: String,
    #[prost(string, tag = "5")]
    pub(super) host: String,
    #[prost(string, tag = "11")]
    pub(super) body: String,
    #[prost(bytes = "bytes", tag = "12")]
    pub(super) raw_body: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) filter_metadata: BTreeMap<String, Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<RpcStatus>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub(super) http_response: Option<HttpResponse>,
    #[prost(message, optional, tag = "4")]
    pub(super) dynamic_metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub(super) body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OkHttpResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<HeaderValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}
