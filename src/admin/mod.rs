//! The admin port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps the daemon running.
//!
//! Plain HTTP/1.1, read only, without credentials: for the machine itself, or behind something that checks who asks.
//! Tenants and tools are the only labels that clients choose; both are capped.
//! Deliberately absent: anything that changes the daemon, and names of sessions or principals.

pub mod figures;
mod metrics;
mod prometheus;
mod server;

pub use metrics::{Kind, METRICS, Metric};
pub use server::Admin;
