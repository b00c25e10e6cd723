//! The admin port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps the daemon running.
//!
//! Plain HTTP/1.1, read only, without credentials: for the machine itself, or behind something that checks who asks.
//! Deliberately absent: anything that changes the daemon, and names of sessions, principals or tools.

mod metrics;
mod server;

pub use metrics::{METRICS, Metric};
pub use server::Admin;
