//! OpenTelemetry: a session is a trace, a call is an `execute_tool` span in it, a review is a span below its call.
//!
//! ```text
//! events ──▶ spans (pure: the same log gives the same spans) ──▶ follow ──▶ collector (OTLP over gRPC)
//!                                                                └─ checkpoint, behind what the collector took
//! ```
//!
//! Beside the spans go log records of what somebody should see (`logs`), and now and then the metrics of the daemon.
//! Ids are hashes of what the log says, so that a receiver knows again what it has. The messages are typed by hand from
//! OTLP 1.x: a handful of the protocol's fields, and no further dependency.

mod call_span;
pub mod collector;
pub mod follow;
mod ids;
pub mod live;
pub mod log_messages;
pub mod logs;
pub mod messages;
pub mod metric_messages;
mod metrics;
pub mod names;
pub mod own;
mod review_span;
pub mod session_span;
pub mod spans;

use crate::domain::time::SECOND_US;

/// Kind of a span: internal.
const INTERNAL: i32 = 1;
/// Status of a span.
const OK: i32 = 1;
/// Status of a span.
const ERROR: i32 = 2;

/// An enum's value without its prefix, in lower case.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds.saturating_mul(SECOND_US).saturating_add(i64::from(time.nanos) / 1_000)
    })
}

fn nanos(time: Option<&prost_types::Timestamp>) -> u64 {
    u64::try_from(micros(time)).unwrap_or(0).saturating_mul(1_000)
}
