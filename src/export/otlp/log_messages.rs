//! The part of OTLP that log records need (opentelemetry-proto 1.x, `logs/v1/logs.proto`).

use super::messages::{AnyValue, ExportResponse, KeyValue, Resource, Scope};
use prost::Message;

/// Where log records are sent.
pub const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A batch of log records.
#[derive(Clone, PartialEq, Message)]
pub struct ExportLogs {
    /// By resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

/// The receiver's answer has the form of that to spans.
pub type LogsTaken = ExportResponse;

/// Log records of one resource.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceLogs {
    /// Who made them.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By scope.
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
    /// Version of the conventions.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// Log records of one scope.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeLogs {
    /// The scope.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The log records.
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
    /// Version of the conventions.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// A log record.
#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    /// When it happened, nanoseconds since 1970.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// 9 information, 13 warning, 17 error.
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The same in a word.
    #[prost(string, tag = "3")]
    pub severity_text: String,
    /// What happened, in a sentence.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// Its attributes.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    /// 16 bytes; empty: none.
    #[prost(bytes = "vec", tag = "9")]
    pub trace_id: Vec<u8>,
    /// 8 bytes; empty: none.
    #[prost(bytes = "vec", tag = "10")]
    pub span_id: Vec<u8>,
    /// When we received it, nanoseconds since 1970.
    #[prost(fixed64, tag = "11")]
    pub observed_time_unix_nano: u64,
    /// What kind of thing happened: a name without values.
    #[prost(string, tag = "12")]
    pub event_name: String,
}
