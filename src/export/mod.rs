//! Calls and events in the forms that other tools read: JSON lines, CSV, Parquet, OCSF, ECS, OpenTelemetry traces.
//!
//! Made from the events of the public API, so that an export needs nothing that a client does not get.
//! Deliberately absent: connections and files (`cli::export`), and arguments, unless they were asked for.

pub mod checkpoint;
pub mod csv;
pub mod days;
pub mod ecs;
pub mod ocsf;
pub mod otlp;
pub mod parquet;
pub mod row;
mod thrift;
