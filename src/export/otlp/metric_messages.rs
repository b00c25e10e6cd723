//! The part of OTLP that metrics need (opentelemetry-proto 1.x, `metrics/v1/metrics.proto`).

use super::messages::{KeyValue, Resource, Scope};
use prost::Message;

/// Where metrics are sent.
pub const PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Counts since the start time.
pub const CUMULATIVE: i32 = 2;

/// A batch of metrics.
#[derive(Clone, PartialEq, Message)]
pub struct ExportMetrics {
    /// By resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// The receiver's answer.
#[derive(Clone, PartialEq, Message)]
pub struct MetricsTaken {}

/// Metrics of one resource.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceMetrics {
    /// Who made them.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By scope.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

/// Metrics of one scope.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeMetrics {
    /// The scope.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The metrics.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

/// A metric.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it says.
    #[prost(string, tag = "2")]
    pub description: String,
    /// Its unit, UCUM.
    #[prost(string, tag = "3")]
    pub unit: String,
    /// Its values.
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    pub data: Option<Data>,
}

/// Values of a metric.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Data {
    /// What it is now.
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    /// A count.
    #[prost(message, tag = "7")]
    Sum(Sum),
    /// Counts by size.
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

/// What something is now.
#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    /// By labels.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberPoint>,
}

/// A count.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// By labels.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberPoint>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    /// Whether it never falls.
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// Counts by size.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// By labels.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<HistogramPoint>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
}

/// A number.
#[derive(Clone, PartialEq, Message)]
pub struct NumberPoint {
    /// Since when it counts, nanoseconds since 1970.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// When it was read, nanoseconds since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The number.
    #[prost(double, optional, tag = "4")]
    pub as_double: Option<f64>,
    /// Its labels.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// Counts by size for these labels.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramPoint {
    /// Since when it counts, nanoseconds since 1970.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// When it was read, nanoseconds since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// All of them.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// Their sum.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// How many in each bucket.
    #[prost(fixed64, repeated, tag = "6")]
    pub bucket_counts: Vec<u64>,
    /// Upper bounds of all buckets but the last.
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    /// The labels.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
}
