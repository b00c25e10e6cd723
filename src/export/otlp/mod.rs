//! OpenTelemetry traces: a session is a trace, a call is an `execute_tool` span in it.
//!
//! Ids are hashes of what the log says, so that the same log gives the same spans however often it is exported, and a
//! receiver knows again what it has. The messages are typed by hand from OTLP 1.x: a handful of the protocol's fields,
//! and no further dependency.

pub mod messages;
pub mod names;
pub mod spans;
